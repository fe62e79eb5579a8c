//! Life as a member: heartbeats, renewal, commands.
//!
//! Invariants:
//! - **An identity is never given up**: whatever fails, the files stay and the worker goes on, until
//!   the master itself says that the identity is not accepted any more.
//! - **The old credential is used until its successor is on disk.**
//! - **Stopping at any await is safe**: what must not be torn is written without one.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::attempt::Purpose;
use super::backoff::{Backoff, up_to};
use super::commands::Commands;
use super::error::WorkerError;
use super::identity::{ClientCertificate, Credentials};
use super::master::{Beat, BeatAnswer, CallError, Command};
use super::observer::{Failure, WorkerEvent};
use super::refusal::Refusal;
use super::renew::NotRenewed;
use super::report::Member;
use super::settings::Worker;
use super::state::LockedDir;
use crate::model::{Facts, Timestamp};

impl Worker {
    /// Lives as a member until `shutdown` is done: sends heartbeats, the first at once, renews the
    /// credential when it is time, recovers a certificate that ran out, carries commands out. Holds
    /// the lock of the state directory.
    ///
    /// A master that cannot be reached is tried again for ever. Dropping the future stops the worker as
    /// `shutdown` does.
    ///
    /// # Errors
    /// [`WorkerError::IdentityRejected`] when the master does not accept the identity any more; at the
    /// start also whatever keeps the identity on disk from being used.
    pub async fn run(&self, shutdown: impl Future<Output = ()> + Send) -> Result<(), WorkerError> {
        let dir = self.dir.lock()?;
        self.run_locked(dir, shutdown).await
    }

    pub(super) async fn run_locked(
        &self,
        dir: LockedDir,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), WorkerError> {
        let mut run = Run::start(self, dir)?;
        let stop = async {
            shutdown.await;
            Ok(())
        };
        // Each is large, and would be copied from stack to stack.
        let reports = Box::pin(self.report(run.member.subscribe()));
        let live = Box::pin(async {
            self.enter_mesh(&run.dir, run.me.identity.node_name()).await;
            run.drive().await.map(|never| match never {})
        });
        let report = async { match reports.await {} };
        first(stop, first(live, report)).await
    }
}

/// Waits for either; the first is asked first.
pub(super) async fn first<T>(
    one: impl Future<Output = T> + Send,
    other: impl Future<Output = T> + Send,
) -> T {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|context| match one.as_mut().poll(context) {
        Poll::Pending => other.as_mut().poll(context),
        ready => ready,
    })
    .await
}

/// A tenth of a span is jitter.
const JITTER: u32 = 10;
/// Between heartbeats that fail: 1 s, doubling to a minute.
const BEAT_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// How long the master has to be heard before what failed earlier is forgotten.
const STANDS: Duration = Duration::from_secs(1);
/// Between renewals that fail: 5 s, doubling to ten minutes.
const RENEW_BACKOFF: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(600));
/// How far the clocks of a worker and its master may be apart before "run out" is not believed.
const CLOCK_LEEWAY: Duration = Duration::from_secs(300);

struct Run<'a> {
    worker: &'a Worker,
    dir: LockedDir,
    me: Arc<Credentials>,
    interval: Duration,
    beat_failures: u32,
    /// Since when every heartbeat was heard.
    heard_since: Option<Instant>,
    /// What the master last heard.
    heard: Option<Facts>,
    /// When to renew, by the clock that certificates go by; absent where nothing ends.
    renew_at: Option<Timestamp>,
    renew_failures: u32,
    /// Before which a renewal that failed is not repeated.
    renew_not_before: Instant,
    commands: Commands,
    /// Who the worker is, for those who report beside the heartbeats.
    member: tokio::sync::watch::Sender<Member>,
}

/// What a heartbeat came to.
enum Heard {
    /// The master heard it; whether it wants a renewal.
    Yes { renew: bool },
    /// It did not, for a reason that may pass; when to try again.
    No { wait: Duration, over_certificate: bool },
    /// It does not accept the identity.
    Rejected(Refusal),
}

/// What comes about between two heartbeats.
enum Meanwhile {
    /// The time for the next one.
    Rested,
    /// The end of a command.
    Ended,
    /// Word from the master.
    Told(Result<Vec<Command>, CallError>),
}

impl<'a> Run<'a> {
    fn start(worker: &'a Worker, dir: LockedDir) -> Result<Self, WorkerError> {
        let me = worker.take_up(&dir)?;
        worker.check_configured(&me)?;
        let interval = worker.interval(me.identity.heartbeat_interval());
        let mut run = Self {
            worker,
            dir,
            me: Arc::new(me),
            interval,
            beat_failures: 0,
            heard_since: None,
            heard: None,
            renew_at: None,
            renew_failures: 0,
            renew_not_before: Instant::now(),
            commands: Commands::new(Arc::clone(&worker.settings.commands)),
            member: tokio::sync::watch::Sender::new(None),
        };
        run.schedule_renewal();
        Ok(run)
    }

    async fn drive(&mut self) -> Result<Infallible, WorkerError> {
        let mut heard = self.beat().await;
        loop {
            let wait = match heard {
                Heard::Yes { renew } => {
                    self.report().await;
                    if renew || self.is_due() {
                        self.succeed(Purpose::Renew).await?;
                    }
                    self.until_next_beat()
                }
                Heard::No { wait, over_certificate } => {
                    if over_certificate || self.has_run_out(Duration::ZERO) {
                        self.succeed(Purpose::Recover).await?;
                    }
                    wait
                }
                Heard::Rejected(refusal) => self.rejected(refusal).await?,
            };
            heard = match self.rest(wait).await {
                None => self.beat().await,
                Some(error) => self.missed(error),
            };
        }
    }

    async fn beat(&mut self) -> Heard {
        // Read anew each time: files that are lost must show, and a successor whose writing was cut
        // short by a full disk is made whole as soon as there is room.
        match self.worker.take_up(&self.dir) {
            Ok(me) => self.become_holder_of(me),
            Err(why) => {
                let (cause, retry_in) = (Failure::Local(&why), self.interval);
                self.worker.note(&WorkerEvent::BeatFailed { cause, retry_in });
                return Heard::No { wait: retry_in, over_certificate: false };
            }
        }
        let facts = (self.worker.settings.facts)();
        let changed = self.heard.as_ref() != Some(&facts);
        let beat = Beat { facts: changed.then(|| facts.clone()) };
        match self.worker.master.heartbeat(&self.me, &beat).await {
            Ok(answer) => {
                self.heard = Some(facts);
                self.take(answer)
            }
            Err(error) => self.missed(error),
        }
    }

    /// What a heartbeat that failed comes to, or the end of the connection that the last one held.
    fn missed(&mut self, error: CallError) -> Heard {
        match error {
            CallError::Refused(refusal) if refusal.rejects_identity() => Heard::Rejected(refusal),
            error => self.unheard(&error),
        }
    }

    fn take(&mut self, answer: BeatAnswer) -> Heard {
        self.heard_since.get_or_insert_with(Instant::now);
        self.interval = self.worker.interval(answer.heartbeat_interval);
        self.commands.take(&self.me, answer.commands);
        self.member.send_replace(Some(Arc::clone(&self.me)));
        self.worker.note(&WorkerEvent::BeatSent { next_in: self.interval });
        Heard::Yes { renew: answer.renew }
    }

    fn unheard(&mut self, error: &CallError) -> Heard {
        // A connection that is let in and lost at once is no better than none.
        if self.heard_since.take().is_some_and(|since| since.elapsed() >= STANDS) {
            self.beat_failures = 0;
        }
        self.beat_failures = self.beat_failures.saturating_add(1);
        let entropy = &*self.worker.settings.entropy;
        let wait = BEAT_BACKOFF.wait(self.beat_failures, error.retry_after(), entropy);
        let cause = Failure::Call(error);
        self.worker.note(&WorkerEvent::BeatFailed { cause, retry_in: wait });
        Heard::No { wait, over_certificate: matches!(error, CallError::IdentityRefused(_)) }
    }

    /// A certificate that ran out on an open connection is rejected as a revoked one is; then, and
    /// only then, recovery may help.
    async fn rejected(&mut self, refusal: Refusal) -> Result<Duration, WorkerError> {
        if !self.has_run_out(CLOCK_LEEWAY) {
            return Err(WorkerError::IdentityRejected(refusal));
        }
        self.succeed(Purpose::Recover).await?;
        let entropy = &*self.worker.settings.entropy;
        self.beat_failures = self.beat_failures.saturating_add(1);
        Ok(BEAT_BACKOFF.wait(self.beat_failures, None, entropy))
    }

    /// Gets a successor, unless an attempt failed too short a time ago.
    async fn succeed(&mut self, purpose: Purpose) -> Result<(), WorkerError> {
        if Instant::now() < self.renew_not_before {
            return Ok(());
        }
        let number = self.renew_failures.saturating_add(1);
        match self.worker.succeed(&self.dir, &self.me, purpose, number).await {
            Ok(me) => {
                self.become_holder_of(me);
                self.renew_failures = 0;
                Ok(())
            }
            Err(NotRenewed::Local(why)) => {
                let retry_in = Some(self.postpone_renewal(None));
                let cause = Failure::Local(&why);
                self.worker.note(&WorkerEvent::CallFailed { purpose, cause, retry_in });
                Ok(())
            }
            Err(NotRenewed::Call(error)) => self.not_renewed(purpose, error),
        }
    }

    fn not_renewed(&mut self, purpose: Purpose, error: CallError) -> Result<(), WorkerError> {
        match error {
            CallError::Refused(refusal) if self.ends_identity(purpose, &refusal) => {
                Err(WorkerError::IdentityRejected(refusal))
            }
            error => {
                let retry_in = Some(self.postpone_renewal(error.retry_after()));
                let cause = Failure::Call(&error);
                self.worker.note(&WorkerEvent::CallFailed { purpose, cause, retry_in });
                Ok(())
            }
        }
    }

    /// Whether a refusal leaves nothing to go on with: the identity itself is rejected, or there is no
    /// way back from a certificate that has run out.
    fn ends_identity(&self, purpose: Purpose, refusal: &Refusal) -> bool {
        match purpose {
            Purpose::Recover => refusal.is_final() && self.has_run_out(CLOCK_LEEWAY),
            _ => refusal.rejects_identity(),
        }
    }

    fn postpone_renewal(&mut self, retry_after: Option<Duration>) -> Duration {
        self.renew_failures = self.renew_failures.saturating_add(1);
        let entropy = &*self.worker.settings.entropy;
        let wait = RENEW_BACKOFF.wait(self.renew_failures, retry_after, entropy);
        self.renew_not_before = Instant::now() + wait;
        wait
    }

    /// Goes on with `me`, which may be what it has already.
    fn become_holder_of(&mut self, me: Credentials) {
        // By the certificate itself: those of a CA's last days all end with it.
        let held = self.me.certificate().map(ClientCertificate::chain_pem);
        let same = me.certificate().map(ClientCertificate::chain_pem) == held;
        self.me = Arc::new(me);
        if !same {
            self.renew_failures = 0;
            self.schedule_renewal();
        }
    }

    fn schedule_renewal(&mut self) {
        let identity = &self.me.identity;
        self.renew_at = identity.renew_after.zip(identity.not_after).map(|(from, end)| {
            from.after(up_to(end.since(from) / JITTER, &*self.worker.settings.entropy))
        });
    }

    fn is_due(&self) -> bool {
        self.renew_at.is_some_and(|at| self.worker.now() >= at)
    }

    fn has_run_out(&self, leeway: Duration) -> bool {
        self.me.identity.not_after.is_some_and(|end| self.worker.now().after(leeway) >= end)
    }

    /// The interval, never more than it: whoever beats late may look dead.
    fn until_next_beat(&self) -> Duration {
        let jitter = up_to(self.interval / JITTER, &*self.worker.settings.entropy);
        let wait = self.interval.saturating_sub(jitter);
        let renewal = self.renew_at.map(|at| at.since(self.worker.now()));
        let renewal = renewal
            .map(|wait| wait.max(self.renew_not_before.saturating_duration_since(Instant::now())));
        wait.min(renewal.unwrap_or(wait).max(Duration::from_secs(1)))
    }

    /// Waits; begins what the master wants done meanwhile, and reports what ends. Gives why the
    /// connection to the master has ended, if it has.
    async fn rest(&mut self, wait: Duration) -> Option<CallError> {
        let until = Instant::now() + wait;
        loop {
            match self.meanwhile(until).await {
                Meanwhile::Rested => return None,
                Meanwhile::Ended => self.report().await,
                Meanwhile::Told(Ok(commands)) => self.commands.take(&self.me, commands),
                Meanwhile::Told(Err(error)) => return Some(error),
            }
        }
    }

    async fn meanwhile(&mut self, until: Instant) -> Meanwhile {
        let (commands, master) = (&mut self.commands, &self.worker.master);
        let rested = async {
            tokio::time::sleep_until(until).await;
            Meanwhile::Rested
        };
        let ended = async {
            commands.ended().await;
            Meanwhile::Ended
        };
        let told = async { Meanwhile::Told(master.listen().await) };
        first(rested, first(ended, told)).await
    }

    /// Tells the master what it may not know; what fails is told after the next heartbeat.
    async fn report(&mut self) {
        while let Some(report) = self.commands.unreported() {
            match self.worker.master.acknowledge(&self.me, report).await {
                Ok(()) => {
                    let (id, done) = (report.id.as_str(), report.done);
                    self.worker.note(&WorkerEvent::CommandReported { id, done });
                }
                // The master does not know the command any more, or never will.
                Err(error) if error.is_last_word() => {}
                Err(_) => return,
            }
            self.commands.settle();
        }
    }
}
