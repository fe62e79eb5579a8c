//! M1 to M4: what the masters of one store share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::commands::command;
use super::fleet::{Fleet, at, event, some};
use crate::model::MasterId;
use crate::store::Store;
use crate::testing::{Claimant, race};

/// Far longer than a law takes.
const LONG: Duration = Duration::from_secs(600);
/// What has to happen happens within this on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);

fn master(fleet: &Fleet) -> MasterId {
    MasterId::generate(at(0), fleet.make.entropy()).expect("counting entropy never runs out")
}

async fn take(fleet: &Fleet, duty: &str, holder: MasterId, span: Duration) -> bool {
    some(fleet.store.take_duty(duty, holder, span).await)
}

/// M1: a duty is one master's, who keeps it by asking again; another duty is another.
pub async fn m1_one_master_has_a_duty(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (one, other) = (master(&fleet), master(&fleet));
    assert!(take(&fleet, "a", one, LONG).await, "M1: nobody holds it");
    assert!(!take(&fleet, "a", other, LONG).await, "M1: another holds it");
    assert!(take(&fleet, "a", one, LONG).await, "M1: the holder keeps it");
    assert!(!take(&fleet, "a", other, Duration::ZERO).await, "M1: nor does who wants no time");
    assert!(!take(&fleet, "a", other, LONG).await, "M1: asking for no time took nothing away");
    assert!(take(&fleet, "b", other, LONG).await, "M1: another duty is another's");
    assert!(take(&fleet, "a", one, LONG).await, "M1: and took nothing away");
}

/// M1: of many masters that ask at once, one is given the duty.
pub async fn m1_of_many_that_ask_at_once_one_is_given_it(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let asking = (0..16).map(|_| {
        let (fleet, holder) = (Arc::clone(&fleet), master(&fleet));
        async move { take(&fleet, "a", holder, LONG).await }
    });
    let given = race(asking.collect::<Vec<_>>()).await;
    assert_eq!(given.into_iter().filter(|given| *given).count(), 1, "M1");
}

/// M2: a duty whose holder does not ask again is the next one's, and not before its time.
pub async fn m2_a_duty_that_is_not_kept_passes_on(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (one, other) = (master(&fleet), master(&fleet));
    let span = Duration::from_millis(400);
    let asked = Instant::now();
    assert!(take(&fleet, "a", one, span).await, "M2");
    while !take(&fleet, "a", other, LONG).await {
        assert!(asked.elapsed() < PATIENCE, "M2: the time of the one who left is over");
        sleep(Duration::from_millis(20)).await;
    }
    // The store's clock may count whole milliseconds.
    assert!(asked.elapsed() >= span - Duration::from_millis(5), "M1: it was held until then");
    assert!(!take(&fleet, "a", one, LONG).await, "M1: who comes back finds it held");
}

/// M2: a duty that its holder gives up is the next one's at once.
pub async fn m2_a_duty_that_is_given_up_passes_on_at_once(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (one, other) = (master(&fleet), master(&fleet));
    assert!(take(&fleet, "a", one, LONG).await, "M2");
    take(&fleet, "a", one, Duration::ZERO).await;
    assert!(take(&fleet, "a", other, LONG).await, "M2: it was given up");
}

/// Waits for the change after `seen`, while `change` makes it.
async fn heard(fleet: &Fleet, seen: u64, change: impl Future<Output = ()>) -> u64 {
    let store = Arc::clone(&fleet.store);
    let waiting = tokio::spawn(async move { some(store.next_change(seen).await) });
    // Whether the wait has begun by then must not matter.
    sleep(Duration::from_millis(10)).await;
    change.await;
    let heard = timeout(PATIENCE, waiting).await.expect("M3: the change is heard of");
    heard.expect("the wait does not panic")
}

/// The changes heard of so far, once no more come.
async fn seen(fleet: &Fleet) -> u64 {
    let mut seen = 0;
    while let Ok(next) = timeout(Duration::from_millis(100), fleet.store.next_change(seen)).await {
        seen = some(next);
    }
    seen
}

/// M3: a setting, a deletion, another enrollment and a command are heard of by who waits.
pub async fn m3_a_change_is_heard_of_by_who_waits(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let node = fleet.enrolled("node-1").await;
    let before = seen(&fleet).await;
    let put = async {
        assert!(some(fleet.store.put_setting("k", "v".into(), 0, event("k", at(2))).await), "C1");
    };
    assert_ne!(heard(&fleet, before, put).await, before, "M3: a setting");

    let before = seen(&fleet).await;
    let command = command(&fleet, &node, 3);
    let queue = async {
        let _queued = some(fleet.store.queue_command(command, event("queued", at(3))).await);
    };
    assert_ne!(heard(&fleet, before, queue).await, before, "M3: a command");

    let before = seen(&fleet).await;
    let bound = fleet.bound("node-1", at(4)).await;
    let replace = async {
        fleet.enroll(&Claimant::new(&bound, "node-1").with_key("new"), at(4)).await;
    };
    assert_ne!(heard(&fleet, before, replace).await, before, "M3: another enrollment");

    let before = seen(&fleet).await;
    let delete = async {
        let _deleted = fleet.delete(&node.name, at(5)).await;
    };
    assert_ne!(heard(&fleet, before, delete).await, before, "M3: a deletion");
}

/// M3: a change that was made between two waits is not missed.
pub async fn m3_a_change_that_was_made_before_is_not_missed(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let before = seen(&fleet).await;
    assert!(some(fleet.store.put_setting("k", "v".into(), 0, event("k", at(1))).await), "C1");
    let next = timeout(PATIENCE, fleet.store.next_change(before)).await;
    assert_ne!(some(next.expect("M3: it is heard of")), before, "M3");
}

/// M4: there is no fence where nothing was taken back, and so nothing to acknowledge.
pub async fn m4_a_store_that_was_never_taken_back_has_no_fence(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    assert_eq!(some(fleet.store.fence().await), None, "M4");
    let before = fleet.observe().await;
    for epoch in [0, 1, u64::MAX] {
        let known = some(fleet.store.acknowledge_fence(epoch, at(1), event("f", at(1))).await);
        assert!(!known, "M4: there is nothing to acknowledge");
    }
    fleet.unchanged(&before, "M4: refused").await;
}
