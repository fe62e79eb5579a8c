//! I7 where transactions end in another order than they began, and what is kept for it.

use std::thread;

use enroll_core::model::{NodeId, NodeName};
use enroll_core::store::{Identities as _, Journal as _, Mark, Nodes as _, Page};
use enroll_core::testing::Fixtures;
use enroll_store_postgres::PostgresStore;
use enroll_store_postgres::testing::{Cluster, Setup, fresh_url, shared, started};

use crate::support::{AT, enroll, event, in_time, minted, open};

async fn node(store: &PostgresStore, make: &Fixtures, text: &str) -> (NodeName, NodeId) {
    let token = minted(store, make, 1).await;
    assert!(enroll(store, make, &token, text).await.unwrap());
    let name = NodeName::new(text).unwrap();
    let node = store.node(&name).await.unwrap().unwrap();
    (name, node.id)
}

/// What is named since `mark`, which moves on.
async fn named(store: &PostgresStore, mark: &mut Mark) -> Option<Vec<NodeId>> {
    let touched = store.touched(Some(*mark)).await.unwrap();
    *mark = touched.mark;
    touched.nodes
}

fn schema(url: &str) -> &str {
    url.rsplit_once("search_path%3D").unwrap().1
}

fn count(cluster: &Cluster, schema: &str) -> String {
    cluster.sql(&format!("SELECT count(*) FROM {schema}.enroll_touched")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_what_is_committed_after_a_later_change_was_seen_is_named() {
    let cluster = shared();
    let url = fresh_url(cluster);
    let (store, make) = (open(&url).await, Fixtures::new());
    let (_, slow) = node(&store, &make, "slow").await;
    let (quick_name, quick) = node(&store, &make, "quick").await;
    let mut mark = store.touched(None).await.unwrap().mark;

    let sql = format!(
        "DO $$ BEGIN
            UPDATE {0}.enroll_identities SET revoked_at = 1 WHERE node_name = 'slow';
            PERFORM set_config('application_name', 'slow {0}', false);
            PERFORM pg_sleep(3);
        END $$",
        schema(&url)
    );
    let revoking = thread::spawn(move || cluster.sql(&sql));
    let began = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%{}.enroll_identities SET%'
            AND wait_event = 'PgSleep'",
        schema(&url)
    );
    in_time("the slow one is under way", async || (cluster.sql(&began).ok()? == "1").then_some(()))
        .await;

    let _deleted = store.delete_node(&quick_name, AT, event()).await.unwrap();
    assert_eq!(named(&store, &mut mark).await, Some(vec![quick]));
    revoking.join().unwrap().unwrap();
    assert!(named(&store, &mut mark).await.unwrap().contains(&slow), "it was passed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_numbers_of_another_cluster_are_forgotten_with_it() {
    let cluster = started(Setup::default());
    let url = fresh_url(&cluster);
    let (store, make) = (open(&url).await, Fixtures::new());
    let schema = schema(&url);
    let (_, id) = node(&store, &make, "node").await;
    drop(store);
    // As a dump of a cluster with far more transactions leaves it.
    let high = "'9000000000'::xid8";
    let stale =
        format!("INSERT INTO {schema}.enroll_touched (xid, node_id) VALUES ({high}, '{id}')");
    cluster.sql(&stale).unwrap();
    let kept =
        format!("UPDATE {schema}.enroll_touched_kept SET floor = {high}, next_floor = {high}");
    cluster.sql(&kept).unwrap();
    cluster.sql(&format!("UPDATE {schema}.enroll_fence SET timeline = 'another'")).unwrap();

    let store = open(&url).await;
    assert_eq!(count(&cluster, schema), "0");
    let mut mark = store.touched(None).await.unwrap().mark;
    assert_eq!(named(&store, &mut mark).await, Some(Vec::new()), "nobody, and not everybody");
    let (name, id) = node(&store, &make, "other").await;
    let _deleted = store.delete_node(&name, AT, event()).await.unwrap();
    assert_eq!(named(&store, &mut mark).await, Some(vec![id]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_what_is_no_longer_kept_is_told_from_what_never_was() {
    // No transaction of another test's holds the floor down.
    let cluster = started(Setup::default());
    let url = fresh_url(&cluster);
    let (store, make) = (open(&url).await, Fixtures::new());
    let schema = schema(&url);
    let old = store.touched(None).await.unwrap().mark;
    let (name, id) = node(&store, &make, "node").await;
    let _deleted = store.delete_node(&name, AT, event()).await.unwrap();
    assert_eq!(named(&store, &mut old.clone()).await, Some(vec![id]));

    // A turn has passed, and another: each lets go of what was there before the one before it.
    for (turn, left) in [(1, "1"), (2, "0")] {
        let passed = "turned_at = now() - interval '2 minutes'";
        cluster.sql(&format!("UPDATE {schema}.enroll_touched_kept SET {passed}")).unwrap();
        in_time("the turn", async || {
            store.record_events(vec![event()]).await.ok()?;
            store.events(Page::first(1)).await.ok()?;
            (count(&cluster, schema) == left).then_some(())
        })
        .await;
        let known = named(&store, &mut old.clone()).await;
        assert_eq!(known, (turn == 1).then(|| vec![id]), "turn {turn}");
    }
    let mut fresh = store.touched(None).await.unwrap().mark;
    assert_eq!(named(&store, &mut fresh).await, Some(vec![]));
}
