//! How a running master is found, and how the command line proves who calls.

use std::path::{Path, PathBuf};

use clap::Args;
use enroll_core::issue::x509::RootCertificate;
use enroll_core::model::AdminToken;
use enroll_http::client::{ApiError, OperatorClient};
use zeroize::Zeroizing;

use super::super::failure::{Failure, chain};
use super::super::serve::{ADMIN_TOKEN, CA, READY, Ready};
use super::output::Output;

/// Which master, as whom, and how to show what it answers.
#[derive(Debug, Args)]
pub(in crate::master) struct Connection {
    /// Where the master's operators call [default: as <data-dir>/ready.json says]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "ENROLL_MASTER_OPERATOR_URL",
        hide_env_values = true
    )]
    operator_url: Option<String>,
    /// A file with an operator's token [default: <data-dir>/admin.token]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "ENROLL_MASTER_ADMIN_TOKEN_PATH",
        hide_env_values = true
    )]
    admin_token_path: Option<PathBuf>,
    /// The master's root certificate [default: <data-dir>/ca.crt]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "ENROLL_MASTER_CA_PATH",
        hide_env_values = true
    )]
    ca_path: Option<PathBuf>,
    /// A table for people, or JSON as the master answers it
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        env = "ENROLL_MASTER_OUTPUT",
        hide_env_values = true
    )]
    output: Output,
}

/// A master, and how to show what it answers.
pub(super) struct Master {
    pub(super) client: OperatorClient,
    pub(super) output: Output,
}

impl Connection {
    /// How what is found is to be printed.
    pub(super) const fn output(&self) -> Output {
        self.output
    }

    /// Finds what is needed for a call; none is made yet.
    pub(super) fn open(&self, data_dir: &Path) -> Result<Master, Failure> {
        let url = match &self.operator_url {
            Some(url) => url.clone(),
            None => ready(data_dir)?.operator_url,
        };
        let ca = given_or(self.ca_path.as_deref(), data_dir, CA);
        let root = RootCertificate::from_pem(&read(&ca, "--ca-path")?).map_err(|cause| {
            Failure::usage(format!("{} is no root certificate", ca.display())).because(cause)
        })?;
        let path = given_or(self.admin_token_path.as_deref(), data_dir, ADMIN_TOKEN);
        let token = AdminToken::presented(read(&path, "--admin-token-path")?.trim().to_owned());
        let client = OperatorClient::new(&url, token, &root).map_err(|cause| {
            Failure::usage(format!("the master at {url:?} cannot be called")).because(cause)
        })?;
        Ok(Master { client, output: self.output })
    }
}

impl From<ApiError> for Failure {
    /// Its text already says what to do next, so the cause stands behind it.
    fn from(error: ApiError) -> Self {
        let text = error.to_string();
        match error {
            ApiError::Unreachable { source, .. } => {
                Self::unreachable(format!("{text} ({})", chain(&*source)))
            }
            ApiError::Tls { source, .. } => Self::untrusted(format!("{text} ({source})")),
            ApiError::Name => Self::usage(text),
            _ => Self::new(text),
        }
    }
}

/// What the master on this machine said when it began to answer.
fn ready(data_dir: &Path) -> Result<Ready, Failure> {
    let path = data_dir.join(READY);
    let absent = |cause: std::io::Error| {
        Failure::unreachable(format!("no master runs with the data directory {}", data_dir.display()))
            .because(std::io::Error::other(format!("{}: {cause}", path.display())))
            .next("Start one with `enroll-master serve`, give its --data-dir, or say where it is with --operator-url, --admin-token-path and --ca-path.")
    };
    let text = std::fs::read(&path).map_err(absent)?;
    serde_json::from_slice(&text).map_err(|cause| absent(cause.into()))
}

fn given_or(given: Option<&Path>, data_dir: &Path, name: &str) -> PathBuf {
    given.map_or_else(|| data_dir.join(name), Path::to_owned)
}

fn read(path: &Path, flag: &str) -> Result<Zeroizing<String>, Failure> {
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(|cause| {
        Failure::usage(format!("cannot read {}", path.display()))
            .because(cause)
            .next(format!("Give --data-dir of the master, or the file itself with {flag}."))
    })
}
