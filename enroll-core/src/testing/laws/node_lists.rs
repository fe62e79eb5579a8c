//! N4 and N6: lists and counts of nodes.

use std::sync::Arc;
use std::time::Duration;

use super::fleet::{Fleet, at, event, of_arch, some};
use crate::model::{Health, NodeName, NodeRecord, Status, TrustState};
use crate::store::{NodeFilter, Page, Store};
use crate::testing::{name, together};

async fn all_pages(fleet: &Fleet, limit: u32, filter: &NodeFilter) -> Vec<NodeName> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = some(fleet.store.nodes(Page { after, limit }, filter.clone()).await);
        assert!(page.len() <= limit as usize, "N4: a page holds {limit} rows at most");
        let Some(last) = page.last() else { return rows };
        after = Some(last.name.clone());
        rows.extend(page.into_iter().map(|node| node.name));
    }
}

fn names(texts: &[&str]) -> Vec<NodeName> {
    texts.iter().map(|text| name(text)).collect()
}

/// N4: nodes are listed by name, byte by byte, page by page, and none twice.
pub async fn n4_nodes_are_listed_by_name(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    // A collation for people would put the hyphen and the dot elsewhere.
    let sorted = ["a", "a-b", "a.b", "a0", "a1.b", "aa", "ab-c", "b", "b-1", "b10", "b9"];
    for text in sorted.iter().rev() {
        fleet.bound(text, at(0)).await;
    }
    for limit in [1, 3, 11, 500] {
        let seen = all_pages(&fleet, limit, &NodeFilter::default()).await;
        assert_eq!(seen, names(&sorted), "N4: by pages of {limit}");
    }
}

/// N4: a filter leaves out what it does not want, before rows are counted.
pub async fn n4_filters_come_before_the_page(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    for text in ["degraded", "ready", "waiting", "cordoned"] {
        let node = fleet.enrolled(text).await;
        let arch = Some(of_arch(if text == "ready" { "aarch64" } else { "x86_64" }));
        match text {
            "ready" => fleet.beat(&node, at(100), arch).await,
            "degraded" => fleet.beat(&node, at(11), arch).await,
            "cordoned" => {
                some(fleet.store.set_cordon(&name(text), true, event("c", at(1))).await);
                fleet.beat(&node, at(100), arch).await;
            }
            _ => {}
        }
    }
    fleet.bound("pending", at(0)).await;
    let status = |status| (status, at(101), Duration::from_secs(90));
    for (wanted, expected) in [
        (Status::Ready, &["ready"][..]),
        (Status::Degraded, &["degraded"]),
        (Status::Waiting, &["pending", "waiting"]),
        (Status::Cordoned, &["cordoned"]),
    ] {
        let filter = NodeFilter { status: Some(status(wanted)), ..NodeFilter::default() };
        assert_eq!(all_pages(&fleet, 1, &filter).await, names(expected), "N4: {wanted}");
    }
    let barely = Some((Status::Ready, at(101), Duration::from_millis(90_001)));
    let filter = NodeFilter { status: barely, ..NodeFilter::default() };
    let expected = names(&["degraded", "ready"]);
    assert_eq!(all_pages(&fleet, 1, &filter).await, expected, "N4: a longer threshold");
    let filter = NodeFilter { state: Some(TrustState::Pending), ..NodeFilter::default() };
    assert_eq!(all_pages(&fleet, 1, &filter).await, names(&["pending"]), "N4: by state");
    let arch = Some("x86_64".to_owned());
    let filter = NodeFilter { arch: arch.clone(), ..NodeFilter::default() };
    assert_eq!(all_pages(&fleet, 1, &filter).await, names(&["cordoned", "degraded"]), "N4: arch");
    let state = Some(TrustState::Monitoring);
    let degraded = Some((true, at(101), Duration::from_secs(90)));
    let filter = NodeFilter { arch, state, status: Some(status(Status::Degraded)), degraded };
    assert_eq!(all_pages(&fleet, 1, &filter).await, names(&["degraded"]), "N4: all of them");
}

/// N4: who pages while others register sees each node that was there before exactly once, in order.
pub async fn n4_pages_are_stable_under_concurrent_inserts(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let mut before = Vec::new();
    for number in 10..40 {
        let text = format!("machine-{number}");
        fleet.bound(&text, at(0)).await;
        before.push(name(&text));
    }
    let (paging, registering) = (Arc::clone(&fleet), Arc::clone(&fleet));
    let (seen, ()) =
        together(async move { all_pages(&paging, 4, &NodeFilter::default()).await }, async move {
            for number in 10..70 {
                registering.bound(&format!("machine-{number}-late"), at(1)).await;
            }
        })
        .await;
    assert!(seen.is_sorted_by(|one, next| one < next), "N4: in order, none twice");
    let old: Vec<_> = seen.into_iter().filter(|name| before.contains(name)).collect();
    assert_eq!(old, before, "N4: none that was there is left out");
}

/// N4: a filter tells degraded nodes from the others, cordoned or not.
pub async fn n4_degraded_nodes_are_told_from_the_others(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    some_of_each_health(&fleet).await;
    for (wanted, expected) in [
        (true, &["ahead", "late", "late-cordoned"][..]),
        (false, &["early", "lively", "lively-cordoned", "pending", "silent"]),
    ] {
        let degraded = Some((wanted, at(101), Duration::from_secs(90)));
        let filter = NodeFilter { degraded, ..NodeFilter::default() };
        assert_eq!(all_pages(&fleet, 1, &filter).await, names(expected), "N4: {wanted}");
    }
    for (wanted, expected) in
        [(Status::Ready, ["early", "lively"]), (Status::Degraded, ["ahead", "late"])]
    {
        let status = Some((wanted, at(101), Duration::from_secs(90)));
        let filter = NodeFilter { status, ..NodeFilter::default() };
        assert_eq!(all_pages(&fleet, 1, &filter).await, names(&expected), "N4: {wanted}");
    }
}

/// Nodes of every health at `at(101)`, by a threshold of 90 s. One was heard from by a clock as far
/// ahead as clocks may be, and one by a clock that is wrong.
async fn some_of_each_health(fleet: &Fleet) {
    let early = 101 + NodeRecord::CLOCK_LEEWAY.as_secs();
    for (text, heard, cordoned) in [
        ("ahead", Some(early + 1), false),
        ("early", Some(early), false),
        ("late", Some(11), false),
        ("late-cordoned", Some(2), true),
        ("lively", Some(12), false),
        ("lively-cordoned", Some(101), true),
        ("silent", None, false),
    ] {
        let node = fleet.enrolled(text).await;
        if let Some(secs) = heard {
            fleet.beat(&node, at(secs), None).await;
        }
        some(fleet.store.set_cordon(&node.name, cordoned, event("c", at(1))).await);
    }
    fleet.bound("pending", at(0)).await;
}

/// N6: every node is counted once, by its state and the health it has at the instant given.
pub async fn n6_every_node_is_counted_once(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let count = async |secs| {
        let rows = some(fleet.store.count_nodes(at(secs), Duration::from_secs(90)).await);
        let mut rows: Vec<_> = rows
            .iter()
            .filter(|row| row.nodes > 0)
            .map(|row| (row.state, row.health, row.nodes))
            .collect();
        rows.sort_unstable();
        rows
    };
    assert_eq!(count(101).await, [], "N6: nobody is there");
    some_of_each_health(&fleet).await;
    let expected = [
        (TrustState::Pending, Health::Waiting, 1),
        (TrustState::Monitoring, Health::Waiting, 1),
        (TrustState::Monitoring, Health::Ready, 3),
        (TrustState::Monitoring, Health::Degraded, 3),
    ];
    assert_eq!(count(101).await, expected, "N6");
    let later = [expected[0], expected[1], (TrustState::Monitoring, Health::Degraded, 6)];
    assert_eq!(count(1_000).await, later, "N6: all went silent");
    let _gone = fleet.delete(&name("late"), at(102)).await;
    assert_eq!(count(1_000).await[2].2, 5, "N6: who is gone is not counted");
}
