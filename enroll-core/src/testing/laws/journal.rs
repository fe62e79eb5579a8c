//! J1 and J2: attempts and events, kept for people, in bounds.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;

use super::fleet::{Fleet, at, event, some};
use crate::model::{
    AttemptId, AttemptOutcome, AttemptRecord, Event, HostEvent, NodeName, Reason, Timestamp,
};
use crate::store::{ATTEMPTS_PER_NAME, EVENTS, Page, Store, UNPROVEN_ATTEMPTS};
use crate::testing::{Claimant, name, race};

/// A refused attempt under `text` at second `secs`.
fn refused(fleet: &Fleet, text: &str, secs: u64, proven: bool) -> AttemptRecord {
    AttemptRecord {
        outcome: AttemptOutcome::Refused(Reason::NameTaken),
        proven,
        ..fleet.make.attempt(&name(text), at(secs))
    }
}

async fn record(fleet: &Fleet, attempts: Vec<AttemptRecord>) {
    some(fleet.store.record_attempts(attempts).await);
}

async fn all(fleet: &Fleet, name: &NodeName, limit: u32) -> Vec<AttemptRecord> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = some(fleet.store.attempts(name, Page { after, limit }).await);
        assert!(page.len() <= limit as usize, "J1: a page holds {limit} rows at most");
        let Some(last) = page.last() else { return rows };
        after = Some(last.id);
        rows.extend(page);
    }
}

fn newest_first(mut attempts: Vec<AttemptRecord>) -> Vec<AttemptRecord> {
    attempts.sort_by_key(|attempt| std::cmp::Reverse(attempt.id));
    attempts
}

/// J1: attempts come back whole, newest first, under their own name.
pub async fn j1_attempts_come_back_whole(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.make.token(at(0)).record.id;
    let mut expected = Vec::new();
    for (second, reason) in (1..).zip(Reason::ALL) {
        let mut attempt = refused(&fleet, "a", second, second % 2 == 0);
        attempt.outcome = AttemptOutcome::Refused(*reason);
        attempt.token_id = (second % 3 == 0).then_some(token);
        attempt.source_ip = (second % 4 == 0).then_some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        expected.push(attempt);
    }
    for outcome in [AttemptOutcome::Accepted, AttemptOutcome::Redelivered] {
        expected.push(AttemptRecord { outcome, ..refused(&fleet, "a", 99, true) });
    }
    let mut nameless = refused(&fleet, "a", 50, false);
    nameless.node_name = None;
    record(&fleet, vec![refused(&fleet, "b", 50, true), nameless]).await;
    record(&fleet, expected.clone()).await;
    record(&fleet, Vec::new()).await;
    let expected = newest_first(expected);
    for limit in [1, 7, 500] {
        assert_eq!(all(&fleet, &name("a"), limit).await, expected, "J1: by pages of {limit}");
    }
}

/// J1: of proven attempts the newest 100 of each name are kept, accepted ones among them.
pub async fn j1_the_newest_proven_attempts_of_a_name_are_kept(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let bound = u64::from(ATTEMPTS_PER_NAME);
    record(&fleet, vec![refused(&fleet, "b", 1, true)]).await;
    let many: Vec<_> = (1..=bound + 30).map(|secs| refused(&fleet, "a", secs, true)).collect();
    let (first, rest) = many.split_at(70);
    record(&fleet, first.to_vec()).await;
    record(&fleet, rest.to_vec()).await;
    let kept = all(&fleet, &name("a"), 500).await;
    assert_eq!(kept, newest_first(many[30..].to_vec()), "J1: the newest of them");
    assert_eq!(all(&fleet, &name("b"), 500).await.len(), 1, "J1: another name has its own ring");
    let token = fleet.unlimited(at(0)).await;
    fleet.enroll(&Claimant::new(&token, "a"), at(bound + 31)).await;
    let kept = all(&fleet, &name("a"), 500).await;
    assert_eq!(kept.len(), ATTEMPTS_PER_NAME as usize, "J1: an accepted one is one of them");
    assert_eq!(kept[0].outcome, AttemptOutcome::Accepted, "J1: and the newest");
}

/// J1: attempts are under the name, whoever has it: those of a node that is gone stay, in bounds.
pub async fn j1_attempts_stay_when_their_node_goes(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let bound = u64::from(ATTEMPTS_PER_NAME);
    let many: Vec<_> = (1..=bound).map(|secs| refused(&fleet, "a", secs, true)).collect();
    record(&fleet, many.clone()).await;
    let mut expected = newest_first(many);
    for round in 0..2 {
        let then = bound + 10 * (round + 1);
        let token = fleet.unlimited(at(then)).await;
        fleet.enroll(&Claimant::new(&token, "a"), at(then)).await;
        let kept = all(&fleet, &name("a"), 7).await;
        assert_eq!(kept[0].outcome, AttemptOutcome::Accepted, "J1: of node {round}");
        expected.insert(0, kept[0].clone());
        expected.truncate(ATTEMPTS_PER_NAME as usize);
        assert_eq!(kept, expected, "J1: of node {round}");
        let _gone = fleet.delete(&name("a"), at(then + 1)).await;
        assert_eq!(all(&fleet, &name("a"), 500).await, expected, "J1: of node {round}, gone");
    }
}

/// J1: what nobody proved cannot push out what somebody did.
pub async fn j1_unproven_attempts_push_no_proven_one_out(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let proven = refused(&fleet, "a", 1, true);
    record(&fleet, vec![proven.clone()]).await;
    let flood = (0..2 * u64::from(ATTEMPTS_PER_NAME)).map(|n| refused(&fleet, "a", 2 + n, false));
    record(&fleet, flood.collect()).await;
    let kept = all(&fleet, &name("a"), 500).await;
    assert!(kept.contains(&proven), "J1: the proven one is there");
    assert_eq!(kept.len(), 201, "J1: and the others in a ring that has room for them");
}

/// J1: attempts that nobody proved share one bounded ring, whatever names they claim.
pub async fn j1_unproven_attempts_share_one_ring(store: Arc<dyn Store>) {
    const OVER: u64 = 50;
    let fleet = Fleet::new(store);
    let total = u64::from(UNPROVEN_ATTEMPTS) + OVER;
    for from in (0..total).step_by(1_000) {
        let batch = (from..total.min(from + 1_000))
            .map(|number| refused(&fleet, &format!("name-{}", number % OVER), number, false));
        record(&fleet, batch.collect()).await;
    }
    let mut kept = 0;
    for number in 0..OVER {
        let rows = all(&fleet, &name(&format!("name-{number}")), 500).await;
        assert!(rows.iter().all(|row| row.at >= at(OVER)), "J1: the oldest gave way");
        kept += rows.len();
    }
    assert_eq!(kept, UNPROVEN_ATTEMPTS as usize, "J1: the ring is full, and no fuller");
}

/// J1: attempts recorded at once by many are all there.
pub async fn j1_attempts_recorded_at_once_are_all_there(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let batches: Vec<Vec<_>> =
        (0..8).map(|_| (0..10).map(|secs| refused(&fleet, "a", secs, true)).collect()).collect();
    let ids: BTreeSet<AttemptId> = batches.iter().flatten().map(|attempt| attempt.id).collect();
    let writers = batches.into_iter().map(|batch| {
        let fleet = Arc::clone(&fleet);
        async move { record(&fleet, batch).await }
    });
    race(writers.collect::<Vec<_>>()).await;
    let kept = all(&fleet, &name("a"), 7).await.into_iter().map(|attempt| attempt.id).collect();
    assert_eq!(ids, kept, "J1");
}

/// J2: events have ascending places in the order they were written, page by page.
pub async fn j2_events_keep_their_order(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    // Their own instants run backwards: the order is that of writing.
    let written: Vec<_> = (0..20).map(|n| event(&format!("event {n}"), at(100 - n))).collect();
    for batch in written.chunks(3) {
        some(fleet.store.record_events(batch.to_vec()).await);
    }
    some(fleet.store.record_events(Vec::new()).await);
    for limit in [1, 7, 500] {
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let page = some(fleet.store.events(Page { after, limit }).await);
            assert!(page.len() <= limit as usize, "J2: a page holds {limit} rows at most");
            let Some(last) = page.last() else { break };
            after = Some(last.seq);
            rows.extend(page);
        }
        assert!(rows.is_sorted_by(|one, next| one.seq < next.seq), "J2: ascending, none twice");
        let events: Vec<_> = rows.into_iter().map(|row| row.event).collect();
        assert_eq!(events, written, "J2: by pages of {limit}");
    }
}

/// J2: events of different operations stand in the order of those operations, and come back whole.
pub async fn j2_events_of_operations_stand_in_their_order(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let mut mint = fleet.make.mint(&fleet.make.token(at(0)).bound_to("a"));
    mint.events = vec![event("minted", at(0))];
    let id = mint.token.id;
    let _minted = some(fleet.store.mint(mint).await);
    some(fleet.store.set_cordon(&name("a"), true, event("cordoned", at(1))).await);
    some(fleet.store.revoke(id, at(2), event("revoked", at(2))).await);
    let _gone = fleet.delete(&name("a"), at(3)).await;
    let expected = [("minted", 0), ("cordoned", 1), ("revoked", 2), ("deleted", 3)];
    let expected = expected.map(|(key, secs)| event(key, at(secs)));
    assert_eq!(fleet.events().await, expected, "J2");
}

/// J2: whatever instant a machine says that something happened at, the journal can be read.
pub async fn j2_an_event_of_any_instant_can_be_read(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let year = 366 * 24 * 60 * 60 * 1000;
    let instants = [i64::MIN, -20_000 * year, -1970 * year, -1, 0, 20_000 * year, i64::MAX];
    let written: Vec<_> = instants
        .into_iter()
        .map(|millis| {
            let happened = HostEvent::new(Timestamp::from_unix_millis(millis), "it.happened", "");
            Event::new(at(0), happened.reported(fleet.make.node_id(at(0)), name("a")))
        })
        .collect();
    some(fleet.store.record_events(written).await);
    assert_eq!(fleet.events().await.len(), instants.len(), "J2");
}

/// J2: who follows the journal while many write misses nothing: a place once passed stays empty.
pub async fn j2_who_follows_the_journal_misses_nothing(store: Arc<dyn Store>) {
    const WRITERS: usize = 8;
    const EACH: usize = 25;
    let fleet = Fleet::new(store);
    let writers = (0..WRITERS).map(|writer| {
        let fleet = Arc::clone(&fleet);
        async move {
            for number in 0..EACH {
                let one = event(&format!("{writer} {number}"), at(0));
                some(fleet.store.record_events(vec![one]).await);
            }
            Vec::new()
        }
    });
    let follower = {
        let fleet = Arc::clone(&fleet);
        async move {
            let (mut seen, mut after) = (Vec::new(), None);
            while seen.len() < WRITERS * EACH {
                let page = some(fleet.store.events(Page { after, limit: 10 }).await);
                after = page.last().map(|row| row.seq).or(after);
                seen.extend(page.into_iter().map(|row| row.event));
                let written = some(fleet.store.events(Page::first(500)).await).len();
                let passed = some(fleet.store.events(Page { after, limit: 500 }).await).len();
                assert!(seen.len() + passed >= written, "J2: an event came in behind a reader");
                tokio::task::yield_now().await;
            }
            seen
        }
    };
    let mut all: Vec<Pin<Box<dyn Future<Output = Vec<Event>> + Send>>> =
        writers.map(|one| Box::pin(one) as _).collect();
    all.push(Box::pin(follower));
    let seen = race(all).await.concat();
    assert_eq!(seen.len(), WRITERS * EACH, "J2: each is seen once");
}

/// J2: the newest 100,000 events are kept, and no more.
pub async fn j2_the_newest_events_are_kept(store: Arc<dyn Store>) {
    const OVER: u32 = 10;
    let fleet = Fleet::new(store);
    let total = EVENTS + OVER;
    for from in (0..total).step_by(5_000) {
        let batch = (from..total.min(from + 5_000)).map(|number| event(&number.to_string(), at(0)));
        some(fleet.store.record_events(batch.collect()).await);
    }
    let first = some(fleet.store.events(Page::first(1)).await);
    let oldest = first.into_iter().map(|row| row.event).collect::<Vec<_>>();
    assert_eq!(oldest, [event(&OVER.to_string(), at(0))], "J2: the oldest gave way, and no other");
}
