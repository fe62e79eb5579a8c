//! What was acknowledged survives the server's death, whatever its default is.

use enroll_core::store::{Probe as _, Tokens as _};
use enroll_core::testing::Fixtures;
use enroll_store_postgres::testing::{Cluster, Setup, Stop, audit, fresh_url, shared, started};
use enroll_store_postgres::{OpenErrorKind, Options, PostgresStore};

use crate::support::{enroll, minted, open, times};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_with_synchronous_commit_off_what_was_acknowledged_survives() {
    // The server's own writer would flush most of it within a fraction of a second.
    let setup = Setup::default().with("synchronous_commit", "off").with("wal_writer_delay", "10s");
    let cluster = started(setup);
    let url = fresh_url(&cluster);
    let (store, make) = (open(&url).await, Fixtures::new());
    cluster.sql("CREATE TABLE forgetful (round int)").unwrap();
    let mut forgotten = 0;
    for round in 0..times(3, 50) {
        let token = minted(&store, &make, 1).await;
        assert!(enroll(&store, &make, &token, &format!("node-{round}")).await.unwrap());
        // The same server, asked by somebody who does not raise it, forgets: what is held is held by us.
        cluster.sql(&format!("INSERT INTO forgetful VALUES ({round})")).unwrap();
        cluster.stop(Stop::Immediate).unwrap();
        cluster.resume().unwrap();
        let there = format!("SELECT count(*) FROM forgetful WHERE round = {round}");
        forgotten += usize::from(cluster.sql(&there).unwrap() == "0");
        crate::support::in_time("the store", async || store.probe().await.ok()).await;
        assert_eq!(store.token(token.record.id).await.unwrap().unwrap().uses, 1, "I4");
    }
    assert!(forgotten > 0, "this server forgets what is not raised, so the test shows something");
    assert_eq!(audit(&cluster, &url).unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_text_is_refused() {
    let cluster = shared();
    cluster.sql("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0").unwrap();
    cluster.sql(&format!("ALTER DATABASE latin OWNER TO {}", Cluster::USER)).unwrap();
    let url = cluster.url().replace(&format!("/{}", Cluster::DATABASE), "/latin");
    let error = PostgresStore::connect(&url, Options::new()).await.unwrap_err();
    assert_eq!(error.kind(), OpenErrorKind::Encoding, "{error:?}");
}

#[tokio::test]
async fn i4_a_server_that_could_forget_is_refused() {
    for (setting, kind) in
        [("fsync", OpenErrorKind::Durability), ("full_page_writes", OpenErrorKind::Durability)]
    {
        let cluster = started(Setup::default().with(setting, "off"));
        let error = PostgresStore::connect(&cluster.url(), Options::new()).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        let why = std::error::Error::source(&error).unwrap().to_string();
        assert!(why.contains(&format!("`{setting}` is off")), "{why}");
        // Switched on, it is accepted: nothing else was wrong with it.
        cluster.set(setting, "on").unwrap();
        crate::support::in_time("the setting", async || {
            PostgresStore::connect(&cluster.url(), Options::new()).await.ok()
        })
        .await;
    }
}
