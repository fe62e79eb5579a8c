//! The reference binaries at rest: memory, start-up, size.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::measure::{Figure, Section, Unit};
use crate::plan::{Failure, Plan};
use crate::process::Usage;

/// What the rounds came to, in milliseconds and MiB.
#[derive(Default)]
struct Rounds {
    started: Vec<f64>,
    idle: Vec<f64>,
    started_large: Vec<f64>,
    idle_large: Vec<f64>,
    idle_worker: Vec<f64>,
}

/// Starts the reference master and a worker anew in each round, on the same directories.
pub(crate) async fn measure(plan: &Plan) -> Result<Section, Failure> {
    let dir = tempfile::Builder::new().prefix("enroll-bench-").tempdir_in(&plan.dir)?;
    let (master, worker) = (beside("enroll-master")?, beside("enroll-worker")?);
    let data = dir.path().join("data");
    // The first start makes the authority and the database.
    drop(start(&master, &data)?);
    let mut rounds = Rounds::default();
    // Another, that knows many nodes.
    let large = dir.path().join("large");
    drop(start(&master, &large)?);
    know(&large.join("enroll.db"), plan.nodes)?;
    for round in 1..=plan.rounds {
        eprintln!("at rest: round {round} of {}", plan.rounds);
        let (running, took) = start(&master, &data)?;
        rounds.started.push(took.as_secs_f64() * 1e3);
        let join = invitation(&master, &data)?;
        let state = dir.path().join(format!("worker-{round}"));
        let name = format!("w-{round}");
        let living = Running(
            Command::new(&worker)
                .args(["serve", "--metrics-port", "0", "--node-name", &name])
                .arg("--state-dir")
                .arg(&state)
                .env("ENROLL_JOIN", join)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?,
        );
        until(|| state.join("agent.crt").exists(), "the worker did not enroll")?;
        // Long enough for what starts late to have started.
        tokio::time::sleep(Duration::from_secs(2)).await;
        rounds.idle_worker.push(Usage(living.0.id()).resident()?);
        rounds.idle.push(Usage(running.0.id()).resident()?);
        drop((living, running));
        let (running, took) = start(&master, &large)?;
        rounds.started_large.push(took.as_secs_f64() * 1e3);
        tokio::time::sleep(Duration::from_secs(2)).await;
        rounds.idle_large.push(Usage(running.0.id()).resident()?);
    }
    let sizes = [size(&master)?, size(&worker)?];
    Ok(section(plan, &rounds, sizes))
}

/// The size of a file, in MiB.
fn size(path: &Path) -> Result<f64, Failure> {
    Ok(path.metadata()?.len() as f64 / MIB)
}

fn section(plan: &Plan, rounds: &Rounds, [master, worker]: [f64; 2]) -> Section {
    let alone = |what, unit, values: &[f64]| Figure::alone(what, unit, values.to_vec());
    Section {
        title: "the reference binaries at rest".into(),
        notes: Vec::new(),
        figures: vec![
            alone("enroll-master, start to first answer", Unit::Millis, &rounds.started),
            alone("enroll-master, resident when idle", Unit::Mebibytes, &rounds.idle),
            Figure::beside(
                format!("  with {} nodes on record", plan.nodes),
                Unit::Mebibytes,
                &rounds.idle_large,
                "with a few",
                &rounds.idle,
            ),
            Figure::beside(
                "  its start to first answer",
                Unit::Millis,
                &rounds.started_large,
                "with a few",
                &rounds.started,
            ),
            alone("enroll-worker, resident when idle", Unit::Mebibytes, &rounds.idle_worker),
            alone("enroll-master, size", Unit::Mebibytes, &[master]),
            alone("enroll-worker, size", Unit::Mebibytes, &[worker]),
        ],
    }
}

/// Writes so many members into the database of a master that is not running.
fn know(database: &Path, nodes: u32) -> Result<(), Failure> {
    eprintln!("writing {nodes} nodes");
    let connection = rusqlite::Connection::open(database)?;
    connection.execute(
        "INSERT INTO enroll_nodes
            (id, name, state, cordoned, labels, facts, method, created_at, enrolled_at, last_seen_at)
        WITH RECURSIVE place (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM place WHERE n < ?1)
        SELECT randomblob(16), 'known-' || n, 'monitoring', 0, '{}', '{\"v\":1}', 'token', 1, 1, 1
        FROM place",
        [nodes],
    )?;
    Ok(())
}

const MIB: f64 = 1024.0 * 1024.0;

/// A process that ends with this handle.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; either way there is nothing left to wait for.
        let _ended = (self.0.kill(), self.0.wait());
    }
}

/// Starts a master; how long it took until it said that it answers.
fn start(master: &Path, data: &Path) -> Result<(Running, Duration), Failure> {
    let ready = data.join("ready.json");
    if ready.exists() {
        std::fs::remove_file(&ready)?;
    }
    let began = Instant::now();
    let any = "127.0.0.1:0";
    let child = Command::new(master)
        .args(["serve", "--advertise", "localhost", "--data-dir"])
        .arg(data)
        .args(["--enroll-listen", any, "--steady-listen", any, "--operator-listen", any])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let running = Running(child);
    until(|| ready.exists(), "the master did not start")?;
    Ok((running, began.elapsed()))
}

fn invitation(master: &Path, data: &Path) -> Result<String, Failure> {
    let minted = Command::new(master)
        .args(["token", "mint", "--output", "json", "--data-dir"])
        .arg(data)
        .output()?;
    let minted: serde_json::Value = serde_json::from_slice(&minted.stdout)?;
    Ok(minted["invitation"].as_str().ok_or("no invitation was minted")?.to_owned())
}

fn until(done: impl Fn() -> bool, otherwise: &'static str) -> Result<(), Failure> {
    let began = Instant::now();
    while !done() {
        if began.elapsed() > Duration::from_secs(30) {
            return Err(otherwise.into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// A program that was built beside this one.
fn beside(name: &str) -> Result<PathBuf, Failure> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.exists() {
        return Ok(path);
    }
    Err(format!("{} is not there: cargo build --release --workspace --bins", path.display()).into())
}
