//! R2: uses never exceed what the token allows, whoever claims them at the same moment.

use std::sync::Arc;
use std::time::Duration;

use super::fleet::{Fleet, at, event, some};
use crate::decision::Decision;
use crate::model::{Reason, Timestamp};
use crate::store::{NodeFilter, Page, RedeemOutcome, Store};
use crate::testing::{Claimant, Fixtures, TestToken, name, race, scale, together};

/// How many claim at the same moment.
const CLAIMANTS: usize = 64;

/// Has `claimants` machines of different names redeem `token` at once, all of them approved before
/// the first writes. Returns with what those that lost are refused.
async fn contest(fleet: &Arc<Fleet>, token: &TestToken, claimants: usize) -> Vec<Reason> {
    let mut contenders = Vec::new();
    for number in 0..claimants {
        let claimant = Claimant::new(token, &format!("machine-{number}"));
        let redeem = fleet.approve(&claimant, at(1)).await;
        let fleet = Arc::clone(fleet);
        contenders.push(async move {
            match fleet.redeem(redeem).await {
                RedeemOutcome::Enrolled(_) => None,
                RedeemOutcome::Lost(seen) => Some(fleet.refusal(&claimant, &seen, at(1))),
            }
        });
    }
    race(contenders).await.into_iter().flatten().collect()
}

/// Holds that exactly `uses` of a token are spent, each with a redemption and a node.
async fn spent(fleet: &Fleet, token: &TestToken, uses: usize) {
    assert_eq!(fleet.token(token).await.uses, uses as u64, "R2: the uses of the token");
    let rows = some(fleet.store.redemptions(token.record.id, Page::first(500)).await);
    assert_eq!(rows.len(), uses, "R2: one redemption per use");
    let nodes = some(fleet.store.nodes(Page::first(500), NodeFilter::default()).await);
    assert_eq!(nodes.len(), uses, "R2: one node per use");
}

/// R2: a one-shot token serves one of 64 that claim it at once; the others are told of the race.
pub async fn r2_one_of_64_claimants_of_a_one_shot_token_wins(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.minted(fleet.make.token(at(0)).uses(1)).await;
    let refused = contest(&fleet, &token, CLAIMANTS).await;
    assert_eq!(refused, [Reason::RaceConsumed; CLAIMANTS - 1], "R2: one wins, 63 lose the race");
    spent(&fleet, &token, 1).await;
}

/// R2: a counted token serves exactly its count of twice as many that claim it at once.
pub async fn r2_a_counted_token_serves_exactly_its_count(store: Arc<dyn Store>) {
    const COUNT: usize = CLAIMANTS / 2;
    let fleet = Fleet::new(store);
    let token = fleet.minted(fleet.make.token(at(0)).uses(COUNT as u32)).await;
    let refused = contest(&fleet, &token, CLAIMANTS).await;
    assert_eq!(refused, [Reason::RaceConsumed; COUNT], "R2: half win, half lose the race");
    spent(&fleet, &token, COUNT).await;
}

/// R2: an unlimited token serves all that claim it at once.
pub async fn r2_an_unlimited_token_serves_all(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    assert_eq!(contest(&fleet, &token, CLAIMANTS).await, [], "R2: nobody loses");
    spent(&fleet, &token, CLAIMANTS).await;
}

/// R2: of many one-shot tokens, each claimed by four at once, each is spent exactly once.
pub async fn r2_of_many_contested_tokens_each_is_spent_once(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let tokens = 200 * scale();
    let lanes = 32.min(tokens);
    let lane = |lane: usize| {
        let fleet = Arc::clone(&fleet);
        async move {
            for number in (lane..tokens).step_by(lanes) {
                contested_once(&fleet, number).await;
            }
        }
    };
    race((0..lanes).map(lane)).await;
}

async fn contested_once(fleet: &Arc<Fleet>, number: usize) {
    // Each in a millisecond of its own: ids of one millisecond differ in 29 bits, which a hundred
    // thousand of them would find two of alike in.
    let minted = at(0).after(Duration::from_millis(number as u64));
    let token = fleet.minted(fleet.make.token(minted).uses(1)).await;
    let mut contenders = Vec::new();
    for contender in 0..4 {
        let claimant = Claimant::new(&token, &format!("machine-{number}-{contender}"));
        let redeem = fleet.approve(&claimant, at(1)).await;
        let store = Arc::clone(&fleet.store);
        contenders.push(async move { some(store.redeem(redeem).await) });
    }
    let outcomes = race(contenders).await;
    let won = outcomes.iter().filter(|one| matches!(one, RedeemOutcome::Enrolled(_))).count();
    assert_eq!(won, 1, "R2: token {number} was issued {won} times");
    assert_eq!(fleet.token(&token).await.uses, 1, "R2: the uses of token {number}");
}

/// R2: a use that went between look-up and redemption is gone, without any concurrency too.
pub async fn r2_a_use_that_went_since_the_look_up_is_gone(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    for (uses, count) in [(1, 1), (3, 3)] {
        let token = fleet.minted(fleet.make.token(at(0)).uses(uses)).await;
        let late = Claimant::new(&token, &format!("late-{uses}"));
        let redeem = fleet.approve(&late, at(1)).await;
        for number in 0..count {
            fleet.enroll(&Claimant::new(&token, &format!("early-{uses}-{number}")), at(1)).await;
        }
        assert_eq!(fleet.lose(&late, redeem).await, Reason::RaceConsumed, "R2");
        assert_eq!(fleet.token(&token).await.uses, u64::from(uses), "R2");
    }
}

/// R2: a token is good up to the millisecond before `expires_at`, by [`Redeem::at`] alone.
///
/// [`Redeem::at`]: crate::store::Redeem::at
pub async fn r2_the_instant_of_expiry_is_too_late(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    let end = token.record.expires_at;
    let late = Claimant::new(&token, "late");
    let mut redeem = fleet.approve(&late, at(1)).await;
    redeem.at = end;
    assert_eq!(fleet.lose(&late, redeem).await, Reason::Expired, "R2: at the instant");
    let last = end.before(Duration::from_millis(1));
    fleet.enroll(&Claimant::new(&token, "in-time"), last).await;
    assert_eq!(fleet.token(&token).await.uses, 1, "R2");
}

/// R2: a token that was revoked since the look-up is not spent.
pub async fn r2_a_token_revoked_since_the_look_up_is_lost(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    let claimant = Claimant::new(&token, "a");
    let redeem = fleet.approve(&claimant, at(2)).await;
    some(fleet.store.revoke(token.record.id, at(1), event("revoked", at(1))).await);
    assert_eq!(fleet.lose(&claimant, redeem).await, Reason::Revoked, "R2");
    assert_eq!(fleet.token(&token).await.uses, 0, "R2");
}

/// R2: a token that a newer one of its node replaced since the look-up is not spent.
pub async fn r2_a_token_replaced_since_the_look_up_is_lost(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.bound("a", at(0)).await;
    let claimant = Claimant::new(&token, "a");
    let redeem = fleet.approve(&claimant, at(2)).await;
    fleet.bound("a", at(1)).await;
    assert_eq!(fleet.lose(&claimant, redeem).await, Reason::InvalidToken, "R2");
    assert_eq!(fleet.token(&token).await.uses, 0, "R2");
}

/// R2: a token the store does not hold is not spent, whatever an approval says of it.
pub async fn r2_a_token_that_is_not_there_is_lost(store: Arc<dyn Store>) {
    let (here, elsewhere) = (Fleet::new(store), crate::store::MemoryStore::new());
    let elsewhere = Fleet::new(Arc::new(elsewhere));
    let token = elsewhere.unlimited(at(0)).await;
    let claimant = Claimant::new(&token, "a");
    let redeem = elsewhere.approve(&claimant, at(1)).await;
    assert_eq!(here.lose(&claimant, redeem).await, Reason::InvalidToken, "R2");
    assert_eq!(here.node(&name("a")).await, None, "R2");
}

/// R2: a redemption and a revocation at the same moment cannot both have the one use.
pub async fn r2_redeem_racing_revoke_has_one_winner(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    for round in 0..32 * scale() {
        let token = fleet.minted(fleet.make.token(at(0)).uses(1)).await;
        let claimant = Claimant::new(&token, &format!("machine-{round}"));
        let redeem = fleet.approve(&claimant, at(1)).await;
        let (one, other, id) = (Arc::clone(&fleet), Arc::clone(&fleet.store), token.record.id);
        let (redeemed, revoked) = together(async move { one.redeem(redeem).await }, async move {
            some(other.revoke(id, at(1), event("revoked", at(1))).await)
        })
        .await;
        let revoked = revoked.expect("T3: the token is there").revoked_now;
        match redeemed {
            RedeemOutcome::Enrolled(_) => assert!(!revoked, "R2, T3: both had the use"),
            RedeemOutcome::Lost(seen) => {
                assert!(revoked, "R2, T3: neither had the use");
                assert_eq!(fleet.refusal(&claimant, &seen, at(1)), Reason::Revoked, "R5");
            }
        }
        assert_eq!(fleet.token(&token).await.uses, u64::from(!revoked), "R2");
    }
}

/// R2, T1: a redemption and a regenerate at the same moment: the old token is either spent, and its
/// window closed, or replaced.
pub async fn r2_redeem_racing_regenerate_has_one_winner(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    for round in 0..32 * scale() {
        let name = format!("machine-{round}");
        let token = fleet.bound(&name, at(0)).await;
        let claimant = Claimant::new(&token, &name);
        let redeem = fleet.approve(&claimant, at(1)).await;
        let redemption = redeem.id;
        let newer = fleet.make.token(at(1)).bound_to(&name);
        let (one, other) = (Arc::clone(&fleet), Arc::clone(&fleet));
        let (redeemed, node) =
            together(
                async move { one.redeem(redeem).await },
                async move { other.mint(&newer).await },
            )
            .await;
        assert!(node.is_some(), "R2, T1: the newer token is minted either way");
        let (older, at) = (fleet.token(&token).await, at(1));
        match redeemed {
            RedeemOutcome::Enrolled(_) => {
                assert_eq!((older.uses, older.replaced_at), (1, None), "R2, T1: a spent one stays");
                assert!(!fleet.is_open(&token, redemption).await, "R2, T1: the window is closed");
            }
            RedeemOutcome::Lost(seen) => {
                assert_eq!(
                    (older.uses, older.replaced_at),
                    (0, Some(at)),
                    "R2, T1: it was replaced"
                );
                assert_eq!(fleet.refusal(&claimant, &seen, at), Reason::InvalidToken, "R2, R5");
            }
        }
    }
}

/// R2, N2: a redemption and the deletion of its node at the same moment leave no node, no live
/// identity and no open window, whoever is first.
pub async fn r2_redeem_racing_delete_leaves_nothing_alive(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    for round in 0..32 * scale() {
        let text = format!("machine-{round}");
        let token = fleet.bound(&text, at(0)).await;
        let claimant = Claimant::new(&token, &text);
        let redeem = fleet.approve(&claimant, at(1)).await;
        let (redemption, identities) = (redeem.id, redeem.identities.clone());
        let (one, other, gone) = (Arc::clone(&fleet), Arc::clone(&fleet), name(&text));
        let (redeemed, _) = together(async move { one.redeem(redeem).await }, async move {
            other.delete(&gone, at(1)).await
        })
        .await;
        assert_eq!(fleet.node(&name(&text)).await, None, "R2, N2: the node is gone");
        for identity in &identities {
            assert!(!fleet.is_live(identity).await, "R2, N2: no identity outlives its node");
        }
        match redeemed {
            RedeemOutcome::Enrolled(_) => {
                assert!(!fleet.is_open(&token, redemption).await, "R2, N2: the window is closed");
            }
            RedeemOutcome::Lost(seen) => {
                assert_eq!(fleet.refusal(&claimant, &seen, at(1)), Reason::Revoked, "R2, R5");
                assert_eq!(fleet.token(&token).await.uses, 0, "R2");
            }
        }
    }
}

/// R2, R5: of two calls of one claimant at the same moment one wins, and the other is shown that it
/// is its own answer.
pub async fn r2_two_calls_of_one_claimant_spend_one_use(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    for round in 0..16 * scale() {
        let token = fleet.minted(fleet.make.token(at(0)).uses(2)).await;
        let claimant = Claimant::new(&token, &format!("machine-{round}"));
        let mut contenders = Vec::new();
        for _ in 0..8 {
            let redeem = fleet.approve(&claimant, at(1)).await;
            let fleet = Arc::clone(&fleet);
            contenders.push(async move { fleet.redeem(redeem).await });
        }
        let outcomes = race(contenders).await;
        let lost = outcomes.into_iter().filter_map(|outcome| match outcome {
            RedeemOutcome::Enrolled(_) => None,
            RedeemOutcome::Lost(seen) => Some(fleet.make.lost(&claimant, &seen, at(1))),
        });
        let lost: Vec<_> = lost.collect();
        let own = lost.iter().filter(|one| matches!(one, Ok(Decision::Redeliver(_)))).count();
        assert_eq!((lost.len(), own), (7, 7), "R2, R5: all but one see their own redemption");
        assert_eq!(fleet.token(&token).await.uses, 1, "R2: one use for one claimant");
    }
}

/// R2: spending is by the instant given, not by a clock of the store's own.
pub async fn r2_the_store_has_no_clock_of_its_own(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    for (label, start) in [("past", 1_000_000_000), ("future", 4_000_000_000)] {
        let start = Timestamp::from_unix_secs(start);
        let token = fleet.minted(fleet.make.token(start).ttl(Fixtures::TTL)).await;
        let enrolled = fleet.enroll(&Claimant::new(&token, label), start).await;
        assert_eq!(enrolled.node.enrolled_at, Some(start), "R2: {label}");
    }
}
