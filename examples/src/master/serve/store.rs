//! Opening the store.

use std::sync::Arc;

use enroll_core::store::Store;
use enroll_store_sqlite::{OpenErrorKind, SqliteStore};

use super::super::failure::Failure;
use super::args::StoreUrl;
use super::data_dir::DataDir;

/// The store that was asked for, or the embedded one in the data directory.
pub(super) async fn open(
    url: Option<&StoreUrl>,
    data: &DataDir,
) -> Result<Arc<dyn Store>, Failure> {
    let path = match url {
        None => data.database(),
        Some(StoreUrl::Sqlite(path)) => path.clone(),
        Some(StoreUrl::Postgres) => {
            return Err(Failure::usage("this build has no PostgreSQL store")
                .next("Give --store sqlite:<file>, or leave it away."));
        }
    };
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
