//! The watchdog over attempts to fuse, and the undoing of those that came to nothing: among several
//! masters, cut off in the middle, and where the outside does not answer.
#![expect(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

mod bench;

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bench::{Bench, admitted, bench, key};
use enroll_core::master::{Enroller, FuseProgress, Fuser, OperatorError};
use enroll_core::model::{
    Clock, FuseFailure, FuseId, FuseRecord, Handover, NodeName, NodeRecord, TrustState,
};
use enroll_core::store::{Nodes as _, Store};
use tokio::sync::Barrier;
use tokio::time::{sleep, timeout};

const DEADLINE: Duration = Duration::from_secs(300);
/// Past the deadline, whatever milliseconds operators' acts were set apart by.
const OVERDUE: Duration = Duration::from_secs(301);
/// More than a master without a fuser leaves to those with one.
const LONG: Duration = Duration::from_secs(31);

type Begin =
    dyn Fn() -> Pin<Box<dyn Future<Output = Result<String, FuseFailure>> + Send>> + Send + Sync;

/// How a look at an attempt goes.
enum Look {
    Done,
    /// It does not end.
    Hangs,
    /// It is done, and said to be to as many as look, all at once.
    Together(Barrier),
}

/// A system outside that behaves as the test says, and notes what was done there.
struct Outside {
    look: Look,
    begin: OnceLock<Box<Begin>>,
    acts: Mutex<Vec<&'static str>>,
    /// How many undoings do not end.
    hanging: AtomicU32,
}

impl Outside {
    fn new(look: Look) -> Arc<Self> {
        let (begin, acts) = (OnceLock::new(), Mutex::default());
        Arc::new(Self { look, begin, acts, hanging: AtomicU32::new(0) })
    }

    fn acts(&self) -> Vec<&'static str> {
        self.acts.lock().unwrap().clone()
    }
}

#[async_trait]
impl Fuser for Outside {
    async fn begin(&self, _: &NodeRecord, _: FuseId) -> Result<String, FuseFailure> {
        match self.begin.get() {
            Some(begin) => begin().await,
            None => Ok("ticket".into()),
        }
    }

    async fn poll(&self, node: &NodeRecord, _: &FuseRecord) -> Result<FuseProgress, FuseFailure> {
        match &self.look {
            Look::Done => {}
            Look::Hangs if node.name == name(1) => pending().await,
            Look::Hangs => {}
            Look::Together(all) => {
                let _all_look = all.wait().await;
            }
        }
        Ok(FuseProgress::Done)
    }

    async fn hand_over(&self, _: &NodeRecord, _: &FuseRecord) -> Result<Handover, FuseFailure> {
        Ok(Handover::from_fuser("outside"))
    }

    async fn abort(&self, _: &NodeRecord, _: &FuseRecord) -> Result<(), FuseFailure> {
        let one_less = |hanging: u32| hanging.checked_sub(1);
        if self.hanging.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            pending::<()>().await;
        }
        self.acts.lock().unwrap().push("undone");
        Ok(())
    }
}

fn name(place: u8) -> NodeName {
    NodeName::new(&format!("worker-{place}")).unwrap()
}

/// A master whose fuser acts on `outside`, and the member `worker-1`.
async fn master(outside: &Arc<Outside>) -> Bench {
    let Bench { clock, store, enroller } = bench();
    let fuser = Arc::clone(outside) as Arc<dyn Fuser>;
    let bench = Bench { clock, store, enroller: enroller.with_fuser(fuser, DEADLINE) };
    bench.join(1).await;
    bench
}

impl Bench {
    async fn join(&self, place: u8) {
        let token = self.mint(1).await;
        admitted(self.ask(&token, name(place).as_str(), &key()).await);
    }

    /// Another master of the same store, without a fuser.
    fn another(&self) -> Enroller {
        Enroller::with_issuers(Arc::clone(&self.store) as Arc<dyn Store>, Vec::new())
            .with_clock(Arc::clone(&self.clock) as Arc<dyn Clock>)
    }

    async fn state(&self, place: u8) -> TrustState {
        self.store.node(&name(place)).await.unwrap().unwrap().state
    }
}

/// What a call comes to that is cut off after a second.
async fn cut_off<T>(call: impl Future<Output = T>) -> Option<T> {
    timeout(Duration::from_secs(1), call).await.ok()
}

#[tokio::test]
async fn i12_of_two_looks_at_one_success_neither_undoes_it() {
    let outside = Outside::new(Look::Together(Barrier::new(2)));
    let bench = master(&outside).await;
    let other = bench.another().with_fuser(Arc::clone(&outside) as Arc<dyn Fuser>, DEADLINE);
    bench.enroller.fuse(&name(1), "admin").await.unwrap();
    let (one, two) = tokio::join!(bench.enroller.tend(), other.tend());
    one.and(two).unwrap();
    assert_eq!(bench.state(1).await, TrustState::Fused);
    assert_eq!(outside.acts(), [""; 0]);
}

#[tokio::test]
async fn i12_what_nobody_with_a_fuser_ends_a_master_without_one_does() {
    let outside = Outside::new(Look::Done);
    let bench = master(&outside).await;
    let plain = bench.another();
    bench.enroller.fuse(&name(1), "admin").await.unwrap();
    bench.pass(OVERDUE);
    plain.tend().await.unwrap();
    assert_eq!(bench.state(1).await, TrustState::Fusing, "who can undo it comes first");
    bench.pass(LONG);
    plain.tend().await.unwrap();
    let node = bench.store.node(&name(1)).await.unwrap().unwrap();
    let failure = node.fuse.unwrap().ended.unwrap().failure.unwrap();
    assert_eq!((node.state, &*failure.source), (TrustState::Monitoring, "watchdog_timeout"));
}

#[tokio::test(start_paused = true)]
async fn a_master_without_a_fuser_keeps_no_other_from_the_watchdog() {
    let bench = master(&Outside::new(Look::Done)).await;
    let plain = bench.another();
    bench.enroller.fuse(&name(1), "admin").await.unwrap();
    let later = async {
        sleep(Duration::from_secs(2)).await;
        bench.enroller.tend_until(sleep(Duration::from_secs(5))).await;
    };
    tokio::join!(plain.tend_until(sleep(Duration::from_secs(10))), later);
    assert_eq!(bench.state(1).await, TrustState::Fused);
}

#[tokio::test]
async fn i12_what_a_failing_begin_left_of_an_overtaken_attempt_is_undone() {
    let outside = Outside::new(Look::Done);
    let bench = master(&outside).await;
    let other = bench.another().with_fuser(Arc::clone(&outside) as Arc<dyn Fuser>, DEADLINE);
    let (other, there) = (Arc::new(other), Arc::downgrade(&outside));
    let begin: Box<Begin> = Box::new(move || {
        let (other, there) = (Arc::clone(&other), Weak::clone(&there));
        Box::pin(async move {
            other.delete_node(&name(1), false, "admin").await.unwrap();
            there.upgrade().unwrap().acts.lock().unwrap().push("made");
            Err(FuseFailure { source: "outside_error".into(), detail: "It is away.".into() })
        })
    });
    assert!(outside.begin.set(begin).is_ok());
    let answer = bench.enroller.fuse(&name(1), "admin").await;
    assert!(matches!(answer, Err(OperatorError::NotFound(_))), "{answer:?}");
    assert_eq!(outside.acts(), ["undone", "made", "undone"]);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_does_not_end_keeps_no_master_from_ending() {
    let bench = master(&Outside::new(Look::Hangs)).await;
    bench.enroller.fuse(&name(1), "admin").await.unwrap();
    let tended = bench.enroller.tend_until(sleep(Duration::from_secs(5)));
    timeout(Duration::from_secs(6), tended).await.expect("within a second of its end");
}

#[tokio::test(start_paused = true)]
async fn i12_what_is_overdue_is_ended_before_anything_is_waited_for() {
    let outside = Outside::new(Look::Hangs);
    let bench = master(&outside).await;
    bench.join(2).await;
    let patient = bench.another().with_fuser(Arc::clone(&outside) as Arc<dyn Fuser>, 2 * DEADLINE);
    patient.fuse(&name(1), "admin").await.unwrap();
    bench.enroller.fuse(&name(2), "admin").await.unwrap();
    bench.pass(OVERDUE);
    assert!(cut_off(bench.enroller.tend()).await.is_none(), "the first does not answer");
    assert_eq!(bench.state(1).await, TrustState::Fusing);
    assert_eq!(bench.state(2).await, TrustState::Monitoring);
}

#[tokio::test(start_paused = true)]
async fn i12_an_undoing_that_is_cut_off_is_tried_again_until_it_is_done() {
    let outside = Outside::new(Look::Done);
    let bench = master(&outside).await;
    bench.enroller.fuse(&name(1), "admin").await.unwrap();
    outside.hanging.store(2, Ordering::SeqCst);
    assert!(cut_off(bench.enroller.delete_node(&name(1), false, "admin")).await.is_none());
    assert!(cut_off(bench.enroller.tend()).await.is_none());
    for _ in 0..2 {
        bench.enroller.tend().await.unwrap();
        assert_eq!(outside.acts(), ["undone"], "and once");
    }
}

#[tokio::test(start_paused = true)]
async fn i12_a_master_that_ends_tries_once_more_what_that_cuts_off() {
    let outside = Outside::new(Look::Done);
    let bench = master(&outside).await;
    bench.enroller.fuse(&name(1), "admin").await.unwrap();
    bench.pass(OVERDUE);
    outside.hanging.store(1, Ordering::SeqCst);
    let tended = bench.enroller.tend_until(sleep(Duration::from_secs(5)));
    timeout(Duration::from_secs(6), tended).await.expect("within a second of its end");
    assert_eq!(bench.state(1).await, TrustState::Monitoring);
    assert_eq!(outside.acts(), ["undone"]);
}
