//! The reference binaries at rest: memory, start-up, size.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::measure::{Figure, Section, Unit};
use crate::plan::{Failure, Plan};
use crate::process::Usage;

/// Starts the reference master and a worker anew in each round, on the same directories.
pub(crate) async fn measure(plan: &Plan) -> Result<Section, Failure> {
    let dir = tempfile::Builder::new().prefix("enroll-bench-").tempdir_in(&plan.dir)?;
    let (master, worker) = (beside("enroll-master")?, beside("enroll-worker")?);
    let data = dir.path().join("data");
    // The first start makes the authority and the database.
    drop(start(&master, &data)?);
    let (mut started, mut idle, mut idle_worker) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        eprintln!("at rest: round {round} of {}", plan.rounds);
        let (running, took) = start(&master, &data)?;
        started.push(took.as_secs_f64() * 1e3);
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
        idle_worker.push(Usage(living.0.id()).resident()?);
        idle.push(Usage(running.0.id()).resident()?);
    }
    let size = |path: &Path| Ok::<_, Failure>(path.metadata()?.len() as f64 / MIB);
    Ok(Section {
        title: "the reference binaries at rest".into(),
        notes: Vec::new(),
        figures: vec![
            Figure::alone("enroll-master, start to first answer", Unit::Millis, started),
            Figure::alone("enroll-master, resident when idle", Unit::Mebibytes, idle),
            Figure::alone("enroll-worker, resident when idle", Unit::Mebibytes, idle_worker),
            Figure::alone("enroll-master, size", Unit::Mebibytes, vec![size(&master)?]),
            Figure::alone("enroll-worker, size", Unit::Mebibytes, vec![size(&worker)?]),
        ],
    })
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
