//! A worker's configuration by environment: every variable also as `…_FILE`.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

/// What the environment says, read once. Texts are as they stand there, trimmed of white space.
///
/// Every variable `<PREFIX>_X` has a sibling `<PREFIX>_X_FILE` that names a file which holds the
/// value, as container secrets do. An empty variable counts as absent: that is how compose files and
/// unit files leave one out. An empty file does not: whoever names one means it to hold something.
#[derive(Default)]
#[non_exhaustive]
pub struct Environment {
    /// `TOKEN`: a join token.
    pub token: Option<Zeroizing<String>>,
    /// `SHARED_SECRET`: the cluster or the enrollment secret.
    pub shared_secret: Option<Zeroizing<String>>,
    /// `JOIN`: an invitation.
    pub join: Option<Zeroizing<String>>,
    /// `MASTER_URL`: where to enroll.
    pub master_url: Option<String>,
    /// `CA_FINGERPRINT`: the pin.
    pub ca_fingerprint: Option<String>,
    /// `MASTER_ADDR`: the steady-state address.
    pub master_addr: Option<String>,
    /// `NODE_NAME`: the name to enroll as.
    pub node_name: Option<String>,
    /// `STATE_DIR`: where the worker keeps itself.
    pub state_dir: Option<PathBuf>,
    /// `METRICS_PORT`: where the worker is measured.
    pub metrics_port: Option<String>,
    /// `MESH`: how to come into the mesh that the master is reached over.
    pub mesh: Option<String>,
    /// `MESH_SOCKET`: where the mesh's daemon is spoken to.
    pub mesh_socket: Option<PathBuf>,
    /// `STEADY_PROXY`: through which proxy the steady-state address is reached.
    pub steady_proxy: Option<String>,
    /// `TRANSPORT`: what is spoken after enrollment, `grpc` or `rest`.
    pub transport: Option<String>,
    /// `ALLOW_PLAINTEXT`: `1` where the first call may go over plain HTTP.
    pub allow_plaintext: Option<String>,
}

/// Why the environment cannot be used. It names the variable, never its value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// Both forms of a variable are set.
    #[error("{name} and {name}_FILE are both set: set one of them")]
    Both {
        /// The variable.
        name: String,
    },
    /// The value is not UTF-8.
    #[error("{name} is not UTF-8 text")]
    NotText {
        /// The variable.
        name: String,
    },
    /// The file a variable names cannot be read.
    #[error("{name} names {}, which cannot be read", path.display())]
    File {
        /// The variable.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file a variable names is longer than [`Environment::MAX_FILE`].
    #[error("{name} names {}, which is larger than 64 KiB", path.display())]
    FileTooLarge {
        /// The variable.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// The file a variable names holds nothing.
    #[error("{name} names {}, which is empty", path.display())]
    FileEmpty {
        /// The variable.
        name: String,
        /// The file.
        path: PathBuf,
    },
}

/// What only the first call needs.
const FIRST_CALL: [&str; 4] = ["TOKEN", "SHARED_SECRET", "JOIN", "MASTER_URL"];

impl Environment {
    /// The largest file a `…_FILE` variable may name: 64 KiB.
    pub const MAX_FILE: u64 = 64 * 1024;
    /// The prefix of the reference worker.
    pub const PREFIX: &'static str = "ENROLL";

    /// Reads the variables of this process that begin with `prefix` and `_`. The one place of the
    /// library that reads the environment, and only where it is called.
    ///
    /// # Errors
    /// [`EnvironmentError`].
    pub fn of_process(prefix: &str) -> Result<Self, EnvironmentError> {
        Self::read(prefix, |name| std::env::var_os(name))
    }

    /// The same without what only the first call needs, which stays absent: for a worker that has
    /// enrolled, after which the file of a secret may be gone.
    ///
    /// # Errors
    /// [`EnvironmentError`].
    pub fn of_enrolled_process(prefix: &str) -> Result<Self, EnvironmentError> {
        Self::read_enrolled(prefix, |name| std::env::var_os(name))
    }

    /// Reads variables from `lookup`.
    ///
    /// # Errors
    /// [`EnvironmentError`].
    pub fn read(
        prefix: &str,
        lookup: impl Fn(&str) -> Option<std::ffi::OsString>,
    ) -> Result<Self, EnvironmentError> {
        let get = |word: &str| variable(&format!("{prefix}_{word}"), &lookup);
        let [token, shared_secret, join, master_url] = FIRST_CALL.map(get);
        Ok(Self {
            token: token?,
            shared_secret: shared_secret?,
            join: join?,
            master_url: master_url?.map(|text| text.as_str().to_owned()),
            ..Self::read_enrolled(prefix, &lookup)?
        })
    }

    /// Reads variables from `lookup`, without what only the first call needs.
    ///
    /// # Errors
    /// [`EnvironmentError`]; [`EnvironmentError::Both`] for what is not read too.
    pub fn read_enrolled(
        prefix: &str,
        lookup: impl Fn(&str) -> Option<std::ffi::OsString>,
    ) -> Result<Self, EnvironmentError> {
        for word in FIRST_CALL {
            forms(&format!("{prefix}_{word}"), &lookup)?;
        }
        let get = |word: &str| variable(&format!("{prefix}_{word}"), &lookup);
        let plain = |word: &str| Ok(get(word)?.map(|text| text.as_str().to_owned()));
        Ok(Self {
            ca_fingerprint: plain("CA_FINGERPRINT")?,
            master_addr: plain("MASTER_ADDR")?,
            node_name: plain("NODE_NAME")?,
            state_dir: plain("STATE_DIR")?.map(PathBuf::from),
            metrics_port: plain("METRICS_PORT")?,
            mesh: plain("MESH")?,
            mesh_socket: plain("MESH_SOCKET")?.map(PathBuf::from),
            steady_proxy: plain("STEADY_PROXY")?,
            transport: plain("TRANSPORT")?,
            allow_plaintext: plain("ALLOW_PLAINTEXT")?,
            ..Self::default()
        })
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("token", &self.token.as_ref().map(|_| "[redacted]"))
            .field("shared_secret", &self.shared_secret.as_ref().map(|_| "[redacted]"))
            .field("join", &self.join.as_ref().map(|_| "[redacted]"))
            .field("master_url", &self.master_url)
            .field("node_name", &self.node_name)
            .finish_non_exhaustive()
    }
}

fn variable(
    name: &str,
    lookup: &impl Fn(&str) -> Option<std::ffi::OsString>,
) -> Result<Option<Zeroizing<String>>, EnvironmentError> {
    match forms(name, lookup)? {
        [None, None] => Ok(None),
        [Some(value), _] => {
            let text = value.into_string();
            let text = text.map_err(|_| EnvironmentError::NotText { name: name.to_owned() })?;
            Ok(Some(trimmed(Zeroizing::new(text))).filter(|text| !text.is_empty()))
        }
        [None, Some(path)] => file(&format!("{name}_FILE"), path.into()).map(Some),
    }
}

/// A variable and its sibling, of which one at most is set.
fn forms(
    name: &str,
    lookup: &impl Fn(&str) -> Option<std::ffi::OsString>,
) -> Result<[Option<std::ffi::OsString>; 2], EnvironmentError> {
    let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
    match [set(name), set(&format!("{name}_FILE"))] {
        [Some(_), Some(_)] => Err(EnvironmentError::Both { name: name.to_owned() }),
        forms => Ok(forms),
    }
}

fn file(name: &str, path: PathBuf) -> Result<Zeroizing<String>, EnvironmentError> {
    use std::io::Read as _;
    let mut text = Zeroizing::new(String::new());
    let read = std::fs::File::open(&path)
        .and_then(|file| file.take(Environment::MAX_FILE + 1).read_to_string(&mut text));
    match read {
        Ok(length) if length as u64 > Environment::MAX_FILE => {
            Err(EnvironmentError::FileTooLarge { name: name.to_owned(), path })
        }
        Ok(_) => match trimmed(text) {
            text if text.is_empty() => {
                Err(EnvironmentError::FileEmpty { name: name.to_owned(), path })
            }
            text => Ok(text),
        },
        Err(source) => Err(EnvironmentError::File { name: name.to_owned(), path, source }),
    }
}

fn trimmed(text: Zeroizing<String>) -> Zeroizing<String> {
    Zeroizing::new(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::ffi::OsString;

    fn read(pairs: &[(&str, &str)]) -> Result<Environment, EnvironmentError> {
        let vars: HashMap<String, OsString> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
        Environment::read("ACME", |name| vars.get(name).cloned())
    }

    #[test]
    fn the_prefix_is_the_embedder_s_and_empty_is_absent() {
        let env = read(&[("ACME_TOKEN", " t\n"), ("ACME_NODE_NAME", ""), ("ENROLL_JOIN", "j")]);
        let env = env.unwrap();
        assert_eq!(env.token.as_deref().map(String::as_str), Some("t"));
        assert!(env.node_name.is_none() && env.join.is_none());
    }

    #[test]
    fn a_file_holds_the_value_and_both_forms_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "s3cret\n").unwrap();
        let path = path.to_str().unwrap();
        let env = read(&[("ACME_SHARED_SECRET_FILE", path)]).unwrap();
        assert_eq!(env.shared_secret.as_deref().map(String::as_str), Some("s3cret"));
        assert!(!format!("{env:?}").contains("s3cret"));
        let both = read(&[("ACME_SHARED_SECRET_FILE", path), ("ACME_SHARED_SECRET", "x")]);
        assert_eq!(
            both.unwrap_err().to_string(),
            "ACME_SHARED_SECRET and ACME_SHARED_SECRET_FILE are both set: set one of them"
        );
        let gone = read(&[("ACME_TOKEN_FILE", "/nonexistent/x")]).unwrap_err().to_string();
        assert_eq!(gone, "ACME_TOKEN_FILE names /nonexistent/x, which cannot be read");
        std::fs::write(path, "x".repeat(65 * 1024)).unwrap();
        let large = read(&[("ACME_TOKEN_FILE", path)]);
        assert!(matches!(large, Err(EnvironmentError::FileTooLarge { .. })));
        std::fs::write(path, " \n").unwrap();
        let empty = read(&[("ACME_SHARED_SECRET_FILE", path)]).unwrap_err().to_string();
        assert_eq!(empty, format!("ACME_SHARED_SECRET_FILE names {path}, which is empty"));
        assert!(read(&[("ACME_SHARED_SECRET", " \n")]).unwrap().shared_secret.is_none());
    }

    #[test]
    fn who_has_enrolled_needs_nothing_of_the_first_call() {
        let read = |pairs: &[(&str, &str)]| {
            let set = |name: &str| pairs.iter().find(|(it, _)| *it == name);
            Environment::read_enrolled("ACME", |name| set(name).map(|(_, value)| value.into()))
        };
        let gone = ("ACME_TOKEN_FILE", "/nonexistent/x");
        let env = read(&[gone, ("ACME_JOIN", "j"), ("ACME_NODE_NAME", "n")]).unwrap();
        assert_eq!(env.node_name.as_deref(), Some("n"));
        assert!(env.token.is_none() && env.join.is_none());
        let both = read(&[gone, ("ACME_TOKEN", "t")]);
        assert!(matches!(both, Err(EnvironmentError::Both { .. })));
        assert!(read(&[("ACME_NODE_NAME_FILE", "/nonexistent/x")]).is_err());
    }
}
