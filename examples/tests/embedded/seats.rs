//! A product that sells seats: its policy refuses in its own words, for good or for now.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use enroll_core::master::{Candidate, Denial, MintRequest, Policy};
use enroll_core::store::Page;

use crate::built::{Built, Plan, Proofs, name};

const WORDS: &str = "All 2 seats of the licence are taken.";

/// As many seats as are left.
struct Seats {
    free: AtomicUsize,
    /// A seat is said to become free after this; `None` where none will.
    next_free: Option<Duration>,
}

#[async_trait]
impl Policy for Seats {
    async fn admit(&self, candidate: &Candidate<'_>) -> Result<(), Denial> {
        let less = |free: usize| free.checked_sub(1);
        let taken = self.free.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok();
        if taken || candidate.replaces {
            return Ok(());
        }
        match self.next_free {
            Some(wait) => {
                self.free.store(1, Ordering::SeqCst);
                Err(Denial::new(WORDS).retry_after(wait))
            }
            None => Err(Denial::new(WORDS)),
        }
    }
}

async fn master(next_free: Option<Duration>) -> Built {
    let seats = Arc::new(Seats { free: AtomicUsize::new(2), next_free });
    let with = Box::new(move |enroller: enroll_core::master::Enroller| enroller.with_policy(seats));
    Built::start(Plan { with, ..Plan::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn c7_without_a_seat_the_worker_stops_with_the_licences_words() {
    let master = master(None).await;
    let fleet = master.mint(MintRequest::new()).await;
    for node in ["worker-1", "worker-2"] {
        let said = master.bootstrap(Proofs::from(&fleet), node, "1").await;
        assert_eq!(said.code, 0, "{said:?}");
    }
    let said = master.bootstrap(Proofs::from(&fleet), "worker-3", "60").await;
    assert_eq!((said.code, said.err.contains(WORDS)), (3, true), "{said:?}");
    assert!(said.err.contains("denied"), "{said:?}");
    let nodes = master.enroller.nodes(Page::first(10), Default::default()).await.expect("a page");
    let names: Vec<_> = nodes.iter().map(|node| node.name.clone()).collect();
    assert_eq!(names, [name("worker-1"), name("worker-2")]);
    let used = master.enroller.redemptions(fleet.id(), Page::first(10)).await.expect("a page");
    assert_eq!(used.len(), 2, "a refusal spends nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn c7_a_seat_that_becomes_free_is_waited_for() {
    let master = master(Some(Duration::from_secs(1))).await;
    let fleet = master.mint(MintRequest::new()).await;
    for node in ["worker-1", "worker-2", "worker-3"] {
        let said = master.bootstrap(Proofs::from(&fleet), node, "60").await;
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(said.err.contains(WORDS), node == "worker-3", "{said:?}");
    }
    assert_eq!(master.counted("enroll_rejections_total{reason=\"denied\"}"), 1);
}
