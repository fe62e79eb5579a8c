//! Opening the store.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use enroll_core::model::{Clock, SystemClock};
use enroll_core::store::Store;
use enroll_store_postgres::{self as postgres, PostgresStore};
use enroll_store_sqlite::{self as sqlite, SqliteStore};

use super::super::failure::Failure;
use super::args::ServeArgs;
use super::data_dir::DataDir;
use super::store_url::StoreUrl;

/// Refuses a store that no text here names, before anything is made.
pub(super) fn check(args: &ServeArgs) -> Result<(), Failure> {
    match (&args.store, &args.store_ca_path) {
        // Not even its scheme is shown: what was mistyped may be anything.
        (Some(StoreUrl::Unknown), _) => Err(Failure::usage("--store names no store that is known")
            .next(
                "Give sqlite:<file> or postgres://user@host:port/database, there or in \
                ENROLL_MASTER_STORE or in the file that ENROLL_MASTER_STORE_FILE names.",
            )),
        (None | Some(StoreUrl::Sqlite(_)), Some(_)) => {
            Err(Failure::usage("--store-ca-path goes with a PostgreSQL store")
                .next("Leave it away, or give --store postgres://…"))
        }
        _ => Ok(()),
    }
}

/// A store, and the clock that all its masters go by.
pub(super) struct Opened {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
}

/// The store that the settings name.
pub(super) async fn open(args: &ServeArgs, data: &DataDir) -> Result<Opened, Failure> {
    match &args.store {
        Some(StoreUrl::Postgres(url)) => server(url, args.store_ca_path.as_deref()).await,
        Some(StoreUrl::Sqlite(path)) => file(path.clone()).await,
        _ => file(data.database()).await,
    }
}

/// The embedded store in the file `path`.
async fn file(path: PathBuf) -> Result<Opened, Failure> {
    let store = SqliteStore::open(path).await.map_err(|cause| {
        let next = next_for_file(cause.kind());
        Failure::new("the store cannot be opened").because(cause).next(next)
    })?;
    Ok(Opened { store: Arc::new(store), clock: Arc::new(SystemClock::new()) })
}

/// The store on the server at `url`.
async fn server(url: &str, roots: Option<&Path>) -> Result<Opened, Failure> {
    let unusable = |cause: postgres::OpenError| {
        let next = next_for_server(cause.kind());
        Failure::new("the store cannot be opened").because(cause).next(next)
    };
    warn_of_argv(url);
    let mut options = postgres::Options::new();
    if let Some(path) = roots {
        let pem = std::fs::read(path).map_err(|cause| {
            Failure::usage(format!("cannot read {}", path.display()))
                .because(cause)
                .next("Give a file with the server's root certificate with --store-ca-path.")
        })?;
        options = options.with_roots_pem(&pem).map_err(unusable)?;
    }
    let store = PostgresStore::connect(url, options).await.map_err(unusable)?;
    Ok(Opened { clock: Arc::new(store.clock()), store: Arc::new(store) })
}

/// Every user of the machine can read the command line of every process.
fn warn_of_argv(url: &str) {
    let is_told = |arg: OsString| arg.to_str().is_some_and(|arg| arg.contains(url));
    if has_password(url) && std::env::args_os().any(is_told) {
        tracing::warn!(
            "the password of the store stands in the command line, which every user of this machine \
            can read: put the URL into a file and name that in ENROLL_MASTER_STORE_FILE"
        );
    }
}

/// Whether a password stands before the host or among the parameters of `url`.
fn has_password(url: &str) -> bool {
    let (address, parameters) = url.split_once('?').unwrap_or((url, ""));
    let user = address.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
    user.is_some_and(|(user, _)| user.contains(':'))
        || parameters.split('&').any(|parameter| parameter.starts_with("password="))
}

const fn next_for_file(kind: sqlite::OpenErrorKind) -> &'static str {
    use sqlite::OpenErrorKind as Kind;
    match kind {
        Kind::Library => "Build with the bundled SQLite.",
        Kind::UnknownSchema => "Start the version of this program that wrote it, or a newer one.",
        Kind::ChangedMigration => "Give another file with --store, or restore a backup.",
        Kind::Setting => "Put the file on a local disk.",
        Kind::Unavailable => "Look at what else uses the file, and at the space on its disk.",
        _ => "Check who may write there, or restore a backup.",
    }
}

const fn next_for_server(kind: postgres::OpenErrorKind) -> &'static str {
    use postgres::OpenErrorKind as Kind;
    match kind {
        Kind::Address => "Give postgres://user@host:port/database.",
        Kind::Insecure => "Give the server's root certificate with --store-ca-path.",
        Kind::Durability => "Change it in the server's configuration, and restart the server.",
        Kind::Recovery => "Give the address of the primary, or promote this one.",
        Kind::Version => "Upgrade the server.",
        Kind::Encoding => "Create the database with ENCODING 'UTF8' TEMPLATE template0.",
        Kind::UnknownSchema => "Start the version of this program that wrote it, or a newer one.",
        Kind::ChangedMigration => {
            "Give another database, or a schema of its own with ?options=-csearch_path%3D<schema>."
        }
        Kind::Unavailable => "Look whether the server runs and can be reached, then start again.",
        _ => "Check the user, its password, and that it may create tables in the database.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_seen_wherever_a_url_has_a_place_for_it() {
        for with in ["postgres://u:p@h/db", "postgres://u@h/db?sslmode=require&password=p"] {
            assert!(has_password(with), "{with}");
        }
        for without in ["postgres://u@h:5432/db", "postgres://h/db?user=a:b@c", "postgres://"] {
            assert!(!has_password(without), "{without}");
        }
    }
}
