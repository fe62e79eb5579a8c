//! Renewals and revocations beside what happens at the same moment.

use std::sync::Arc;

use super::fleet::{Fleet, at, event, some};
use super::identities::{member, renew, renewal, renewed};
use crate::model::IdentityRecord;
use crate::store::{DeleteOutcome, RedeemOutcome, RenewOutcome, Renewal, Store, UseOutcome};
use crate::testing::{Claimant, name, race, scale, together};

/// I3: of many renewals at once, one successor is good at the end.
pub async fn i3_many_renewals_at_once_leave_one_successor(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    for round in 0..8 * scale() {
        let (_token, enrolled) = member(&fleet, &format!("machine-{round}")).await;
        let (mut contenders, mut successors) = (Vec::new(), Vec::new());
        for _ in 0..8 {
            let renewal = renewal(&fleet, &enrolled.x509);
            successors.push(renewal.successor.clone());
            let fleet = Arc::clone(&fleet);
            contenders.push(async move { renew(&fleet, renewal).await });
        }
        for outcome in race(contenders).await {
            assert!(matches!(outcome, RenewOutcome::Renewed), "I3: nothing stands against it");
        }
        let mut live = 0;
        for successor in &successors {
            live += usize::from(fleet.is_live(successor).await);
        }
        assert_eq!(live, 1, "I3: one unused successor");
        assert!(fleet.is_live(&enrolled.x509).await, "I3: the predecessor stays");
    }
}

/// I2, I3: the first use of a successor and a second renewal at the same moment: one of them has
/// happened first, and the other sees it.
pub async fn i3_renew_racing_first_use_has_one_winner(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    for round in 0..32 * scale() {
        let (_token, enrolled) = member(&fleet, &format!("machine-{round}")).await;
        let first = renewed(&fleet, &enrolled.x509).await;
        let again = renewal(&fleet, &enrolled.x509);
        let (second, id) = (again.successor.clone(), first.id);
        let (one, other) = (Arc::clone(&fleet), Arc::clone(&fleet.store));
        let (renewed, used) = together(async move { renew(&one, again).await }, async move {
            some(other.mark_used(id, at(3)).await)
        })
        .await;
        let lived = (
            fleet.is_live(&enrolled.x509).await,
            fleet.is_live(&first).await,
            fleet.is_live(&second).await,
        );
        match renewed {
            RenewOutcome::Renewed => {
                assert_eq!(used, UseOutcome::Revoked, "I3: the unused one was replaced");
                assert_eq!(lived, (true, false, true), "I3: predecessor and second are good");
            }
            RenewOutcome::Revoked => {
                assert_eq!(used, UseOutcome::First, "I2: its use retired the predecessor");
                assert_eq!(lived, (false, true, false), "I2: the first is good, alone");
            }
        }
    }
}

/// What renews the certificate of a member of this name, and all identities that it has then.
async fn about_to_renew(fleet: &Fleet, text: &str) -> (Renewal, [IdentityRecord; 3]) {
    let (_token, enrolled) = member(fleet, text).await;
    let renewal = renewal(fleet, &enrolled.x509);
    let successor = renewal.successor.clone();
    (renewal, [enrolled.x509, enrolled.api_key, successor])
}

/// I2, R4: a renewal and another machine that takes the node at the same moment: whichever was first,
/// the one that takes it is the only one at the end.
pub async fn r4_renew_racing_a_reenrollment_leaves_nothing_of_the_old(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    for round in 0..32 * scale() {
        let text = format!("machine-{round}");
        let (renewal, old) = about_to_renew(&fleet, &text).await;
        let token = fleet.bound(&text, at(2)).await;
        let redeem = fleet.approve(&Claimant::new(&token, &text).with_key("new"), at(3)).await;
        let taken = redeem.identities.clone();
        let (one, other) = (Arc::clone(&fleet), Arc::clone(&fleet));
        let (redeemed, _renewed) = together(async move { one.redeem(redeem).await }, async move {
            renew(&other, renewal).await
        })
        .await;
        assert!(matches!(redeemed, RedeemOutcome::Enrolled(_)), "R4: nothing stands against it");
        for gone in &old {
            assert!(!fleet.is_live(gone).await, "I2, R4: the old machine's is good no more");
        }
        for identity in &taken {
            assert!(fleet.is_live(identity).await, "R4: the new machine's is good");
        }
    }
}

/// I2, N2: a renewal and the deletion of its node at the same moment leave nothing that is good.
pub async fn n2_renew_racing_a_deletion_leaves_nothing(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    for round in 0..32 * scale() {
        let text = format!("machine-{round}");
        let (renewal, old) = about_to_renew(&fleet, &text).await;
        let (one, other, gone) = (Arc::clone(&fleet), Arc::clone(&fleet), name(&text));
        let (deleted, _renewed) =
            together(async move { one.delete(&gone, at(3)).await }, async move {
                renew(&other, renewal).await
            })
            .await;
        assert!(matches!(deleted, DeleteOutcome::Deleted(_)), "N2: it was there");
        for identity in &old {
            assert!(!fleet.is_live(identity).await, "I2, N2: the node is gone");
        }
    }
}

/// R2, T4: an unlimited token that is revoked while many use it: who has got in is a member, and none of
/// their answers is given again.
pub async fn t4_revoke_racing_users_of_an_unlimited_token_closes_every_window(
    store: Arc<dyn Store>,
) {
    let fleet = Fleet::new(store);
    for round in 0..8 * scale() {
        let token = fleet.unlimited(at(0)).await;
        let mut users = Vec::new();
        for user in 0..8 {
            let claimant = Claimant::new(&token, &format!("machine-{round}-{user}"));
            let redeem = fleet.approve(&claimant, at(1)).await;
            let (fleet, redemption) = (Arc::clone(&fleet), redeem.id);
            users.push(async move { (fleet.redeem(redeem).await, redemption) });
        }
        let (store, id) = (Arc::clone(&fleet.store), token.record.id);
        let revoked = async move { some(store.revoke(id, at(1), event("revoked", at(1))).await) };
        let (redeemed, revoked) = together(race(users), revoked).await;
        assert!(revoked.is_some_and(|it| it.revoked_now), "T3: it was there and good");
        for (outcome, redemption) in redeemed {
            if matches!(outcome, RedeemOutcome::Enrolled(_)) {
                assert!(!fleet.is_open(&token, redemption).await, "T4: its window is closed");
            }
        }
    }
}
