//! How a server is reached: its address, TLS, the pool, and whether it is fit to keep a fleet.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Failure, OpenError, OpenErrorKind, Unfit};
use crate::listen::Ear;
use crate::options::Options;

/// The oldest server whose functions the statements use.
pub(crate) const MIN_SERVER: i32 = 140_000;

/// A pool of connections to the server at `url`, none of them made yet, and how it is listened to.
pub(crate) fn pool(url: &str, options: &Options) -> Result<(Pool, Ear), OpenError> {
    let refused = |kind, why: &'static str| OpenError::new(kind, why);
    // What is wrong with an address is not shown, because a password may stand in it.
    let mut config: Config = url
        .parse()
        .map_err(|_| refused(OpenErrorKind::Address, "it is no address of a PostgreSQL server"))?;
    settle(&mut config, options);
    if is_local(&config) && config.get_ssl_mode() != SslMode::Require {
        config.ssl_mode(SslMode::Disable);
        let ear = Ear { config: config.clone(), tls: None };
        return Ok((build(Manager::from_config(config, NoTls, MANAGER), options)?, ear));
    }
    if config.get_ssl_mode() == SslMode::Disable {
        let why = "a server on another host is spoken to over TLS only; remove `sslmode=disable`";
        return Err(refused(OpenErrorKind::Insecure, why));
    }
    let Some(tls) = &options.tls else {
        let why = "a server on another host is spoken to over TLS only, and no roots were given";
        return Err(refused(OpenErrorKind::Insecure, why));
    };
    // The driver's default would go on without TLS where the server offers none.
    config.ssl_mode(SslMode::Require);
    let connect = MakeRustlsConnect::new(rustls::ClientConfig::clone(tls));
    let ear = Ear { config: config.clone(), tls: Some(connect.clone()) };
    Ok((build(Manager::from_config(config, connect, MANAGER), options)?, ear))
}

/// Sets what the address leaves open.
fn settle(config: &mut Config, options: &Options) {
    if config.get_application_name().is_none() {
        config.application_name("enroll");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(options.wait_timeout);
    }
    // A read is a statement of its own, outside any transaction that could bound it.
    let bound = format!("-c statement_timeout={}", options.statement_timeout.as_millis());
    let given = config.get_options().map(|given| format!("{given} {bound}"));
    config.options(given.unwrap_or(bound));
    // A host that vanished is noticed in seconds, not in the two hours of the default.
    config.tcp_user_timeout(options.statement_timeout.saturating_mul(2));
    config.keepalives_idle(KEEPALIVE);
    config.keepalives_interval(KEEPALIVE);
    config.keepalives_retries(2);
}

fn build(manager: Manager, options: &Options) -> Result<Pool, OpenError> {
    Pool::builder(manager)
        .max_size(options.pool_size.get())
        .runtime(Runtime::Tokio1)
        .create_timeout(Some(options.wait_timeout))
        .recycle_timeout(Some(options.wait_timeout))
        .wait_timeout(Some(options.wait_timeout))
        .build()
        .map_err(|error| OpenError::new(OpenErrorKind::Broken, error))
}

/// A connection that is closed is noticed when it is taken out; one that breaks later is noticed by
/// the operation that uses it, which is run again where that is safe.
const MANAGER: ManagerConfig = ManagerConfig { recycling_method: RecyclingMethod::Fast };
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Whether nothing but this host is between here and the server.
fn is_local(config: &Config) -> bool {
    let addresses = config.get_hostaddrs();
    if !addresses.is_empty() {
        return addresses.iter().all(IpAddr::is_loopback);
    }
    !config.get_hosts().is_empty() && config.get_hosts().iter().all(is_this_host)
}

fn is_this_host(host: &Host) -> bool {
    match host {
        #[cfg(unix)]
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        }
    }
}

/// Which server this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// Made when its data directory was.
    pub(crate) system_id: String,
    /// Which of its histories it writes: another after each promotion and each recovery.
    pub(crate) timeline: String,
    /// Which table of the fence is there, if one is: another after each restore of a dump.
    pub(crate) made: Option<String>,
}

/// Looks at a server for the first time over one connection, and refuses one that could lose what it
/// acknowledged or that cannot write.
pub(crate) async fn check(client: &Object) -> Result<Server, Failure> {
    let row = client.query_one(CHECK, &[]).await?;
    if row.try_get::<_, i32>(0)? < MIN_SERVER {
        return Err(Failure::Unfit(Unfit::TooOld));
    }
    if row.try_get(1)? {
        return Err(Failure::Unfit(Unfit::InRecovery));
    }
    if row.try_get::<_, &str>(2)? != "on" {
        return Err(Failure::Unfit(Unfit::NoFsync));
    }
    if row.try_get::<_, &str>(3)? != "on" {
        return Err(Failure::Unfit(Unfit::NoFullPageWrites));
    }
    if !["UTF8", "SQL_ASCII"].contains(&row.try_get::<_, &str>(5)?) {
        return Err(Failure::Unfit(Unfit::NotUnicode));
    }
    let timeline = client.query_one(TIMELINE, &[]).await?;
    let (system_id, made) = (row.try_get(4)?, row.try_get(6)?);
    Ok(Server { system_id, timeline: timeline.try_get(0)?, made })
}

/// The beginning of every transaction that writes. `synchronous_commit` is raised in each of them,
/// because a pooler between here and the server may give each another session. It is never lowered:
/// `remote_apply` waits for more than `on` does.
pub(crate) async fn begin(client: &Object, options: &Options) -> Result<Arc<str>, Failure> {
    let default: String = client.query_one("SHOW synchronous_commit", &[]).await?.try_get(0)?;
    let wanted = if default == REMOTE_APPLY { REMOTE_APPLY } else { "on" };
    let millis = options.statement_timeout.as_millis();
    let begin = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
        SET LOCAL synchronous_commit = {wanted};
        SET LOCAL statement_timeout = {millis};
        SET LOCAL idle_in_transaction_session_timeout = {millis}"
    );
    client.batch_execute(&begin).await?;
    let now: String = client.query_one("SHOW synchronous_commit", &[]).await?.try_get(0)?;
    client.batch_execute("ROLLBACK").await?;
    if now == wanted { Ok(begin.into()) } else { Err(Failure::Unfit(Unfit::NoSynchronousCommit)) }
}

const REMOTE_APPLY: &str = "remote_apply";

/// Which table of the fence is there, as it stands on record: the oids of its database and its own, which
/// no dump carries.
macro_rules! made {
    () => {
        "(SELECT oid FROM pg_database WHERE datname = current_database())::text
        || '.' || to_regclass('enroll_fence')::oid::text"
    };
}
pub(crate) use made;

const CHECK: &str = concat!(
    "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(),
    current_setting('fsync'), current_setting('full_page_writes'),
    (SELECT system_identifier::text FROM pg_control_system()), current_setting('server_encoding'), ",
    made!()
);

/// The timeline that is being written: the beginning of the name of the file that it goes to. The
/// control file would show the one before until the first checkpoint after a promotion.
const TIMELINE: &str = "SELECT substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)";

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(url: &str) -> Option<OpenErrorKind> {
        pool(url, &Options::new()).err().map(|error| error.kind())
    }

    #[test]
    fn another_host_is_spoken_to_over_tls_alone() {
        for local in [
            "postgres://u@localhost/d",
            "postgres://u@127.0.0.1/d",
            "postgres://u@[::1]/d",
            "postgres://u@%2Frun%2Fpostgresql/d",
            "host=/run/postgresql user=u",
            "host=db.example hostaddr=127.0.0.1 user=u",
        ] {
            assert_eq!(kind(local), None, "{local}");
        }
        for remote in [
            "postgres://u@db.example/d",
            "postgres://u@192.0.2.1/d",
            "postgres://u@db.example/d?sslmode=disable",
            "host=localhost,db.example user=u",
            "host=localhost hostaddr=192.0.2.1 user=u",
            "postgres://u@localhost/d?sslmode=require",
        ] {
            assert_eq!(kind(remote), Some(OpenErrorKind::Insecure), "{remote}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_not_repeated() {
        let url = "postgres://u:s3cret@h/d?no_such=option";
        let error = pool(url, &Options::new()).err().unwrap();
        assert_eq!(error.kind(), OpenErrorKind::Address);
        assert!(!format!("{error:?} {error}").contains("s3cret"));
    }
}
