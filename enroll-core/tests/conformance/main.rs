//! The reference store keeps every law, and stores with the field's two favourite mistakes do not
//! pass as stores: who checks first and acts later, and who overwrites where it should lose.

mod overwriting;
mod racy;

use enroll_core::decision::Take;
use enroll_core::model::{NameState, Snapshot};
use enroll_core::store::{MemoryStore, Redeem, Store};
use enroll_core::testing::{LAWS, check};

async fn fresh() -> MemoryStore {
    MemoryStore::new()
}
enroll_core::store_conformance!(fresh);

#[test]
fn every_law_is_named_once_and_by_its_clause() {
    let mut names: Vec<_> = LAWS.iter().map(|law| law.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), LAWS.len());
    for clause in [
        "r1", "r2", "r3", "r4", "r5", "r6", "r7", "t1", "t2", "t3", "t4", "t5", "n1", "n2", "n3",
        "n4", "n5", "n6", "q1", "q2", "q3", "q4", "i1", "i2", "i3", "i4", "a1", "a2", "a3", "c1",
        "j1", "j2", "m1", "m2", "m3", "m4",
    ] {
        let ours = |name: &&str| name.split('_').next() == Some(clause);
        assert!(names.iter().any(ours), "no law of {clause}");
    }
}

/// The laws of these names that a store breaks, and the words they break with.
fn broken<S: Store + 'static>(laws: &[&str], fresh: fn() -> S) -> Vec<(String, String)> {
    let mut broken = Vec::new();
    for name in laws {
        let law = LAWS.iter().find(|law| law.name == *name).expect("this is a law");
        let outcome = std::panic::catch_unwind(|| check(law.run, async || fresh()));
        if let Err(panic) = outcome {
            let plain = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
            let words = panic.downcast_ref::<String>().cloned().or(plain).unwrap_or_default();
            broken.push(((*name).to_owned(), words));
        }
    }
    broken
}

/// Holds that a store breaks each of these laws, and for what the law is about: its panic names the
/// clause.
fn breaks<S: Store + 'static>(laws: &[&str], fresh: fn() -> S) {
    let broken = broken(laws, fresh);
    let names: Vec<_> = broken.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, laws, "some laws do not tell such a store");
    for (name, words) in &broken {
        let clause = name.split('_').next().expect("a name has a beginning").to_uppercase();
        assert!(words.contains(&clause), "{name} broke with other words: {words}");
    }
}

/// What a store checks before it redeems, on a snapshot that may be old by the time it writes.
fn token_is_good(redeem: &Redeem, seen: &Snapshot) -> bool {
    redeem.approval.token_id().is_none()
        || seen.token.as_ref().is_some_and(|token| {
            let stands = token.revoked_at.is_none() && token.replaced_at.is_none();
            stands && !token.is_spent() && redeem.at < token.expires_at
        })
}

/// The same, of the name.
fn name_is_as_approved(redeem: &Redeem, seen: &Snapshot) -> bool {
    match (redeem.approval.take(), &seen.name) {
        (Take::Free, NameState::Unknown) => true,
        (Take::Free, NameState::Deleted { at }) => redeem.approval.minted_at() > *at,
        (Take::Pending(id), NameState::Pending(node)) => node.id == id,
        (Take::Held(id), NameState::Held(node)) => {
            node.id == id && node.fuse_attempt() == redeem.approval.fuse()
        }
        _ => false,
    }
}
