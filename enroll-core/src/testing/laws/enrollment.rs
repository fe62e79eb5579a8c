//! R4, R5, R7: what a redemption writes, and that one which loses or collides writes nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::fleet::{Fleet, at, event, is_collision, some};
use crate::model::{
    CredentialRecord, Event, Facts, IdentityRecord, Method, NodeRecord, Origin, Reason,
    RedemptionRecord, TrustState, What,
};
use crate::store::{Beat, Page, Redeem, RedeemOutcome, Store};
use crate::testing::{Claimant, Fixtures, name};

const ADDRESS: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7));

fn facts(arch: &str) -> Facts {
    Facts {
        arch: Some(arch.into()),
        labels: BTreeMap::from([("said".into(), "by the node".into())]),
        other: BTreeMap::from([("migration_port".into(), 49_152.into())]),
        ..Facts::default()
    }
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("rack".into(), "7".into()), ("site".into(), "nord".into())])
}

/// R4: a node on a free name is as the redemption says, and monitoring.
pub async fn r4_a_node_on_a_free_name_is_as_the_redemption_says(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    let mut redeem = fleet.approve(&Claimant::new(&token, "a"), at(1)).await;
    redeem.facts = facts("riscv64");
    let id = redeem.new_node_id;
    let enrolled = fleet.carry_out(redeem).await;
    let expected = NodeRecord {
        id,
        name: name("a"),
        state: TrustState::Monitoring,
        cordoned: false,
        labels: BTreeMap::new(),
        facts: facts("riscv64"),
        method: Some(Method::Token),
        created_at: at(1),
        enrolled_at: Some(at(1)),
        last_seen_at: None,
        fuse: None,
    };
    assert_eq!(enrolled.node, expected, "R4: the outcome");
    assert_eq!(fleet.node(&name("a")).await, Some(expected), "R4: and what is kept");
}

/// R4: a pending node keeps its id, labels, cordon and when it was registered.
pub async fn r4_a_pending_node_keeps_what_the_operator_gave_it(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.make.token(at(0)).bound_to("a");
    let mut mint = fleet.make.mint(&token);
    mint.labels = Some(labels());
    let _minted = some(fleet.store.mint(mint).await);
    let cordoned = some(fleet.store.set_cordon(&name("a"), true, event("c", at(1))).await);
    let pending = cordoned.expect("N2: a pending node can be cordoned");
    let mut redeem = fleet.approve(&Claimant::new(&token, "a"), at(2)).await;
    redeem.facts = facts("riscv64");
    let enrolled = fleet.carry_out(redeem).await;
    let expected = NodeRecord {
        state: TrustState::Monitoring,
        facts: facts("riscv64"),
        method: Some(Method::Token),
        enrolled_at: Some(at(2)),
        ..pending
    };
    assert_eq!((expected.cordoned, &expected.labels), (true, &labels()));
    assert_eq!(enrolled.node, expected, "R4");
    assert_eq!(fleet.node(&name("a")).await, Some(expected), "R4");
}

/// R4: a node that enrolls again keeps id, labels, cordon and age, and is never heard from.
pub async fn r4_reenrollment_keeps_the_node_and_begins_anew(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.make.token(at(0)).bound_to("a");
    let mut mint = fleet.make.mint(&token);
    mint.labels = Some(labels());
    let _minted = some(fleet.store.mint(mint).await);
    let first = fleet.enroll(&Claimant::new(&token, "a"), at(1)).await;
    some(fleet.store.set_cordon(&name("a"), true, event("c", at(2))).await);
    let beat = Beat { node_id: first.node.id, at: at(3), facts: Some(facts("aarch64")) };
    some(fleet.store.record_beats(vec![beat]).await);
    let token = fleet.bound("a", at(4)).await;
    let mut redeem = fleet.approve(&Claimant::new(&token, "a").with_key("new"), at(5)).await;
    redeem.facts = facts("riscv64");
    let second = fleet.carry_out(redeem).await;
    let expected = NodeRecord {
        cordoned: true,
        facts: facts("riscv64"),
        enrolled_at: Some(at(5)),
        ..first.node.clone()
    };
    assert_eq!(second.node, expected, "R4: all but what began anew");
    assert_eq!(fleet.node(&name("a")).await, Some(expected), "R4");
}

/// R4: who enrolls again has the only live identities, and the earlier answer is not given again.
pub async fn r4_reenrollment_revokes_identities_and_closes_windows(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.minted(fleet.make.token(at(0)).bound_to("a").uses(2)).await;
    let other = fleet.unlimited(at(0)).await;
    let first = fleet.enroll(&Claimant::new(&token, "a"), at(1)).await;
    let bystander = fleet.enroll(&Claimant::new(&other, "b"), at(1)).await;
    let second = fleet.enroll(&Claimant::new(&token, "a").with_key("new"), at(2)).await;
    for old in [&first.x509, &first.api_key] {
        let member = fleet.member(old).await.expect("I1: a revoked identity is found");
        assert_eq!(member.identity.revoked_at, Some(at(2)), "R4: it was replaced");
        assert_eq!(member.node.map(|node| node.id), Some(first.node.id), "R4: the node stays");
    }
    assert!(fleet.is_live(&second.x509).await && fleet.is_live(&second.api_key).await, "R4");
    assert!(!fleet.is_open(&token, first.redemption).await, "R4: the earlier window is closed");
    assert!(fleet.is_open(&token, second.redemption).await, "R4: its own is open");
    assert!(fleet.is_live(&bystander.x509).await, "R4: another node's identities stay");
    assert!(fleet.is_open(&other, bystander.redemption).await, "R4: and so does its window");
}

/// R4: identities are the node's, whatever node they were made for.
pub async fn r4_identities_are_given_the_nodes_id(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let node = fleet.mint(&fleet.make.token(at(0)).bound_to("other")).await;
    let token = fleet.make.token(at(0)).bound_to("a");
    let pending = fleet.mint(&token).await.expect("T1: a bound token comes with its node");
    let mut redeem = fleet.approve(&Claimant::new(&token, "a"), at(1)).await;
    redeem.identities[0].node_id = node.expect("T1: so does this one").id;
    let enrolled = fleet.carry_out(redeem).await;
    for identity in [&enrolled.x509, &enrolled.api_key] {
        let member = fleet.member(identity).await.expect("R4: an identity is found");
        let expected = IdentityRecord { node_id: pending.id, ..identity.clone() };
        assert_eq!(member.identity, expected, "R4: whole, and the node's");
        assert_eq!(member.node.as_ref(), Some(&enrolled.node), "R4: it is this node's");
    }
}

/// R4: the redemption is on record as it happened.
pub async fn r4_the_redemption_is_on_record(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    let claimant = Claimant::new(&token, "a");
    let mut redeem = fleet.approve(&claimant, at(1)).await;
    redeem.origin = Origin::from_ip(ADDRESS);
    let enrolled = fleet.carry_out(redeem).await;
    let rows = some(fleet.store.redemptions(token.record.id, Page::first(10)).await);
    let expected = RedemptionRecord {
        id: enrolled.redemption,
        token_id: Some(token.record.id),
        method: Method::Token,
        node_id: enrolled.node.id,
        node_name: name("a"),
        at: at(1),
        source_ip: Some(ADDRESS),
        claim: claimant.claim(),
        closed_at: None,
    };
    assert_eq!(rows, [expected], "R4");
}

/// R4: a claimant without a key leaves a redemption that nobody can ask for again.
pub async fn r4_no_claim_is_recorded_as_none(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    fleet.enroll(&Claimant::new(&token, "a").without_key(), at(1)).await;
    let rows = some(fleet.store.redemptions(token.record.id, Page::first(10)).await);
    assert_eq!(rows.iter().map(|row| row.claim).collect::<Vec<_>>(), [None], "R4");
}

/// R4: the attempt and the event `Enrolled` are written with it, the event saying whether somebody
/// was replaced.
pub async fn r4_the_attempt_and_the_event_are_written(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    for (replaced, key) in [(false, "first"), (true, "second")] {
        let token = fleet.bound("a", at(0)).await;
        let before = fleet.events().await.len();
        let mut redeem = fleet.approve(&Claimant::new(&token, "a").with_key(key), at(1)).await;
        redeem.origin = Origin::from_ip(ADDRESS);
        let attempt = redeem.attempt();
        let enrolled = fleet.carry_out(redeem).await;
        let attempts = some(fleet.store.attempts(&name("a"), Page::first(10)).await);
        assert!(attempts.contains(&attempt), "R4: {attempt:?} is in {attempts:?}");
        let what = What::Enrolled {
            node_id: enrolled.node.id,
            node_name: name("a"),
            method: Method::Token,
            token_id: Some(token.record.id),
            redemption_id: enrolled.redemption,
            source_ip: Some(ADDRESS),
            replaced,
        };
        assert_eq!(fleet.events().await[before..], [Event::new(at(1), what)], "R4");
    }
}

/// R4: the method `secret` spends no token, and is on record as what it is.
pub async fn r4_secret_enrolls_without_a_token(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let enrolled = fleet.enroll(&Claimant::by_secret("a"), at(1)).await;
    assert_eq!(enrolled.node.method, Some(Method::Secret), "R4");
    let events = fleet.events().await;
    let what = events.last().map(|event| &event.what);
    assert!(
        matches!(what, Some(What::Enrolled { method: Method::Secret, token_id: None, .. })),
        "R4: {what:?}"
    );
}

/// R5: a redemption that loses writes nothing, whatever it loses by.
pub async fn r5_a_lost_redemption_wrote_nothing(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let tokens = [
        fleet.minted(fleet.make.token(at(0)).uses(1)).await,
        fleet.unlimited(at(0)).await,
        fleet.bound("replaced", at(0)).await,
        fleet.minted(fleet.make.token(at(0)).uses(1)).await,
    ];
    let [spent, revoked, replaced, unused] = &tokens;
    let mut late = Vec::new();
    for (token, node, reason) in [
        (spent, "spent", Reason::RaceConsumed),
        (revoked, "revoked", Reason::Revoked),
        (replaced, "replaced", Reason::InvalidToken),
        (unused, "taken", Reason::NameTaken),
    ] {
        let claimant = Claimant::new(token, node).with_key("late");
        let mut redeem = fleet.approve(&claimant, at(2)).await;
        redeem.facts = facts("riscv64");
        late.push((claimant, redeem, reason));
    }
    fleet.enroll(&Claimant::new(spent, "winner"), at(1)).await;
    some(fleet.store.revoke(revoked.record.id, at(1), event("revoked", at(1))).await);
    fleet.bound("replaced", at(1)).await;
    let other = fleet.unlimited(at(0)).await;
    fleet.enroll(&Claimant::new(&other, "taken"), at(1)).await;
    for (claimant, redeem, reason) in late {
        let before = fleet.observe().await;
        assert_eq!(fleet.lose(&claimant, redeem).await, reason, "R5");
        fleet.unchanged(&before, &format!("R5: lost to {reason}")).await;
    }
}

/// R5: what a lost redemption is shown holds the winner: its use, its name, and its redemption to
/// whoever made the same claim.
pub async fn r5_the_snapshot_shows_the_winner(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.minted(fleet.make.token(at(0)).uses(1)).await;
    let claimant = Claimant::new(&token, "a");
    let (stranger, again) = (claimant.clone().with_key("stranger"), claimant.clone());
    let late = [fleet.approve(&stranger, at(2)).await, fleet.approve(&again, at(2)).await];
    let winner = fleet.enroll(&claimant, at(1)).await;
    let mut priors = Vec::new();
    for redeem in late {
        let RedeemOutcome::Lost(seen) = fleet.redeem(redeem).await else {
            panic!("R2: the use is gone");
        };
        assert_eq!(seen.token.map(|token| token.uses), Some(1), "R5: the use is seen spent");
        let held = crate::model::NameState::Held(winner.node.clone());
        assert_eq!(seen.name, held, "R5: the winner has the name");
        priors.push(seen.prior.map(|prior| (prior.redemption.id, prior.identities.len())));
    }
    assert_eq!(priors, [None, Some((winner.redemption, 2))], "R5: shown to its own claimant only");
}

/// Makes one value of a redemption somebody else's.
type Theft = fn(&mut Redeem, &Redeem);

/// R7: a serial, digest or id that is there already is a collision, and writes nothing.
pub async fn r7_a_collision_writes_nothing(store: Arc<dyn Store>) {
    let thefts: [(&str, Theft); 6] = [
        ("serial", |late, there| {
            late.identities[0].credential = there.identities[0].credential.clone();
        }),
        ("digest of an API key", |late, there| {
            late.identities[1].credential = there.identities[1].credential.clone();
        }),
        ("identity id", |late, there| late.identities[0].id = there.identities[1].id),
        ("redemption id", |late, there| late.id = there.id),
        ("node id", |late, there| late.new_node_id = there.new_node_id),
        ("serial twice in one redemption", |late, _| {
            let twin = late.identities[0].credential.clone();
            late.identities[1].credential = twin;
        }),
    ];
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    let there = fleet.approve(&Claimant::new(&token, "there"), at(1)).await;
    let late = Claimant::new(&token, "late");
    let copy = || fleet.approve(&late, at(1));
    let mut taken = copy().await;
    (taken.id, taken.new_node_id) = (there.id, there.new_node_id);
    taken.identities.clone_from(&there.identities);
    fleet.carry_out(there).await;
    for (what, steal) in thefts {
        let mut late = copy().await;
        steal(&mut late, &taken);
        let before = fleet.observe().await;
        let outcome = fleet.store.redeem(late).await;
        assert!(is_collision(outcome), "R7: the {what} was there");
        fleet.unchanged(&before, &format!("R7: the {what} was there")).await;
    }
    fleet.carry_out(copy().await).await;
}

/// R7: the serial of a revoked identity is not free again.
pub async fn r7_a_revoked_identity_keeps_its_serial(store: Arc<dyn Store>) {
    let fleet = Fleet::with(store, Fixtures::new());
    let token = fleet.unlimited(at(0)).await;
    let first = fleet.enroll(&Claimant::new(&token, "a"), at(1)).await;
    let _gone = fleet.delete(&name("a"), at(2)).await;
    for stolen in [&first.x509, &first.api_key] {
        let mut redeem = fleet.approve(&Claimant::new(&token, "b"), at(3)).await;
        let slot = usize::from(matches!(stolen.credential, CredentialRecord::ApiKey { .. }));
        redeem.identities[slot].credential = stolen.credential.clone();
        let outcome = fleet.store.redeem(redeem).await;
        assert!(is_collision(outcome), "R7: a credential is one node's for ever");
        let member = fleet.member(stolen).await.expect("I1: a revoked identity is found");
        assert_eq!(member.identity.id, stolen.id, "R7: and stays what it was");
    }
}
