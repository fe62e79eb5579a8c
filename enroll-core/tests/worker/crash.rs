//! The worker dies at every step of its journal, and the next start makes it good.
//!
//! Each scene is acted by a child process that aborts at one step, against a master whose record
//! outlives it. The next start must end with one whole identity, the master's present one, and must
//! not have spent anything twice.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use enroll_core::failpoint::{self, WORKER_STEPS};
use enroll_core::model::{JoinToken, Reason, TokenPrefix};
use enroll_core::worker::{Proofs, StateDir, Status, Worker, WorkerEvent, WorkerObserver};
use tempfile::TempDir;
use tokio::sync::Notify;

use super::fake::{FakeMaster, Fate, Nature, refused};
use super::support::{NOW, token};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    /// A first enrolment, with every kind of credential.
    Enroll,
    /// Another identity in place of one that had more files.
    Replace,
    /// A renewal.
    Renew,
    /// A recovery.
    Recover,
    /// A first enrolment that is refused, then repeated with another token.
    Refused,
    /// A configuration is written.
    Config,
}

/// Scenes by the name they have in the child's environment.
const SCENES: [(&str, Scene); 6] = [
    ("enroll", Scene::Enroll),
    ("replace", Scene::Replace),
    ("renew", Scene::Renew),
    ("recover", Scene::Recover),
    ("refused", Scene::Refused),
    ("config", Scene::Config),
];

const RICH: fn() -> Nature = || Nature { api_key: true, mesh: true, ..Nature::default() };

struct Stage {
    root: TempDir,
    scene: Scene,
    /// Of the first enrolment, of what comes after it.
    tokens: [JoinToken; 2],
}

impl Stage {
    /// Sets the scene as far as nothing dies in it.
    async fn set(scene: Scene) -> Self {
        let root = tempfile::tempdir().unwrap();
        if scene == Scene::Replace {
            std::fs::write(root.path().join("poor"), "").unwrap();
        }
        let stage = Self { root, scene, tokens: [token(), token()] };
        if !matches!(scene, Scene::Enroll | Scene::Refused | Scene::Config) {
            let worker = Worker::new(state(stage.root.path()), master(stage.root.path(), RICH()));
            let worker = worker.with_clock(super::support::clock(NOW));
            worker.bootstrap(proofs(stage.tokens[0].expose())).await.unwrap();
        }
        stage
    }

    fn die_at(&self, point: &str) -> Output {
        let (word, _) = SCENES.iter().find(|(_, scene)| *scene == self.scene).unwrap();
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::act_in_a_child", "--ignored", "--nocapture"])
            .env("SCENE", word)
            .env("POINT", point)
            .env("PLACE", self.root.path())
            .env("TOKEN", self.tokens[1].expose())
            .output()
            .unwrap()
    }

    /// Plays the scene again to its end, and holds the outcome against what must be.
    async fn recover(&self, point: &str) {
        let root = self.root.path();
        match self.scene {
            Scene::Config => {
                let locked = state(root).lock().unwrap();
                locked.create_config("whole").unwrap();
                let text = std::fs::read_to_string(root.join("state/agent.toml")).unwrap();
                assert_eq!(text, "whole", "{point}");
                return;
            }
            Scene::Refused => act(Scene::Enroll, root, self.tokens[1].expose()).await,
            // Not by force: the attempt that was cut short goes on by itself. Only where none had
            // begun is force what the operator repeats.
            Scene::Replace if self.has_begun() => {
                act(Scene::Enroll, root, self.tokens[1].expose()).await;
            }
            scene => act(scene, root, self.tokens[1].expose()).await,
        }
        self.assert_whole(point);
    }

    fn has_begun(&self) -> bool {
        let root = self.root.path();
        let redeemed = master(root, RICH()).record().redemptions.len();
        root.join("state/attempt.json").exists() || redeemed == 2
    }

    fn assert_whole(&self, point: &str) {
        let root = self.root.path();
        let Status::Complete(identity) = state(root).status().unwrap() else { panic!("{point}") };
        let record = master(root, RICH()).record();
        let (redeemed, issued) = match self.scene {
            Scene::Enroll | Scene::Refused => (1, 1),
            Scene::Replace => (2, 2),
            _ => (1, 2),
        };
        assert_eq!(record.redemptions.len(), redeemed, "{point}: a use was spent twice");
        assert_eq!(record.issued.len(), issued, "{point}: two keys were used for one wish");
        let held = std::fs::read_to_string(root.join("state/agent.crt")).unwrap();
        assert_eq!(record.current, Some(held), "{point}");
        assert_eq!(identity.node_name().as_str(), record.redemptions[0].name);
        let mut files: Vec<_> = std::fs::read_dir(root.join("state"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let rich =
            [".lock", "agent.crt", "agent.key", "api_key", "ca.crt", "identity.json", "mesh.json"];
        let poor = [".lock", "agent.crt", "agent.key", "ca.crt", "identity.json"];
        let expected = if self.scene == Scene::Replace { &poor[..] } else { &rich[..] };
        assert_eq!(files, expected, "{point}");
    }
}

fn state(root: &Path) -> StateDir {
    StateDir::open(root.join("state")).unwrap()
}

fn master(root: &Path, nature: Nature) -> FakeMaster {
    FakeMaster::in_dir(root, nature)
}

fn proofs(token: &str) -> Proofs {
    Proofs::token(JoinToken::parse(&TokenPrefix::default(), token).unwrap())
}

/// Plays a scene from what is on disk.
async fn act(scene: Scene, root: &Path, token: &str) {
    let nature = if scene == Scene::Replace || is_poor(root) { Nature::default() } else { RICH() };
    let fake = Arc::new(master(root, nature));
    let later = match scene {
        // Between the start of renewals, its jitter and the end: 2000 s to 2100 s of 3000 s.
        Scene::Renew => 2500,
        Scene::Recover => 4000,
        _ => 0,
    };
    fake.clock.advance(Duration::from_secs(later));
    let renewed = Arc::new(Renewed { master: Arc::clone(&fake), used: Notify::new() });
    let worker = Worker::new(state(root), Arc::clone(&fake))
        .with_clock(Arc::clone(&fake.clock) as _)
        .with_observer(Arc::clone(&renewed) as _);
    match scene {
        Scene::Enroll => drop(worker.bootstrap(proofs(token)).await.unwrap()),
        Scene::Replace => drop(worker.replace(proofs(token)).await.unwrap()),
        Scene::Refused => {
            fake.will([Fate::Fail(refused(Reason::Expired))]);
            worker.bootstrap(proofs(token)).await.unwrap_err();
        }
        Scene::Config => drop(state(root).lock().unwrap().create_config("whole").unwrap()),
        // Until the master has heard the successor, and no longer than a day of paused time.
        Scene::Renew | Scene::Recover => {
            let heard = renewed.used.notified();
            let heard = async {
                tokio::time::timeout(Duration::from_secs(86_400), heard).await.unwrap();
            };
            worker.run(heard).await.unwrap();
        }
    }
}

/// Whether the master was told to issue less, which the scene of a replacement does.
fn is_poor(root: &Path) -> bool {
    root.join("poor").exists()
}

/// Says when the master has heard the successor, which may have been issued to an earlier process.
struct Renewed {
    master: Arc<FakeMaster>,
    used: Notify,
}

impl WorkerObserver for Renewed {
    fn note(&self, event: &WorkerEvent<'_>) {
        let record = self.master.record();
        let heard = matches!(event, WorkerEvent::BeatSent { .. });
        if heard && record.issued.len() == 2 && record.successor.is_none() {
            self.used.notify_one();
        }
    }
}

/// The child. It does nothing unless it is told what.
#[tokio::test]
#[ignore = "acted by the other tests in a process of its own"]
async fn act_in_a_child() {
    let told = |name| std::env::var(name);
    let (Ok(word), Ok(point), Ok(place)) = (told("SCENE"), told("POINT"), told("PLACE")) else {
        return;
    };
    let (_, scene) = SCENES.into_iter().find(|(it, _)| *it == word).unwrap();
    if !point.is_empty() {
        failpoint::arm(&point).unwrap();
    }
    tokio::time::pause();
    act(scene, Path::new(&place), &told("TOKEN").unwrap()).await;
    for point in failpoint::reached() {
        println!("reached {point}");
    }
}

/// What is on disk after a power cut no killed process can show; the order of the steps can.
#[tokio::test]
async fn the_order_of_the_steps_is_the_one_that_makes_a_crash_harmless() {
    let write = |file: &str| {
        let step = |word| format!("{file}:{word}");
        let synced = "directory:synced".to_owned();
        vec![step("torn"), step("synced"), step("renamed"), synced, step("durable")]
    };
    let mut expected = write("attempt-begin");
    expected.extend(["call:before", "call:after"].map(String::from));
    for file in [
        "attempt-answer",
        "agent.key",
        "agent.crt",
        "ca.crt",
        "api_key",
        "mesh.json",
        "identity.json",
    ] {
        expected.extend(write(file));
    }
    expected.extend(
        [
            "directory:synced",
            "stale:removed",
            "attempt:unlinked",
            "directory:synced",
            "attempt:removed",
        ]
        .map(String::from),
    );
    assert_eq!(steps(Scene::Enroll).await, expected);
}

/// The steps of a scene, in order.
async fn steps(scene: Scene) -> Vec<&'static str> {
    let output = Stage::set(scene).await.die_at("");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let named = |name: &str| *WORKER_STEPS.iter().find(|step| **step == name).unwrap();
    text.lines().filter_map(|line| line.strip_prefix("reached ")).map(named).collect()
}

/// Dies at every step of a scene.
async fn walk(scene: Scene) {
    for point in BTreeSet::from_iter(steps(scene).await) {
        let stage = Stage::set(scene).await;
        let output = stage.die_at(point);
        let died = output.status.signal().is_some();
        assert!(died, "{point}: {}", String::from_utf8_lossy(&output.stdout));
        stage.recover(point).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_enrolment_survives_a_crash_at_every_step() {
    walk(Scene::Enroll).await;
}

#[tokio::test(start_paused = true)]
async fn a_replacement_survives_a_crash_at_every_step() {
    walk(Scene::Replace).await;
}

#[tokio::test(start_paused = true)]
async fn a_renewal_survives_a_crash_at_every_step() {
    walk(Scene::Renew).await;
}

#[tokio::test(start_paused = true)]
async fn a_recovery_survives_a_crash_at_every_step() {
    walk(Scene::Recover).await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_survives_a_crash_at_every_step() {
    walk(Scene::Refused).await;
}

#[tokio::test(start_paused = true)]
async fn a_configuration_survives_a_crash_at_every_step() {
    walk(Scene::Config).await;
}

#[tokio::test]
async fn no_step_is_left_out() {
    let mut reached = BTreeSet::new();
    for (_, scene) in SCENES {
        reached.extend(steps(scene).await);
    }
    assert_eq!(reached, WORKER_STEPS.iter().copied().collect());
}

#[test]
fn a_point_that_is_not_in_the_table_cannot_be_armed() {
    assert!(failpoint::arm("no such point").is_err());
}
