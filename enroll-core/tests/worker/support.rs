//! What the tests of the worker share.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use enroll_core::model::{
    JoinToken, NodeName, SharedSecret, SystemEntropy, Timestamp, TokenPrefix,
};
use enroll_core::testing::FixedClock;
use enroll_core::worker::{Proofs, StateDir, WorkerEvent, WorkerObserver};
use tempfile::TempDir;

/// 2026-11-20.
pub(crate) const NOW: Timestamp = Timestamp::from_unix_secs(1_795_132_800);

/// A clock that stands still until it is moved.
pub(crate) fn clock(at: Timestamp) -> Arc<FixedClock> {
    Arc::new(FixedClock::at(at))
}

/// Writes down every event, as people would see it.
#[derive(Default)]
pub(crate) struct Log(Mutex<Vec<String>>);

impl Log {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, word: &str) -> usize {
        self.lines().iter().filter(|line| line.starts_with(word)).count()
    }
}

impl WorkerObserver for Log {
    fn note(&self, event: &WorkerEvent<'_>) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }
}

/// A directory to put a state directory in.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("state")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn open(&self) -> StateDir {
        StateDir::open(self.path()).unwrap()
    }

    /// The names of all files but the lock.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != ".lock");
        names.sort();
        names
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap()
    }

    /// Every file of this directory with its content.
    pub(crate) fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let read = |name: String| (name.clone(), fs::read(self.file(&name)).unwrap());
        self.files().into_iter().map(read).collect()
    }
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn token() -> JoinToken {
    JoinToken::generate(&TokenPrefix::default(), NOW, &SystemEntropy::new()).unwrap()
}

/// The same token again, as a second start reads it.
pub(crate) fn again(token: &JoinToken) -> Proofs {
    Proofs::token(JoinToken::parse(&TokenPrefix::default(), token.expose()).unwrap())
}

pub(crate) fn secret() -> SharedSecret {
    SharedSecret::presented("0123456789abcdef0123456789abcdef".into())
}

pub(crate) fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}
