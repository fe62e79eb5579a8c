//! A server that is spoken to over TLS: by who knows its root, and by nobody else.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use enroll_core::store::{Masters as _, Settings as _};
use enroll_core::testing::Fixtures;
use enroll_store_postgres::testing::{Cluster, Setup, fresh_url, started};
use enroll_store_postgres::{OpenErrorKind, Options, PostgresStore};
use tokio::time::timeout;

use crate::support::{PATIENCE, enroll, event, in_time, minted};

fn openssl(dir: &Path, arguments: &str) {
    let arguments = arguments.split_whitespace();
    let output = Command::new("openssl").args(arguments).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A root in `root.crt`, and a server's key and certificate under it.
fn certificates(dir: &Path) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(dir, &format!("req -x509 {key} -subj /CN=root -days 2 -keyout root.key -out root.crt"));
    let name = "-subj /CN=localhost -addext subjectAltName=DNS:localhost";
    openssl(dir, &format!("req -new {key} {name} -keyout server.key -out server.csr"));
    let issue = "x509 -req -in server.csr -CA root.crt -CAkey root.key -CAcreateserial";
    openssl(dir, &format!("{issue} -copy_extensions copy -days 2 -out server.crt"));
}

/// The address of the same schema over TCP and TLS.
fn over_tls(cluster: &Cluster, url: &str) -> String {
    let (_, query) = url.split_once('?').unwrap();
    let (user, database, port) = (Cluster::USER, Cluster::DATABASE, cluster.port());
    format!("postgres://{user}@localhost:{port}/{database}?sslmode=require&{query}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_trusted_by_its_root_alone() {
    let (ours, strange) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certificates(ours.path());
    certificates(strange.path());
    let read = |dir: &Path, name: &str| std::fs::read(dir.join(name)).unwrap();
    let with = |dir: &Path| Options::new().with_roots_pem(&read(dir, "root.crt")).unwrap();

    let cluster = started(Setup::default());
    let url = over_tls(&cluster, &fresh_url(&cluster));
    let error = PostgresStore::connect(&url, with(ours.path())).await.unwrap_err();
    assert_eq!(error.kind(), OpenErrorKind::Broken, "it offers no TLS: {error:?}");
    for file in ["server.key", "server.crt"] {
        cluster.put(file, &read(ours.path(), file)).unwrap();
    }
    cluster.set("ssl", "on").unwrap();

    let open = async || PostgresStore::connect(&url, with(ours.path())).await.ok();
    let (one, other) = (in_time("TLS", open).await, in_time("TLS", open).await);
    let error = PostgresStore::connect(&url, with(strange.path())).await.unwrap_err();
    let cause = format!("{error:?}");
    assert!(cause.contains("UnknownIssuer") || cause.contains("BadSignature"), "{cause}");

    let make = Fixtures::new();
    let token = minted(&one, &make, 1).await;
    assert!(enroll(&other, &make, &token, "node").await.unwrap());
    // What listens does so over TLS too.
    let mut seen = 0;
    while let Ok(next) = timeout(Duration::from_millis(500), other.next_change(seen)).await {
        seen = next.unwrap();
    }
    assert!(one.put_setting("k", "v".into(), 0, event()).await.unwrap());
    timeout(PATIENCE, other.next_change(seen)).await.expect("it is heard of").unwrap();
    let plain = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE usename = 'enroll' AND NOT ssl";
    assert_eq!(cluster.sql(plain).unwrap(), "0");
}
