//! I1 to I6: identities, as requests present them.

use std::sync::Arc;

use super::fleet::{Enrolled, Fleet, at, event, is_collision, key_of, some};
use crate::model::{CredentialKind, CredentialRecord, IdentityRecord, Sha256};
use crate::store::{
    IdentityKey, QueueOutcome, RedeemOutcome, RenewOutcome, Renewal, Store, UseOutcome,
};
use crate::testing::{Claimant, TestToken, name, race, scale};

/// A member, and the token it came by.
pub(super) async fn member(fleet: &Fleet, text: &str) -> (TestToken, Enrolled) {
    let token = fleet.unlimited(at(0)).await;
    let enrolled = fleet.enroll(&Claimant::new(&token, text), at(1)).await;
    (token, enrolled)
}

/// What renews `identity` with a credential of the same kind.
pub(super) fn renewal(fleet: &Fleet, identity: &IdentityRecord) -> Renewal {
    let credential = match &identity.credential {
        CredentialRecord::ApiKey { .. } => fleet.make.api_key(),
        _ => fleet.make.x509(),
    };
    let mut successor = fleet.make.identity(
        identity.node_id,
        &identity.node_name,
        identity.redemption_id,
        credential,
        at(2),
    );
    successor.predecessor = Some(identity.id);
    fleet.remember(std::slice::from_ref(&successor));
    Renewal { successor, at: at(2), event: event("renewed", at(2)) }
}

pub(super) async fn renew(fleet: &Fleet, renewal: Renewal) -> RenewOutcome {
    some(fleet.store.renew(renewal).await)
}

/// Renews `identity`, against which nothing stands.
pub(super) async fn renewed(fleet: &Fleet, identity: &IdentityRecord) -> IdentityRecord {
    let renewal = renewal(fleet, identity);
    let successor = renewal.successor.clone();
    let outcome = renew(fleet, renewal).await;
    assert!(matches!(outcome, RenewOutcome::Renewed), "I3: nothing stands against it");
    successor
}

pub(super) async fn mark_used(fleet: &Fleet, identity: &IdentityRecord, secs: u64) -> UseOutcome {
    some(fleet.store.mark_used(identity.id, at(secs)).await)
}

/// I1: an identity is found by what was presented, with its node, and others are not.
pub async fn i1_an_identity_is_found_by_what_was_presented(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (_token, enrolled) = member(&fleet, "a").await;
    member(&fleet, "b").await;
    for identity in [&enrolled.x509, &enrolled.api_key] {
        let found = fleet.member(identity).await.expect("I1: it is there");
        let expected = IdentityRecord { node_id: enrolled.node.id, ..identity.clone() };
        assert_eq!(found.identity, expected, "I1");
        assert_eq!(found.node.as_ref(), Some(&enrolled.node), "I1: with its node");
    }
    let CredentialRecord::X509 { serial, .. } = fleet.make.x509() else { unreachable!() };
    let CredentialRecord::ApiKey { digest } = fleet.make.api_key() else { unreachable!() };
    for absent in [IdentityKey::Serial(serial), IdentityKey::ApiKey(digest)] {
        assert_eq!(some(fleet.store.member(absent).await), None, "I1: {absent:?} is nobody's");
    }
}

/// I1: the node comes as it stands now, not as it stood.
pub async fn i1_the_node_is_the_present_one(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (_token, enrolled) = member(&fleet, "a").await;
    some(fleet.store.set_cordon(&name("a"), true, event("c", at(2))).await);
    let found = fleet.member(&enrolled.x509).await.and_then(|member| member.node);
    assert!(found.is_some_and(|node| node.cordoned), "I1");
}

/// I1: a revocation is seen by the next request, and the revoked identity with its instant.
pub async fn i1_a_revocation_is_seen_at_once(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    for round in 0..16 {
        let (_token, enrolled) = member(&fleet, &format!("machine-{round}")).await;
        let _gone = fleet.delete(&enrolled.node.name, at(2)).await;
        let seen = fleet.member(&enrolled.x509).await.expect("I1: a revoked identity is found");
        assert_eq!((seen.identity.revoked_at, seen.node), (Some(at(2)), None), "I1");
    }
}

/// I2: the first use is told from the later ones, and only it is recorded.
pub async fn i2_a_first_use_is_recorded_once(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (token, enrolled) = member(&fleet, "a").await;
    assert!(fleet.is_open(&token, enrolled.redemption).await);
    assert_eq!(mark_used(&fleet, &enrolled.x509, 2).await, UseOutcome::First, "I2");
    let before = fleet.observe().await;
    assert_eq!(mark_used(&fleet, &enrolled.x509, 3).await, UseOutcome::Again, "I2");
    fleet.unchanged(&before, "I2: a later use").await;
    let seen = fleet.member(&enrolled.x509).await.expect("I1");
    assert_eq!(seen.identity.first_used_at, Some(at(2)), "I2: the first instant stays");
    assert!(!fleet.is_open(&token, enrolled.redemption).await, "I2: the window is closed");
    let other = fleet.member(&enrolled.api_key).await.expect("I1");
    assert_eq!(other.identity.first_used_at, None, "I2: another identity was not used");
    assert_eq!(mark_used(&fleet, &enrolled.api_key, 4).await, UseOutcome::First, "I2");
}

/// I2: who is revoked, or never was, has no first use.
pub async fn i2_a_revoked_identity_is_not_used(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (_token, enrolled) = member(&fleet, "a").await;
    let token = fleet.bound("a", at(2)).await;
    fleet.enroll(&Claimant::new(&token, "a").with_key("new"), at(2)).await;
    let stranger = renewal(&fleet, &enrolled.x509).successor;
    let before = fleet.observe().await;
    assert_eq!(mark_used(&fleet, &enrolled.x509, 3).await, UseOutcome::Revoked, "I2");
    assert_eq!(mark_used(&fleet, &stranger, 3).await, UseOutcome::Revoked, "I2");
    fleet.unchanged(&before, "I2: revoked").await;
}

/// I2: the first use of a successor retires its predecessor.
pub async fn i2_a_successors_first_use_retires_the_predecessor(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (_token, enrolled) = member(&fleet, "a").await;
    assert_eq!(mark_used(&fleet, &enrolled.x509, 1).await, UseOutcome::First, "I2");
    let successor = renewed(&fleet, &enrolled.x509).await;
    assert!(fleet.is_live(&enrolled.x509).await, "I2: until then both are good");
    assert_eq!(mark_used(&fleet, &enrolled.x509, 3).await, UseOutcome::Again, "I2");
    assert_eq!(mark_used(&fleet, &successor, 4).await, UseOutcome::First, "I2");
    let retired = fleet.member(&enrolled.x509).await.expect("I1").identity;
    assert_eq!(retired.revoked_at, Some(at(4)), "I2: at that instant");
    assert_eq!(mark_used(&fleet, &enrolled.x509, 5).await, UseOutcome::Revoked, "I2");
    assert!(fleet.is_live(&enrolled.api_key).await, "I2: another kind stays");
}

/// I2: the first use of a successor closes the redemption it descends from.
pub async fn i2_a_successors_first_use_closes_the_window(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (token, enrolled) = member(&fleet, "a").await;
    let successor = renewed(&fleet, &enrolled.x509).await;
    assert!(fleet.is_open(&token, enrolled.redemption).await, "I2: a renewal closes nothing");
    assert_eq!(mark_used(&fleet, &successor, 3).await, UseOutcome::First, "I2");
    assert!(!fleet.is_open(&token, enrolled.redemption).await, "I2");
}

/// I2: of many uses at once, one is the first.
pub async fn i2_of_many_uses_at_once_one_is_the_first(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    for round in 0..4 * scale() {
        let (_token, enrolled) = member(&fleet, &format!("machine-{round}")).await;
        let id = enrolled.x509.id;
        let uses = (0..32).map(|_| {
            let store = Arc::clone(&fleet.store);
            async move { some(store.mark_used(id, at(2)).await) }
        });
        let outcomes = race(uses.collect::<Vec<_>>()).await;
        let first = outcomes.iter().filter(|one| **one == UseOutcome::First).count();
        let again = outcomes.iter().filter(|one| **one == UseOutcome::Again).count();
        assert_eq!((first, again), (1, 31), "I2: {outcomes:?}");
    }
}

/// I3: a renewal adds the successor as it was made, and journals; the predecessor stays good.
pub async fn i3_a_renewal_adds_the_successor(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (_token, enrolled) = member(&fleet, "a").await;
    for identity in [&enrolled.x509, &enrolled.api_key] {
        let before = fleet.events().await.len();
        let successor = renewed(&fleet, identity).await;
        let found = fleet.member(&successor).await.expect("I3: the successor is there");
        assert_eq!(found.identity, successor, "I3: whole");
        assert_eq!(found.node.as_ref(), Some(&enrolled.node), "I3: and the node's");
        assert!(fleet.is_live(identity).await, "I3: the predecessor stays");
        assert_eq!(fleet.events().await[before..], [event("renewed", at(2))], "I3: one event");
    }
}

/// I3: who is revoked, unknown, or of a node that is gone is not renewed, and nothing is written.
pub async fn i3_what_is_revoked_is_not_renewed(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (_token, replaced) = member(&fleet, "replaced").await;
    let token = fleet.bound("replaced", at(2)).await;
    fleet.enroll(&Claimant::new(&token, "replaced").with_key("new"), at(2)).await;
    let (_token, gone) = member(&fleet, "gone").await;
    let _gone = fleet.delete(&name("gone"), at(2)).await;
    let (_token, there) = member(&fleet, "there").await;
    let mut orphan = renewal(&fleet, &there.x509);
    orphan.successor.predecessor = Some(renewal(&fleet, &there.x509).successor.id);
    let mut rootless = renewal(&fleet, &there.x509);
    rootless.successor.predecessor = None;
    for (renewal, why) in [
        (renewal(&fleet, &replaced.x509), "was replaced"),
        (renewal(&fleet, &gone.x509), "went with its node"),
        (orphan, "never was"),
        (rootless, "is none"),
    ] {
        let before = fleet.observe().await;
        let outcome = renew(&fleet, renewal).await;
        assert!(matches!(outcome, RenewOutcome::Revoked), "I3: the predecessor {why}");
        fleet.unchanged(&before, &format!("I3: the predecessor {why}")).await;
    }
}

/// I3: a second renewal replaces the unused successor of the first, and of its kind only.
pub async fn i3_a_second_renewal_replaces_an_unused_successor(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (_token, enrolled) = member(&fleet, "a").await;
    let first = renewed(&fleet, &enrolled.x509).await;
    let mut of_other_kind = renewal(&fleet, &enrolled.api_key);
    of_other_kind.successor.predecessor = Some(enrolled.x509.id);
    let key = of_other_kind.successor.clone();
    let _outcome = renew(&fleet, of_other_kind).await;
    assert!(fleet.is_live(&first).await, "I3: an API key does not replace a certificate");
    let mut again = renewal(&fleet, &enrolled.x509);
    again.at = at(3);
    let second = again.successor.clone();
    let _outcome = renew(&fleet, again).await;
    let replaced = fleet.member(&first).await.expect("I1").identity;
    assert_eq!(replaced.revoked_at, Some(at(3)), "I3: the unused one is revoked");
    for (live, what) in [(&second, "new one"), (&enrolled.x509, "predecessor"), (&key, "key")] {
        assert!(fleet.is_live(live).await, "I3: the {what} is good");
    }
}

/// I3, R7: a successor whose serial, digest or id is there already is a collision, and writes
/// nothing.
pub async fn i3_a_collision_writes_nothing(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (_token, enrolled) = member(&fleet, "a").await;
    let (_token, other) = member(&fleet, "b").await;
    renewed(&fleet, &enrolled.x509).await;
    renewed(&fleet, &enrolled.api_key).await;
    let mut serial = renewal(&fleet, &enrolled.x509);
    serial.successor.credential = other.x509.credential.clone();
    let mut digest = renewal(&fleet, &enrolled.api_key);
    digest.successor.credential = other.api_key.credential.clone();
    let mut id = renewal(&fleet, &enrolled.x509);
    id.successor.id = other.x509.id;
    for (what, renewal) in [("serial", serial), ("digest", digest), ("id", id)] {
        let before = fleet.observe().await;
        assert!(is_collision(fleet.store.renew(renewal).await), "R7: the {what} was there");
        fleet.unchanged(&before, &format!("R7: the {what} was there")).await;
    }
}

fn key_digest(identity: &IdentityRecord) -> Sha256 {
    match &identity.credential {
        CredentialRecord::X509 { key_digest, .. } => *key_digest,
        other => panic!("no certificate: {other:?}"),
    }
}

/// I4: the same request finds the certificate it was given, as long as that is good.
pub async fn i4_the_successor_of_the_same_key_is_found(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (_token, enrolled) = member(&fleet, "a").await;
    let successor = async |of: &IdentityRecord, key: &IdentityRecord| {
        some(fleet.store.successor(of.id, key_digest(key)).await)
    };
    let own = successor(&enrolled.x509, &enrolled.x509).await;
    assert_eq!(own, None, "I4: nothing is its own successor");
    let first = renewed(&fleet, &enrolled.x509).await;
    assert_eq!(successor(&enrolled.x509, &first).await, Some(first.clone()), "I4");
    let second = renewed(&fleet, &enrolled.x509).await;
    assert_eq!(successor(&enrolled.x509, &first).await, None, "I4: the first was replaced");
    assert_eq!(successor(&enrolled.x509, &second).await, Some(second.clone()), "I4");
    let (_token, other) = member(&fleet, "b").await;
    assert_eq!(successor(&other.x509, &second).await, None, "I4: it renews another");
    assert_eq!(mark_used(&fleet, &second, 4).await, UseOutcome::First, "I2");
    let used = successor(&enrolled.x509, &second).await.map(|found| key_of(&found));
    assert_eq!(used, Some(key_of(&second)), "I4: a used one is still the answer");
}

/// I5: what another system made is found by that system's name for it, revoked or not.
pub async fn i5_an_external_identity_is_found_by_its_name(store: Arc<dyn Store>) {
    const MESH: CredentialKind = CredentialKind::from_static("mesh");
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    let mut made = Vec::new();
    for (text, kind, id) in
        [("a", MESH, "7@1"), ("b", MESH, "8@2"), ("c", CredentialKind::from_static("vpn"), "7@1")]
    {
        let mut redeem = fleet.approve(&Claimant::new(&token, text), at(1)).await;
        let credential = CredentialRecord::External { kind, external_id: id.into() };
        let (node, redemption) = (redeem.new_node_id, redeem.id);
        made.push(fleet.make.identity(node, &name(text), redemption, credential, at(1)));
        redeem.identities.extend(made.last().cloned());
        let outcome = fleet.redeem(redeem).await;
        assert!(matches!(outcome, RedeemOutcome::Enrolled(_)), "R2: nothing stands against it");
    }
    let found = async |kind: CredentialKind, ids: &[&str]| {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        let mut found = some(fleet.store.external(kind, ids).await);
        found.sort_by(|one, other| one.node_name.cmp(&other.node_name));
        found
    };
    assert_eq!(found(MESH, &["7@1", "9@3"]).await, made[..1], "I5: of its kind alone");
    assert_eq!(found(MESH, &["8@2", "7@1", "7@1"]).await, made[..2], "I5: each once");
    assert_eq!(found(MESH, &[]).await, [], "I5: nothing was asked for");
    assert!(found(MESH, &["7", "7@1\\", ""]).await.is_empty(), "I5: no other name");
    let _deleted = fleet.delete(&name("a"), at(3)).await;
    let revoked: Vec<_> =
        found(MESH, &["7@1"]).await.into_iter().map(|found| found.revoked_at).collect();
    assert_eq!(revoked, [Some(at(3))], "I5: as it stands now");
}

/// I6: of many identities exactly those are named that hold; a renewed one and its successor both do,
/// until the successor is used.
pub async fn i6_of_many_those_are_named_that_hold(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (_token, one) = member(&fleet, "a").await;
    let (_token, other) = member(&fleet, "b").await;
    let standing = async |identities: &[&IdentityRecord]| {
        let ids = identities.iter().map(|it| it.id).collect();
        let named = some(fleet.store.standing(ids).await);
        assert!(named.iter().all(|it| !it.called), "I6: nothing is queued");
        let holds = |it: &&IdentityRecord| named.iter().filter(|named| named.id == it.id).count();
        identities.iter().map(holds).collect::<Vec<_>>()
    };
    assert_eq!(standing(&[]).await, [0; 0], "I6: of none there is none");
    let successor = renewed(&fleet, &one.x509).await;
    let all = [&one.x509, &one.api_key, &successor, &other.x509];
    assert_eq!(standing(&all).await, [1, 1, 1, 1], "I6: each once");
    assert_eq!(mark_used(&fleet, &successor, 3).await, UseOutcome::First, "I2");
    assert_eq!(standing(&all).await, [0, 1, 1, 1], "I6: its use retired the predecessor");
    let deleted = fleet.store.delete_node(&name("a"), at(4), event("deleted", at(4))).await;
    drop(some(deleted));
    assert_eq!(standing(&all).await, [0, 0, 0, 1], "I6: the node is gone");
}

/// I6: whose node has a command queued is said of each; one that was delivered does not count.
pub async fn i6_a_queued_command_is_told(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (_token, one) = member(&fleet, "a").await;
    let (_token, other) = member(&fleet, "b").await;
    let called = async || {
        let named = some(fleet.store.standing(vec![one.x509.id, other.x509.id]).await);
        let of = |identity: &IdentityRecord| {
            named.iter().find(|it| it.id == identity.id).map(|it| it.called)
        };
        (of(&one.x509), of(&other.x509))
    };
    assert_eq!(called().await, (Some(false), Some(false)), "I6: nothing is queued");
    let command = super::commands::command(&fleet, &one.node, 2);
    let (id, node_id) = (command.id, command.node_id);
    let queued = some(fleet.store.queue_command(command, event("queued", at(2))).await);
    assert_eq!(queued, QueueOutcome::Queued, "I6");
    assert_eq!(called().await, (Some(true), Some(false)), "I6: one of the two");
    some(fleet.store.mark_delivered(node_id, vec![id], at(3)).await);
    assert_eq!(called().await, (Some(false), Some(false)), "I6: it was handed over");
}
