//! Another identity in place of the one that is there: by force, and never by accident.

use std::fs;
use std::time::Duration;

use enroll_core::model::Reason;
use enroll_core::worker::{Outcome, Proofs, Status};
use tokio::time::sleep;

use super::bootstrap::{key_of_attempt, plain, worker};
use super::fake::{FakeMaster, Fate, Nature, refused, unreachable_master};
use super::support::{Place, again, chmod, mode, token};

#[tokio::test]
async fn force_takes_a_new_key_and_leaves_configuration_alone() {
    let (place, master) = (Place::new(), plain());
    worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap();
    place.open().lock().unwrap().create_config("tuned").unwrap();
    let key = place.read("agent.key");
    let outcome = worker(&place, &master).replace(Proofs::token(token())).await.unwrap();
    assert!(matches!(outcome, Outcome::Enrolled { redelivered: false, .. }));
    assert_ne!(place.read("agent.key"), key);
    assert_eq!(place.read("agent.toml"), "tuned");
    assert!(matches!(place.open().status().unwrap(), Status::Complete(_)));
    assert_eq!(master.record().current, Some(place.read("agent.crt")));
}

#[tokio::test]
async fn force_replaces_what_the_new_identity_does_not_have() {
    let both = Nature { api_key: true, mesh: true, ..Nature::default() };
    let (place, master) = (Place::new(), FakeMaster::new(both.clone()));
    worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap();
    *master.nature.lock().unwrap() = Nature { x509: false, api_key: true, ..Nature::default() };
    worker(&place, &master).replace(Proofs::token(token())).await.unwrap();
    assert_eq!(place.files(), ["api_key", "ca.crt", "identity.json"]);
    *master.nature.lock().unwrap() = Nature::default();
    worker(&place, &master).replace(Proofs::token(token())).await.unwrap();
    assert_eq!(place.files(), ["agent.crt", "agent.key", "ca.crt", "identity.json"]);
}

#[tokio::test]
async fn force_makes_a_whole_identity_of_a_part_and_of_damage() {
    let (place, master) = (Place::new(), plain());
    worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap();
    fs::remove_file(place.file("agent.key")).unwrap();
    worker(&place, &master).replace(Proofs::token(token())).await.unwrap();
    fs::write(place.file("identity.json"), "damage").unwrap();
    worker(&place, &master).replace(Proofs::token(token())).await.unwrap();
    chmod(&place.file("agent.key"), 0o644);
    worker(&place, &master).replace(Proofs::token(token())).await.unwrap();
    assert_eq!(mode(&place.file("agent.key")), 0o600);
    assert!(matches!(place.open().status().unwrap(), Status::Complete(_)));
}

#[tokio::test]
async fn a_refused_force_leaves_the_identity_and_only_force_discards_its_key() {
    let (place, master) = (Place::new(), plain());
    worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap();
    let before = place.contents();
    master.will([Fate::Fail(refused(Reason::Expired))]);
    let error = worker(&place, &master).replace(Proofs::token(token())).await.unwrap_err();
    assert_eq!(error.exit_code(), 3);
    let refused_key = key_of_attempt(&place);
    let mut now = place.contents();
    now.retain(|(name, _)| name != "attempt.json");
    assert_eq!(now, before);
    let outcome = worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap();
    assert!(matches!(outcome, Outcome::AlreadyBootstrapped(_)));
    assert_eq!(key_of_attempt(&place), refused_key);
    worker(&place, &master).replace(Proofs::token(token())).await.unwrap();
    assert_ne!(place.read("agent.key"), refused_key);
    assert!(!place.files().contains(&"attempt.json".into()));
}

#[tokio::test]
async fn a_force_that_was_cut_short_goes_on_with_its_key_forced_or_not() {
    for forced in [true, false] {
        let (place, master, token) = (Place::new(), plain(), token());
        worker(&place, &master).bootstrap(Proofs::token(super::support::token())).await.unwrap();
        master.will([Fate::Lose]);
        let first = worker(&place, &master).with_retry_for(Duration::ZERO);
        first.replace(again(&token)).await.unwrap_err();
        let key = key_of_attempt(&place);
        let second = worker(&place, &master);
        let outcome = match forced {
            true => second.replace(again(&token)).await.unwrap(),
            false => second.bootstrap(again(&token)).await.unwrap(),
        };
        assert!(matches!(outcome, Outcome::Enrolled { redelivered: true, .. }));
        assert_eq!(place.read("agent.key"), key);
        assert_eq!(master.record().redemptions.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_force_that_was_cut_short_is_left_to_whoever_comes_with_its_proof() {
    let (place, master, old, new) = (Place::new(), plain(), token(), token());
    worker(&place, &master).bootstrap(again(&old)).await.unwrap();
    master.will([Fate::Lose]);
    let first = worker(&place, &master).with_retry_for(Duration::ZERO);
    first.replace(again(&new)).await.unwrap_err();
    let (key, before) = (key_of_attempt(&place), place.contents());
    let status = place.open().status().unwrap();
    assert!(status.is_enrolled() && status.asks_with(&again(&new)));
    assert!(!status.asks_with(&again(&old)));
    // As the unit's environment still holds it. The master has replaced the identity, and says so.
    let served = worker(&place, &master).serve(again(&old), sleep(Duration::from_secs(60))).await;
    assert_eq!(served.unwrap_err().exit_code(), 7);
    let outcome = worker(&place, &master).bootstrap(again(&old)).await.unwrap();
    assert!(matches!(outcome, Outcome::AlreadyBootstrapped(_)));
    assert_eq!(master.calls("enroll"), 2);
    assert_eq!(place.contents(), before);
    let outcome = worker(&place, &master).replace(again(&new)).await.unwrap();
    assert!(matches!(outcome, Outcome::Enrolled { redelivered: true, .. }));
    assert_eq!(place.read("agent.key"), key);
}

#[tokio::test]
async fn force_with_another_token_discards_the_key_of_an_open_attempt() {
    let (place, master) = (Place::new(), plain());
    master.will([Fate::Fail(unreachable_master())]);
    let first = worker(&place, &master).with_retry_for(Duration::ZERO);
    first.bootstrap(Proofs::token(token())).await.unwrap_err();
    let key = key_of_attempt(&place);
    worker(&place, &master).replace(Proofs::token(token())).await.unwrap();
    assert_ne!(place.read("agent.key"), key);
}
