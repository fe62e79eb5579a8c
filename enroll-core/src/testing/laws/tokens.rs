//! T1 to T4: minting and revoking join tokens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::fleet::{Fleet, at, event, is_collision, some};
use crate::model::{Facts, NodeRecord, TokenStatus, TrustState};
use crate::store::{MintOutcome, NameRule, Store};
use crate::testing::{Claimant, TestToken, name, race, scale};

/// T1: a token comes back whole, its digest too, and an unbound one registers nobody.
pub async fn t1_a_token_comes_back_whole(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let mut token = fleet.make.token(at(0)).uses(7);
    token.record.description = Some("for the \"north\" site — 北".into());
    assert_eq!(fleet.mint(&token).await, None, "T1: an unbound token has no node");
    let kept = fleet.token(&token).await;
    assert_eq!(format!("{kept:?}"), format!("{:?}", token.record), "T1");
    assert_eq!(kept.digest.as_bytes(), token.record.digest.as_bytes(), "T1: its digest");
    let absent = some(fleet.store.token(fleet.make.token(at(0)).record.id).await);
    assert!(absent.is_none(), "T1: another id is nobody's");
}

/// T1: a bound token registers a name that is unknown.
pub async fn t1_a_bound_token_registers_an_unknown_name(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.make.token(at(0)).bound_to("a");
    let mut mint = fleet.make.mint(&token);
    mint.labels = Some(BTreeMap::from([("rack".into(), "7".into())]));
    let expected = NodeRecord {
        id: mint.new_node_id,
        name: name("a"),
        state: TrustState::Pending,
        cordoned: false,
        labels: BTreeMap::from([("rack".into(), "7".into())]),
        facts: Facts::default(),
        method: None,
        created_at: at(0),
        enrolled_at: None,
        last_seen_at: None,
        fuse: None,
    };
    let MintOutcome::Minted(Some(node)) = some(fleet.store.mint(mint).await) else {
        panic!("T1: a bound token comes with its node");
    };
    assert_eq!(*node, expected, "T1: the outcome");
    assert_eq!(fleet.node(&name("a")).await, Some(expected), "T1: and what is kept");
}

/// T1: a deleted name is registered with a new id, and nothing of the old node.
pub async fn t1_a_deleted_name_is_registered_anew(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.make.token(at(0)).bound_to("a");
    let mut mint = fleet.make.mint(&token);
    mint.labels = Some(BTreeMap::from([("rack".into(), "7".into())]));
    let old = mint.new_node_id;
    let _minted = some(fleet.store.mint(mint).await);
    some(fleet.store.set_cordon(&name("a"), true, event("c", at(1))).await);
    let _gone = fleet.delete(&name("a"), at(1)).await;
    let node = fleet.mint(&fleet.make.token(at(2)).bound_to("a")).await;
    let node = node.expect("T1: a bound token comes with its node");
    assert_ne!(node.id, old, "T1: another node");
    assert!(node.labels.is_empty() && !node.cordoned, "T1: with nothing of the old: {node:?}");
    assert_eq!((node.state, node.created_at), (TrustState::Pending, at(2)), "T1");
}

/// T1: a name that is there keeps its node and its identities; labels given take the place of those
/// it has, none given leave them.
pub async fn t1_a_name_that_is_there_keeps_its_node(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let enrolled = fleet.enroll(&Claimant::new(&fleet.bound("a", at(0)).await, "a"), at(1)).await;
    let labels = BTreeMap::from([("rack".to_owned(), "8".to_owned())]);
    for (given, rule) in [(Some(labels.clone()), NameRule::Any), (None, NameRule::Exists)] {
        let mut mint = fleet.make.mint(&fleet.make.token(at(2)).bound_to("a"));
        (mint.labels, mint.rule) = (given, rule);
        let MintOutcome::Minted(Some(node)) = some(fleet.store.mint(mint).await) else {
            panic!("T1: it is minted, and comes with its node");
        };
        let expected = NodeRecord { labels: labels.clone(), ..enrolled.node.clone() };
        assert_eq!(*node, expected, "T1");
        assert_eq!(fleet.node(&name("a")).await, Some(expected), "T1");
    }
    assert!(fleet.is_live(&enrolled.x509).await, "T1: minting replaces no identity");
}

/// T1: of the tokens of a name those are replaced that are unspent and stand, and no others.
pub async fn t1_minting_replaces_the_unspent_tokens_of_the_name(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let spent = fleet.minted(fleet.make.token(at(0)).bound_to("a").uses(2)).await;
    fleet.enroll(&Claimant::new(&spent, "a"), at(1)).await;
    let revoked = fleet.bound("a", at(0)).await;
    some(fleet.store.revoke(revoked.record.id, at(1), event("r", at(1))).await);
    let elapsed = fleet.minted(fleet.make.token(at(0)).bound_to("a").ttl(Duration::ZERO)).await;
    let others = [fleet.bound("b", at(0)).await, fleet.unlimited(at(0)).await];
    let fresh = fleet.bound("a", at(2)).await;
    let newest = fleet.bound("a", at(3)).await;
    assert_eq!(fleet.token(&elapsed).await.replaced_at, Some(at(2)), "T1: unspent, if too late");
    assert_eq!(fleet.token(&fresh).await.replaced_at, Some(at(3)), "T1: replaced by the next");
    for (token, why) in [
        (&spent, "spent a use"),
        (&revoked, "was revoked"),
        (&others[0], "has another name"),
        (&others[1], "has no name"),
        (&newest, "is the newest"),
    ] {
        assert_eq!(fleet.token(token).await.replaced_at, None, "T1: this one {why}");
    }
    let once = fleet.token(&elapsed).await.replaced_at;
    fleet.bound("a", at(4)).await;
    assert_eq!(fleet.token(&elapsed).await.replaced_at, once, "T1: it was replaced but once");
}

/// T1: minting for a name closes the open windows of its node, and of no other.
pub async fn t1_minting_closes_the_windows_of_the_node(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    let one = fleet.enroll(&Claimant::new(&token, "a"), at(1)).await;
    let other = fleet.enroll(&Claimant::new(&token, "b"), at(1)).await;
    fleet.unlimited(at(2)).await;
    assert!(fleet.is_open(&token, one.redemption).await, "T1: an unbound token closes nothing");
    fleet.bound("a", at(2)).await;
    assert!(!fleet.is_open(&token, one.redemption).await, "T1: the window of `a` is closed");
    assert!(fleet.is_open(&token, other.redemption).await, "T1: the window of `b` is not");
}

/// T1: the events given are journalled, in their order.
pub async fn t1_minting_journals_its_events(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let events = vec![event("first", at(0)), event("second", at(0))];
    let mut mint = fleet.make.mint(&fleet.make.token(at(0)).bound_to("a"));
    mint.events.clone_from(&events);
    let _minted = some(fleet.store.mint(mint).await);
    assert_eq!(fleet.events().await, events, "T1");
}

/// T1, N1: of 16 tokens minted for one name at once one stands, and all are for one node.
pub async fn t1_many_mints_of_one_name_leave_one_token(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    for round in 0..4 * scale() {
        let text = format!("machine-{round}");
        let tokens: Vec<TestToken> =
            (0..16).map(|_| fleet.make.token(at(0)).bound_to(&text)).collect();
        let mints = tokens.iter().map(|token| {
            let (fleet, mint) = (Arc::clone(&fleet), fleet.make.mint(token));
            async move { some(fleet.store.mint(mint).await) }
        });
        let ids = race(mints.collect::<Vec<_>>()).await.into_iter().map(|outcome| match outcome {
            MintOutcome::Minted(Some(node)) => node.id,
            other => panic!("T2: nothing stands against it: {other:?}"),
        });
        let ids: Vec<_> = ids.collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "N1: one name, several nodes: {ids:?}");
        let mut standing = 0;
        for token in &tokens {
            standing += usize::from(fleet.token(token).await.replaced_at.is_none());
        }
        assert_eq!(standing, 1, "T1: the tokens that stand for one name");
    }
}

/// T2: a mint that its rule refuses writes nothing.
pub async fn t2_a_refused_mint_wrote_nothing(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    fleet.enroll(&Claimant::new(&token, "held"), at(1)).await;
    fleet.enroll(&Claimant::new(&token, "gone"), at(1)).await;
    let _gone = fleet.delete(&name("gone"), at(1)).await;
    for (node, rule, refused) in [
        ("held", NameRule::NotHeld, "held"),
        ("unknown", NameRule::Exists, "not there"),
        ("gone", NameRule::Exists, "deleted"),
    ] {
        let mut mint = fleet.make.mint(&fleet.make.token(at(2)).bound_to(node));
        (mint.rule, mint.events) = (rule, vec![event("never", at(2))]);
        mint.labels = Some(BTreeMap::from([("never".into(), "written".into())]));
        let before = fleet.observe().await;
        let outcome = some(fleet.store.mint(mint).await);
        let as_ruled = match outcome {
            MintOutcome::NameHeld => rule == NameRule::NotHeld,
            MintOutcome::NoSuchNode => rule == NameRule::Exists,
            MintOutcome::Minted(_) => false,
        };
        assert!(as_ruled, "T2: the name is {refused}: {outcome:?}");
        fleet.unchanged(&before, &format!("T2: the name is {refused}")).await;
    }
}

/// T2: each rule lets through what it allows.
pub async fn t2_each_rule_lets_through_what_it_allows(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    fleet.bound("pending", at(0)).await;
    let token = fleet.unlimited(at(0)).await;
    fleet.enroll(&Claimant::new(&token, "held"), at(1)).await;
    fleet.bound("gone", at(0)).await;
    let _gone = fleet.delete(&name("gone"), at(1)).await;
    for (node, rule) in [
        ("new", NameRule::NotHeld),
        ("pending", NameRule::NotHeld),
        ("gone", NameRule::NotHeld),
        ("pending", NameRule::Exists),
        ("held", NameRule::Exists),
        ("held", NameRule::Any),
        ("newer", NameRule::Any),
    ] {
        let mut mint = fleet.make.mint(&fleet.make.token(at(2)).bound_to(node));
        mint.rule = rule;
        let outcome = some(fleet.store.mint(mint).await);
        assert!(matches!(outcome, MintOutcome::Minted(Some(_))), "T2: {node}, {rule:?}");
    }
}

/// T2: an id that is there already is a collision, and writes nothing.
pub async fn t2_an_id_minted_twice_is_a_collision(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.minted(fleet.make.token(at(0)).uses(1)).await;
    let before = fleet.observe().await;
    let mut twin = fleet.make.token(at(0)).bound_to("a");
    twin.record.id = token.record.id;
    let mut mint = fleet.make.mint(&twin);
    mint.events = vec![event("never", at(0))];
    assert!(is_collision(fleet.store.mint(mint).await), "T2: the id was there");
    fleet.unchanged(&before, "T2: the id was there").await;
    assert_eq!(fleet.node(&name("a")).await, None, "T2: it registered a name");
}

/// T3: a token that stands is revoked once, and that is journalled once.
pub async fn t3_a_token_is_revoked_once(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.minted(fleet.make.token(at(0)).uses(2)).await;
    fleet.enroll(&Claimant::new(&token, "a"), at(1)).await;
    let before = fleet.events().await.len();
    for (round, revoked_now) in [(2, true), (3, false)] {
        let revoked = event("revoked", at(round));
        let outcome = some(fleet.store.revoke(token.record.id, at(round), revoked).await);
        let outcome = outcome.expect("T3: the token is there");
        assert_eq!(outcome.revoked_now, revoked_now, "T3: call {round}");
        assert_eq!(outcome.token.revoked_at, Some(at(2)), "T3: the first call's instant stays");
        assert_eq!(outcome.token.uses, 1, "T3: uses stay");
        assert_eq!(fleet.token(&token).await.revoked_at, Some(at(2)), "T3: it is kept");
    }
    assert_eq!(fleet.events().await[before..], [event("revoked", at(2))], "T3: one event");
}

/// T3: what is replaced, past its time or spent is not revoked, and nothing is journalled.
pub async fn t3_what_no_longer_stands_is_not_revoked(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let replaced = fleet.bound("a", at(0)).await;
    fleet.bound("a", at(1)).await;
    let elapsed = fleet.minted(fleet.make.token(at(0)).ttl(Duration::from_secs(60))).await;
    let consumed = fleet.minted(fleet.make.token(at(0)).uses(1)).await;
    fleet.enroll(&Claimant::new(&consumed, "b"), at(1)).await;
    let exhausted = fleet.minted(fleet.make.token(at(0)).uses(2)).await;
    fleet.enroll(&Claimant::new(&exhausted, "c"), at(1)).await;
    fleet.enroll(&Claimant::new(&exhausted, "d"), at(1)).await;
    let before = fleet.events().await.len();
    for (token, status) in [
        (&replaced, TokenStatus::Replaced),
        (&elapsed, TokenStatus::Expired),
        (&consumed, TokenStatus::Consumed),
        (&exhausted, TokenStatus::Exhausted),
    ] {
        let outcome = some(fleet.store.revoke(token.record.id, at(60), event("r", at(60))).await);
        let outcome = outcome.expect("T3: the token is there");
        assert!(!outcome.revoked_now, "T3: {status} is not revoked");
        assert_eq!(outcome.token.status(at(60)), status, "T3: and stays what it was");
        assert_eq!(fleet.token(token).await.status(at(60)), status, "T3: in the store too");
    }
    assert_eq!(fleet.events().await.len(), before, "T3: nothing happened");
    let in_time = fleet.minted(fleet.make.token(at(0)).ttl(Duration::from_secs(60))).await;
    let last = at(60).before(Duration::from_millis(1));
    let outcome = some(fleet.store.revoke(in_time.record.id, last, event("r", last)).await);
    assert!(outcome.is_some_and(|outcome| outcome.revoked_now), "T3: in its last millisecond");
}

/// T3: a token that is not there is not revoked.
pub async fn t3_an_unknown_token_is_told(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let id = fleet.make.token(at(0)).record.id;
    let outcome = some(fleet.store.revoke(id, at(1), event("revoked", at(1))).await);
    assert!(outcome.is_none(), "T3: {outcome:?}");
    assert_eq!(fleet.events().await, [], "T3: nothing happened");
}

/// T3: of many that revoke one token at once, one did.
pub async fn t3_many_revokes_at_once_revoke_once(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    let id = token.record.id;
    let revokes = (0..32).map(|_| {
        let fleet = Arc::clone(&fleet);
        async move { some(fleet.store.revoke(id, at(1), event("revoked", at(1))).await) }
    });
    let outcomes = race(revokes.collect::<Vec<_>>()).await;
    let did = outcomes.into_iter().flatten().filter(|outcome| outcome.revoked_now).count();
    assert_eq!((did, fleet.events().await.len()), (1, 1), "T3: one revoked, one event");
}

/// T4: a revoke closes every open window of the token, and of no other, even of one that is spent
/// or past its time.
pub async fn t4_a_revoke_closes_every_window_of_the_token(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.minted(fleet.make.token(at(0)).uses(2)).await;
    let other = fleet.unlimited(at(0)).await;
    let one = fleet.enroll(&Claimant::new(&token, "a"), at(1)).await;
    let two = fleet.enroll(&Claimant::new(&token, "b"), at(1)).await;
    let bystander = fleet.enroll(&Claimant::new(&other, "c"), at(1)).await;
    let late = token.record.expires_at;
    some(fleet.store.revoke(token.record.id, late, event("revoked", late)).await);
    for enrolled in [&one, &two] {
        assert!(!fleet.is_open(&token, enrolled.redemption).await, "T4");
        assert!(fleet.is_live(&enrolled.x509).await, "T4: a token's revocation is not a node's");
    }
    assert!(fleet.is_open(&other, bystander.redemption).await, "T4: another token's window");
}
