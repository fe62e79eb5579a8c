//! A1 to A3, C1 and the probe: operators, settings, and whether the store answers.

use std::sync::Arc;

use super::fleet::{Fleet, at, event, some};
use crate::model::{AdminRecord, AdminToken, Role, TokenPrefix};
use crate::store::{Setting, Store};
use crate::testing::{race, scale};

fn admin(fleet: &Fleet, name: &str, role: Role) -> AdminRecord {
    let token = AdminToken::generate(&TokenPrefix::default(), fleet.make.entropy());
    let digest = token.expect("counting entropy never runs out").digest();
    AdminRecord { name: name.into(), role, digest, created_at: at(0) }
}

async fn insert(fleet: &Fleet, admin: &AdminRecord) -> bool {
    some(fleet.store.insert_admin(admin.clone(), event("added", at(1))).await)
}

async fn remove(fleet: &Fleet, name: &str) -> bool {
    some(fleet.store.remove_admin(name, event("removed", at(2))).await)
}

/// A1: an operator comes back whole, found by their token, listed by name.
pub async fn a1_an_operator_comes_back_whole(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let roles = [Role::Viewer, Role::Admin, Role::Developer, Role::Operator];
    let mut admins = Vec::new();
    for (role, name) in roles.into_iter().zip(["zoe", "ann", "a b", "Zoe"]) {
        let admin = admin(&fleet, name, role);
        assert!(insert(&fleet, &admin).await, "A1: {name} is new");
        let found = some(fleet.store.admin(admin.digest).await);
        assert_eq!(found.as_ref(), Some(&admin), "A1: found by their token");
        admins.push(admin);
    }
    admins.sort_by(|one, next| one.name.cmp(&next.name));
    assert_eq!(some(fleet.store.admins().await), admins, "A1: all of them, by name");
    let stranger = admin(&fleet, "stranger", Role::Admin);
    assert_eq!(some(fleet.store.admin(stranger.digest).await), None, "A1: others are nobody");
    assert_eq!(fleet.events().await.len(), 4, "A1: an event each");
}

/// A1: a name that is there is not given again, and nothing is written.
pub async fn a1_a_name_is_given_once(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let first = admin(&fleet, "ann", Role::Viewer);
    let second = admin(&fleet, "ann", Role::Admin);
    assert!(insert(&fleet, &first).await, "A1");
    let before = fleet.observe().await;
    assert!(!insert(&fleet, &second).await, "A1: the name is there");
    fleet.unchanged(&before, "A1: refused").await;
    assert_eq!(some(fleet.store.admin(second.digest).await), None, "A1: no second token");
    assert_eq!(some(fleet.store.admin(first.digest).await), Some(first), "A1: the first stays");
}

/// A1: of many that take one name at once, one has it.
pub async fn a1_many_inserts_of_one_name_give_it_once(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let inserts = (0..16).map(|_| {
        let (fleet, admin) = (Arc::clone(&fleet), admin(&fleet, "ann", Role::Admin));
        async move { insert(&fleet, &admin).await }
    });
    let outcomes = race(inserts.collect::<Vec<_>>()).await;
    assert_eq!(outcomes.iter().filter(|did| **did).count(), 1, "A1");
    let (admins, events) = (some(fleet.store.admins().await), fleet.events().await);
    assert_eq!((admins.len(), events.len()), (1, 1), "A1: one operator, one event");
}

/// A2: who was removed is nobody from then on, and the name is free again.
pub async fn a2_a_removed_operator_is_nobody(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    insert(&fleet, &admin(&fleet, "ann", Role::Admin)).await;
    let bob = admin(&fleet, "bob", Role::Operator);
    insert(&fleet, &bob).await;
    let before = fleet.events().await.len();
    assert!(remove(&fleet, "bob").await, "A2");
    assert_eq!(some(fleet.store.admin(bob.digest).await), None, "A2: the token is refused");
    assert_eq!(fleet.events().await[before..], [event("removed", at(2))], "A2: one event");
    let again = admin(&fleet, "bob", Role::Viewer);
    assert!(insert(&fleet, &again).await, "A1: the name is free again");
    assert_eq!(some(fleet.store.admin(bob.digest).await), None, "A2: the old token stays refused");
}

/// A3: the last admin stays, and an unknown name is told, both without a trace.
pub async fn a3_the_last_admin_stays(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let ann = admin(&fleet, "ann", Role::Admin);
    insert(&fleet, &ann).await;
    insert(&fleet, &admin(&fleet, "bob", Role::Operator)).await;
    let before = fleet.observe().await;
    assert!(!remove(&fleet, "ann").await, "A3: an operator is no admin");
    assert!(!remove(&fleet, "nobody").await, "A3: nobody has the name");
    fleet.unchanged(&before, "A3: refused").await;
    insert(&fleet, &admin(&fleet, "cid", Role::Admin)).await;
    assert!(remove(&fleet, "ann").await, "A3: there is another now");
    assert!(!remove(&fleet, "cid").await, "A3: and now there is not");
}

/// A3: of two admins that remove each other at once, one stays.
pub async fn a3_two_admins_do_not_remove_each_other(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    insert(&fleet, &admin(&fleet, "0", Role::Admin)).await;
    for round in 1..=16 * scale() {
        // Whoever won the last round is joined by one other.
        let survivor = some(fleet.store.admins().await).remove(0).name;
        insert(&fleet, &admin(&fleet, &round.to_string(), Role::Admin)).await;
        let removals = [survivor, round.to_string()].map(|name| {
            let fleet = Arc::clone(&fleet);
            async move { remove(&fleet, &name).await }
        });
        let did = race(removals).await.into_iter().filter(|did| *did).count();
        let left = some(fleet.store.admins().await).len();
        assert_eq!((did, left), (1, 1), "A3: round {round}");
    }
}

async fn put(fleet: &Fleet, key: &str, value: &str, expected: u64) -> bool {
    let changed = event(key, at(1));
    some(fleet.store.put_setting(key, value.to_owned(), expected, changed).await)
}

async fn setting(fleet: &Fleet, key: &str) -> Option<Setting> {
    some(fleet.store.setting(key).await)
}

fn stands(value: &str, version: u64) -> Option<Setting> {
    Some(Setting { value: value.to_owned(), version })
}

/// C1: a setting is written by who knows its version, which counts from 1.
pub async fn c1_a_setting_is_written_by_who_knows_its_version(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    assert_eq!(setting(&fleet, "k").await, None, "C1: it is not there");
    assert!(!put(&fleet, "k", "x", 1).await, "C1: it is not there, so it has no version");
    assert_eq!(setting(&fleet, "k").await, None, "C1: and nothing was written");
    assert!(put(&fleet, "k", "one", 0).await, "C1: it is created");
    assert_eq!(setting(&fleet, "k").await, stands("one", 1), "C1");
    for stale in [0, 2, u64::from(u32::MAX)] {
        assert!(!put(&fleet, "k", "x", stale).await, "C1: {stale} is not its version");
    }
    assert_eq!(setting(&fleet, "k").await, stands("one", 1), "C1: nothing was written");
    assert!(put(&fleet, "k", "", 1).await, "C1: it is changed");
    assert_eq!(setting(&fleet, "k").await, stands("", 2), "C1: empty is a value too");
    assert!(put(&fleet, "K", "other", 0).await, "C1: another key is another setting");
    assert_eq!(setting(&fleet, "k").await, stands("", 2), "C1");
    assert_eq!(fleet.events().await.len(), 3, "C1: an event for each change, and no other");
}

/// C1: of many that change a setting at once, one does, version by version.
pub async fn c1_of_many_changes_at_once_one_is_made(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    for version in 0..8 * scale() as u64 {
        let puts = (0..16).map(|writer| {
            let (fleet, value) = (Arc::clone(&fleet), format!("{version} by {writer}"));
            async move { put(&fleet, "k", &value, version).await.then_some(value) }
        });
        let made: Vec<_> = race(puts.collect::<Vec<_>>()).await.into_iter().flatten().collect();
        assert_eq!(made.len(), 1, "C1: {made:?}");
        assert_eq!(setting(&fleet, "k").await, stands(&made[0], version + 1), "C1");
    }
}

/// A store that is well answers its probe, and that leaves no trace.
pub async fn p_a_store_that_is_well_answers(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    fleet.unlimited(at(0)).await;
    let before = fleet.observe().await;
    some(fleet.store.probe().await);
    fleet.unchanged(&before, "probe").await;
}
