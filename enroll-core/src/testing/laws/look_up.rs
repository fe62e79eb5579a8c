//! R1: what a decision needs, as of one instant.

use std::sync::Arc;

use super::fleet::{Fleet, at, key_of, some};
use crate::model::{CredentialKind, CredentialRecord, NameState, TrustState};
use crate::store::{IdentityKey, RenewOutcome, Renewal, Store, UseOutcome};
use crate::testing::{Claimant, Fixtures, name};

/// R1: a token is found by its id and comes with the state of the name it is bound to.
pub async fn r1_look_up_finds_a_token_and_the_name_it_is_bound_to(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.make.token(at(0)).bound_to("bound").ttl(Fixtures::TTL);
    let node = fleet.mint(&token).await.expect("T1: a bound token comes with its node");
    let claimant = Claimant::new(&token, "bound").without_name();
    let seen = fleet.look_up(&claimant, Some(token.record.id)).await;
    let found = seen.token.expect("R1: the token is there");
    assert_eq!(format!("{found:?}"), format!("{:?}", token.record), "R1: the token is as minted");
    assert!(found.digest.verify(&token.token).is_some(), "R1: the digest is the token's");
    assert_eq!(seen.name, NameState::Pending(node), "R1: no name asked for is the bound one");
    assert_eq!(seen.prior, None);
}

/// R1: the name asked for wins over the one the token is bound to.
pub async fn r1_the_name_asked_for_comes_before_the_bound_one(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.bound("bound", at(0)).await;
    let seen = fleet.look_up(&Claimant::new(&token, "other"), Some(token.record.id)).await;
    assert_eq!(seen.name, NameState::Unknown, "R1: `other` is nobody's");
}

/// R1: what is not there is absent, and an unbound token without a name has no name to look up.
pub async fn r1_what_is_not_there_is_absent(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let there = fleet.unlimited(at(0)).await;
    let absent = fleet.make.token(at(0));
    let seen = fleet.look_up(&Claimant::new(&absent, "a"), Some(absent.record.id)).await;
    assert!(seen.token.is_none() && seen.prior.is_none(), "R1: {seen:?}");
    assert_eq!(seen.name, NameState::Unknown);
    let nameless = Claimant::new(&there, "a").without_name();
    let seen = fleet.look_up(&nameless, Some(there.record.id)).await;
    assert!(seen.token.is_some() && seen.name == NameState::Unknown, "R1: {seen:?}");
}

/// R1: a name is unknown, pending, held or deleted, and says by whom and when.
pub async fn r1_a_name_shows_where_it_stands(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let state = async |fleet: &Fleet| fleet.look_up(&Claimant::by_secret("a"), None).await.name;
    assert_eq!(state(&fleet).await, NameState::Unknown, "R1");
    let token = fleet.make.token(at(0)).bound_to("a");
    let node = fleet.mint(&token).await.expect("T1: a bound token comes with its node");
    assert_eq!(state(&fleet).await, NameState::Pending(node), "R1");
    let enrolled = fleet.enroll(&Claimant::new(&token, "a"), at(1)).await;
    assert_eq!(state(&fleet).await, NameState::Held(enrolled.node), "R1");
    let _gone = fleet.delete(&name("a"), at(2)).await;
    assert_eq!(state(&fleet).await, NameState::Deleted { at: at(2) }, "R1");
    fleet.bound("a", at(3)).await;
    let again = state(&fleet).await;
    assert!(matches!(again, NameState::Pending(_)), "R1: registered again: {again:?}");
}

/// R1: a prior redemption is shown to the same token, claim and name, and to nobody else.
pub async fn r1_a_prior_redemption_needs_token_claim_and_name(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (token, other) = (fleet.unlimited(at(0)).await, fleet.unlimited(at(0)).await);
    let claimant = Claimant::new(&token, "a");
    let enrolled = fleet.enroll(&claimant, at(1)).await;
    fleet.enroll(&Claimant::new(&token, "b"), at(1)).await;
    let id = Some(token.record.id);
    let prior = fleet.look_up(&claimant, id).await.prior.expect("R1: the same three find it");
    assert_eq!(prior.redemption.id, enrolled.redemption, "R1");
    assert_eq!(prior.identities.len(), 2, "R1: what it made comes with it");
    for (who, token, why) in [
        (claimant.clone().without_key(), id, "no claim"),
        (claimant.clone().with_key("another"), id, "another claim"),
        (Claimant::new(&token, "b").with_key("a"), id, "another name"),
        (claimant.clone(), Some(other.record.id), "another token"),
        (claimant.clone(), None, "the method `secret`"),
    ] {
        assert_eq!(fleet.look_up(&who, token).await.prior, None, "R1: {why} is another claimant");
    }
}

/// R1: the method `secret` finds what `secret` did, and no token does.
pub async fn r1_secret_finds_what_secret_did(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let claimant = Claimant::by_secret("a");
    let enrolled = fleet.enroll(&claimant, at(1)).await;
    let prior = fleet.look_up(&claimant, None).await.prior.expect("R1: secret finds its own");
    assert_eq!(prior.redemption.id, enrolled.redemption, "R1");
    let token = fleet.unlimited(at(1)).await;
    let seen = fleet.look_up(&claimant, Some(token.record.id)).await;
    assert_eq!(seen.prior, None, "R1: a token does not find what `secret` did");
}

/// R1: without a name the bound one is part of what finds a prior redemption.
pub async fn r1_a_bound_token_finds_its_redemption_without_a_name(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.bound("a", at(0)).await;
    let claimant = Claimant::new(&token, "a").without_name();
    let enrolled = fleet.enroll(&claimant, at(1)).await;
    let prior = fleet.look_up(&claimant, Some(token.record.id)).await.prior;
    assert_eq!(prior.map(|prior| prior.redemption.id), Some(enrolled.redemption), "R1");
}

/// R1: of several redemptions of the same three the newest is shown.
pub async fn r1_the_newest_redemption_is_shown(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.minted(fleet.make.token(at(0)).bound_to("a").uses(3)).await;
    let claimant = Claimant::new(&token, "a");
    for round in 1..=3 {
        let enrolled = fleet.enroll(&claimant, at(2 * round)).await;
        let prior = fleet.look_up(&claimant, Some(token.record.id)).await.prior;
        let shown = prior.map(|prior| prior.redemption.id);
        assert_eq!(shown, Some(enrolled.redemption), "R1: redemption {round}");
        let used = some(fleet.store.mark_used(enrolled.x509.id, at(2 * round + 1)).await);
        assert_eq!(used, UseOutcome::First, "I2: this closes the window of redemption {round}");
    }
}

/// R1: what a node that is gone redeemed is nobody's prior redemption, whoever has its name now.
pub async fn r1_a_prior_redemption_is_of_the_node_that_has_the_name(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.minted(fleet.make.token(at(0)).uses(2)).await;
    let claimant = Claimant::new(&token, "a");
    fleet.enroll(&claimant, at(1)).await;
    let id = Some(token.record.id);
    assert!(fleet.look_up(&claimant, id).await.prior.is_some(), "R1: its own");
    let _gone = fleet.delete(&name("a"), at(2)).await;
    assert_eq!(fleet.look_up(&claimant, id).await.prior, None, "R1: no node has the name");
    fleet.bound("a", at(3)).await;
    assert_eq!(fleet.look_up(&claimant, id).await.prior, None, "R1: another has the name");
}

/// R1: the identities of a prior redemption are those straight from it that are not revoked.
pub async fn r1_the_identities_shown_are_unrevoked_and_straight_from_it(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    let claimant = Claimant::new(&token, "a");
    let enrolled = fleet.enroll(&claimant, at(1)).await;
    let redeliver = fleet.redelivery(&claimant, at(2)).await;
    let fresh = key_of(&redeliver.replacements[0]);
    let _node = fleet.give_again(redeliver).await;
    let mut successor = fleet.make.identity(
        enrolled.node.id,
        &enrolled.node.name,
        enrolled.redemption,
        fleet.make.x509(),
        at(3),
    );
    successor.predecessor = Some(enrolled.x509.id);
    let renewal = Renewal { successor, at: at(3), event: super::fleet::event("renewed", at(3)) };
    let renewed = some(fleet.store.renew(renewal).await);
    assert!(matches!(renewed, RenewOutcome::Renewed), "I3: {renewed:?}");
    let prior = fleet.look_up(&claimant, Some(token.record.id)).await.prior.expect("R1");
    let mut shown: Vec<IdentityKey> = prior.identities.iter().map(key_of).collect();
    shown.sort_by_key(|key| matches!(key, IdentityKey::ApiKey(_)));
    assert_eq!(shown, [key_of(&enrolled.x509), fresh], "R1: the certificate and the new key");
}

/// R1, R4: every kind of credential comes back as it was written, external ones too.
pub async fn r1_credentials_come_back_as_they_were_written(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    let claimant = Claimant::new(&token, "a");
    let mut redeem = fleet.approve(&claimant, at(1)).await;
    let external = CredentialRecord::External {
        kind: CredentialKind::from_static("mesh"),
        external_id: "key 17 of user 4".into(),
    };
    let (node, id) = (redeem.new_node_id, redeem.id);
    redeem.identities.push(fleet.make.identity(node, &name("a"), id, external, at(1)));
    redeem.identities[0].expires_at = Some(at(9_000));
    let mut written = redeem.identities.clone();
    let _outcome = fleet.redeem(redeem).await;
    let prior = fleet.look_up(&claimant, Some(token.record.id)).await.prior.expect("R1");
    let mut shown = prior.identities;
    shown.sort_by_key(|identity| identity.id);
    written.sort_by_key(|identity| identity.id);
    assert_eq!(shown, written, "R1: each identity comes back whole");
}

/// R1: a look-up, and every other reading, changes nothing.
pub async fn r1_reading_writes_nothing(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.bound("a", at(0)).await;
    let enrolled = fleet.enroll(&Claimant::new(&token, "a"), at(1)).await;
    assert_eq!(enrolled.node.state, TrustState::Monitoring);
    let before = fleet.observe().await;
    fleet.look_up(&Claimant::new(&token, "a"), Some(token.record.id)).await;
    fleet.unchanged(&before, "R1: a look-up").await;
}
