//! The files of a state directory, and how each is written: whole or not at all.

use std::fs::File;
use std::io::Write as _;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::dir::Handle;
use super::{StateError, StateErrorKind};
use crate::failpoint::{self, WriteSteps};

/// One file of the directory: its name and who may read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StateFile {
    pub(super) name: &'static str,
    secret: bool,
}

impl StateFile {
    const fn secret(name: &'static str) -> Self {
        Self { name, secret: true }
    }

    const fn public(name: &'static str) -> Self {
        Self { name, secret: false }
    }

    /// The widest mode it may have, and the one it is written with.
    pub(super) const fn mode(self) -> Mode {
        let owner = Mode::RUSR.union(Mode::WUSR);
        if self.secret { owner } else { owner.union(Mode::RGRP).union(Mode::ROTH) }
    }

    fn temporary(self) -> String {
        format!(".{}.tmp", self.name)
    }
}

/// The private key of the certificate: PKCS#8 in PEM.
pub(crate) const AGENT_KEY: StateFile = StateFile::secret("agent.key");
/// The certificate chain, leaf first.
pub(crate) const AGENT_CRT: StateFile = StateFile::public("agent.crt");
/// The one root that is trusted.
pub(crate) const CA_CRT: StateFile = StateFile::public("ca.crt");
/// The API key, without a line end.
pub(crate) const API_KEY: StateFile = StateFile::secret("api_key");
/// Who this machine is: written last, so it says that the others are whole.
pub(crate) const IDENTITY: StateFile = StateFile::public("identity.json");
/// Mesh pre-auth keys, until the machine has joined with them.
pub(crate) const MESH: StateFile = StateFile::secret("mesh.json");
/// The journal of an open attempt.
pub(crate) const ATTEMPT: StateFile = StateFile::secret("attempt.json");
/// A configuration the operator may edit; never written over.
pub(crate) const CONFIG: StateFile = StateFile::public("agent.toml");
/// What one process at a time holds.
pub(super) const LOCK: StateFile = StateFile::secret(".lock");

const WRITTEN: [StateFile; 8] =
    [AGENT_KEY, AGENT_CRT, CA_CRT, API_KEY, IDENTITY, MESH, ATTEMPT, CONFIG];

impl Handle {
    /// Replaces a file by `bytes`, or leaves it as it was: a temporary file beside it, created
    /// exclusively and synced, then renamed, then the directory synced. The caller holds the lock.
    pub(super) fn write(
        &self,
        file: StateFile,
        steps: &WriteSteps,
        bytes: &[u8],
    ) -> Result<(), StateError> {
        let temporary = file.temporary();
        let io = |doing, why| StateError::io(&self.path.join(file.name), doing, why);
        self.unlink(&temporary).map_err(|why| io("remove what a crash left of it", why))?;
        self.fill(&temporary, file.mode(), steps, bytes).map_err(|why| io("write it", why))?;
        rustix::fs::renameat(&self.fd, &temporary, &self.fd, file.name)
            .map_err(|why| io("put it in place", why.into()))?;
        failpoint::hit(steps.renamed);
        self.sync()?;
        failpoint::hit(steps.durable);
        Ok(())
    }

    fn fill(
        &self,
        temporary: &str,
        mode: Mode,
        steps: &WriteSteps,
        bytes: &[u8],
    ) -> std::io::Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let owner_only = Mode::RUSR | Mode::WUSR;
        let mut temp = File::from(rustix::fs::openat(&self.fd, temporary, flags, owner_only)?);
        // Set apart from the creation, because that one is narrowed by the process's umask.
        rustix::fs::fchmod(&temp, mode)?;
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        temp.write_all(head)?;
        failpoint::hit(steps.torn);
        temp.write_all(tail)?;
        temp.sync_all()?;
        failpoint::hit(steps.synced);
        Ok(())
    }

    /// Removes a file; one that is not there is removed already.
    pub(super) fn remove(&self, file: StateFile) -> Result<(), StateError> {
        self.unlink(file.name)
            .map_err(|why| StateError::io(&self.path.join(file.name), "remove it", why))
    }

    /// Removes the temporary files a crash left.
    pub(super) fn sweep(&self) -> Result<(), StateError> {
        for file in WRITTEN {
            let temporary = file.temporary();
            self.unlink(&temporary).map_err(|why| {
                StateError::io(&self.path.join(&temporary), "remove what a crash left", why)
            })?;
        }
        Ok(())
    }

    /// Puts names that were created, renamed or removed on disk.
    pub(super) fn sync(&self) -> Result<(), StateError> {
        rustix::fs::fsync(&self.fd)
            .map_err(|why| StateError::io(&self.path, "sync the state directory", why))?;
        failpoint::hit(failpoint::DIRECTORY_SYNCED);
        Ok(())
    }

    /// Takes the lock, waiting no longer than a moment: a child that this process is starting shares
    /// the lock between `fork` and `exec`, so that one that was just released may look taken.
    pub(super) fn lock(&self) -> Result<File, StateError> {
        let path = self.path.join(LOCK.name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = rustix::fs::openat(&self.fd, LOCK.name, flags, LOCK.mode())
            .map(File::from)
            .map_err(|why| match why {
                Errno::LOOP => StateError::new(StateErrorKind::Unsafe, &path, "it is a link"),
                why => StateError::io(&path, "open the lock file", why),
            })?;
        for _ in 0..LOCK_TRIES {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
                Err(std::fs::TryLockError::Error(why)) => {
                    return Err(StateError::io(&path, "lock it", why));
                }
            }
        }
        let what = "another process uses this state directory";
        Err(StateError::new(StateErrorKind::Busy, &self.path, what))
    }

    fn unlink(&self, name: &str) -> std::io::Result<()> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(why) => Err(why.into()),
        }
    }
}

/// Together a tenth of a second.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);
