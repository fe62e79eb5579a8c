//! What the master wants done: beside the heartbeats, once, and reported.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use enroll_core::worker::{Command, CommandHandler, CommandOutcome, Credentials};
use tokio::time::sleep;

use super::fake::{Fate, Nature, unreachable_master};
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
