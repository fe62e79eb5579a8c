//! Heartbeats over kept connections, beside the smallest JSON request over the same TLS, and over
//! streams.

use std::time::{Duration, Instant};

use enroll_core::issue::x509::RootCertificate;
use serde_json::json;

use crate::client::{Crowd, Target, post};
use crate::enrollments::authority;
use crate::measure::{Figure, Section, Unit, per_second};
use crate::members::{self, Machine};
use crate::plan::{Failure, Plan};
use crate::process::Server;
use crate::server::What;
use crate::streams;

/// Machines that beat, each over one connection.
const MACHINES: u32 = 16;

/// How long each round of the streams takes.
const SECONDS: usize = 3;

/// Measures every round in turn: with a certificate, with an API key, and either's limit.
pub(crate) async fn measure(plan: &Plan) -> Result<Section, Failure> {
    let dir = tempfile::Builder::new().prefix("enroll-bench-").tempdir_in(&plan.dir)?;
    let (ca, database) = (dir.path().join("ca"), dir.path().join("fleet.db"));
    let root = authority(&ca)?;
    let machines = members::enroll(&ca, &database, MACHINES).await?;
    let steady = Server::start(What::Steady, &ca, &[format!("--store={}", database.display())])?;
    let bare = Server::start(What::MutualHello, &ca, &[])?;
    let beats = plan.redemptions * 5 / MACHINES;
    let mut of: [Rounds; 5] = Default::default();
    for round in 1..=plan.rounds {
        eprintln!("heartbeats: round {round} of {}", plan.rounds);
        let [mutual, mutual_bare, keyed, keyed_bare, streamed] = &mut of;
        mutual
            .run(&steady, &root, &machines, Way::Certificate("/v1/self/heartbeat"), beats)
            .await?;
        mutual_bare.run(&bare, &root, &machines, Way::Certificate("/json"), beats).await?;
        keyed.run(&steady, &root, &machines, Way::ApiKey("/v1/self/heartbeat"), beats).await?;
        keyed_bare.run(&bare, &root, &machines, Way::ApiKey("/json"), beats).await?;
        streamed.stream(&steady, &root, &machines).await?;
    }
    let [mutual, mutual_bare, keyed, keyed_bare, streamed] = &of;
    let bare = "a bare JSON request";
    let rate = |what, ours: &Rounds, limit: &Rounds| {
        Figure::beside(what, Unit::PerSecond, &ours.rate, bare, &limit.rate)
    };
    let cpu = |ours: &Rounds, limit: &Rounds| {
        Figure::beside("  CPU each", Unit::Micros, &ours.cpu, bare, &limit.cpu)
    };
    let fleet = mutual.cpu.iter().map(|micros| micros * 100_000.0 / 30.0 / 1e6).collect();
    Ok(Section {
        title: "heartbeats over kept TLS connections".into(),
        notes: vec![
            "every beat is authorised from the store; CPU is the server's".into(),
            "over streams 300 a second of one machine are one write: its own pace is in `connected`"
                .into(),
        ],
        figures: vec![
            rate("16 machines, certificate, REST", mutual, mutual_bare),
            cpu(mutual, mutual_bare),
            Figure::alone("  cores for 100,000 nodes, one beat in 30 s", Unit::Count, fleet),
            rate("16 machines, API key, REST", keyed, keyed_bare),
            cpu(keyed, keyed_bare),
            Figure::alone("240 streams, certificate, gRPC", Unit::PerSecond, streamed.rate.clone()),
            Figure::alone("  CPU each", Unit::Micros, streamed.cpu.clone()),
        ],
    })
}

/// How a machine shows who it is, and what it calls.
#[derive(Clone, Copy)]
enum Way {
    Certificate(&'static str),
    ApiKey(&'static str),
}

/// What the rounds of one shape came to.
#[derive(Default)]
struct Rounds {
    rate: Vec<f64>,
    cpu: Vec<f64>,
}

impl Rounds {
    async fn run(
        &mut self,
        server: &Server,
        root: &RootCertificate,
        machines: &[Machine],
        way: Way,
        beats: u32,
    ) -> Result<(), Failure> {
        let mut running = tokio::task::JoinSet::new();
        let cpu = server.usage().cpu()?;
        let began = Instant::now();
        for machine in machines {
            let (identity, key, path) = match way {
                Way::Certificate(path) => (Some(machine.identity.clone()), None, path),
                Way::ApiKey(path) => (None, Some(machine.api_key.as_str()), path),
            };
            let body = json!({ "node_name": machine.name }).to_string();
            let requests = vec![post(path, key, &body); beats as usize];
            let target = Target::new(server.address, root, identity)?;
            running.spawn(async move { Crowd::of(&target, vec![requests], false).await.map(drop) });
        }
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        self.note(beats * machines.len() as u32, began.elapsed(), server.usage().cpu()? - cpu);
        Ok(())
    }

    async fn stream(
        &mut self,
        server: &Server,
        root: &RootCertificate,
        machines: &[Machine],
    ) -> Result<(), Failure> {
        let (began, cpu) = (Instant::now(), server.usage().cpu()?);
        let heard = streams::beat(server, root, machines, SECONDS * 20).await?;
        self.note(heard.try_into()?, began.elapsed(), server.usage().cpu()? - cpu);
        Ok(())
    }

    fn note(&mut self, count: u32, took: Duration, cpu: Duration) {
        self.rate.push(per_second(count, took));
        self.cpu.push(cpu.as_secs_f64() * 1e6 / f64::from(count));
    }
}
