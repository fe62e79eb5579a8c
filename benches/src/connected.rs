//! A fleet that is connected: every machine over a connection of its own, with a stream held open.

use std::time::{Duration, Instant};

use enroll_core::issue::x509::RootCertificate;
use tokio::task::JoinSet;

use crate::enrollments::authority;
use crate::measure::{Figure, Section, Unit};
use crate::members::{self, Machine};
use crate::plan::{Failure, Plan};
use crate::process::Server;
use crate::server::What;
use crate::streams::Line;

/// Each machine beats this often, ten times as often as the default: as many beats as of ten times as many
/// machines, but the look at who may stay, once a second, only of these.
const BETWEEN: Duration = Duration::from_secs(3);

/// How many beats of each are measured.
const BEATS: u32 = 3;

/// Connects the fleet once, for it takes long; then lets it rest and beat in each round.
pub(crate) async fn measure(plan: &Plan) -> Result<Section, Failure> {
    let dir = tempfile::Builder::new().prefix("enroll-bench-").tempdir_in(&plan.dir)?;
    let (ca, database) = (dir.path().join("ca"), dir.path().join("fleet.db"));
    let root = authority(&ca)?;
    let machines = members::enroll(&ca, &database, plan.connected).await?;
    let server = Server::start(What::Steady, &ca, &[format!("--store={}", database.display())])?;
    let idle = server.usage().resident()?;
    eprintln!("connecting {} machines", machines.len());
    let began = Instant::now();
    let lines = connect(&server, &root, machines).await?;
    let took = began.elapsed().as_secs_f64();
    let (mut resting, mut beating) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        eprintln!("connected: round {round} of {}", plan.rounds);
        resting.push(cores(&server, tokio::time::sleep(BETWEEN * BEATS)).await?);
        beating.push(cores(&server, beat(&lines)).await?);
    }
    let memory = server.usage().resident()? - idle;
    let mut heard = 0;
    for line in lines {
        heard += line.end().await?;
    }
    let sent = u64::from(plan.connected) * u64::from(1 + plan.rounds * BEATS);
    if heard != sent {
        return Err(format!("{heard} beats of {sent} were heard").into());
    }
    let each = memory * 1024.0 / f64::from(plan.connected);
    Ok(Section {
        title: format!("{} machines, each with a stream open", plan.connected),
        notes: vec![format!("a beat of each in {BETWEEN:?}, ten times as often as by default")],
        figures: vec![
            Figure::alone("all connected, a fresh TLS connection each", Unit::Seconds, vec![took]),
            Figure::alone("resident above idle", Unit::Mebibytes, vec![memory]),
            Figure::alone("  KiB for each", Unit::Count, vec![each]),
            Figure::alone("cores while all rest", Unit::Count, resting),
            Figure::alone("cores while all beat", Unit::Count, beating),
        ],
    })
}

/// At most so many connect at the same time, as the machines of a fleet seldom all do.
const AT_ONCE: usize = 64;

async fn connect(
    server: &Server,
    root: &RootCertificate,
    machines: Vec<Machine>,
) -> Result<Vec<Line>, Failure> {
    let (mut connecting, mut lines) = (JoinSet::new(), Vec::with_capacity(machines.len()));
    for machine in machines {
        if connecting.len() == AT_ONCE
            && let Some(line) = connecting.join_next().await
        {
            lines.push(line??);
        }
        let (address, root) = (server.address, root.clone());
        connecting.spawn(async move { Line::open(address, &root, machine).await });
    }
    while let Some(line) = connecting.join_next().await {
        lines.push(line??);
    }
    Ok(lines)
}

/// Lets each machine beat at its own place in every span.
async fn beat(lines: &[Line]) {
    let each = BETWEEN / u32::try_from(lines.len().max(1)).unwrap_or(u32::MAX);
    let began = tokio::time::Instant::now();
    for (place, line) in (0..BEATS).flat_map(|_| lines).enumerate() {
        tokio::time::sleep_until(began + each * u32::try_from(place).unwrap_or(u32::MAX)).await;
        line.beat();
    }
    tokio::time::sleep_until(began + BETWEEN * BEATS).await;
}

/// How much of the processors the server used while `work` went on.
async fn cores(server: &Server, work: impl Future<Output = ()>) -> Result<f64, Failure> {
    let (began, before) = (Instant::now(), server.usage().cpu()?);
    work.await;
    let used = server.usage().cpu()? - before;
    Ok(used.as_secs_f64() / began.elapsed().as_secs_f64())
}
