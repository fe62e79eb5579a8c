//! Opening the store.

use std::path::PathBuf;
use std::sync::Arc;

use enroll_core::store::Store;
use enroll_store_sqlite::{OpenErrorKind, SqliteStore};

use super::super::failure::Failure;

/// The embedded store in the file `path`.
pub(super) async fn open(path: PathBuf) -> Result<Arc<dyn Store>, Failure> {
    let store = SqliteStore::open(path).await.map_err(|cause| {
        let next = next(cause.kind());
        Failure::new("the store cannot be opened").because(cause).next(next)
    })?;
    Ok(Arc::new(store))
}

const fn next(kind: OpenErrorKind) -> &'static str {
    match kind {
        OpenErrorKind::Library => "Build with the bundled SQLite.",
        OpenErrorKind::UnknownSchema => {
            "Start the version of this program that wrote it, or a newer one."
        }
        OpenErrorKind::ChangedMigration => "Give another file with --store, or restore a backup.",
        OpenErrorKind::Setting => "Put the file on a local disk.",
        OpenErrorKind::Unavailable => {
            "Look at what else uses the file, and at the space on its disk."
        }
        _ => "Check who may write there, or restore a backup.",
    }
}
