//! R6: an answer that was lost is given again while its window is open, and not after.

use std::sync::Arc;
use std::time::Duration;

use super::fleet::{Enrolled, Fleet, at, event, is_collision, some};
use crate::model::{NameState, Prior, RedemptionRecord, TokenId};
use crate::store::{Page, Redeliver, RedeliverOutcome, Store, UseOutcome};
use crate::testing::{Claimant, TestToken, name, race, scale, together};

/// A member whose answer was lost.
async fn member(fleet: &Fleet, text: &str) -> (TestToken, Claimant, Enrolled) {
    let token = fleet.minted(fleet.make.token(at(0)).bound_to(text)).await;
    let claimant = Claimant::new(&token, text);
    let enrolled = fleet.enroll(&claimant, at(1)).await;
    (token, claimant, enrolled)
}

/// R6: while the window is open the answer is given again, and spends nothing.
pub async fn r6_an_open_window_gives_the_answer_again(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (token, claimant, enrolled) = member(&fleet, "a").await;
    for _ in 0..3 {
        let redeliver = fleet.redelivery(&claimant, at(2)).await;
        let (attempt, event) = (redeliver.attempt.clone(), redeliver.event.clone());
        let outcome = fleet.give_again(redeliver).await;
        let RedeliverOutcome::Redelivered(node) = outcome else { panic!("R6: {outcome:?}") };
        assert_eq!(*node, enrolled.node, "R6: the same node, as it stood");
        let attempts = some(fleet.store.attempts(&name("a"), Page::first(10)).await);
        assert!(attempts.contains(&attempt), "R6: the attempt is journalled");
        assert_eq!(fleet.events().await.last(), Some(&event), "R6: the event is journalled");
    }
    assert_eq!(fleet.token(&token).await.uses, 1, "R6: nothing more is spent");
    assert!(fleet.is_open(&token, enrolled.redemption).await, "R6: the window stays open");
    let rows = some(fleet.store.redemptions(token.record.id, Page::first(10)).await);
    assert_eq!(rows.len(), 1, "R6: it is the same redemption");
}

/// R6: a bearer credential made anew takes the place of the earlier one; the certificate stays.
pub async fn r6_a_replacement_revokes_the_earlier_one_of_its_kind(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (_token, claimant, enrolled) = member(&fleet, "a").await;
    let mut earlier = enrolled.api_key;
    for round in 2..5 {
        let redeliver = fleet.redelivery(&claimant, at(round)).await;
        let replacement = redeliver.replacements[0].clone();
        let _node = fleet.give_again(redeliver).await;
        let old = fleet.member(&earlier).await.expect("I1: a revoked identity is found");
        assert_eq!(old.identity.revoked_at, Some(at(round)), "R6: the earlier one is revoked");
        let new = fleet.member(&replacement).await.expect("R6: the new one is there");
        assert_eq!(new.identity, replacement, "R6: whole");
        assert_eq!(new.node, Some(enrolled.node.clone()), "R6: and the node's");
        assert!(fleet.is_live(&enrolled.x509).await, "R6: another kind stays");
        earlier = replacement;
    }
}

/// R6: a replacement with nothing to replace but itself: no replacements, nothing revoked.
pub async fn r6_without_replacements_nothing_is_revoked(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (_token, claimant, enrolled) = member(&fleet, "a").await;
    let mut redeliver = fleet.redelivery(&claimant, at(2)).await;
    redeliver.replacements.clear();
    let _node = fleet.give_again(redeliver).await;
    assert!(fleet.is_live(&enrolled.x509).await && fleet.is_live(&enrolled.api_key).await, "R6");
}

/// Holds that `redeliver` is refused, writes nothing, and is shown what closed it.
async fn closed(fleet: &Fleet, redeliver: Redeliver, by: &str) -> (NameState, Option<Prior>) {
    let before = fleet.observe().await;
    let outcome = fleet.give_again(redeliver).await;
    let RedeliverOutcome::Closed(seen) = outcome else {
        panic!("R6: {by} closes the window: {outcome:?}");
    };
    fleet.unchanged(&before, &format!("R6: after {by}")).await;
    (seen.name, seen.prior)
}

/// R6: the first use closes the window.
pub async fn r6_first_use_closes_the_window(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (_token, claimant, enrolled) = member(&fleet, "a").await;
    let redeliver = fleet.redelivery(&claimant, at(3)).await;
    assert_eq!(some(fleet.store.mark_used(enrolled.x509.id, at(2)).await), UseOutcome::First);
    let (name, prior) = closed(&fleet, redeliver, "the first use").await;
    assert_eq!(name, NameState::Held(enrolled.node), "R6: the snapshot shows the holder");
    let closed_at = prior.and_then(|prior| prior.redemption.closed_at);
    assert_eq!(closed_at, Some(at(2)), "R6: the snapshot shows the closed redemption");
}

/// R6, T4: a revoke of the token closes the window, though the token is spent.
pub async fn r6_revoke_closes_the_window(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (token, claimant, _enrolled) = member(&fleet, "a").await;
    let redeliver = fleet.redelivery(&claimant, at(3)).await;
    some(fleet.store.revoke(token.record.id, at(2), event("revoked", at(2))).await);
    closed(&fleet, redeliver, "a revoke").await;
}

/// R6, T1: a regenerate closes the window.
pub async fn r6_regenerate_closes_the_window(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (_token, claimant, _enrolled) = member(&fleet, "a").await;
    let redeliver = fleet.redelivery(&claimant, at(3)).await;
    fleet.bound("a", at(2)).await;
    closed(&fleet, redeliver, "a regenerate").await;
}

/// R6, N2: a deletion of the node closes the window, and a name registered again stays closed.
pub async fn r6_deletion_closes_the_window(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (_token, claimant, _enrolled) = member(&fleet, "a").await;
    let first = fleet.redelivery(&claimant, at(3)).await;
    let second = fleet.redelivery(&claimant, at(3)).await;
    let _gone = fleet.delete(&name("a"), at(2)).await;
    let (state, _) = closed(&fleet, first, "a deletion").await;
    assert_eq!(state, NameState::Deleted { at: at(2) }, "R6: the snapshot shows the deletion");
    fleet.bound("a", at(3)).await;
    let (state, _) = closed(&fleet, second, "a deletion and a registration").await;
    assert!(matches!(state, NameState::Pending(_)), "R6: {state:?}");
}

/// R6, R4: a re-enrollment of the node closes the window.
pub async fn r6_reenrollment_closes_the_window(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.minted(fleet.make.token(at(0)).bound_to("a").uses(2)).await;
    let claimant = Claimant::new(&token, "a");
    fleet.enroll(&claimant, at(1)).await;
    let redeliver = fleet.redelivery(&claimant, at(3)).await;
    let second = fleet.enroll(&claimant.clone().with_key("other"), at(2)).await;
    let (state, _) = closed(&fleet, redeliver, "a re-enrollment").await;
    assert_eq!(state, NameState::Held(second.node), "R6");
    assert!(fleet.is_live(&second.api_key).await, "R6");
}

/// R6: the window closes by itself 24 h after the redemption, and not a millisecond before, however
/// short the token lived.
pub async fn r6_the_window_ends_after_a_day(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (token, claimant, enrolled) = member(&fleet, "a").await;
    let end = at(1).after(RedemptionRecord::REDELIVERY_WINDOW);
    assert!(token.record.expires_at < end, "this token ends before its window");
    let in_time = fleet.redelivery(&claimant, end.before(Duration::from_millis(1))).await;
    let outcome = fleet.give_again(in_time).await;
    assert!(matches!(outcome, RedeliverOutcome::Redelivered(_)), "R6: in time: {outcome:?}");
    let mut late = fleet.redelivery(&claimant, at(2)).await;
    late.at = end;
    closed(&fleet, late, "the day's end").await;
    assert!(fleet.is_open(&token, enrolled.redemption).await, "R6: no one closed it");
}

/// R6, R7: a replacement whose digest is there already is a collision, and revokes nothing.
pub async fn r6_a_collision_writes_nothing(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (_token, claimant, enrolled) = member(&fleet, "a").await;
    let (_, _, other) = member(&fleet, "b").await;
    let mut redeliver = fleet.redelivery(&claimant, at(2)).await;
    redeliver.replacements[0].credential = other.api_key.credential.clone();
    let before = fleet.observe().await;
    assert!(is_collision(fleet.store.redeliver(redeliver).await), "R7");
    fleet.unchanged(&before, "R7").await;
    assert!(fleet.is_live(&enrolled.api_key).await, "R7: the earlier key still works");
}

/// R6: giving an answer again and its first use at the same moment: one of them has happened first,
/// and the other sees it.
pub async fn r6_redeliver_racing_first_use_has_one_winner(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    for round in 0..32 * scale() {
        let (_token, claimant, enrolled) = member(&fleet, &format!("machine-{round}")).await;
        let redeliver = fleet.redelivery(&claimant, at(2)).await;
        let fresh = redeliver.replacements[0].clone();
        let (one, other, key) = (Arc::clone(&fleet), Arc::clone(&fleet.store), enrolled.api_key);
        let id = key.id;
        let (given, used) = together(async move { one.give_again(redeliver).await }, async move {
            some(other.mark_used(id, at(2)).await)
        })
        .await;
        match given {
            RedeliverOutcome::Redelivered(_) => {
                assert_eq!(used, UseOutcome::Revoked, "R6: the old key was replaced");
                assert!(fleet.is_live(&fresh).await && !fleet.is_live(&key).await, "R6");
            }
            RedeliverOutcome::Closed(_) => {
                assert_eq!(used, UseOutcome::First, "R6: the use closed the window");
                assert!(fleet.is_live(&key).await && !fleet.is_live(&fresh).await, "R6");
            }
        }
    }
}

/// R6: of many that are given the same answer at once, the last one's key works and no other.
pub async fn r6_many_redeliveries_at_once_leave_one_key(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    for round in 0..8 * scale() {
        let (token, claimant, enrolled) = member(&fleet, &format!("machine-{round}")).await;
        let (mut contenders, mut keys) = (Vec::new(), vec![enrolled.api_key]);
        for _ in 0..8 {
            let redeliver = fleet.redelivery(&claimant, at(2)).await;
            keys.push(redeliver.replacements[0].clone());
            let fleet = Arc::clone(&fleet);
            contenders.push(async move { fleet.give_again(redeliver).await });
        }
        for outcome in race(contenders).await {
            assert!(matches!(outcome, RedeliverOutcome::Redelivered(_)), "R6: {outcome:?}");
        }
        let mut live = 0;
        for key in &keys {
            live += usize::from(fleet.is_live(key).await);
        }
        assert_eq!(live, 1, "R6: one live key of a redemption");
        let id: TokenId = token.record.id;
        let prior = fleet.look_up(&claimant, Some(id)).await.prior.expect("R1");
        assert_eq!(prior.identities.len(), 2, "R6: the certificate and one key");
    }
}
