//! Temporary PostgreSQL servers for tests: real ones, started and stopped by the tests.
//!
//! Everything here reads the environment, starts processes and writes to standard error, which the
//! store itself never does.

mod audit;
mod binaries;
mod cluster;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use audit::audit;
pub use cluster::{Cluster, Setup, Stop};

use crate::{OpenError, Options, PostgresStore};

/// One server for all tests of a process: it costs a second to make. It goes when the process does,
/// however that ends.
///
/// Where no server is installed it says so on standard error and ends the process as if its tests
/// had passed, because there is nothing here to test.
///
/// # Panics
/// When there is one and it does not start.
#[must_use]
pub fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| started(Setup::default()))
}

/// A server of the test's own, made as `setup` says.
///
/// Where no server is installed it ends the process as [`shared`] does.
///
/// # Panics
/// When there is one and it does not start.
#[must_use]
pub fn started(setup: Setup) -> Cluster {
    match Cluster::start(setup) {
        Ok(Some(cluster)) => cluster,
        Ok(None) => skip(),
        Err(error) => panic!("a PostgreSQL server is installed and does not start: {error}"),
    }
}

fn skip() -> ! {
    use std::io::Write as _;
    // Written past the capture of the test harness: a skipped test has to be seen.
    let _unheard = std::io::stderr().write_all(
        b"\n*** SKIPPED: no PostgreSQL server is installed (initdb is neither in PATH nor below \
        /usr/lib/postgresql); install the package `postgresql` ***\n\n",
    );
    std::process::exit(0)
}

impl PostgresStore {
    /// Opens a store on the server of [`shared`], in a new schema of its own.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open_temp() -> Result<Self, OpenError> {
        Self::connect(&fresh_url(shared()), Options::new()).await
    }
}

/// The address of a new schema on `cluster`, for its unprivileged user.
///
/// # Panics
/// When the schema cannot be made.
#[must_use]
pub fn fresh_url(cluster: &Cluster) -> String {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    let schema = format!("fleet_{}", LAST.fetch_add(1, Ordering::Relaxed));
    cluster
        .sql(&format!("CREATE SCHEMA {schema} AUTHORIZATION {}", Cluster::USER))
        .expect("a superuser may make a schema");
    format!("{}?options=-csearch_path%3D{schema}", cluster.url())
}
