//! A herd: machines that all come at once with one fleet token, each over a connection of its own,
//! and come back with full jitter where they were turned away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use enroll_core::model::{Clock as _, SystemClock, SystemEntropy};
use enroll_core::testing::Fixtures;
use enroll_core::worker::Backoff;
use rcgen::PKCS_ECDSA_P384_SHA384;
use serde_json::json;

use crate::client::{Crowd, Target, post};
use crate::enrollments::authority;
use crate::measure::{Figure, Section, Unit, per_second};
use crate::plan::{Failure, Plan};
use crate::process::Server;
use crate::server::What;
use crate::{issuing, tokens};

/// Machines of the crowd that comes in an orderly way, for comparison.
const ORDERLY: usize = 64;

/// What the rounds came to.
#[derive(Default)]
struct Rounds {
    took: Vec<f64>,
    at_rate: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    turned_away: Vec<f64>,
    memory: Vec<f64>,
}

/// Measures a herd, and the rate at which as many come in an orderly way, in each round.
pub(crate) async fn measure(plan: &Plan) -> Result<Section, Failure> {
    let dir = tempfile::Builder::new().prefix("enroll-bench-").tempdir_in(&plan.dir)?;
    let ca = dir.path().join("ca");
    let root = authority(&ca)?;
    let csr = issuing::csr(&PKCS_ECDSA_P384_SHA384)?;
    let mut rounds = Rounds::default();
    for round in 1..=plan.rounds {
        eprintln!("herd: round {round} of {}", plan.rounds);
        let fixtures = Fixtures::new();
        let token = fixtures.token(SystemClock::new().now());
        let database = dir.path().join(format!("{round}.db"));
        tokens::write(&fixtures, std::slice::from_ref(&token), &database).await?;
        let store = [format!("--store={}", database.display())];
        let server = Server::start(What::Enroll, &ca, &store)?;
        let target = Target::new(server.address, &root, None)?;
        let call = |name: String| {
            let body = json!({ "token": token.token.expose(), "node_name": name, "csr": csr });
            post("/v1/enroll", None, &body.to_string())
        };
        // Connections that a master has not seen yet are part of what it costs: idle comes first.
        let idle = server.usage().resident()?;
        let herd = Herd::of(&target, (0..plan.herd).map(|n| call(format!("h-{n}"))).collect());
        let mut crowd = herd.await?;
        rounds.memory.push(server.usage().peak()? - idle);
        rounds.took.push(crowd.members.took.as_secs_f64());
        rounds.turned_away.push(crowd.turned_away as f64);
        rounds.p50.push(crowd.members.percentile(0.5));
        rounds.p99.push(crowd.members.percentile(0.99));
        let mut clients = vec![Vec::new(); ORDERLY];
        for place in 0..plan.redemptions as usize {
            clients[place % ORDERLY].push(call(format!("o-{place}")));
        }
        let orderly = Crowd::of(&target, clients, true).await?;
        rounds.at_rate.push(f64::from(plan.herd) / per_second(plan.redemptions, orderly.took));
    }
    Ok(section(plan, &rounds))
}

fn section(plan: &Plan, rounds: &Rounds) -> Section {
    Section {
        title: format!("a herd of {} on one fleet token", plan.herd),
        notes: vec![
            "all started at once, each over a fresh connection, with a worker's backoff".into(),
        ],
        figures: vec![
            Figure::beside(
                "until all are members",
                Unit::Seconds,
                &rounds.took,
                "at the rate of 64 orderly clients",
                &rounds.at_rate,
            ),
            Figure::alone("  half of them within", Unit::Millis, rounds.p50.clone()),
            Figure::alone("  99 of 100 within", Unit::Millis, rounds.p99.clone()),
            Figure::alone("  turned away and come back", Unit::Count, rounds.turned_away.clone()),
            Figure::alone("  memory above idle", Unit::Mebibytes, rounds.memory.clone()),
        ],
    }
}

/// How a herd became members.
struct Herd {
    members: Crowd,
    turned_away: u64,
}

impl Herd {
    async fn of(target: &Target, calls: Vec<Vec<u8>>) -> Result<Self, Failure> {
        let turned_away = Arc::new(AtomicU64::new(0));
        let began = Instant::now();
        let mut running = tokio::task::JoinSet::new();
        for call in calls {
            let (target, turned_away) = (target.clone(), Arc::clone(&turned_away));
            running.spawn(async move { machine(&target, &call, &turned_away, began).await });
        }
        let mut latencies = Vec::new();
        while let Some(ended) = running.join_next().await {
            latencies.push(ended??);
        }
        let members = Crowd { took: began.elapsed(), latencies };
        Ok(Self { members, turned_away: turned_away.load(Ordering::Relaxed) })
    }
}

/// Comes until it is a member; how long that took from the start of all.
async fn machine(
    target: &Target,
    call: &[u8],
    turned_away: &AtomicU64,
    began: Instant,
) -> Result<Duration, Failure> {
    for failures in 1.. {
        let retry_after = match attempt(target, call).await {
            Ok(()) => return Ok(began.elapsed()),
            Err(Turned::Back(retry_after)) => retry_after,
            Err(Turned::Away(why)) => return Err(why.into()),
        };
        turned_away.fetch_add(1, Ordering::Relaxed);
        let wait = Backoff::default().wait(failures, retry_after, &SystemEntropy::new());
        tokio::time::sleep(wait).await;
    }
    Err("a machine came more often than can be counted".into())
}

/// Why an attempt was in vain.
enum Turned {
    /// It may come back, after so long.
    Back(Option<Duration>),
    /// It is refused for good.
    Away(String),
}

async fn attempt(target: &Target, call: &[u8]) -> Result<(), Turned> {
    let mut connection = target.connect().await.map_err(|_| Turned::Back(None))?;
    match connection.ask(call).await {
        Ok((200, _)) => Ok(()),
        Ok((429 | 503, body)) => {
            let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
            Err(Turned::Back(body["retry_after_secs"].as_u64().map(Duration::from_secs)))
        }
        Ok((status, body)) => {
            Err(Turned::Away(format!("{status}: {}", String::from_utf8_lossy(body))))
        }
        Err(_) => Err(Turned::Back(None)),
    }
}
