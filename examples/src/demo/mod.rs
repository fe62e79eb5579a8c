//! The demo: a master and three workers as processes of their own, on loopback.
//!
//! It is one executable that is also the master and the worker, by the name it is started under, so
//! that one `cargo run` builds all there is to show.

mod lossy;
mod stage;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use stage::{Stage, Trouble};

/// Shows on this machine how a new machine becomes a trusted member of a fleet.
///
/// Starts a master with an embedded store, lets three workers enroll, loses one answer on purpose,
/// tries a spent token, kills a worker and brings it back. Takes less than 30 seconds and leaves
/// nothing behind.
#[derive(Debug, Parser)]
#[command(name = "enroll-demo", version, about, long_about)]
struct Cli {
    /// Leaves the master and the workers running, and says how to look at them and how to stop them.
    #[arg(long)]
    keep: bool,
}

/// Runs the demo, or the binary whose name it was started under.
#[must_use]
pub fn main() -> ExitCode {
    let name = std::env::args_os().next().map(std::path::PathBuf::from);
    match name.as_deref().and_then(std::path::Path::file_name).and_then(|name| name.to_str()) {
        Some(stage::MASTER) => return crate::master::main(),
        Some(stage::WORKER) => return crate::worker::main(),
        _ => {}
    }
    let cli = Cli::parse();
    match play(cli.keep) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("enroll-demo: {trouble}");
            ExitCode::FAILURE
        }
    }
}

/// The whole play. Dropping the stage ends every process on it and removes every file.
fn play(keep: bool) -> Result<(), Trouble> {
    let began = Instant::now();
    say(
        "A master starts with nothing configured: a new certificate authority, SQLite, three listeners.",
    );
    let mut stage = Stage::set()?;

    say("The operator mints three one-shot tokens. Each invitation is all that a worker needs.");
    let invitations = ["worker-1", "worker-2", "worker-3"].map(|name| (name, stage.mint(name)));

    say("Two workers redeem theirs over pinned TLS, and start to report.");
    let [(_, first), (_, second), (_, third)] = invitations;
    let (first, second) = (first?, second?);
    stage.start_worker("worker-1", Some(&first.join))?;
    stage.start_worker("worker-2", Some(&second.join))?;
    stage.table_until("worker-1 and worker-2 ready", |nodes| {
        nodes.ready("worker-1") && nodes.ready("worker-2")
    })?;

    say(
        "The answer to worker-3 is cut off on the way: the token is spent, the worker has nothing.",
    );
    let third = stage.through_a_lossy_line(&third?)?;
    stage.start_worker("worker-3", Some(&third.join))?;
    stage.table_until("worker-3 ready", |nodes| nodes.ready("worker-3"))?;
    stage.show_redelivery()?;

    say("Somebody tries the token of worker-1 once more, on another machine.");
    stage.try_spent(&first)?;

    say("worker-2 dies. Three seconds without a heartbeat, and it is degraded.");
    stage.kill_worker("worker-2")?;
    stage.table_until("worker-2 degraded", |nodes| nodes.is("worker-2", "degraded"))?;

    say("It starts again with its state directory, and no token: it is still who it was.");
    stage.start_worker("worker-2", None)?;
    stage.table_until("all ready", |nodes| {
        ["worker-1", "worker-2", "worker-3"].iter().all(|name| nodes.ready(name))
    })?;

    println!("\nDone in {:.1} s.", began.elapsed().as_secs_f64());
    if keep {
        stage.keep();
    }
    Ok(())
}

/// One line of the story.
fn say(text: &str) {
    println!("\n— {text}");
}

/// How long any one scene may take.
const PATIENCE: Duration = Duration::from_secs(20);
