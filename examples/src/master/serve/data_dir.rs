//! The directory a master keeps everything in.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::super::failure::Failure;

/// The directory, locked: no other master uses it while this value lives.
pub(super) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Takes the directory at `path`, which is made (mode 0700) if need be.
    pub(super) fn take(path: &Path) -> Result<Self, Failure> {
        let unusable = |cause: std::io::Error| {
            Failure::new(format!("cannot use the data directory {}", path.display()))
                .because(cause)
                .next("Give one this user can write to with --data-dir.")
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let path = path.canonicalize().map_err(unusable)?;
        let mut options = OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).mode(0o600);
        let lock = lock.open(path.join(LOCK)).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(std::fs::TryLockError::WouldBlock) => Err(Failure::new(format!(
                "another master is running with the data directory {}",
                path.display()
            ))
            .next("Stop it first, or give this one a directory of its own with --data-dir.")),
            Err(std::fs::TryLockError::Error(cause)) => Err(unusable(cause)),
        }
    }

    /// Where it is, as an absolute path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the embedded database is unless told otherwise.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join("enroll.db")
    }

    /// Where the token of the operator on this machine is.
    pub(super) fn admin_token(&self) -> PathBuf {
        self.path.join(super::ADMIN_TOKEN)
    }

    /// Where it says that the master answers, and at which addresses.
    pub(super) fn ready(&self) -> PathBuf {
        self.path.join(super::READY)
    }
}

const LOCK: &str = ".master.lock";
