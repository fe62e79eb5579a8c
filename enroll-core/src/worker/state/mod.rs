//! The worker's directory: its key, its identity, and the journal of an open attempt.
//!
//! | file | mode | |
//! |---|---|---|
//! | `agent.key` | 0600 | the private key, PKCS#8 in PEM |
//! | `agent.crt` | 0644 | the certificate chain, leaf first |
//! | `ca.crt` | 0644 | the one root that is trusted |
//! | `api_key` | 0600 | the API key |
//! | `identity.json` | 0644 | who this machine is and which of the files above belong to it; written last |
//! | `mesh.json` | 0600 | mesh pre-auth keys, until the machine has joined with them |
//! | `attempt.json` | 0600 | the journal, while an attempt is open |
//! | `agent.toml` | 0644 | configuration, written only if absent |
//!
//! Rules:
//! - The directory is 0700 and belongs to the user of the process; so does every file. Both are checked
//!   at every use, and nothing follows a link.
//! - Every file is written whole or not at all, and is on disk when the write returns.
//! - One process at a time changes anything: [`LockedDir`] is the proof. Looking needs no lock.

mod dir;
mod error;
mod files;
mod journal;
mod load;

use std::fs::File;
use std::path::{Path, PathBuf};

pub use error::{StateError, StateErrorKind};

pub(crate) use load::{Held, Snapshot};

use self::dir::Handle;
use super::attempt::OpenAttempt;
use super::identity::{Credentials, Identity};
use super::mesh::MeshKeys;
use super::proofs::Proofs;
use crate::failpoint;
use crate::model::MeshCredential;

/// A worker's state directory.
///
/// ```
/// use enroll_core::worker::{StateDir, Status};
///
/// let parent = tempfile::tempdir()?;
/// let dir = StateDir::open(parent.path().join("acme"))?;
/// assert!(matches!(dir.status()?, Status::Empty));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
}

/// A state directory that nobody else changes as long as this value lives.
#[derive(Debug)]
pub struct LockedDir {
    handle: Handle,
    _lock: File,
}

/// What a state directory holds.
#[derive(Debug)]
#[non_exhaustive]
pub enum Status {
    /// No identity file and no open attempt.
    Empty,
    /// Some identity files without the others, and no open attempt that could complete them.
    Partial {
        /// The files that are there.
        present: Vec<&'static str>,
        /// The files that are not.
        missing: Vec<&'static str>,
    },
    /// All identity files, of which one does not parse or does not belong to the others.
    Damaged(StateError),
    /// A whole identity.
    Complete(Identity),
    /// An attempt is open.
    Open {
        /// What is known of it.
        attempt: OpenAttempt,
        /// The identity it is to replace, where there is a whole one.
        identity: Option<Identity>,
    },
}

impl Status {
    /// Whether a start needs no proof: there is a whole identity, or an answer that becomes one.
    #[must_use]
    pub const fn is_enrolled(&self) -> bool {
        match self {
            Self::Complete(_) => true,
            Self::Open { attempt, identity } => attempt.is_answered() || identity.is_some(),
            _ => false,
        }
    }

    /// Whether a start with `proofs` asks the master for an identity: where there is none, and where
    /// the replacement that they are for was cut short.
    #[must_use]
    pub fn asks_with(&self, proofs: &Proofs) -> bool {
        match self {
            Self::Open { attempt, .. } if attempt.is_answered() => false,
            Self::Open { attempt, identity: Some(_) } => attempt.is_replacement_by(proofs),
            status => !status.is_enrolled(),
        }
    }
}

impl StateDir {
    /// Makes the directory if it is not there (0700), and checks it if it is. An empty directory of
    /// this user's own that others could enter is made private.
    ///
    /// # Errors
    /// [`StateErrorKind::Unsafe`] when it is a link, belongs to somebody else, or holds something and
    /// is open to others; [`StateErrorKind::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StateError> {
        // Collected from its components, because a slash at the end would follow a link.
        let path: PathBuf = path.as_ref().components().collect();
        Handle::create(&path).map(|_| Self { path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks, without a lock: what it says may be past when it returns.
    ///
    /// # Errors
    /// [`StateErrorKind::Unsafe`]; [`StateErrorKind::Damaged`] and [`StateErrorKind::Version`] for the
    /// journal alone, identity files being [`Status::Damaged`]; [`StateErrorKind::Io`].
    pub fn status(&self) -> Result<Status, StateError> {
        self.snapshot().map(Snapshot::into_status)
    }

    /// Takes the lock, and removes what a crash left half written.
    ///
    /// # Errors
    /// [`StateErrorKind::Busy`] at once when another process has it; else as [`StateDir::open`].
    pub fn lock(&self) -> Result<LockedDir, StateError> {
        let handle = Handle::create(&self.path)?;
        let lock = handle.lock()?;
        handle.sweep()?;
        Ok(LockedDir { handle, _lock: lock })
    }

    /// The identity with its secrets, as the files hold it now, without a lock: for what only reads,
    /// such as a listener of the worker's own.
    ///
    /// # Errors
    /// [`StateErrorKind::Damaged`] when there is no whole identity; else as [`StateDir::status`].
    pub fn credentials(&self) -> Result<Credentials, StateError> {
        Handle::create(&self.path)?.credentials()
    }

    /// The mesh pre-auth keys that came with the identity, until [`LockedDir::forget_mesh`].
    ///
    /// # Errors
    /// As [`StateDir::status`].
    pub fn mesh(&self) -> Result<Vec<MeshCredential>, StateError> {
        let mesh = Handle::create(&self.path)?.mesh()?;
        Ok(mesh.keys.into_iter().map(MeshCredential::from).collect())
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot, StateError> {
        Handle::create(&self.path)?.snapshot()
    }
}

impl LockedDir {
    /// Writes `agent.toml` unless something of that name is there; whether it did.
    ///
    /// # Errors
    /// [`StateErrorKind::Io`].
    pub fn create_config(&self, text: &str) -> Result<bool, StateError> {
        if self.handle.holds(files::CONFIG)? {
            return Ok(false);
        }
        self.handle.write(files::CONFIG, &failpoint::AGENT_TOML, text.as_bytes())?;
        Ok(true)
    }

    /// The mesh pre-auth keys that came with the identity, until [`forget_mesh`](Self::forget_mesh).
    ///
    /// # Errors
    /// As [`StateDir::status`].
    pub fn mesh(&self) -> Result<Vec<MeshCredential>, StateError> {
        let mesh = self.handle.mesh()?;
        Ok(mesh.keys.into_iter().map(MeshCredential::from).collect())
    }

    /// Forgets the mesh pre-auth keys, once the machine has joined.
    ///
    /// # Errors
    /// [`StateErrorKind::Io`].
    pub fn forget_mesh(&self) -> Result<(), StateError> {
        self.write_mesh(&MeshKeys::default())
    }

    /// The identity with its secrets, as the files hold it now.
    ///
    /// # Errors
    /// [`StateErrorKind::Damaged`] when there is no whole identity; else as [`StateDir::status`].
    pub fn credentials(&self) -> Result<Credentials, StateError> {
        self.handle.credentials()
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot, StateError> {
        self.handle.snapshot()
    }
}

impl Snapshot {
    pub(crate) fn into_status(self) -> Status {
        match (self.attempt, self.held) {
            (Some(attempt), held) => {
                Status::Open { attempt: OpenAttempt::of(&attempt), identity: held.into_identity() }
            }
            (None, Held::Nothing) => Status::Empty,
            (None, Held::Partial { present, missing }) => Status::Partial { present, missing },
            (None, Held::Damaged(why)) => Status::Damaged(why),
            (None, Held::Complete(credentials)) => Status::Complete(credentials.identity),
        }
    }
}

impl Held {
    fn into_identity(self) -> Option<Identity> {
        match self {
            Self::Complete(credentials) => Some(credentials.identity),
            _ => None,
        }
    }
}
