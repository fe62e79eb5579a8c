//! The fuser that works with Portainer, as the settings say.

use std::path::{Path, PathBuf};

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use enroll_http::integrations::portainer::{PortainerClient, PortainerOptions};
use enroll_http::tls::WebRoots;
use enroll_http::wire::SecretText;

use super::super::failure::Failure;
use super::files;

/// What `--fuser portainer` needs to know.
#[derive(Debug, Args)]
pub(super) struct PortainerArgs {
    /// Where Portainer is called, for --fuser portainer, e.g. https://portainer.example:9443
    #[arg(long, value_name = "URL", env = "ENROLL_MASTER_PORTAINER_URL", hide_env_values = true)]
    portainer_url: Option<String>,
    /// A file with the API key of one of Portainer's administrators
    #[arg(
        long,
        value_name = "FILE",
        env = "ENROLL_MASTER_PORTAINER_API_KEY_PATH",
        hide_env_values = true
    )]
    portainer_api_key_path: Option<PathBuf>,
    /// Where the agents on the members call Portainer [default: --portainer-url]
    #[arg(
        long,
        value_name = "URL",
        env = "ENROLL_MASTER_PORTAINER_PUBLIC_URL",
        hide_env_values = true
    )]
    portainer_public_url: Option<String>,
    /// A file with the authorities whose certificate for Portainer is good, in PEM
    /// [default: those this machine trusts]
    #[arg(
        long,
        value_name = "FILE",
        env = "ENROLL_MASTER_PORTAINER_CA_PATH",
        hide_env_values = true
    )]
    portainer_ca_path: Option<PathBuf>,
    /// Let the agents call Portainer without verifying its certificate
    #[arg(
        long,
        action = ArgAction::SetTrue,
        value_parser = BoolishValueParser::new(),
        env = "ENROLL_MASTER_PORTAINER_INSECURE_POLL",
        hide_env_values = true
    )]
    portainer_insecure_poll: bool,
    /// Call Portainer over http, the API key in clear: only where the network itself is protected
    #[arg(
        long,
        action = ArgAction::SetTrue,
        value_parser = BoolishValueParser::new(),
        env = "ENROLL_MASTER_PORTAINER_ALLOW_PLAINTEXT",
        hide_env_values = true
    )]
    portainer_allow_plaintext: bool,
}

/// The client of Portainer. Nothing is sent yet: a Portainer that is away must not keep the master
/// from starting.
pub(super) fn client(args: &PortainerArgs) -> Result<PortainerClient, Failure> {
    let (Some(url), Some(key)) = (&args.portainer_url, &args.portainer_api_key_path) else {
        return Err(Failure::usage("--fuser portainer needs to know where it is, and its API key")
            .next("Give --portainer-url and --portainer-api-key-path, or another --fuser."));
    };
    let mut options = PortainerOptions::new(url);
    if let Some(url) = &args.portainer_public_url {
        options = options.with_agents_url(url);
    }
    if let Some(path) = &args.portainer_ca_path {
        let text = std::fs::read_to_string(path).map_err(|cause| unreadable(path, cause))?;
        options = options.with_roots(WebRoots::Pem(text));
    }
    if args.portainer_insecure_poll {
        options = options.danger_insecure_poll();
    }
    if args.portainer_allow_plaintext {
        options = options.danger_allow_plaintext();
    }
    let key = files::read_secret(key).map_err(|cause| unreadable(key, cause))?;
    PortainerClient::new(&options, &SecretText::new(key.trim())).map_err(|cause| {
        Failure::usage("Portainer cannot be called with these settings")
            .because(cause)
            .next("Look at --portainer-url, --portainer-api-key-path and --portainer-ca-path.")
    })
}

fn unreadable(path: &Path, cause: std::io::Error) -> Failure {
    Failure::new(format!("{} cannot be read", path.display())).because(cause)
}
