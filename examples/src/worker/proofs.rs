//! What the worker can prove, and where it is to enroll.

use std::io::Read as _;
use std::path::Path;

use enroll_core::model::{Fingerprint, Invitation, JoinToken, NodeName, SharedSecret, TokenPrefix};
use enroll_core::worker::{Environment, Proofs};
use zeroize::Zeroizing;

use super::args::Options;
use super::exit::Exit;

/// All that the first call needs.
#[derive(Debug, Default)]
pub(super) struct First {
    pub(super) proofs: Option<Proofs>,
    pub(super) master_url: Option<String>,
    pub(super) pins: Vec<Fingerprint>,
    pub(super) node_name: Option<NodeName>,
}

impl First {
    /// Reads token, secret, URL, pins and name. What is malformed is told apart here, before any
    /// connection.
    pub(super) fn read(options: &Options, env: &Environment) -> Result<Self, Exit> {
        let mut first = Self::without_proofs(options, env)?;
        let invitation = invitation(options, env)?;
        let token = match &invitation {
            Some(_) => None,
            None => token(options, env)?.map(|text| parse(&text)).transpose()?,
        };
        let token = match invitation {
            Some(invitation) => {
                first.master_url.get_or_insert(invitation.url);
                if first.pins.is_empty() {
                    first.pins = invitation.ca;
                }
                first.node_name = first.node_name.or(invitation.node_name);
                Some(invitation.token)
            }
            None => token,
        };
        let secret = secret(options, env)?;
        first.proofs = match (token, secret) {
            (Some(token), Some(secret)) => Some(Proofs::token_and_secret(token, secret)),
            (Some(token), None) => Some(Proofs::token(token)),
            (None, Some(secret)) => Some(Proofs::secret(secret)),
            (None, None) => None,
        };
        Ok(first)
    }

    /// Reads all but the proofs, which a worker that has enrolled no longer needs.
    pub(super) fn without_proofs(options: &Options, env: &Environment) -> Result<Self, Exit> {
        let pin = options.ca_fingerprint.as_ref().or(env.ca_fingerprint.as_ref());
        let pin = pin.map(|text| text.parse().map_err(|why| Exit::usage(format!("{why}."))));
        let name = options.node_name.as_ref().or(env.node_name.as_ref());
        let name =
            name.map(|text| NodeName::new(text).map_err(|why| Exit::usage(format!("{why}."))));
        Ok(Self {
            proofs: None,
            master_url: options.master_url.clone().or_else(|| env.master_url.clone()),
            pins: pin.transpose()?.into_iter().collect(),
            node_name: name.transpose()?,
        })
    }
}

fn parse(text: &str) -> Result<JoinToken, Exit> {
    JoinToken::parse(&TokenPrefix::default(), text).map_err(|why| Exit::usage(format!("{why}.")))
}

/// A flag that names another source comes before an invitation in the environment.
fn invitation(options: &Options, env: &Environment) -> Result<Option<Invitation>, Exit> {
    let text = match (&options.join, &options.join_path) {
        (Some(text), _) => {
            warn_of_argv("--join");
            Some(Zeroizing::new(text.trim().to_owned()))
        }
        (None, Some(path)) => Some(file(path)?),
        (None, None) if names_token(options) => None,
        (None, None) => env.join.clone(),
    };
    let read = |text: Zeroizing<String>| {
        Invitation::parse(&TokenPrefix::default(), &text)
            .map_err(|why| Exit::usage(format!("{why}.")))
    };
    text.map(read).transpose()
}

fn names_token(options: &Options) -> bool {
    options.token.is_some() || options.token_path.is_some() || options.token_env.is_some()
}

fn token(options: &Options, env: &Environment) -> Result<Option<Zeroizing<String>>, Exit> {
    if let Some(text) = &options.token {
        warn_of_argv("--token");
        return Ok(Some(Zeroizing::new(text.trim().to_owned())));
    }
    if let Some(path) = &options.token_path {
        return file(path).map(Some);
    }
    if let Some(name) = &options.token_env {
        let text = std::env::var(name).map_err(|_| {
            Exit::usage(format!("--token-env names {name}, which is not set, or not text."))
        })?;
        return Ok(Some(Zeroizing::new(text.trim().to_owned())));
    }
    Ok(env.token.clone())
}

fn secret(options: &Options, env: &Environment) -> Result<Option<SharedSecret>, Exit> {
    let text = match &options.shared_secret_path {
        Some(path) => Some(file(path)?),
        None => env.shared_secret.clone(),
    };
    Ok(text.map(|text| SharedSecret::presented(text.as_str().to_owned())))
}

/// The text of a file, or of standard input for `-`, without the white space around it.
fn file(path: &Path) -> Result<Zeroizing<String>, Exit> {
    let mut text = Zeroizing::new(String::new());
    let read = if path == Path::new("-") {
        std::io::stdin().take(Environment::MAX_FILE).read_to_string(&mut text)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(Environment::MAX_FILE).read_to_string(&mut text))
    };
    read.map_err(|why| Exit::usage(format!("{} cannot be read: {why}.", path.display())))?;
    let text = Zeroizing::new(text.trim().to_owned());
    if text.is_empty() {
        return Err(Exit::usage(format!("{} is empty.", path.display())));
    }
    Ok(text)
}

fn warn_of_argv(flag: &str) {
    tracing::warn!(
        "{flag} can be read by every local user in the list of processes: prefer a file"
    );
}
