//! N1, N2 and N5: nodes, as an operator handles them, and their steps between states.

use std::sync::Arc;
use std::time::Duration;

use super::fleet::{Fleet, at, event, some};
use crate::model::{
    Event, FuseEnd, FuseId, FuseRecord, NodeRecord, Reason, TokenStatus, TrustState,
};
use crate::store::{DeleteOutcome, NodeFilter, Page, RedeemOutcome, Store, Transition, UseOutcome};
use crate::testing::{Claimant, name, race};

/// N1: of 64 machines that claim one name with one unlimited token at once, one has it.
pub async fn n1_one_node_has_a_name(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    let mut contenders = Vec::new();
    for number in 0..64 {
        let claimant = Claimant::new(&token, "wanted").with_key(&format!("key {number}"));
        let redeem = fleet.approve(&claimant, at(1)).await;
        let fleet = Arc::clone(&fleet);
        contenders.push(async move { fleet.redeem(redeem).await });
    }
    let outcomes = race(contenders).await;
    let won = outcomes.iter().filter(|one| matches!(one, RedeemOutcome::Enrolled(_))).count();
    assert_eq!((won, fleet.token(&token).await.uses), (1, 1), "N1: one name, one winner, one use");
    let nodes = some(fleet.store.nodes(Page::first(10), NodeFilter::default()).await);
    assert_eq!(nodes.len(), 1, "N1");
}

/// N2: a deletion takes the node and all that hangs on it, and nothing else.
pub async fn n2_deletion_takes_all_that_hangs_on_the_node(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let spent = fleet.minted(fleet.make.token(at(0)).bound_to("a")).await;
    let enrolled = fleet.enroll(&Claimant::new(&spent, "a"), at(1)).await;
    let bystander = fleet.unlimited(at(0)).await;
    let other = fleet.enroll(&Claimant::new(&bystander, "b"), at(1)).await;
    let replaced = fleet.bound("a", at(1)).await;
    let unspent = fleet.bound("a", at(1)).await;
    let before = fleet.events().await.len();
    let outcome = fleet.delete(&name("a"), at(2)).await;
    let DeleteOutcome::Deleted(node) = outcome else { panic!("N2: it is there: {outcome:?}") };
    assert_eq!(*node, enrolled.node, "N2: the outcome is the node as it was");
    assert_eq!(fleet.node(&name("a")).await, None, "N2: the node is gone");
    for identity in [&enrolled.x509, &enrolled.api_key] {
        let member = fleet.member(identity).await.expect("I1: a revoked identity is found");
        assert_eq!(member.identity.revoked_at, Some(at(2)), "N2: its identities are revoked");
        assert_eq!(member.node, None, "N2: they are nobody's");
    }
    let status = async |token| fleet.token(token).await.status(at(2));
    assert_eq!(status(&unspent).await, TokenStatus::Revoked, "N2: a good token is revoked");
    assert_eq!(fleet.token(&unspent).await.revoked_at, Some(at(2)), "N2: at that instant");
    assert_eq!(status(&replaced).await, TokenStatus::Replaced, "N2: a replaced one stays so");
    assert_eq!(status(&spent).await, TokenStatus::Consumed, "N2: and a spent one");
    assert_eq!(fleet.events().await[before..], [event("deleted", at(2))], "N2: one event");
    assert!(fleet.is_live(&other.x509).await, "N2: another node stays");
    assert_eq!(status(&bystander).await, TokenStatus::Active, "N2: and an unbound token");
    assert!(fleet.is_open(&bystander, other.redemption).await, "N2: and its window");
}

/// N2: a deletion closes the open windows of the node.
pub async fn n2_deletion_closes_the_windows_of_the_node(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    let enrolled = fleet.enroll(&Claimant::new(&token, "a"), at(1)).await;
    assert!(fleet.is_open(&token, enrolled.redemption).await);
    let _gone = fleet.delete(&name("a"), at(2)).await;
    assert!(!fleet.is_open(&token, enrolled.redemption).await, "N2");
}

/// N2: a bound token that elapsed unspent before the deletion is revoked by it all the same.
pub async fn n2_deletion_revokes_an_elapsed_token_too(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let elapsed = fleet.minted(fleet.make.token(at(0)).bound_to("a").ttl(Duration::ZERO)).await;
    let _gone = fleet.delete(&name("a"), at(2)).await;
    assert_eq!(fleet.token(&elapsed).await.revoked_at, Some(at(2)), "N2");
}

/// N2: a token that a deletion killed answers `revoked` from then on.
pub async fn n2_a_token_killed_by_a_deletion_is_revoked(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.bound("a", at(0)).await;
    let claimant = Claimant::new(&token, "a");
    let redeem = fleet.approve(&claimant, at(3)).await;
    let _gone = fleet.delete(&name("a"), at(2)).await;
    assert_eq!(fleet.lose(&claimant, redeem).await, Reason::Revoked, "N2");
}

/// N2: a name nobody has is not deleted, and is not remembered as deleted.
pub async fn n2_deleting_nobody_writes_nothing(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    let outcome = fleet.delete(&name("a"), at(2)).await;
    assert!(matches!(outcome, DeleteOutcome::NoSuchNode), "N2: {outcome:?}");
    assert_eq!(fleet.events().await, [], "N2: nothing happened");
    fleet.enroll(&Claimant::new(&token, "a"), at(3)).await;
}

/// N2: of many that delete one node at once, one did.
pub async fn n2_many_deletions_at_once_delete_once(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    fleet.bound("a", at(0)).await;
    let deletions = (0..16).map(|_| {
        let fleet = Arc::clone(&fleet);
        async move { fleet.delete(&name("a"), at(1)).await }
    });
    let outcomes = race(deletions.collect::<Vec<_>>()).await;
    let did = outcomes.iter().filter(|one| matches!(one, DeleteOutcome::Deleted(_))).count();
    assert_eq!((did, fleet.events().await.len()), (1, 1), "N2: one deleted, one event");
}

/// N2: after a second deletion it is the second that counts.
pub async fn n2_the_latest_deletion_counts(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    for round in [1, 3] {
        fleet.bound("a", at(round)).await;
        let _gone = fleet.delete(&name("a"), at(round + 1)).await;
    }
    let seen = fleet.look_up(&Claimant::by_secret("a"), None).await;
    assert_eq!(seen.name, crate::model::NameState::Deleted { at: at(4) }, "N2");
}

/// N2: an identity of a deleted node is not used again, not even for the first time.
pub async fn n2_an_identity_of_a_deleted_node_is_not_used(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    let enrolled = fleet.enroll(&Claimant::new(&token, "a"), at(1)).await;
    let _gone = fleet.delete(&name("a"), at(2)).await;
    let used = some(fleet.store.mark_used(enrolled.x509.id, at(3)).await);
    assert_eq!(used, UseOutcome::Revoked, "N2, I2");
}

/// A cordon is kept, is repeated without a trace, and is taken off again.
pub async fn n_cordon_is_idempotent(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let node = fleet.enrolled("a").await;
    let before = fleet.events().await.len();
    let mut expected = Vec::new();
    for (round, cordoned, changes) in
        [(2, false, false), (3, true, true), (4, true, false), (5, false, true), (6, false, false)]
    {
        let happened = event(&format!("call {round}"), at(round));
        let outcome = some(fleet.store.set_cordon(&node.name, cordoned, happened.clone()).await);
        let wanted = NodeRecord { cordoned, ..node.clone() };
        assert_eq!(outcome, Some(wanted.clone()), "cordon: call {round}");
        assert_eq!(fleet.node(&node.name).await, Some(wanted), "cordon: call {round}");
        expected.extend(changes.then_some(happened));
    }
    assert_eq!(fleet.events().await[before..], expected, "cordon: an event per change");
}

/// A cordon of a name nobody has is told, and is not journalled.
pub async fn n_cordon_of_nobody_writes_nothing(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let outcome = some(fleet.store.set_cordon(&name("a"), true, event("c", at(1))).await);
    assert_eq!((outcome, fleet.events().await), (None, Vec::new()), "cordon: nobody is there");
}

/// Of many that cordon one node at once, one did.
pub async fn n_many_cordons_at_once_are_one_change(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    fleet.bound("a", at(0)).await;
    let cordons = (0..32).map(|_| {
        let fleet = Arc::clone(&fleet);
        async move { some(fleet.store.set_cordon(&name("a"), true, event("c", at(1))).await) }
    });
    let outcomes = race(cordons.collect::<Vec<_>>()).await;
    assert!(outcomes.iter().flatten().all(|node| node.cordoned), "cordon: everybody sees it");
    assert_eq!(fleet.events().await, [event("c", at(1))], "cordon: one change, one event");
}

/// A step of `node` as it was read, into `to`.
pub(super) fn step(
    fleet: &Fleet,
    node: &NodeRecord,
    to: TrustState,
    event: Option<Event>,
) -> Transition {
    let attempt = FuseId::generate(at(2), fleet.make.entropy());
    Transition {
        node_id: node.id,
        from: node.state,
        attempt: node.fuse_attempt(),
        to,
        fuse: FuseRecord {
            attempt: attempt.expect("counting entropy never runs out"),
            started_at: at(2),
            deadline: at(300),
            ticket: None,
            ended: None,
        },
        event,
    }
}

/// N5: a step is made from the state and attempt it was read with, and is kept whole.
pub async fn n5_a_step_is_made_from_where_it_was_read(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let mut node = fleet.enrolled("a").await;
    let before = fleet.events().await.len();
    let mut expected_events = Vec::new();
    for (to, happened) in [
        (TrustState::Fusing, Some(event("started", at(2)))),
        (TrustState::Fusing, None),
        (TrustState::Fused, Some(event("fused", at(2)))),
        (TrustState::Monitoring, None),
    ] {
        let mut step = step(&fleet, &node, to, happened.clone());
        step.fuse.ticket = Some(format!("ticket of {to}"));
        step.fuse.ended = (to == TrustState::Fused).then_some(FuseEnd { at: at(3), failure: None });
        let expected = NodeRecord { state: to, fuse: Some(step.fuse.clone()), ..node.clone() };
        let outcome = some(fleet.store.transition(step).await);
        assert_eq!(outcome.as_ref(), Some(&expected), "N5: into {to}");
        assert_eq!(fleet.node(&node.name).await, outcome, "N5: it is kept");
        expected_events.extend(happened);
        node = expected;
    }
    assert_eq!(fleet.events().await[before..], expected_events, "N5: events as given");
}

/// N5: a step that was overtaken, or whose node is gone, writes nothing.
pub async fn n5_an_overtaken_step_writes_nothing(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let node = fleet.enrolled("a").await;
    let begun = step(&fleet, &node, TrustState::Fusing, None);
    let now = some(fleet.store.transition(begun).await).expect("N5: nothing came in between");
    let with = |change: fn(&mut Transition)| {
        let mut step = step(&fleet, &now, TrustState::Fused, Some(event("never", at(3))));
        change(&mut step);
        step
    };
    let mut foreign = with(|_| ());
    foreign.attempt = Some(foreign.fuse.attempt);
    let mut absent = with(|_| ());
    absent.node_id = fleet.make.node_id(at(0));
    for (step, why) in [
        (with(|step| step.from = TrustState::Monitoring), "another state"),
        (with(|step| step.from = TrustState::Pending), "another state"),
        (with(|step| step.attempt = None), "no attempt"),
        (foreign, "another attempt"),
        (absent, "another node"),
    ] {
        let before = fleet.observe().await;
        assert_eq!(some(fleet.store.transition(step).await), None, "N5: it was read with {why}");
        fleet.unchanged(&before, &format!("N5: {why}")).await;
    }
    let late = with(|_| ());
    let _gone = fleet.delete(&node.name, at(4)).await;
    assert_eq!(some(fleet.store.transition(late).await), None, "N5: the node is gone");
}

/// N5, R4: a re-enrollment ends every attempt: a step read before it is overtaken.
pub async fn n5_a_reenrollment_overtakes_a_step(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let node = fleet.enrolled("a").await;
    let begun = step(&fleet, &node, TrustState::Fusing, None);
    let fusing = some(fleet.store.transition(begun).await).expect("N5: nothing came in between");
    let late = step(&fleet, &fusing, TrustState::Fused, None);
    let token = fleet.bound("a", at(3)).await;
    let again = fleet.enroll(&Claimant::new(&token, "a").with_key("new"), at(4)).await.node;
    assert_eq!((again.id, again.state), (node.id, TrustState::Monitoring), "R4");
    assert_eq!(again.fuse, None, "R4: nothing is left of an attempt");
    assert_eq!(some(fleet.store.transition(late).await), None, "N5");
    assert_eq!(fleet.node(&node.name).await, Some(again), "R4, N5");
}

/// N5: of many steps read at the same moment one is made.
pub async fn n5_of_many_steps_at_once_one_is_made(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let node = fleet.enrolled("a").await;
    let before = fleet.events().await.len();
    let steps = (0..16).map(|_| {
        let step = step(&fleet, &node, TrustState::Fusing, Some(event("started", at(2))));
        let store = Arc::clone(&fleet.store);
        async move { some(store.transition(step).await) }
    });
    let made: Vec<_> = race(steps.collect::<Vec<_>>()).await.into_iter().flatten().collect();
    assert_eq!(made.len(), 1, "N5: one attempt began");
    assert_eq!(fleet.node(&node.name).await, made.into_iter().next(), "N5: and it is the one kept");
    assert_eq!(fleet.events().await.len(), before + 1, "N5: one event");
}
