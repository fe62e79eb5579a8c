//! From the command line to an exit code.

use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Parser as _;
use enroll_core::worker::{
    Environment, EnvironmentError, Identity, Master, Outcome, StateDir, StateErrorKind, Status,
    Worker, WorkerEvent, WorkerObserver,
};
use enroll_http::client::{ClientError, GrpcMaster, HttpMaster};
use enroll_http::host::HostTelemetry;
use serde_json::json;

use super::args::{Cli, Command, Options, Output, Transport};
use super::config::Config;
use super::exit::{Exit, chain};
use super::listen::Renewer;
use super::metrics::{self, Metrics};
use super::proofs::First;
use super::{commands, facts, listen, log, mesh};
use crate::files;

/// Runs the worker and says how the process is to end.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    #[cfg(feature = "failpoints")]
    crate::arm_failpoint();
    crate::log_to_stderr();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => return ended(Exit::usage(format!("No runtime: {why}."))),
    };
    let result = runtime.block_on(async {
        match cli.command.unwrap_or(Command::Serve) {
            Command::Bootstrap => bootstrap(&cli.options).await,
            Command::Serve => serve(&cli.options).await,
        }
    });
    // A thread that reads a terminal, or looks a name up, must not keep the process.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => ended(exit),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the end of it")]
fn ended(exit: Exit) -> ExitCode {
    eprintln!("enroll-worker: {}", exit.text);
    ExitCode::from(exit.code)
}

/// A worker and what it was made from.
struct Wired {
    config: Config,
    first: First,
    dir: StateDir,
    told: Arc<Told>,
    machine: Arc<HostTelemetry>,
    worker: Worker,
}

/// Who is told what happens: the log, the counters, the worker's own listener once it is open.
#[derive(Default)]
struct Told {
    metrics: OnceLock<Arc<Metrics>>,
    renewer: OnceLock<Renewer>,
}

impl WorkerObserver for Told {
    fn note(&self, event: &WorkerEvent<'_>) {
        log::note(event);
        if let Some(metrics) = self.metrics.get() {
            metrics.note(event);
        }
        if let Some(renewer) = self.renewer.get() {
            renewer.note(event);
        }
    }
}

fn wire(options: &Options) -> Result<Wired, Exit> {
    let env = Environment::of_enrolled_process(Environment::PREFIX).map_err(unreadable)?;
    let config = Config::read(options, &env)?;
    let dir = StateDir::open(&config.state_dir).map_err(|why| Exit::state(chain(&why)))?;
    check_config_path(&config.config_path)?;
    let status = dir.status().ok().filter(|_| !options.force);
    let mut first = match first(options) {
        // Whoever has an identity needs no proof, whatever is left of one in a unit file.
        Err(_) if status.as_ref().is_some_and(Status::is_enrolled) => {
            First::without_proofs(options, &env)?
        }
        read => read?,
    };
    let asks = |proofs| status.as_ref().is_none_or(|status| status.asks_with(proofs));
    let master = match first.proofs.as_ref().is_some_and(asks) {
        true => client(&first, &config)?,
        false => HttpMaster::enrolled(),
    };
    let master = over(&config, master);
    let told = Arc::new(Told::default());
    let machine = Arc::new(machine(&config));
    let facts = facts::of_this_machine(&config);
    let mut worker = Worker::new(dir.clone(), Arc::clone(&master))
        .with_facts(facts.clone())
        .with_pins(first.pins.iter().copied())
        .with_commands(commands::handler(master, &config, facts))
        .with_telemetry(Arc::clone(&machine) as _)
        .with_observer(Arc::clone(&told) as _);
    if let Some(mesh) = mesh::driver(&config, &dir) {
        worker = worker.with_mesh(mesh);
    }
    if let Some(name) = first.node_name.take() {
        worker = worker.with_node_name(name);
    }
    if let Some(interval) = config.heartbeat_interval {
        worker = worker.with_heartbeat_interval(interval);
    }
    if let Some(secs) = options.retry_secs {
        worker = worker.with_retry_for(Duration::from_secs(secs));
    }
    Ok(Wired { config, first, dir, told, machine, worker })
}

fn first(options: &Options) -> Result<First, Exit> {
    First::read(options, &Environment::of_process(Environment::PREFIX).map_err(unreadable)?)
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` has")]
fn unreadable(why: EnvironmentError) -> Exit {
    Exit::usage(format!("{}.", chain(&why)))
}

/// The master, called as the configuration says.
fn over(config: &Config, mut master: HttpMaster) -> Arc<dyn Master> {
    if let Some(addr) = &config.master_addr {
        master = master.with_steady_addr(addr);
    }
    if let Some(proxy) = config.steady_proxy {
        master = master.with_steady_proxy(proxy);
    }
    if let Some(timeout) = config.request_timeout {
        master = master.with_request_timeout(timeout);
    }
    match config.transport.unwrap_or_default() {
        Transport::Grpc => Arc::new(GrpcMaster::new(master)),
        Transport::Rest => Arc::new(master),
    }
}

fn machine(config: &Config) -> HostTelemetry {
    let machine = HostTelemetry::new();
    match &config.runtime_socket {
        Some(socket) => machine.with_runtime(socket),
        None => machine,
    }
}

/// The master of a first call.
fn client(first: &First, config: &Config) -> Result<HttpMaster, Exit> {
    let url = first.master_url.as_deref().ok_or_else(|| Exit::usage(
        "The master's URL is missing: give --master-url or ENROLL_MASTER_URL, or an invitation with --join-path.",
    ))?;
    if first.pins.is_empty() {
        return Err(Exit::usage(
            "The master's fingerprint is missing: give --ca-fingerprint or ENROLL_CA_FINGERPRINT; `enroll-master` printed it, and every mint prints it.",
        ));
    }
    let pins = first.pins.iter().copied();
    let made = if config.allow_plaintext {
        HttpMaster::danger_plaintext(url, pins)
    } else {
        HttpMaster::pinned_any(url, pins)
    };
    made.map_err(|why| {
        let settings = match why {
            ClientError::Plaintext => "--allow-plaintext, ENROLL_ALLOW_PLAINTEXT=1",
            _ => "--master-url, ENROLL_MASTER_URL, e.g. https://master:7480",
        };
        Exit::usage(format!("{} ({settings}).", chain(&why)))
    })
}

async fn bootstrap(options: &Options) -> Result<(), Exit> {
    let Wired { config, first, dir, worker, .. } = wire(options)?;
    let outcome = match (first.proofs, options.force) {
        (Some(proofs), true) => worker.replace(proofs).await?,
        (None, true) => {
            return Err(Exit::usage("--force enrolls again, which needs a token or a secret."));
        }
        (proofs, false) => worker.bootstrap(proofs).await?,
    };
    write_config(&config, &dir)?;
    print(&match options.output {
        Output::Text => text(&outcome),
        Output::Json => body(&outcome).to_string(),
    });
    Ok(())
}

/// Prints a line. The machine is a member whether or not anybody reads that.
fn print(line: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    if let Err(cause) = writeln!(out, "{line}").and_then(|()| out.flush()) {
        tracing::warn!(%cause, "the outcome cannot be printed");
    }
}

async fn serve(options: &Options) -> Result<(), Exit> {
    let Wired { config, first, dir, told, machine, worker } = wire(options)?;
    // One for all of it: a signal that comes between two waits is heard by the next.
    let mut stop = pin!(crate::stop_signal());
    let metrics = Metrics::new();
    let measured = metrics::listener(config.metrics_port, Arc::clone(&metrics), machine).await?;
    if let Ok(address) = measured.local_addr() {
        tracing::info!(%address, "metrics");
    }
    // The cell is empty, so this is where it is filled.
    let _filled = told.metrics.set(Arc::clone(&metrics));
    let proofs = first.proofs;
    if options.force {
        let proofs = proofs.ok_or_else(|| {
            Exit::usage("--force enrolls again, which needs a token or a secret.")
        })?;
        // As long as `ready` bears it: nobody stands by a service.
        let worker = &match options.retry_secs {
            Some(_) => worker,
            None => worker.with_retry_for(Duration::MAX),
        };
        tokio::select! {
            () = &mut stop => return Ok(()),
            replaced = worker.replace(proofs) => replaced?,
        };
        write_config(&config, &dir)?;
        return live(&config, &dir, &told, worker, measured, &metrics, stop).await;
    }
    tokio::select! {
        () = &mut stop => return Ok(()),
        identity = worker.ready(proofs) => metrics.identity(&identity?),
    }
    write_config(&config, &dir)?;
    live(&config, &dir, &told, &worker, measured, &metrics, stop).await
}

/// The full runtime: heartbeats, metrics, the worker's own listener.
async fn live(
    config: &Config,
    dir: &StateDir,
    told: &Told,
    worker: &Worker,
    measured: enroll_http::server::Listener,
    metrics: &Metrics,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), Exit> {
    if let Ok(me) = dir.credentials() {
        metrics.identity(me.identity());
    }
    mesh::warn_of_unused_keys(config, dir);
    let own = match config.listen {
        Some(address) => Some(listen::open(address, dir, facts::of_this_machine(config)).await?),
        None => None,
    };
    let calls = async {
        match own {
            Some(own) => {
                let _filled = told.renewer.set(own.renewer);
                own.listener.serve(std::future::pending()).await;
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = worker.serve(None, stop) => Ok(ended?),
        _never = measured.serve(std::future::pending()) => Ok(()),
        () = calls => Ok(()),
    }
}

/// Written only if absent: an operator's own settings always survive.
fn write_config(config: &Config, dir: &StateDir) -> Result<(), Exit> {
    let fail = |why: String| {
        Exit::state(format!("{} cannot be written: {why}.", config.config_path.display()))
    };
    if config.config_path.parent() == Some(dir.path())
        && config.config_path.file_name() == Some("agent.toml".as_ref())
    {
        return match dir.lock().and_then(|locked| locked.create_config(&config.to_file())) {
            // Whoever has the lock has just enrolled, and writes it.
            Err(why) if why.kind() == StateErrorKind::Busy => Ok(()),
            written => written.map(drop).map_err(|why| fail(chain(&why))),
        };
    }
    files::create(&config.config_path, 0o644, &config.to_file())
        .map_err(|why| fail(why.to_string()))
}

/// Whether there will be room for the configuration: told before a token is spent.
fn check_config_path(path: &Path) -> Result<(), Exit> {
    let dir = files::dir_of(path);
    match dir.is_dir() {
        true => Ok(()),
        false => {
            Err(Exit::usage(format!("--config-path: there is no directory {}.", dir.display())))
        }
    }
}

fn text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Enrolled { identity, redelivered } => {
            let again = if *redelivered { ", the answer to an earlier call" } else { "" };
            let until = identity.not_after().map(|end| format!(" until {}", end.to_rfc3339()));
            format!(
                "enrolled as {} ({}){}{again}\nnext: enroll-worker serve",
                identity.node_name(),
                identity.node_id(),
                until.unwrap_or_default(),
            )
        }
        _ => "already bootstrapped".to_owned(),
    }
}

fn body(outcome: &Outcome) -> serde_json::Value {
    let (word, redelivered) = match outcome {
        Outcome::Enrolled { redelivered, .. } => ("enrolled", *redelivered),
        _ => ("already_bootstrapped", false),
    };
    let identity: &Identity = outcome.identity();
    json!({
        "outcome": word,
        "node_id": identity.node_id().to_string(),
        "node_name": identity.node_name(),
        "master_addr": identity.master_addr(),
        "not_after": identity.not_after().map(|end| end.to_rfc3339()),
        "renew_after": identity.renew_after().map(|end| end.to_rfc3339()),
        "redelivered": redelivered,
    })
}
