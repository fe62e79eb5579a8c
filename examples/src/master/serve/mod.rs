//! `serve`: a master.

mod addresses;
mod admin;
mod args;
mod cluster_secret;
mod data_dir;
mod enroller;
mod files;
mod greeting;
mod headscale;
mod listeners;
mod machine;
mod portainer;
mod ready;
mod stop;
mod store;
mod store_url;

use std::path::Path;
use std::sync::Arc;

use enroll_core::issue::x509::{Authority, AuthorityOptions};
use enroll_core::master::Enroller;
use enroll_core::model::{Clock, SharedSecret, SystemClock, SystemEntropy};
use enroll_http::metrics::Metrics;
use enroll_http::tls::MasterIdentity;

pub(super) use args::ServeArgs;
pub(super) use ready::Ready;

use super::failure::Failure;
use addresses::Addresses;
use args::Issue;
use data_dir::DataDir;
use enroller::FuserPlan;
use listeners::{Served, Sockets};
use ready::ReadyFile;
use stop::{Signals, Stop};

/// Runs a master until a signal ends it.
pub(super) async fn serve(data_dir: &Path, args: ServeArgs) -> Result<(), Failure> {
    check(&args)?;
    doubt(&args);
    crate::process::raise_descriptors();
    let fuser = FuserPlan::of(&args)?;
    let mut secrets = match &args.cluster_secret_path {
        Some(path) => cluster_secret::read(path)?,
        None => Vec::new(),
    };
    let headscale = headscale::client(&args.headscale)?;
    let data = DataDir::take(data_dir)?;
    let ready_file = ReadyFile::absent(&data)?;
    let authority = Arc::new(open_authority(&data, &args)?);
    let opened = store::open(&args, &data).await?;
    let clock = Arc::clone(&opened.clock);
    let sockets = Sockets::bind(&args).await?;
    let addresses = Addresses::of(&args, sockets.bound()?);
    let metrics = Arc::new(Metrics::new());
    let parts =
        enroller::Parts { fuser, opened, authority: &authority, headscale, secrets: &secrets };
    let enroller = enroller::build(&args, parts, &addresses, &metrics);
    enroller::claim(&enroller).await?;
    admin::ensure(&data, &enroller).await?;

    let hosts = addresses.certified.clone();
    let entropy = Arc::new(SystemEntropy::new());
    let identity =
        MasterIdentity::issue_with(Arc::clone(&authority), hosts, Arc::clone(&clock), entropy)
            .map_err(|cause| {
                Failure::new("the master has no certificate to present").because(cause)
            })?;
    let ready = Ready::new(&addresses, authority.fingerprint());
    let running = Running { enroller: &enroller, metrics, identity, authority: &authority, clock };
    let secret_wanted = !secrets.is_empty();
    let handed_on = (secret_wanted).then(|| secrets.swap_remove(0));
    running
        .until_signal(sockets, &args, handed_on, || {
            // Whoever waits for the file finds the rest said.
            greeting::print(&ready, data.path(), secret_wanted);
            ready_file.write(&ready)
        })
        .await
}

/// A master that has all it needs.
struct Running<'a> {
    enroller: &'a Arc<Enroller>,
    metrics: Arc<Metrics>,
    identity: MasterIdentity,
    authority: &'a Authority,
    clock: Arc<dyn Clock>,
}

impl Running<'_> {
    /// Serves, says so by `announce`, and ends in order when a signal comes.
    async fn until_signal(
        self,
        sockets: Sockets,
        args: &ServeArgs,
        cluster_secret: Option<SharedSecret>,
        announce: impl FnOnce() -> Result<(), Failure> + Send,
    ) -> Result<(), Failure> {
        let mut signals = Signals::take()
            .map_err(|cause| Failure::new("cannot wait for signals").because(cause))?;
        let stop = Stop::new();
        let Self { enroller, metrics, identity, authority, clock } = self;
        let served =
            Served { enroller, metrics, authority, identity: &identity, cluster_secret, clock };
        let mut serving = sockets.serve(args, served, &stop)?;
        let tending = {
            let (enroller, stopped) = (Arc::clone(enroller), stop.stopped());
            tokio::spawn(async move { enroller.tend_until(stopped.wait()).await })
        };
        let tidying = {
            let (enroller, stopped) = (Arc::clone(enroller), stop.stopped());
            tokio::spawn(async move { enroller.tend_mesh_until(stopped.wait()).await })
        };
        let stopped = stop.stopped();
        let renewing = tokio::spawn(async move { identity.renew_until(stopped.wait()).await });
        announce()?;

        signals.next().await;
        tracing::info!("ending: requests in flight are finished first");
        stop.now();
        let draining = async {
            while let Some(drained) = serving.join_next().await {
                tracing::debug!(?drained, "a listener ended");
            }
            enroller.flush().await;
            // Their only end is the one that was just asked for.
            let _ended = tokio::join!(tending, tidying, renewing);
        };
        tokio::select! {
            () = draining => {}
            () = signals.next() => tracing::warn!("a second signal: not waiting any longer"),
        }
        Ok(())
    }
}

/// Refuses what this build cannot do, before anything is made.
fn check(args: &ServeArgs) -> Result<(), Failure> {
    if args.issue.is_empty() {
        return Err(Failure::usage("--issue names nothing, so nobody could become a member")
            .next("Leave it away, or give x509, api_key or both."));
    }
    store::check(args)
}

/// Says what can be done and is hardly meant.
fn doubt(args: &ServeArgs) {
    if !args.issue.iter().any(|kind| matches!(kind, Issue::X509 | Issue::ApiKey)) {
        tracing::warn!(
            "--issue names neither x509 nor api_key: a new member gets nothing to call this master with"
        );
    }
    let (beat, stale) = (args.heartbeat_interval_secs, args.stale_threshold_secs);
    if beat >= stale {
        tracing::warn!(
            "--heartbeat-interval-secs {} is not below --stale-threshold-secs {}: members that are \
            well count as degraded between heartbeats",
            beat.as_secs(),
            stale.as_secs(),
        );
    }
}

/// The authority in the data directory, made at the first start.
fn open_authority(data: &DataDir, args: &ServeArgs) -> Result<Authority, Failure> {
    let mut options = AuthorityOptions::new();
    if let Some(domain) = &args.trust_domain {
        options = options.with_trust_domain(domain.clone());
    }
    let at = SystemClock::new().now();
    options.open_or_create(data.path(), at, &SystemEntropy::new()).map_err(|cause| {
        // Its text says what to do about it.
        Failure::new("the certificate authority cannot be used").because(cause)
    })
}

/// The token of the operator on this machine, in the data directory.
pub(super) const ADMIN_TOKEN: &str = "admin.token";
/// What the master says once it answers, in the data directory.
pub(super) const READY: &str = "ready.json";
/// The root certificate, in the data directory.
pub(super) const CA: &str = "ca.crt";
