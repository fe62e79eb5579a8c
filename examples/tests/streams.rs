//! Many members' streams on one master: no heartbeat is missed, and what each costs.

mod harness;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use enroll_core::model::{JoinToken, NodeName, TokenPrefix};
use enroll_core::worker::{Beat, Credentials, Master as _, Proofs, StateDir, Worker};
use enroll_http::client::{GrpcMaster, HttpMaster};
use harness::{Api, Master, in_time, times};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at};

const EVERY: Duration = Duration::from_secs(1);

struct Member {
    master: GrpcMaster,
    me: Credentials,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a8_of_many_streams_every_heartbeat_is_heard() {
    let (members, secs) = (times(50, 2_000), times(5, 600));
    let master = Master::start(&[
        "--attempts-per-minute=0",
        // All of them have this address: it counts as that of a proxy.
        "--trusted-proxy=127.0.0.0/8",
        "--stale-threshold-secs=10",
        "--heartbeat-interval-secs=1",
    ]);
    let place = tempfile::tempdir().expect("a temporary directory");
    let fleet = enrolled(&master, place.path(), members).await;
    let api = master.api();
    let before = Usage::of(&master);
    let sent = Arc::new(AtomicU64::new(0));
    let mut lives = JoinSet::new();
    let began = Instant::now();
    for (n, member) in fleet.into_iter().enumerate() {
        // Each at its own moment of the second.
        let first =
            began + EVERY * u32::try_from(n).expect("few") / u32::try_from(members).expect("few");
        lives.spawn(live(member, first, secs, Arc::clone(&sent)));
    }
    let all = 2 * members as u64;
    in_time("all streams", async || (series(&api, "enroll_streams").await == all).then_some(()))
        .await;
    tokio::time::sleep(EVERY * 2).await;
    let open = Usage::of(&master);
    while !lives.is_empty() {
        let silent = api.get("/v1/nodes?status=degraded&limit=1").await.body;
        assert_eq!(silent["items"], json!([]), "after {:?}", began.elapsed());
        let pause = tokio::time::sleep(EVERY);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                Some(ended) = lives.join_next() => ended.expect("a life goes well"),
            }
        }
    }
    let sent = sent.load(Ordering::Relaxed);
    let after = Usage::of(&master);
    // The first of each node is written at once, and is not counted here.
    let later = sent - members as u64;
    let heard = async || (series(&api, "enroll_stream_heartbeats").await == later).then_some(());
    in_time("every heartbeat", heard).await;
    assert_eq!(series(&api, "enroll_journal_dropped").await, 0);
    let each = (open.kib.saturating_sub(before.kib)) as f64 / members as f64;
    let cpu = (after.ticks - open.ticks) as f64 / 100.0 / secs as f64;
    eprintln!(
        "{members} members, {secs} s: {sent} heartbeats sent and heard; {each:.1} KiB of the master's \
         memory for each member (a connection, two streams); {} KiB in all at the end; {:.0} % of a \
         core",
        after.kib,
        cpu * 100.0
    );
}

/// Machines that have enrolled, several at once.
async fn enrolled(master: &Master, place: &Path, members: usize) -> Vec<Member> {
    let minted = master.mint(json!({"max_uses": 0})).await;
    let token = minted["token"].as_str().expect("a token").to_owned();
    let at_once = Arc::new(Semaphore::new(8));
    let mut enrolling = JoinSet::new();
    for n in 0..members {
        let (at_once, token) = (Arc::clone(&at_once), token.clone());
        let (url, pin) = (master.ready("enroll_url"), master.ready("ca_fingerprint"));
        let client =
            || HttpMaster::pinned(url, pin.parse().expect("a fingerprint")).expect("a URL");
        let steady = client().with_steady_addr(master.ready("steady_addr"));
        let dir = StateDir::open(place.join(n.to_string())).expect("a directory");
        let name = NodeName::new(&format!("node-{n}")).expect("a name");
        let worker = Worker::new(dir.clone(), client()).with_node_name(name);
        enrolling.spawn(async move {
            let _turn = at_once.acquire().await.expect("it is never closed");
            let token = JoinToken::parse(&TokenPrefix::default(), &token).expect("a token");
            worker.bootstrap(Proofs::token(token)).await.expect("it enrolls");
            let me = dir.credentials().expect("an identity");
            Member { master: GrpcMaster::new(steady).without_fallback(), me }
        });
    }
    enrolling.join_all().await
}

/// One heartbeat a second; any that fails ends the test.
async fn live(member: Member, first: Instant, secs: usize, sent: Arc<AtomicU64>) {
    let mut due = interval_at(first, EVERY);
    for _ in 0..secs {
        due.tick().await;
        let beat = member.master.heartbeat(&member.me, &Beat::default()).await;
        beat.expect("the master hears it");
        sent.fetch_add(1, Ordering::Relaxed);
    }
    // What was sent last is still on its way.
    tokio::time::sleep(EVERY * 2).await;
}

async fn series(api: &Api, name: &str) -> u64 {
    let text = api.get("/metrics").await.body;
    let text = text.as_str().unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name}: {text}")).parse().expect("a number")
}

/// What the master takes of its machine.
struct Usage {
    /// Resident memory.
    kib: u64,
    /// Processor time, in hundredths of a second.
    ticks: u64,
}

impl Usage {
    fn of(master: &Master) -> Self {
        let read = |file: &str| {
            let path = format!("/proc/{}/{file}", master.pid());
            std::fs::read_to_string(path).expect("the process is there")
        };
        let status = read("status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse().ok());
        let stat = read("stat");
        // Behind the name, which may hold anything.
        let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let spent = |at: usize| fields[at].parse::<u64>().expect("a number");
        Self { kib: kib.expect("a size"), ticks: spent(11) + spent(12) }
    }
}
