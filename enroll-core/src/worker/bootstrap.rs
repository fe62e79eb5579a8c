//! Getting an identity, once.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::accept::Expected;
use super::attempt::{Accepted, Attempt, Purpose};
use super::error::WorkerError;
use super::identity::{Credentials, Identity};
use super::master::{CallError, EnrollCall};
use super::observer::{Failure, WorkerEvent};
use super::proofs::Proofs;
use super::settings::Worker;
use super::state::{Held, LockedDir, Snapshot, StateErrorKind};
use crate::failpoint;

/// What a bootstrap that did not fail comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// There was a whole identity; the master was not called.
    AlreadyBootstrapped(Identity),
    /// The worker became a member.
    Enrolled {
        /// Who it is now.
        identity: Identity,
        /// Whether the answer to an earlier call was repeated; the token was spent then, once.
        redelivered: bool,
    },
}

impl Outcome {
    /// Who the worker is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        match self {
            Self::AlreadyBootstrapped(identity) | Self::Enrolled { identity, .. } => identity,
        }
    }
}

/// Whether an identity that is there is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    IfNeeded,
    Force,
}

enum Plan {
    /// Nothing is left to do.
    Done(Outcome),
    /// The master has to be called.
    Call(Box<Attempt>),
}

impl Worker {
    /// How long failures that may pass are borne by [`Worker::bootstrap`]: 60 s.
    pub const RETRY_FOR: Duration = Duration::from_secs(60);

    /// Gets an identity unless there is one. Safe to call at every start: a whole identity is left
    /// as it is, an attempt that was cut short goes on with the same key, an answer that was
    /// received is put on disk.
    ///
    /// Without proofs it only takes up what is there.
    ///
    /// # Errors
    /// [`WorkerError`]; the key stays in every case.
    pub async fn bootstrap(
        &self,
        proofs: impl Into<Option<Proofs>> + Send,
    ) -> Result<Outcome, WorkerError> {
        let proofs = proofs.into().map(Arc::new);
        let Snapshot { attempt, held } = self.dir.snapshot()?;
        let goes_on = attempt.is_some_and(|it| it.goes_on_with(proofs.as_deref()));
        if let (Held::Complete(held), false) = (held, goes_on) {
            // No lock is needed to see that there is nothing to do: the worker that lives by this
            // identity holds it, and may be renewing it.
            self.check_configured(&held)?;
            return Ok(Outcome::AlreadyBootstrapped(held.identity));
        }
        self.obtain(proofs.as_ref(), Mode::IfNeeded, self.retry_for(Self::RETRY_FOR)).await
    }

    /// Gets another identity in place of the one that is there, or of what is left of one, with a new
    /// key. The old one stays in use until the new one is on disk; configuration is never touched.
    ///
    /// Called again after a crash with the same token it goes on with the key of the first call, which
    /// the master may have accepted.
    ///
    /// # Errors
    /// [`WorkerError`]; what was there stays as it is in every case.
    pub async fn replace(&self, proofs: Proofs) -> Result<Outcome, WorkerError> {
        let proofs = Arc::new(proofs);
        self.obtain(Some(&proofs), Mode::Force, self.retry_for(Self::RETRY_FOR)).await
    }

    pub(super) async fn obtain(
        &self,
        proofs: Option<&Arc<Proofs>>,
        mode: Mode,
        retry_for: Duration,
    ) -> Result<Outcome, WorkerError> {
        let dir = self.dir.lock()?;
        match self.plan(&dir, proofs.map(AsRef::as_ref), mode)? {
            Plan::Done(outcome) => Ok(outcome),
            Plan::Call(attempt) => {
                let proofs = proofs.ok_or(WorkerError::NoProofs)?;
                self.redeem(&dir, attempt, proofs, retry_for).await
            }
        }
    }

    /// What there is to do, given what is on disk. An answer that is there becomes files here.
    fn plan(
        &self,
        dir: &LockedDir,
        proofs: Option<&Proofs>,
        mode: Mode,
    ) -> Result<Plan, WorkerError> {
        let Snapshot { attempt, held } = match (dir.snapshot(), mode) {
            // Files that may not be used hide a key, which force is there to discard.
            (Err(why), Mode::Force) if why.kind() != StateErrorKind::Io => {
                Snapshot { attempt: None, held: Held::Nothing }
            }
            (snapshot, _) => snapshot?,
        };
        match attempt {
            Some(attempt) if attempt.answer.is_some() => {
                let outcome = self.complete(dir, &attempt)?;
                match mode {
                    Mode::Force if !attempt.is_replacement_by(proofs) => {
                        self.new_attempt(Purpose::Replace, proofs, None)
                    }
                    _ => Ok(Plan::Done(outcome)),
                }
            }
            attempt if mode == Mode::Force => {
                let resumed = attempt.filter(|it| it.is_replacement_by(proofs));
                self.new_attempt(Purpose::Replace, proofs, resumed)
            }
            attempt => self.plan_if_needed(attempt, held, proofs),
        }
    }

    fn plan_if_needed(
        &self,
        attempt: Option<Attempt>,
        held: Held,
        proofs: Option<&Proofs>,
    ) -> Result<Plan, WorkerError> {
        let asks = attempt.filter(|it| matches!(it.purpose, Purpose::Enroll | Purpose::Replace));
        match (held, asks) {
            // A replacement that was cut short goes on, so that its token is not lost; one that was
            // refused, or whose proof is not here, leaves the identity that is there, and its own key to
            // whoever comes with that proof.
            (Held::Complete(_), Some(it)) if it.goes_on_with(proofs) => {
                self.new_attempt(it.purpose, proofs, Some(it))
            }
            (Held::Complete(held), _) => {
                self.check_configured(&held)?;
                Ok(Plan::Done(Outcome::AlreadyBootstrapped(held.identity)))
            }
            (_, Some(it)) => self.new_attempt(it.purpose, proofs, Some(it)),
            (Held::Nothing, None) => self.new_attempt(Purpose::Enroll, proofs, None),
            (Held::Damaged(why), None) => Err(why.into()),
            (Held::Partial { present, missing }, None) => {
                let path = self.dir.path().to_owned();
                Err(WorkerError::Partial { path, present, missing })
            }
        }
    }

    fn new_attempt(
        &self,
        purpose: Purpose,
        proofs: Option<&Proofs>,
        earlier: Option<Attempt>,
    ) -> Result<Plan, WorkerError> {
        let proofs = proofs.ok_or(WorkerError::NoProofs)?;
        if matches!(proofs, Proofs::Secret(_)) && self.settings.node_name.is_none() {
            return Err(WorkerError::NoName);
        }
        let name = self.settings.node_name.clone();
        let mut attempt =
            Attempt::begin(purpose, name, earlier, self.now(), &*self.settings.entropy)?;
        attempt.method = Some(proofs.method());
        attempt.token = proofs.token_id();
        Ok(Plan::Call(Box::new(attempt)))
    }

    async fn redeem(
        &self,
        dir: &LockedDir,
        mut attempt: Box<Attempt>,
        proofs: &Arc<Proofs>,
        retry_for: Duration,
    ) -> Result<Outcome, WorkerError> {
        dir.begin(&attempt)?;
        let call = EnrollCall {
            proofs: Arc::clone(proofs),
            node_name: attempt.node_name.clone(),
            csr: attempt.csr.clone(),
            attempt_key: attempt.attempt_key.clone(),
            facts: (self.settings.facts)(),
        };
        match self.call_until(&attempt, &call, retry_for).await {
            Ok(accepted) => {
                dir.answer(&mut attempt, accepted)?;
                self.complete(dir, &attempt)
            }
            Err(error) => {
                if let WorkerError::Refused(refusal) = &error {
                    dir.refuse(&mut attempt, refusal.code())?;
                }
                Err(error)
            }
        }
    }

    /// Repeats the call until it is answered, refused for good, or was tried for long enough.
    async fn call_until(
        &self,
        attempt: &Attempt,
        call: &EnrollCall,
        retry_for: Duration,
    ) -> Result<Accepted, WorkerError> {
        let (began, purpose) = (Instant::now(), attempt.purpose);
        let mut number = 0_u32;
        loop {
            number = number.saturating_add(1);
            self.note(&WorkerEvent::CallStarted { purpose, number });
            let error = match self.call_once(attempt, call).await {
                Ok(accepted) => return Ok(accepted),
                Err(error) => error,
            };
            let retry_in = self.pause(&error, number, retry_for.saturating_sub(began.elapsed()));
            let cause = Failure::Call(&error);
            self.note(&WorkerEvent::CallFailed { purpose, cause, retry_in });
            match retry_in {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(ended(error, began.elapsed())),
            }
        }
    }

    async fn call_once(&self, attempt: &Attempt, call: &EnrollCall) -> Result<Accepted, CallError> {
        failpoint::hit(failpoint::BEFORE_CALL);
        let answer = self.master.enroll(call).await?;
        failpoint::hit(failpoint::AFTER_CALL);
        let expected = Expected { attempt, pins: &self.settings.pins, now: self.now() };
        Ok(expected.enrolled(answer)?)
    }

    /// Makes files of an answer that is on disk.
    pub(super) fn complete(
        &self,
        dir: &LockedDir,
        attempt: &Attempt,
    ) -> Result<Outcome, WorkerError> {
        let Credentials { identity, .. } = dir.finish(attempt)?;
        let redelivered = attempt.answer.as_ref().is_some_and(|answer| answer.redelivered);
        let purpose = attempt.purpose;
        if matches!(purpose, Purpose::Renew | Purpose::Recover) {
            self.note(&WorkerEvent::Renewed { purpose, identity: &identity });
            return Ok(Outcome::AlreadyBootstrapped(identity));
        }
        self.note(&WorkerEvent::Enrolled { identity: &identity, redelivered });
        Ok(Outcome::Enrolled { identity, redelivered })
    }
}

/// What a failure that is not retried amounts to.
fn ended(error: CallError, tried: Duration) -> WorkerError {
    match error {
        CallError::Refused(refusal) if refusal.is_final() => WorkerError::Refused(refusal),
        CallError::Untrusted(fault) => WorkerError::Untrusted(fault),
        CallError::Tls(_) => WorkerError::Tls(error),
        last => WorkerError::GaveUp { tried, last },
    }
}
