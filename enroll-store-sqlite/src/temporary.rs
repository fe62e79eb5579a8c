//! Databases that are gone with their last handle, for tests.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{OpenError, OpenErrorKind};
use crate::options::Options;
use crate::{Inner, SqliteStore, opened};

impl SqliteStore {
    /// Opens a new database in a directory of its own that is removed with its last handle, for
    /// tests.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open_temp() -> Result<Self, OpenError> {
        let path = PathBuf::from("enroll.db");
        opened(path.clone(), move || {
            let directory = tempfile::tempdir()
                .map_err(|error| OpenError::new(OpenErrorKind::Unavailable, &path, error))?;
            open_in(directory, &path)
        })
        .await
    }

    /// Closes the database and opens it again, for tests: what a restart of the process does. One
    /// made by [`Self::open_temp`] keeps its directory.
    ///
    /// # Errors
    /// [`OpenError`], also when this is not the only handle.
    pub async fn reopen(self) -> Result<Self, OpenError> {
        let path = self.inner.path.clone();
        opened(path.clone(), move || {
            let inner = Arc::try_unwrap(self.inner).map_err(|_| {
                OpenError::new(OpenErrorKind::Unavailable, &path, "other handles are in use")
            })?;
            let directory = close(inner);
            match directory {
                Some(directory) => open_in(directory, &path),
                None => Inner::open(&path, &Options::default()),
            }
        })
        .await
    }
}

/// Closes the file, and keeps its directory from being removed.
fn close(mut inner: Inner) -> Option<tempfile::TempDir> {
    inner.directory.take()
}

fn open_in(directory: tempfile::TempDir, name: &Path) -> Result<Inner, OpenError> {
    let mut inner = Inner::open(&directory.path().join(name), &Options::default())?;
    inner.directory = Some(directory);
    Ok(inner)
}
