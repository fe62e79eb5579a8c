//! A worker, and what may be chosen about it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::accept::bounded;
use super::backoff::Backoff;
use super::commands::{CommandHandler, NoCommands};
use super::error::WorkerError;
use super::identity::Credentials;
use super::join::MeshJoin;
use super::master::{CallError, Master};
use super::observer::{Traced, WorkerEvent, WorkerObserver};
use super::state::StateDir;
use super::telemetry::{NoTelemetry, Telemetry};
use crate::model::{
    Clock, Entropy, Facts, Fingerprint, NodeName, SystemClock, SystemEntropy, Timestamp,
};

/// One machine that is to become, or is, a member.
///
/// # Defaults
/// - **No node name**: a bound token knows it. The enrollment secret alone does not.
/// - **No pins beyond the transport's own**: whoever checked the master at the first call vouches for
///   its root, and from then on `ca.crt` is the pin.
/// - **Failures that may pass are retried** for [`Worker::RETRY_FOR`] by [`Worker::bootstrap`], without
///   end by [`Worker::serve`]: a machine that boots before its master has to find it.
/// - **The heartbeat interval is the master's.**
/// - **No command is carried out**: what a master may make a machine do is the embedder's decision.
/// - **No mesh is joined**: keys of one stay where [`StateDir::mesh`] finds them.
/// - **Nothing is reported** but that the worker lives; where something is, it is measured every
///   [`Worker::REPORT_EVERY`].
/// - Events go to [`tracing`]; the clock and the randomness are the system's.
///
/// ```
/// # use std::error::Error;
/// use enroll_core::model::{JoinToken, NodeName};
/// use enroll_core::worker::{Master, Proofs, StateDir, Worker};
///
/// # async fn embed(master: impl Master + 'static, token: JoinToken) -> Result<(), Box<dyn Error>> {
/// let worker = Worker::new(StateDir::open("/var/lib/acme")?, master)
///     .with_node_name(NodeName::new("worker-1")?);
/// let outcome = worker.bootstrap(Proofs::token(token)).await?;
/// println!("{} is a member", outcome.identity().node_name());
/// worker.run(std::future::pending()).await?;
/// # Ok(())
/// # }
/// ```
pub struct Worker {
    pub(super) dir: StateDir,
    pub(super) master: Arc<dyn Master>,
    pub(super) settings: Settings,
}

pub(super) struct Settings {
    pub(super) node_name: Option<NodeName>,
    pub(super) facts: Arc<dyn Fn() -> Facts + Send + Sync>,
    pub(super) pins: Vec<Fingerprint>,
    pub(super) retry_for: Option<Duration>,
    pub(super) heartbeat_interval: Option<Duration>,
    pub(super) backoff: Backoff,
    pub(super) commands: Arc<dyn CommandHandler>,
    pub(super) mesh: Option<Arc<dyn MeshJoin>>,
    pub(super) telemetry: Arc<dyn Telemetry>,
    pub(super) report_interval: Duration,
    pub(super) observer: Arc<dyn WorkerObserver>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
}

impl Worker {
    /// A worker that keeps itself in `dir` and calls `master`.
    #[must_use]
    pub fn new(dir: StateDir, master: impl Master + 'static) -> Self {
        let settings = Settings {
            node_name: None,
            facts: Arc::new(Facts::default),
            pins: Vec::new(),
            retry_for: None,
            heartbeat_interval: None,
            backoff: Backoff::default(),
            commands: Arc::new(NoCommands),
            mesh: None,
            telemetry: Arc::new(NoTelemetry),
            report_interval: Self::REPORT_EVERY,
            observer: Arc::new(Traced),
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy::new()),
        };
        Self { dir, master: Arc::new(master), settings }
    }

    /// The name to enroll as. An identity with another name is then refused.
    #[must_use]
    pub fn with_node_name(mut self, name: NodeName) -> Self {
        self.settings.node_name = Some(name);
        self
    }

    /// What the worker says of itself, at the first call and whenever it is not what the master last
    /// heard.
    #[must_use]
    pub fn with_facts(self, facts: Facts) -> Self {
        self.with_facts_from(move || facts.clone())
    }

    /// Who says what the worker says of itself: asked before the first call and every heartbeat.
    #[must_use]
    pub fn with_facts_from(mut self, facts: impl Fn() -> Facts + Send + Sync + 'static) -> Self {
        self.settings.facts = Arc::new(facts);
        self
    }

    /// The roots that may be trusted. An answer or an identity under another one is refused.
    #[must_use]
    pub fn with_pins(mut self, pins: impl IntoIterator<Item = Fingerprint>) -> Self {
        self.settings.pins = pins.into_iter().collect();
        self
    }

    /// How long failures that may pass are borne before the worker gives up. Zero is one call;
    /// [`Duration::MAX`] is without end.
    #[must_use]
    pub const fn with_retry_for(mut self, span: Duration) -> Self {
        self.settings.retry_for = Some(span);
        self
    }

    /// How often to send a heartbeat, 1 s to 1 h, whatever the master wants.
    #[must_use]
    pub const fn with_heartbeat_interval(mut self, interval: Duration) -> Self {
        self.settings.heartbeat_interval = Some(interval);
        self
    }

    /// How long to wait between calls that fail.
    #[must_use]
    pub const fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// Who carries out what the master wants done.
    #[must_use]
    pub fn with_commands(mut self, commands: Arc<dyn CommandHandler>) -> Self {
        self.settings.commands = commands;
        self
    }

    /// Who brings the machine into the mesh that the master is reached over, before the first
    /// heartbeat of every run.
    #[must_use]
    pub fn with_mesh(mut self, mesh: Arc<dyn MeshJoin>) -> Self {
        self.settings.mesh = Some(mesh);
        self
    }

    /// How often the machine is measured for the master, unless
    /// [`with_report_interval`](Self::with_report_interval) says otherwise: every 30 s.
    pub const REPORT_EVERY: Duration = Duration::from_secs(30);

    /// Who measures the machine and sees what happens on it.
    #[must_use]
    pub fn with_telemetry(mut self, telemetry: Arc<dyn Telemetry>) -> Self {
        self.settings.telemetry = telemetry;
        self
    }

    /// How often the machine is measured for the master.
    #[must_use]
    pub const fn with_report_interval(mut self, interval: Duration) -> Self {
        self.settings.report_interval = interval;
        self
    }

    /// Who is told what happens.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn WorkerObserver>) -> Self {
        self.settings.observer = observer;
        self
    }

    /// Where the time comes from. Waiting is always by the runtime's own.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.settings.clock = clock;
        self
    }

    /// Where the attempt key and all jitter come from. Private keys are made by the library that
    /// makes certificates.
    #[must_use]
    pub fn with_entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.settings.entropy = entropy;
        self
    }

    /// Where the worker keeps itself.
    #[must_use]
    pub const fn state_dir(&self) -> &StateDir {
        &self.dir
    }

    pub(super) fn note(&self, event: &WorkerEvent<'_>) {
        self.settings.observer.note(event);
    }

    pub(super) fn now(&self) -> Timestamp {
        self.settings.clock.now()
    }

    pub(super) fn retry_for(&self, default: Duration) -> Duration {
        self.settings.retry_for.unwrap_or(default)
    }

    /// The interval an operator set, else `told`; within its bounds.
    pub(super) fn interval(&self, told: Duration) -> Duration {
        bounded(self.settings.heartbeat_interval.unwrap_or(told))
    }

    /// How long to wait before a failed call is repeated, within the time that is left; `None` when
    /// it is not worth it.
    pub(super) fn pause(
        &self,
        error: &CallError,
        failures: u32,
        left: Duration,
    ) -> Option<Duration> {
        let asked = error.retry_after();
        if error.is_final() || left.is_zero() || asked > Some(left) {
            return None;
        }
        // The last wait is cut short rather than left out, so that the time is used to its end.
        Some(self.settings.backoff.wait(failures, asked, &*self.settings.entropy).min(left))
    }

    /// Holds an identity against what the operator configured.
    pub(super) fn check_configured(&self, held: &Credentials) -> Result<(), WorkerError> {
        let (identity, settings) = (held.identity(), &self.settings);
        if let Some(held) = identity.ca()
            && !settings.pins.is_empty()
            && !settings.pins.contains(&held)
        {
            return Err(WorkerError::PinDiffers { held });
        }
        match &settings.node_name {
            Some(configured) if configured != identity.node_name() => {
                Err(WorkerError::NameDiffers {
                    held: identity.node_name().clone(),
                    configured: configured.clone(),
                })
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("dir", &self.dir)
            .field("node_name", &self.settings.node_name)
            .finish_non_exhaustive()
    }
}
