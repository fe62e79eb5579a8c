//! The mesh's control plane, as the settings say.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use enroll_http::integrations::headscale::{Headscale, HeadscaleOptions};
use enroll_http::tls::WebRoots;

use super::super::failure::Failure;
use super::args::seconds;
use super::files;

/// The mesh of `--issue headscale`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Mesh")]
pub(super) struct HeadscaleArgs {
    /// Where Headscale is, for `--issue headscale`: http(s)://host[:port]
    #[arg(long, value_name = "URL", env = "ENROLL_MASTER_HEADSCALE_URL", hide_env_values = true)]
    headscale_url: Option<String>,
    /// A file with the API key of Headscale: `headscale apikeys create`
    #[arg(
        long,
        value_name = "FILE",
        env = "ENROLL_MASTER_HEADSCALE_API_KEY_PATH",
        hide_env_values = true
    )]
    headscale_api_key_path: Option<PathBuf>,
    /// The user of Headscale whose machines join; it has to be there. Without one, tags are needed
    #[arg(long, value_name = "NAME", env = "ENROLL_MASTER_HEADSCALE_USER", hide_env_values = true)]
    headscale_user: Option<String>,
    /// A tag that machines which join have, e.g. tag:worker; repeatable
    #[arg(
        long,
        value_name = "TAG",
        value_delimiter = ',',
        env = "ENROLL_MASTER_HEADSCALE_TAG",
        hide_env_values = true
    )]
    headscale_tag: Vec<String>,
    /// Where machines reach Headscale [default: --headscale-url]
    #[arg(
        long,
        value_name = "URL",
        env = "ENROLL_MASTER_HEADSCALE_PUBLIC_URL",
        hide_env_values = true
    )]
    headscale_public_url: Option<String>,
    /// The authority of Headscale's certificate, PEM [default: those this machine trusts]
    #[arg(
        long,
        value_name = "FILE",
        env = "ENROLL_MASTER_HEADSCALE_CA_PATH",
        hide_env_values = true
    )]
    headscale_ca_path: Option<PathBuf>,
    /// How long a key that nobody joined with is good
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "3600",
        value_parser = seconds,
        env = "ENROLL_MASTER_HEADSCALE_KEY_LIFETIME_SECS",
        hide_env_values = true
    )]
    headscale_key_lifetime_secs: Duration,
}

/// The client, where one is configured.
pub(super) fn client(args: &HeadscaleArgs) -> Result<Option<Arc<Headscale>>, Failure> {
    let (url, path) = match (&args.headscale_url, &args.headscale_api_key_path) {
        (Some(url), Some(path)) => (url, path),
        (None, None) => return Ok(None),
        _ => {
            return Err(Failure::usage("a Headscale needs its URL and an API key")
                .next("Give --headscale-url and --headscale-api-key-path, or neither."));
        }
    };
    let api_key = files::read_secret(path).map_err(|cause| unreadable(path, cause))?;
    let mut options = HeadscaleOptions::new().with_key_lifetime(args.headscale_key_lifetime_secs);
    if let Some(user) = &args.headscale_user {
        options = options.with_user(user);
    }
    for tag in &args.headscale_tag {
        options = options.with_tag(tag);
    }
    if let Some(url) = &args.headscale_public_url {
        options = options.with_public_url(url);
    }
    if let Some(path) = &args.headscale_ca_path {
        let roots = std::fs::read_to_string(path).map_err(|cause| unreadable(path, cause))?;
        options = options.with_roots(WebRoots::Pem(roots));
    }
    let client = Headscale::new(url, api_key, options).map_err(|cause| {
        Failure::usage("Headscale cannot be called as it is configured")
            .because(cause)
            .next("Look at --headscale-url and what stands beside it in `serve --help`.")
    })?;
    Ok(Some(Arc::new(client)))
}

fn unreadable(path: &Path, cause: std::io::Error) -> Failure {
    Failure::new(format!("cannot read {}", path.display())).because(cause)
}
