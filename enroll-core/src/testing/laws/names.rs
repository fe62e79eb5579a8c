//! R3: a name is taken as the approval says, or not at all.

use std::sync::Arc;

use super::fleet::{Fleet, at, some};
use super::nodes::step;
use crate::model::{Method, NameState, Reason, TokenRecord, TrustState};
use crate::store::{NodeFilter, Page, Redeem, RedeemOutcome, Store};
use crate::testing::{Claimant, Fixtures, name, race, scale};

/// R3, N1: of 32 tokens that claim one free name at once one wins, and the others are unspent.
pub async fn r3_many_tokens_for_one_free_name_have_one_winner(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (mut contenders, mut tokens) = (Vec::new(), Vec::new());
    for number in 0..32 {
        let token = fleet.minted(fleet.make.token(at(0)).uses(1)).await;
        let claimant = Claimant::new(&token, "wanted").with_key(&format!("key {number}"));
        let redeem = fleet.approve(&claimant, at(1)).await;
        tokens.push(token);
        let fleet = Arc::clone(&fleet);
        contenders.push(async move {
            match fleet.redeem(redeem).await {
                RedeemOutcome::Enrolled(_) => None,
                RedeemOutcome::Lost(seen) => Some(fleet.refusal(&claimant, &seen, at(1))),
            }
        });
    }
    let refused: Vec<_> = race(contenders).await.into_iter().flatten().collect();
    assert_eq!(refused, [Reason::NameTaken; 31], "R3: one has the name");
    let mut uses = 0;
    for token in &tokens {
        uses += fleet.token(token).await.uses;
    }
    assert_eq!(uses, 1, "R3: who did not get the name spent nothing");
    let nodes = some(fleet.store.nodes(Page::first(10), NodeFilter::default()).await);
    assert_eq!(nodes.len(), 1, "N1: one node has the name");
}

/// R3, N1: of two tokens that claim one free name at once one wins, over and over.
pub async fn r3_two_tokens_for_one_free_name_have_one_winner(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    for round in 0..32 * scale() {
        let mut contenders = Vec::new();
        for key in ["one", "other"] {
            let token = fleet.minted(fleet.make.token(at(0)).uses(1)).await;
            let claimant = Claimant::new(&token, &format!("machine-{round}")).with_key(key);
            let redeem = fleet.approve(&claimant, at(1)).await;
            let fleet = Arc::clone(&fleet);
            contenders.push(async move { fleet.redeem(redeem).await });
        }
        let outcomes = race(contenders).await;
        let won = outcomes.iter().filter(|one| matches!(one, RedeemOutcome::Enrolled(_))).count();
        assert_eq!(won, 1, "R3: one name, {won} winners");
    }
}

/// R3: a free name that was enrolled meanwhile is not taken from its holder.
pub async fn r3_free_is_lost_once_the_name_is_held(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    let late = Claimant::new(&token, "a").with_key("late");
    let redeem = fleet.approve(&late, at(2)).await;
    let winner = fleet.enroll(&Claimant::new(&token, "a"), at(1)).await;
    assert_eq!(fleet.lose(&late, redeem).await, Reason::NameTaken, "R3");
    assert_eq!(fleet.node(&name("a")).await, Some(winner.node.clone()), "R3: the holder stays");
    assert!(fleet.is_live(&winner.x509).await, "R3: and so do its identities");
}

/// R3: a free name that was registered meanwhile waits for its own token.
pub async fn r3_free_is_lost_once_the_name_is_pending(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    let late = Claimant::new(&token, "a");
    let redeem = fleet.approve(&late, at(2)).await;
    fleet.bound("a", at(1)).await;
    assert_eq!(fleet.lose(&late, redeem).await, Reason::NameTaken, "R3");
}

/// Has a proof, approved while the name was free, be redeemed after the name's first holder was
/// deleted at `at(5)`.
async fn after_a_deletion(fleet: &Fleet, claimant: &Claimant) -> Redeem {
    let redeem = fleet.approve(claimant, at(6)).await;
    let first = fleet.unlimited(at(0)).await;
    fleet.enroll(&Claimant::new(&first, "a").with_key("first"), at(1)).await;
    let _gone = fleet.delete(&name("a"), at(5)).await;
    redeem
}

/// R3: a token minted before the deletion of a name does not take it.
pub async fn r3_a_token_minted_before_the_deletion_loses(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(4)).await;
    let claimant = Claimant::new(&token, "a");
    let redeem = after_a_deletion(&fleet, &claimant).await;
    assert_eq!(fleet.lose(&claimant, redeem).await, Reason::NameTaken, "R3");
}

/// R3: a token minted at the very instant of the deletion does not take the name.
pub async fn r3_a_token_minted_at_the_deletion_loses(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(5)).await;
    let claimant = Claimant::new(&token, "a");
    let redeem = after_a_deletion(&fleet, &claimant).await;
    assert_eq!(fleet.lose(&claimant, redeem).await, Reason::NameTaken, "R3: a tie");
}

/// R3: a token minted after the deletion takes the name, and the node is a new one.
pub async fn r3_a_token_minted_after_the_deletion_wins(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let first = fleet.unlimited(at(0)).await;
    let before = fleet.enroll(&Claimant::new(&first, "a"), at(1)).await;
    let _gone = fleet.delete(&name("a"), at(5)).await;
    let token = fleet.unlimited(Fixtures::at(5).after(std::time::Duration::from_millis(1))).await;
    let after = fleet.enroll(&Claimant::new(&token, "a").with_key("second"), at(6)).await;
    assert_ne!(after.node.id, before.node.id, "R3: after a deletion the node is another one");
    assert!(!fleet.is_live(&before.x509).await && fleet.is_live(&after.x509).await, "N2");
}

/// R3: an enrollment secret counts as minted when it was set.
pub async fn r3_a_secret_set_before_the_deletion_loses(store: Arc<dyn Store>) {
    let fleet = Fleet::with(store, Fixtures::new().with_secret_set_at(at(4)));
    let claimant = Claimant::by_secret("a");
    let redeem = after_a_deletion(&fleet, &claimant).await;
    assert_eq!(fleet.lose(&claimant, redeem).await, Reason::NameTaken, "R3");
}

/// R3: an enrollment secret set after the deletion takes the name.
pub async fn r3_a_secret_set_after_the_deletion_wins(store: Arc<dyn Store>) {
    let fleet = Fleet::with(store, Fixtures::new().with_secret_set_at(at(6)));
    let first = fleet.unlimited(at(0)).await;
    fleet.enroll(&Claimant::new(&first, "a").with_key("first"), at(1)).await;
    let _gone = fleet.delete(&name("a"), at(5)).await;
    let enrolled = fleet.enroll(&Claimant::by_secret("a"), at(7)).await;
    assert_eq!(enrolled.node.method, Some(Method::Secret), "R4");
}

/// R3: a name that was pending and is held now is not taken as pending.
pub async fn r3_pending_is_lost_once_the_name_is_held(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.minted(fleet.make.token(at(0)).bound_to("a").uses(2)).await;
    let late = Claimant::new(&token, "a").with_key("late");
    let redeem = fleet.approve(&late, at(1)).await;
    let winner = fleet.enroll(&Claimant::new(&token, "a"), at(1)).await;
    let before = fleet.observe().await;
    let outcome = fleet.redeem(redeem).await;
    assert!(matches!(outcome, RedeemOutcome::Lost(_)), "R3: {outcome:?}");
    fleet.unchanged(&before, "R5").await;
    assert!(fleet.is_live(&winner.x509).await, "R3");
}

/// R3: a name that was registered anew since the look-up is another node's.
pub async fn r3_pending_is_lost_once_the_name_is_another_nodes(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let node = fleet.mint(&fleet.make.token(at(0)).bound_to("a")).await;
    // The approval is for a token bound to the name, and the store knows it as an unbound one: so
    // the deletion of the node leaves it alone, and only the node can make the redemption lose.
    let token = fleet.unlimited(at(0)).await;
    let claimant = Claimant::new(&token, "a");
    let mut seen = fleet.look_up(&claimant, Some(token.record.id)).await;
    assert_eq!(seen.name, NameState::Pending(node.expect("T1: it is registered")), "R1");
    seen.token = seen.token.map(|token| TokenRecord { bound_to: Some(name("a")), ..token });
    let redeem = fleet.approve_after(&claimant, &seen, at(3));
    let _gone = fleet.delete(&name("a"), at(1)).await;
    fleet.bound("a", at(2)).await;
    assert_eq!(fleet.lose(&claimant, redeem).await, Reason::NameTaken, "R3");
    assert_eq!(fleet.token(&token).await.uses, 0, "R3");
}

/// R3: a held name whose holder was deleted since the look-up is not taken as held.
pub async fn r3_held_is_lost_once_the_holder_is_gone(store: Arc<dyn Store>) {
    let fleet = Fleet::with(store, Fixtures::new().with_replace());
    fleet.enroll(&Claimant::by_secret("a"), at(1)).await;
    let claimant = Claimant::by_secret("a").with_key("fresh directory");
    let redeem = fleet.approve(&claimant, at(3)).await;
    let _gone = fleet.delete(&name("a"), at(2)).await;
    assert_eq!(fleet.lose(&claimant, redeem).await, Reason::NameTaken, "R3");
    assert_eq!(fleet.node(&name("a")).await, None, "R3");
}

/// R3: a held name whose holder is another node since the look-up is not taken as held.
pub async fn r3_held_is_lost_once_the_holder_is_another(store: Arc<dyn Store>) {
    let fleet = Fleet::with(store, Fixtures::new().with_replace());
    fleet.enroll(&Claimant::by_secret("a"), at(1)).await;
    let claimant = Claimant::by_secret("a").with_key("fresh directory");
    let redeem = fleet.approve(&claimant, at(4)).await;
    let _gone = fleet.delete(&name("a"), at(2)).await;
    let token = fleet.unlimited(at(3)).await;
    let holder = fleet.enroll(&Claimant::new(&token, "a").with_key("other"), at(3)).await;
    assert_eq!(fleet.lose(&claimant, redeem).await, Reason::NameTaken, "R3");
    assert_eq!(fleet.node(&name("a")).await, Some(holder.node), "R3: the holder stays");
}

/// R3: a held name whose holder began to be fused since the look-up is not taken as held; seen again,
/// it is.
pub async fn r3_held_is_lost_once_an_attempt_to_fuse_began(store: Arc<dyn Store>) {
    let fleet = Fleet::with(store, Fixtures::new().with_replace());
    let node = fleet.enroll(&Claimant::by_secret("a"), at(1)).await.node;
    let claimant = Claimant::by_secret("a").with_key("fresh directory");
    let redeem = fleet.approve(&claimant, at(3)).await;
    let begun = step(&fleet, &node, TrustState::Fusing, None);
    let fusing = some(fleet.store.transition(begun).await).expect("N5: nothing came in between");
    let before = fleet.observe().await;
    let RedeemOutcome::Lost(seen) = fleet.redeem(redeem).await else {
        panic!("R3: nobody would know of the attempt")
    };
    assert_eq!(seen.name, NameState::Held(fusing), "R5: as it lost");
    fleet.unchanged(&before, "R5").await;
    let again = fleet.enroll(&claimant, at(4)).await.node;
    assert_eq!((again.id, again.fuse), (node.id, None), "R3, R4");
}

/// R3: the method `secret` may replace only what it made itself, as the store stands.
pub async fn r3_secret_does_not_replace_what_a_token_made_meanwhile(store: Arc<dyn Store>) {
    let fleet = Fleet::with(store, Fixtures::new().with_replace());
    fleet.enroll(&Claimant::by_secret("a"), at(1)).await;
    let claimant = Claimant::by_secret("a").with_key("fresh directory");
    let redeem = fleet.approve(&claimant, at(3)).await;
    let token = fleet.bound("a", at(2)).await;
    let holder = fleet.enroll(&Claimant::new(&token, "a").with_key("other"), at(2)).await;
    assert_eq!(fleet.lose(&claimant, redeem).await, Reason::NameTaken, "R3");
    assert!(fleet.is_live(&holder.x509).await, "R3: the token's identity stays");
}

/// R3, R4: of two that replace one holder at once both may, one after the other; one has it then.
pub async fn r3_of_two_that_replace_a_holder_one_has_the_name(store: Arc<dyn Store>) {
    let fleet = Fleet::with(store, Fixtures::new().with_replace());
    for round in 0..16 * scale() {
        let text = format!("machine-{round}");
        let first = fleet.enroll(&Claimant::by_secret(&text), at(1)).await;
        let (mut contenders, mut identities) = (Vec::new(), vec![first.x509]);
        for key in ["one", "other"] {
            let claimant = Claimant::by_secret(&text).with_key(key);
            let redeem = fleet.approve(&claimant, at(2)).await;
            identities.push(redeem.identities[0].clone());
            let fleet = Arc::clone(&fleet);
            contenders.push(async move { fleet.redeem(redeem).await });
        }
        race(contenders).await;
        let mut live = 0;
        for identity in &identities {
            live += usize::from(fleet.is_live(identity).await);
        }
        assert_eq!(live, 1, "R4: one node, one live certificate");
    }
}
