//! Commands and the step to full control.
#![expect(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

mod bench;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bench::{Bench, admitted, bench, certificate, key};
use enroll_core::master::{
    AuthenticatedNode, BeatVerdict, BuiltinFuser, Candidate, Denial, Enroller, FuseCommands,
    FuseProgress, Fuser, HandOverVerdict, Observer, OperatorError, Policy,
};
use enroll_core::model::{
    Clock, CommandClass, CommandId, CommandRecord, CommandStatus, Event, FuseFailure, FuseId,
    FuseRecord, Handover, Method, NodeName, NodeRecord, Reason, TrustState, What,
};
use enroll_core::store::{Commands, Nodes, Page, Store};
use serde_json::json;

const DEADLINE: Duration = Duration::from_secs(300);
/// Past the deadline, whatever milliseconds operators' acts were set apart by.
const OVERDUE: Duration = Duration::from_secs(301);

fn name() -> NodeName {
    NodeName::new("worker-1").unwrap()
}

fn builtin() -> Bench {
    let Bench { clock, store, enroller } = bench();
    let commands = FuseCommands::new(
        Arc::clone(&store) as Arc<dyn Store>,
        Arc::clone(&clock) as Arc<dyn Clock>,
    );
    let fuser = BuiltinFuser::new(commands);
    let enroller = enroller
        .with_fuser(Arc::new(fuser), DEADLINE)
        .with_command("ping", CommandClass::Monitor)
        .with_command("restart", CommandClass::Control);
    Bench { clock, store, enroller }
}

impl Bench {
    async fn member(&self) -> String {
        let token = self.mint(1).await;
        admitted(self.ask(&token, "worker-1", &key()).await).0
    }

    async fn call(&self, pem: &str) -> AuthenticatedNode {
        self.enroller.authenticate(&certificate(pem)).await.unwrap().unwrap()
    }

    async fn beat(&self, pem: &str) -> Vec<CommandRecord> {
        let caller = self.call(pem).await;
        let verdict = self.enroller.heartbeat(&caller, &name(), None).await.unwrap();
        let BeatVerdict::Recorded(reply) = verdict else { panic!("{verdict:?}") };
        reply.commands
    }

    async fn finish(&self, pem: &str, id: CommandId, done: bool) -> bool {
        self.enroller.acknowledge(&self.call(pem).await, id, done, None).await.unwrap()
    }

    async fn state(&self) -> TrustState {
        self.enroller.node(&name()).await.unwrap().state
    }

    async fn queue(&self, kind: &str) -> Result<CommandRecord, OperatorError> {
        self.enroller.queue_command(&name(), kind, json!({}), "operator").await
    }
}

fn failure(node: &NodeRecord) -> String {
    node.fuse.clone().unwrap().ended.unwrap().failure.unwrap().source
}

#[tokio::test]
async fn commands_wait_are_given_until_acknowledged_and_need_their_state() {
    let bench = builtin();
    let pem = bench.member().await;
    assert!(matches!(bench.queue("rm-rf").await, Err(OperatorError::Invalid(_))));
    assert!(matches!(bench.queue("fuse").await, Err(OperatorError::Invalid(_))));
    assert!(matches!(bench.queue("restart").await, Err(OperatorError::Conflict(_))));
    let (one, two) = (bench.queue("ping").await.unwrap(), bench.queue("ping").await.unwrap());
    let ids = |commands: &[CommandRecord]| commands.iter().map(|c| c.id).collect::<Vec<_>>();
    assert_eq!(ids(&bench.beat(&pem).await), [one.id, two.id]);
    assert_eq!(ids(&bench.beat(&pem).await), [one.id, two.id], "not acknowledged");
    assert!(bench.finish(&pem, one.id, true).await);
    assert!(bench.finish(&pem, one.id, false).await, "said twice");
    assert_eq!(ids(&bench.beat(&pem).await), [two.id]);
    let listed = bench.enroller.commands(&name(), Page::first(10)).await.unwrap();
    let statuses: Vec<_> = listed.iter().map(|command| command.status).collect();
    assert_eq!(statuses, [CommandStatus::Delivered, CommandStatus::Done]);
}

#[tokio::test]
async fn the_worker_s_word_fuses_a_node_and_control_ends_with_it() {
    let bench = builtin();
    let pem = bench.member().await;
    bench.beat(&pem).await;
    bench.enroller.fuse(&name(), "admin").await.unwrap();
    assert!(matches!(bench.enroller.fuse(&name(), "admin").await, Err(OperatorError::Conflict(_))));
    let commands = bench.beat(&pem).await;
    assert_eq!(commands[0].kind, CommandRecord::FUSE);
    assert!(bench.finish(&pem, commands[0].id, true).await);
    assert_eq!(bench.state().await, TrustState::Fused);
    let control = bench.queue("restart").await.unwrap();
    let again = bench.enroller.regenerate(name(), "admin").await.unwrap().minted.token;
    let (other, ..) = admitted(bench.ask(&again, "worker-1", &key()).await);
    assert_eq!(bench.state().await, TrustState::Monitoring);
    assert!(bench.beat(&other).await.is_empty(), "judged again when handed over");
    let kept = bench.store.command(control.id).await.unwrap().unwrap();
    assert_eq!(kept.status, CommandStatus::Failed);
}

#[tokio::test]
async fn what_is_queued_behind_a_caller_is_judged_by_the_node_as_it_is_then() {
    let bench = builtin();
    let pem = bench.member().await;
    bench.beat(&pem).await;
    let ping = bench.queue("ping").await.unwrap();
    let handed_to = async |caller: AuthenticatedNode| {
        let verdict = bench.enroller.heartbeat(&caller, &name(), None).await.unwrap();
        let BeatVerdict::Recorded(reply) = verdict else { panic!("{verdict:?}") };
        reply.commands.into_iter().filter(|one| one.id != ping.id).collect::<Vec<_>>()
    };

    let monitored = bench.call(&pem).await;
    bench.enroller.fuse(&name(), "admin").await.unwrap();
    let fuse = handed_to(monitored).await;
    assert_eq!(fuse[0].kind, CommandRecord::FUSE);
    assert_eq!(bench.state().await, TrustState::Fusing, "the attempt goes on");

    let fusing = bench.call(&pem).await;
    assert!(bench.finish(&pem, fuse[0].id, true).await);
    let control = bench.queue("restart").await.unwrap();
    assert_eq!(handed_to(fusing).await[0].id, control.id);
    let kept = bench.store.command(control.id).await.unwrap().unwrap();
    assert_eq!(kept.status, CommandStatus::Delivered);
}

/// The types of the events that it is told.
#[derive(Default)]
struct Heard(Mutex<Vec<What>>);

impl Observer for Heard {
    fn answered(&self, _: Result<Method, Reason>, _: Duration) {}

    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.what.clone());
    }
}

#[tokio::test]
async fn observers_hear_of_the_command_that_fuses_as_of_any_other() {
    let Bench { clock, store, enroller } = bench();
    let heard = Arc::new(Heard::default());
    let commands = FuseCommands::new(
        Arc::clone(&store) as Arc<dyn Store>,
        Arc::clone(&clock) as Arc<dyn Clock>,
    );
    let commands = commands.with_observer(Arc::clone(&heard) as Arc<dyn Observer>);
    let enroller = enroller.with_fuser(Arc::new(BuiltinFuser::new(commands)), DEADLINE);
    let bench = Bench { clock, store, enroller };
    bench.member().await;
    bench.enroller.fuse(&name(), "admin").await.unwrap();
    bench.pass(OVERDUE);
    bench.enroller.tend().await.unwrap();
    let heard = heard.0.lock().unwrap();
    let [What::CommandQueued { kind, .. }, What::CommandFinished { status, .. }] = &heard[..]
    else {
        panic!("{heard:?}")
    };
    assert_eq!((kind.as_str(), *status), (CommandRecord::FUSE, CommandStatus::Failed));
}

#[tokio::test]
async fn a_refusing_or_silent_worker_leaves_the_node_monitoring() {
    let bench = builtin();
    let pem = bench.member().await;
    bench.enroller.fuse(&name(), "admin").await.unwrap();
    let commands = bench.beat(&pem).await;
    bench.finish(&pem, commands[0].id, false).await;
    let node = bench.enroller.node(&name()).await.unwrap();
    assert_eq!((node.state, &*failure(&node)), (TrustState::Monitoring, "worker_error"));
    bench.enroller.fuse(&name(), "admin").await.unwrap();
    bench.enroller.tend().await.unwrap();
    assert_eq!(bench.state().await, TrustState::Fusing);
    bench.pass(OVERDUE);
    bench.enroller.tend().await.unwrap();
    let node = bench.enroller.node(&name()).await.unwrap();
    assert_eq!((node.state, &*failure(&node)), (TrustState::Monitoring, "watchdog_timeout"));
    assert!(bench.beat(&pem).await.is_empty(), "the command went with the attempt");
}

/// A fuser whose success comes when the test says, and that counts what is undone.
struct Slow {
    done_at: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
    undone: AtomicU32,
    /// How many times it cannot undo.
    away: AtomicU32,
}

impl Slow {
    fn new() -> Arc<Self> {
        let (undone, away) = (AtomicU32::new(0), AtomicU32::new(0));
        Arc::new(Self { done_at: Mutex::new(None), undone, away })
    }
}

#[async_trait]
impl Fuser for Slow {
    async fn begin(&self, _: &NodeRecord, _: FuseId) -> Result<String, FuseFailure> {
        Ok("ticket".into())
    }

    async fn poll(&self, _: &NodeRecord, _: &FuseRecord) -> Result<FuseProgress, FuseFailure> {
        let before_done = self.done_at.lock().unwrap().clone();
        if let Some(meanwhile) = before_done {
            meanwhile();
        }
        Ok(FuseProgress::Done)
    }

    async fn hand_over(&self, _: &NodeRecord, _: &FuseRecord) -> Result<Handover, FuseFailure> {
        Ok(Handover::from_fuser("slow").with("key", "s3cret".to_owned()))
    }

    async fn abort(&self, _: &NodeRecord, _: &FuseRecord) -> Result<(), FuseFailure> {
        if self.away.load(Ordering::SeqCst) > 0 {
            self.away.fetch_sub(1, Ordering::SeqCst);
            return Err(FuseFailure { source: "slow_error".into(), detail: "It is away.".into() });
        }
        self.undone.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test]
async fn i12_a_success_after_the_deadline_is_refused_and_undone() {
    let Bench { clock, store, enroller } = bench();
    let late = Arc::clone(&clock);
    let fuser = Slow::new();
    *fuser.done_at.lock().unwrap() = Some(Arc::new(move || {
        late.0.fetch_add(i64::try_from(OVERDUE.as_millis()).unwrap(), Ordering::SeqCst);
    }));
    let enroller = enroller.with_fuser(Arc::clone(&fuser) as Arc<dyn Fuser>, DEADLINE);
    let bench = Bench { clock, store, enroller };
    bench.member().await;
    bench.enroller.fuse(&name(), "admin").await.unwrap();
    bench.enroller.tend().await.unwrap();
    let node = bench.enroller.node(&name()).await.unwrap();
    assert_eq!((node.state, &*failure(&node)), (TrustState::Monitoring, "watchdog_timeout"));
    assert_eq!(fuser.undone.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn i12_a_success_that_a_deletion_overtook_is_undone() {
    let Bench { clock, store, enroller } = bench();
    let fuser = Slow::new();
    let enroller = enroller.with_fuser(Arc::clone(&fuser) as Arc<dyn Fuser>, DEADLINE);
    let bench = Bench { clock, store, enroller };
    let pem = bench.member().await;
    bench.call(&pem).await;
    bench.enroller.fuse(&name(), "admin").await.unwrap();
    bench.enroller.delete_node(&name(), false, "admin").await.unwrap();
    assert_eq!(fuser.undone.load(Ordering::SeqCst), 1);
    bench.enroller.tend().await.unwrap();
}

/// Another master, which begins to fuse the node between a look-up of this one and its write.
struct Meanwhile {
    other: Enroller,
    begun: AtomicBool,
}

#[async_trait]
impl Policy for Meanwhile {
    async fn admit(&self, candidate: &Candidate<'_>) -> Result<(), Denial> {
        if candidate.replaces && !self.begun.swap(true, Ordering::SeqCst) {
            self.other.fuse(candidate.node_name, "admin").await.unwrap();
        }
        Ok(())
    }
}

#[tokio::test]
async fn i12_an_attempt_that_began_while_the_node_was_replaced_is_undone() {
    let Bench { clock, store, enroller } = bench();
    let fuser = Slow::new();
    let other = Enroller::with_issuers(Arc::clone(&store) as Arc<dyn Store>, Vec::new())
        .with_clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .with_fuser(Arc::clone(&fuser) as Arc<dyn Fuser>, DEADLINE);
    let policy = Arc::new(Meanwhile { other, begun: AtomicBool::new(false) });
    let enroller = enroller
        .with_fuser(Arc::clone(&fuser) as Arc<dyn Fuser>, DEADLINE)
        .with_policy(Arc::clone(&policy) as Arc<dyn Policy>);
    let bench = Bench { clock, store, enroller };
    bench.member().await;
    let again = bench.enroller.regenerate(name(), "admin").await.unwrap().minted.token;
    let (.., node) = admitted(bench.ask(&again, "worker-1", &key()).await);
    assert!(policy.begun.load(Ordering::SeqCst), "it came in between");
    assert_eq!((node.state, node.fuse), (TrustState::Monitoring, None));
    assert_eq!(fuser.undone.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn i12_what_cannot_be_undone_at_once_is_undone_later() {
    let Bench { clock, store, enroller } = bench();
    let fuser = Slow::new();
    let enroller = enroller.with_fuser(Arc::clone(&fuser) as Arc<dyn Fuser>, DEADLINE);
    let bench = Bench { clock, store, enroller };
    bench.member().await;
    bench.enroller.fuse(&name(), "admin").await.unwrap();
    fuser.away.store(2, Ordering::SeqCst);
    bench.enroller.delete_node(&name(), false, "admin").await.unwrap();
    bench.enroller.tend().await.unwrap();
    assert_eq!(fuser.undone.load(Ordering::SeqCst), 0, "the outside is away");
    for _ in 0..2 {
        bench.enroller.tend().await.unwrap();
        assert_eq!(fuser.undone.load(Ordering::SeqCst), 1, "once it is there, and once");
    }
}

#[tokio::test]
async fn a_degraded_node_and_a_master_without_a_fuser_do_not_fuse() {
    let bench = builtin();
    let pem = bench.member().await;
    bench.beat(&pem).await;
    bench.pass(Duration::from_secs(90));
    assert!(matches!(bench.enroller.fuse(&name(), "admin").await, Err(OperatorError::Conflict(_))));
    let plain = without_fuser().await;
    assert!(matches!(plain.enroller.fuse(&name(), "admin").await, Err(OperatorError::Conflict(_))));
}

#[tokio::test]
async fn an_attempt_begun_twice_asks_the_worker_once() {
    let bench = builtin();
    let pem = bench.member().await;
    let node = bench.enroller.fuse(&name(), "admin").await.unwrap();
    let fuse = node.fuse.clone().unwrap();
    let commands = FuseCommands::new(
        Arc::clone(&bench.store) as Arc<dyn Store>,
        Arc::clone(&bench.clock) as Arc<dyn Clock>,
    );
    let again = BuiltinFuser::new(commands).begin(&node, fuse.attempt).await.unwrap();
    assert_eq!(Some(again), fuse.ticket);
    assert_eq!(bench.beat(&pem).await.len(), 1);
}

#[tokio::test]
async fn a_worker_is_handed_its_part_while_it_is_being_fused_and_at_no_other_time() {
    let Bench { clock, store, enroller } = bench();
    let fuser = Slow::new();
    let enroller = enroller.with_fuser(fuser as Arc<dyn Fuser>, DEADLINE);
    let bench = Bench { clock, store, enroller };
    let pem = bench.member().await;
    let given = async |pem: &str| match bench.enroller.hand_over(&bench.call(pem).await).await {
        HandOverVerdict::Given { handover, .. } => handover.expose("key").map(str::to_owned),
        HandOverVerdict::NotFusing => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(given(&pem).await, None, "it is monitoring");
    bench.enroller.fuse(&name(), "admin").await.unwrap();
    assert_eq!(given(&pem).await.as_deref(), Some("s3cret"));
    let kept = format!("{:?}", bench.store.node(&name()).await.unwrap());
    assert!(!kept.contains("s3cret"), "{kept}");
    bench.pass(OVERDUE);
    assert_eq!(given(&pem).await, None, "its time has run out, though nobody looked yet");
    bench.enroller.tend().await.unwrap();
    assert_eq!(given(&pem).await, None, "it is monitoring again");
}

/// A fuser whose worker asks for its part before the attempt has its ticket.
struct Hasty {
    other: Enroller,
    pem: Mutex<String>,
    told: Mutex<Option<HandOverVerdict>>,
}

#[async_trait]
impl Fuser for Hasty {
    async fn begin(&self, _: &NodeRecord, _: FuseId) -> Result<String, FuseFailure> {
        let caller = certificate(&self.pem.lock().unwrap());
        let caller = self.other.authenticate(&caller).await.unwrap().unwrap();
        let told = self.other.hand_over(&caller).await;
        *self.told.lock().unwrap() = Some(told);
        Ok("ticket".into())
    }

    async fn poll(&self, _: &NodeRecord, _: &FuseRecord) -> Result<FuseProgress, FuseFailure> {
        Ok(FuseProgress::Pending)
    }

    async fn hand_over(&self, _: &NodeRecord, _: &FuseRecord) -> Result<Handover, FuseFailure> {
        Ok(Handover::from_fuser("hasty"))
    }

    async fn abort(&self, _: &NodeRecord, _: &FuseRecord) -> Result<(), FuseFailure> {
        Ok(())
    }
}

#[tokio::test]
async fn a_worker_that_asks_for_its_part_too_early_or_elsewhere_is_to_ask_again() {
    let Bench { clock, store, enroller } = bench();
    let other = Enroller::with_issuers(Arc::clone(&store) as Arc<dyn Store>, Vec::new())
        .with_clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .with_fuser(Slow::new() as Arc<dyn Fuser>, DEADLINE);
    let (pem, told) = (Mutex::default(), Mutex::default());
    let fuser = Arc::new(Hasty { other, pem, told });
    let enroller = enroller.with_fuser(Arc::clone(&fuser) as Arc<dyn Fuser>, DEADLINE);
    let bench = Bench { clock, store, enroller };
    let pem = bench.member().await;
    fuser.pem.lock().unwrap().clone_from(&pem);
    bench.enroller.fuse(&name(), "admin").await.unwrap();
    let told = fuser.told.lock().unwrap().take().unwrap();
    assert!(matches!(told, HandOverVerdict::Later(_)), "it has no ticket yet: {told:?}");
    let plain = Enroller::with_issuers(Arc::clone(&bench.store) as Arc<dyn Store>, Vec::new());
    let told = plain.hand_over(&bench.call(&pem).await).await;
    assert!(matches!(told, HandOverVerdict::Later(_)), "another master can fuse: {told:?}");
}

async fn without_fuser() -> Bench {
    let plain = bench();
    plain.member().await;
    plain
}
