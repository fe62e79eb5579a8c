//! The directory: who may touch it, what it may hold, what is written how.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use enroll_core::worker::{Proofs, Purpose, StateDir, StateErrorKind, Status, Worker, WorkerError};

use super::fake::{FakeMaster, Fate, Nature, refused, unreachable_master};
use super::support::{Place, again, chmod, mode, secret, token};
use enroll_core::model::Reason;

const BOTH: fn() -> Nature = || Nature { api_key: true, mesh: true, ..Nature::default() };

async fn member(place: &Place) {
    let worker = Worker::new(place.open(), FakeMaster::new(BOTH()));
    let worker = worker.with_clock(super::support::clock(super::support::NOW));
    worker.bootstrap(Proofs::token(token())).await.unwrap();
}

fn kind(place: &Place) -> StateErrorKind {
    match StateDir::open(place.path()).and_then(|dir| dir.status()) {
        Err(why) => why.kind(),
        Ok(status) => panic!("not refused: {status:?}"),
    }
}

#[tokio::test]
async fn every_file_has_its_name_and_its_mode() {
    let place = Place::new();
    member(&place).await;
    let modes: Vec<_> = place.files().iter().map(|name| mode(&place.file(name))).collect();
    let names = ["agent.crt", "agent.key", "api_key", "ca.crt", "identity.json", "mesh.json"];
    assert_eq!(place.files(), names);
    assert_eq!(modes, [0o644, 0o600, 0o600, 0o644, 0o644, 0o600]);
    assert_eq!(mode(&place.path()), 0o700);
    assert!(place.read("agent.key").starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert_eq!(place.read("ca.crt").matches("BEGIN CERTIFICATE").count(), 1);
    assert!(place.read("identity.json").contains("\"v\": 1"));
    assert!(!place.read("identity.json").contains("s3cret"));
}

#[test]
fn an_empty_directory_is_made_private() {
    let place = Place::new();
    fs::create_dir(place.path()).unwrap();
    chmod(&place.path(), 0o755);
    assert!(matches!(place.open().status().unwrap(), Status::Empty));
    assert_eq!(mode(&place.path()), 0o700);
}

#[tokio::test]
async fn a_directory_that_is_not_private_is_refused() {
    let place = Place::new();
    member(&place).await;
    for loose in [0o755, 0o770, 0o701] {
        chmod(&place.path(), loose);
        assert_eq!(kind(&place), StateErrorKind::Unsafe);
        assert_eq!(mode(&place.path()), loose, "it was changed");
    }
}

#[tokio::test]
async fn a_file_others_can_get_at_is_refused() {
    for (name, loose) in [
        ("agent.key", 0o644),
        ("agent.key", 0o640),
        ("api_key", 0o604),
        ("agent.crt", 0o664),
        ("ca.crt", 0o646),
        ("identity.json", 0o666),
    ] {
        let place = Place::new();
        member(&place).await;
        chmod(&place.file(name), loose);
        assert_eq!(kind(&place), StateErrorKind::Unsafe, "{name} {loose:o}");
        let worker = Worker::new(place.open(), FakeMaster::new(BOTH()));
        assert_eq!(worker.bootstrap(None).await.unwrap_err().exit_code(), 6);
    }
}

#[tokio::test]
async fn nothing_follows_a_link() {
    for name in ["agent.key", "agent.crt", "ca.crt", "api_key", "identity.json", "attempt.json"] {
        let place = Place::new();
        member(&place).await;
        let elsewhere = place.path().with_file_name("elsewhere");
        let _absent = fs::rename(place.file(name), &elsewhere);
        symlink(&elsewhere, place.file(name)).unwrap();
        assert_eq!(kind(&place), StateErrorKind::Unsafe, "{name}");
    }
}

#[test]
fn a_lock_that_is_a_link_is_refused() {
    let place = Place::new();
    let dir = place.open();
    symlink(place.path().with_file_name("elsewhere"), place.file(".lock")).unwrap();
    assert_eq!(dir.lock().unwrap_err().kind(), StateErrorKind::Unsafe);
    assert!(!place.path().with_file_name("elsewhere").exists());
}

#[tokio::test]
async fn a_link_to_the_directory_is_refused_with_and_without_a_slash() {
    let place = Place::new();
    member(&place).await;
    let link = place.path().with_file_name("link");
    symlink(place.path(), &link).unwrap();
    for path in [link.clone(), link.join("")] {
        assert_eq!(StateDir::open(&path).unwrap_err().kind(), StateErrorKind::Unsafe);
    }
}

#[tokio::test]
async fn what_is_no_file_is_refused_without_waiting_for_it() {
    let place = Place::new();
    member(&place).await;
    fs::remove_file(place.file("api_key")).unwrap();
    let fifo = place.file("api_key");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    assert_eq!(kind(&place), StateErrorKind::Unsafe);
}

#[tokio::test]
async fn what_belongs_to_somebody_else_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::new();
    member(&place).await;
    let other = Some(4711);
    std::os::unix::fs::chown(place.file("agent.key"), other, None).unwrap();
    assert_eq!(kind(&place), StateErrorKind::Unsafe);
    std::os::unix::fs::chown(place.file("agent.key"), Some(0), None).unwrap();
    assert!(matches!(place.open().status().unwrap(), Status::Complete(_)));
    std::os::unix::fs::chown(place.path(), other, None).unwrap();
    assert_eq!(kind(&place), StateErrorKind::Unsafe);
}

#[test]
fn one_process_at_a_time() {
    let place = Place::new();
    let dir = place.open();
    let held = dir.lock().unwrap();
    assert_eq!(dir.lock().unwrap_err().kind(), StateErrorKind::Busy);
    assert!(matches!(dir.status().unwrap(), Status::Empty), "looking needs no lock");
    drop(held);
    assert!(dir.lock().is_ok());
}

#[tokio::test]
async fn every_part_of_an_identity_is_told_from_a_whole_one() {
    let all = ["agent.crt", "agent.key", "api_key", "ca.crt", "identity.json"];
    for kept in 1_u32..31 {
        let place = Place::new();
        member(&place).await;
        let keep = |at: usize| kept & (1 << at) != 0;
        for (_, name) in all.iter().enumerate().filter(|(at, _)| !keep(*at)) {
            fs::remove_file(place.file(name)).unwrap();
        }
        let before = place.contents();
        let worker = Worker::new(place.open(), FakeMaster::new(BOTH()));
        let error = worker.bootstrap(Proofs::token(token())).await.unwrap_err();
        let WorkerError::Partial { present, missing, .. } = &error else {
            panic!("{kept:05b}: {error:?}")
        };
        assert_eq!(error.exit_code(), 6);
        let kept: Vec<_> = all.iter().enumerate().filter(|(at, _)| keep(*at)).collect();
        assert_eq!(present.len(), kept.len());
        assert!(!missing.is_empty());
        for (_, name) in &kept {
            assert!(error.to_string().contains(**name), "{error} names {name}");
        }
        if keep(4) {
            assert_eq!(present.len() + missing.len(), all.len(), "identity.json knows them all");
        }
        assert_eq!(place.contents(), before, "nothing was touched");
    }
}

#[tokio::test]
async fn damage_is_named_and_nothing_is_lost() {
    let other = Place::new();
    member(&other).await;
    for (name, text) in [
        ("agent.key", "no key".to_owned()),
        ("agent.key", other.read("agent.key")),
        ("agent.crt", "no certificate".to_owned()),
        ("agent.crt", other.read("agent.crt")),
        ("ca.crt", other.read("ca.crt")),
        ("api_key", "enroll_key_short".to_owned()),
        ("identity.json", "{".to_owned()),
        ("identity.json", "{\"v\": 1}".to_owned()),
    ] {
        let place = Place::new();
        member(&place).await;
        fs::write(place.file(name), text).unwrap();
        let before = place.contents();
        let Status::Damaged(why) = place.open().status().unwrap() else { panic!("{name}") };
        assert_eq!(why.kind(), StateErrorKind::Damaged);
        let worker = Worker::new(place.open(), FakeMaster::new(BOTH()));
        let error = worker.bootstrap(Proofs::token(token())).await.unwrap_err();
        assert_eq!(error.exit_code(), 6, "{name}: {error}");
        assert_eq!(place.contents(), before);
    }
}

#[tokio::test]
async fn a_version_of_another_release_is_named_and_nothing_is_lost() {
    for name in ["identity.json", "attempt.json"] {
        let place = Place::new();
        member(&place).await;
        fs::write(place.file(name), "{\"v\": 2, \"new\": true}").unwrap();
        chmod(&place.file(name), 0o600);
        let before = place.contents();
        let worker = Worker::new(place.open(), FakeMaster::new(BOTH()));
        let error = worker.bootstrap(Proofs::token(token())).await.unwrap_err();
        let WorkerError::State(why) = error else { panic!("{error:?}") };
        assert_eq!(why.kind(), StateErrorKind::Version);
        assert!(why.to_string().contains("version 2"), "{why}");
        assert_eq!(place.contents(), before);
    }
}

#[tokio::test]
async fn a_damaged_journal_stops_the_worker_and_only_force_discards_it() {
    let place = Place::new();
    place.open();
    fs::write(place.file("attempt.json"), "{\"v\": 1, \"purpose\"").unwrap();
    chmod(&place.file("attempt.json"), 0o600);
    let master = FakeMaster::new(BOTH());
    let worker =
        Worker::new(place.open(), Arc::clone(&master)).with_clock(Arc::clone(&master.clock) as _);
    let error = worker.bootstrap(Proofs::token(token())).await.unwrap_err();
    assert_eq!(error.exit_code(), 6);
    assert_eq!(master.calls("enroll"), 0);
    assert_eq!(place.files(), ["attempt.json"]);
    worker.replace(Proofs::token(token())).await.unwrap();
    assert!(matches!(place.open().status().unwrap(), Status::Complete(_)));
}

#[tokio::test]
async fn an_open_attempt_is_told_without_its_secrets() {
    let place = Place::new();
    let (master, token) = (FakeMaster::new(Nature::default()), token());
    master.will([Fate::Fail(unreachable_master()), Fate::Fail(refused(Reason::Expired))]);
    let worker = Worker::new(place.open(), master).with_retry_for(std::time::Duration::ZERO);
    worker.bootstrap(again(&token)).await.unwrap_err();
    let Status::Open { attempt, identity: None } = place.open().status().unwrap() else { panic!() };
    assert_eq!(attempt.purpose(), Purpose::Enroll);
    assert_eq!(attempt.token(), Some(token.id()));
    assert_eq!((attempt.refused(), attempt.is_answered()), (None, false));
    assert_eq!(place.files(), ["attempt.json"]);
    assert_eq!(mode(&place.file("attempt.json")), 0o600);
    let text = place.read("attempt.json");
    assert!(text.contains("BEGIN PRIVATE KEY"));
    assert!(text.contains(&token.id().to_string()));
    assert!(!text.contains(&token.expose()[20..]), "the token's text is on disk");
    worker.bootstrap(again(&token)).await.unwrap_err();
    let Status::Open { attempt, .. } = place.open().status().unwrap() else { panic!() };
    assert_eq!(attempt.refused(), Some("expired"));
}

#[tokio::test]
async fn a_shared_secret_is_never_on_disk() {
    let place = Place::new();
    let master = FakeMaster::new(Nature::default());
    master.will([Fate::Fail(unreachable_master())]);
    let worker = Worker::new(place.open(), master).with_retry_for(std::time::Duration::ZERO);
    let proofs = Proofs::token_and_secret(token(), secret());
    worker.bootstrap(proofs).await.unwrap_err();
    assert!(!place.read("attempt.json").contains(secret().expose()));
}

#[test]
fn a_configuration_is_never_written_over() {
    let place = Place::new();
    let dir = place.open();
    let locked = dir.lock().unwrap();
    assert!(locked.create_config("first").unwrap());
    assert!(!locked.create_config("second").unwrap());
    assert_eq!(place.read("agent.toml"), "first");
    assert_eq!(mode(&place.file("agent.toml")), 0o644);
    fs::remove_file(place.file("agent.toml")).unwrap();
    symlink("/nowhere", place.file("agent.toml")).unwrap();
    assert!(!locked.create_config("third").unwrap(), "a link is something too");
}

#[test]
fn what_a_crash_left_half_written_is_removed() {
    let place = Place::new();
    let dir = place.open();
    for name in [".agent.key.tmp", ".attempt.json.tmp", ".agent.toml.tmp"] {
        fs::write(place.file(name), "half").unwrap();
    }
    drop(dir.lock().unwrap());
    assert!(place.files().is_empty());
}

#[tokio::test]
async fn a_mesh_key_stays_until_it_is_used() {
    let place = Place::new();
    member(&place).await;
    let dir = place.open();
    let keys = dir.mesh().unwrap();
    assert_eq!(keys[0].authkey.as_str(), "hskey-auth-s3cret");
    dir.lock().unwrap().forget_mesh().unwrap();
    assert!(dir.mesh().unwrap().is_empty());
    assert!(matches!(dir.status().unwrap(), Status::Complete(_)));
}

#[tokio::test]
async fn no_debug_shows_a_secret() {
    let place = Place::new();
    member(&place).await;
    let dir = place.open();
    let locked = dir.lock().unwrap();
    let credentials = locked.credentials().unwrap();
    let shown =
        format!("{credentials:?} {:?} {dir:?} {locked:?} {:?}", credentials.certificate(), {
            dir.status().unwrap()
        });
    let key = place.read("agent.key");
    assert!(!shown.contains(key.lines().nth(1).unwrap()));
    assert!(!shown.contains(&place.read("api_key")));
    assert!(!shown.contains("s3cret"));
    assert!(shown.contains("[redacted]"));
    let proofs = Proofs::token_and_secret(token(), secret());
    assert!(!format!("{proofs:?}").contains(secret().expose()));
}
