//! What the driver keeps, and the file a key goes by.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use enroll_core::model::{MeshCredential, Sha256};
use enroll_core::worker::MeshJoinError;

/// A directory of this user alone.
#[derive(Debug, Clone)]
pub(super) struct Files {
    dir: PathBuf,
}

/// A file that holds a key as long as this value lives.
pub(super) struct KeyFile(PathBuf);

impl KeyFile {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        // One that cannot be removed now is removed before the next is written.
        let _gone = std::fs::remove_file(&self.0);
    }
}

impl Files {
    pub(super) const fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Makes the directory.
    pub(super) fn prepare(&self) -> Result<(), MeshJoinError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .map_err(|why| self.fail(why))
    }

    /// A file that holds `key` for the time of one command.
    pub(super) fn key_file(&self, key: &MeshCredential) -> Result<KeyFile, MeshJoinError> {
        let path = self.at("authkey");
        let mut file = self.fresh("authkey")?;
        let held = KeyFile(path);
        file.write_all(key.authkey.as_bytes()).map_err(|why| self.fail(why))?;
        Ok(held)
    }

    /// An empty file that this user alone reads.
    pub(super) fn fresh(&self, name: &str) -> Result<File, MeshJoinError> {
        let path = self.at(name);
        match std::fs::remove_file(&path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(self.fail(why)),
            _ => {}
        }
        let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        new.map_err(|why| self.fail(why))
    }

    /// What names the key the machine last joined with from here.
    pub(super) fn joined_with(&self) -> Result<Option<String>, MeshJoinError> {
        match std::fs::read_to_string(self.at(JOINED)) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(self.fail(why)),
        }
    }

    /// Notes that the machine has joined with `key`.
    pub(super) fn remember(&self, key: &MeshCredential) -> Result<(), MeshJoinError> {
        let new = "joined.new";
        let mut file = self.fresh(new)?;
        file.write_all(Self::digest(key).as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::rename(self.at(new), self.at(JOINED)))
            .map_err(|why| self.fail(why))
    }

    /// What names a key here: never the key itself.
    pub(super) fn digest(key: &MeshCredential) -> String {
        Sha256::of(key.authkey.as_bytes()).to_hex()
    }

    fn fail(&self, why: io::Error) -> MeshJoinError {
        MeshJoinError::new(format!("{} cannot be used", self.dir.display())).because(why)
    }
}

const JOINED: &str = "joined";
