//! What the master wants done: beside the heartbeats, once, and reported.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use enroll_core::model::{CommandRecord, Reason};
use enroll_core::worker::{
    CallError, Command, CommandHandler, CommandOutcome, Credentials, FuseHandler, FuseTask,
    NoCommands, Refusal, Rollout,
};
use serde_json::json;
use tokio::time::sleep;

use super::fake::{Fate, Nature, refused, unreachable_master};
use super::run::{NO_TIME, Scene, member, secs};
use super::support::name;

/// Takes a minute for each command, but fails one kind and panics at another.
struct Slow(Arc<AtomicUsize>);

#[async_trait]
impl CommandHandler for Slow {
    async fn execute(&self, me: &Credentials, command: &Command) -> CommandOutcome {
        self.0.fetch_add(1, Ordering::SeqCst);
        assert_eq!(me.identity().node_name(), &name("worker-1"));
        sleep(secs(60)).await;
        match command.kind.as_str() {
            "good" => CommandOutcome::Done(Some("output".into())),
            "panic" => panic!("a handler's own fault"),
            _ => CommandOutcome::Failed("no".into()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn commands_run_once_beside_the_heartbeats_and_are_reported() {
    let Scene { master, worker, place: _place, log, .. } = member(Nature::default()).await;
    let ran = Arc::new(AtomicUsize::new(0));
    let worker = worker.with_commands(Arc::new(Slow(Arc::clone(&ran))));
    let kinds = [("1", "good"), ("2", "bad"), ("3", "panic")];
    *master.commands.lock().unwrap() =
        kinds.map(|(id, kind)| (id.to_owned(), kind.to_owned())).to_vec();
    worker.run(sleep(secs(300))).await.unwrap();
    assert_eq!(ran.load(Ordering::SeqCst), 3, "each came several times and ran once");
    let mut reports = master.reports.lock().unwrap().clone();
    reports.sort_by(|a, b| a.id.cmp(&b.id));
    let seen: Vec<_> =
        reports.iter().map(|it| (it.id.as_str(), it.done, it.output.as_deref())).collect();
    assert_eq!(seen[0], ("1", true, Some("output")));
    assert_eq!(seen[1], ("2", false, Some("no")));
    assert!(!seen[2].1);
    assert_eq!(log.count("CommandReported"), 3);
    let pauses: Vec<_> =
        master.beats.lock().unwrap().windows(2).map(|two| two[1] - two[0]).collect();
    assert!(pauses.iter().all(|pause| *pause <= secs(30) + NO_TIME), "no beat waited");
}

#[tokio::test(start_paused = true)]
async fn a_report_that_is_lost_is_made_again_and_the_command_is_not_run_again() {
    let Scene { master, worker, place: _place, .. } = member(Nature::default()).await;
    let ran = Arc::new(AtomicUsize::new(0));
    let worker = worker.with_commands(Arc::new(Slow(Arc::clone(&ran))));
    *master.commands.lock().unwrap() = vec![("1".into(), "good".into())];
    // Beats at 0, 30 and at most 60 s; the report comes after the second or the third.
    let shutdown = async {
        sleep(secs(59)).await;
        master.will([Fate::Fail(unreachable_master()), Fate::Fail(unreachable_master())]);
        sleep(secs(200)).await;
    };
    worker.run(shutdown).await.unwrap();
    assert_eq!(master.reports.lock().unwrap().len(), 1);
    assert_eq!(ran.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_report_is_made_again_after_a_trouble_on_the_way_and_one_of_the_identity() {
    let stranger = CallError::Refused(Refusal::new("unauthorized", 401));
    for trouble in [CallError::Tls("another root".into()), stranger] {
        let Scene { master, worker, place: _place, .. } = member(Nature::default()).await;
        let worker = worker.with_commands(Arc::new(NoCommands::default()));
        *master.commands.lock().unwrap() = vec![("1".into(), "exec".into())];
        // The first heartbeat passes; the report is what fails.
        master.will([Fate::Pass, Fate::Fail(trouble)]);
        worker.run(sleep(secs(100))).await.unwrap();
        assert_eq!(master.reports.lock().unwrap().len(), 1);
    }
}

/// Puts out far more than the master keeps.
struct Talkative;

#[async_trait]
impl CommandHandler for Talkative {
    async fn execute(&self, _me: &Credentials, command: &Command) -> CommandOutcome {
        let text = "\u{1f980}".repeat(CommandRecord::MAX_OUTPUT);
        match command.kind.as_str() {
            "good" => CommandOutcome::Done(Some(text)),
            _ => CommandOutcome::Failed(text),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_of_an_output_is_reported_than_the_master_keeps() {
    let Scene { master, worker, place: _place, .. } = member(Nature::default()).await;
    let worker = worker.with_commands(Arc::new(Talkative));
    *master.commands.lock().unwrap() =
        [("1", "good"), ("2", "bad")].map(|(id, kind)| (id.into(), kind.into())).to_vec();
    worker.run(sleep(secs(10))).await.unwrap();
    let reports = master.reports.lock().unwrap().clone();
    let lengths = reports.iter().map(|report| report.output.as_ref().map(String::len));
    assert_eq!(lengths.collect::<Vec<_>>(), [Some(CommandRecord::MAX_OUTPUT); 2]);
}

#[tokio::test(start_paused = true)]
async fn more_commands_than_can_run_at_once_all_come_to_their_turn() {
    let Scene { master, worker, place: _place, .. } = member(Nature::default()).await;
    let ran = Arc::new(AtomicUsize::new(0));
    let worker = worker.with_commands(Arc::new(Slow(Arc::clone(&ran))));
    *master.commands.lock().unwrap() = (0..50).map(|id| (id.to_string(), "good".into())).collect();
    worker.run(sleep(secs(50))).await.unwrap();
    assert_eq!(ran.load(Ordering::SeqCst), 16);
    worker.run(sleep(secs(600))).await.unwrap();
    assert_eq!(master.reports.lock().unwrap().len(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_takes_no_commands_says_so() {
    let scene = member(Nature::default()).await;
    *scene.master.commands.lock().unwrap() = vec![("1".into(), "exec".into())];
    scene.live_for(secs(100)).await.unwrap();
    let reports = scene.master.reports.lock().unwrap().clone();
    assert!(!reports[0].done);
    assert!(reports[0].output.as_ref().unwrap().contains("exec"));
}

/// Says what it was given, as no rollout of a product may.
struct Telltale;

#[async_trait]
impl Rollout for Telltale {
    async fn roll_out(&self, me: &Credentials, task: &FuseTask) -> CommandOutcome {
        let key = task.handover.expose("key").unwrap_or_default();
        CommandOutcome::Done(Some(format!("{} {key}", me.identity().node_name())))
    }
}

async fn fused(scene: &Scene, kind: &str, attempt: &str) -> CommandOutcome {
    let handler = FuseHandler::new(Arc::clone(&scene.master), Telltale, NoCommands::default());
    let payload = json!({ "attempt": attempt });
    let command = Command { id: "1".into(), kind: kind.into(), payload };
    handler.execute(&scene.place.open().credentials().unwrap(), &command).await
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_to_be_fused_asks_what_with_until_it_is_told() {
    let scene = member(Nature::default()).await;
    let imposter = CallError::Tls("another root".into());
    let (away, again) = (unreachable_master(), refused(Reason::Unavailable));
    scene.master.will([Fate::Fail(away), Fate::Fail(imposter), Fate::Fail(again)]);
    let done = CommandOutcome::Done(Some("worker-1 s3cret".into()));
    assert_eq!(fused(&scene, "fuse", "attempt-1").await, done);
    let other = fused(&scene, "fuse", "attempt-0").await;
    assert_eq!(other, CommandOutcome::Failed("another attempt has taken its place".into()));
    let none = CallError::Refused(Refusal::new("not_found", 404));
    scene.master.will([Fate::Fail(none)]);
    assert!(matches!(fused(&scene, "fuse", "attempt-1").await, CommandOutcome::Failed(_)));
    let CommandOutcome::Failed(why) = fused(&scene, "exec", "attempt-1").await else { panic!() };
    assert!(why.contains("exec"), "what is no fuse is another handler's: {why}");
}
