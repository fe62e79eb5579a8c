//! From a machine that is nobody to a member, and on.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::attempt::Purpose;
use super::bootstrap::Mode;
use super::error::WorkerError;
use super::identity::{Credentials, Identity};
use super::observer::WorkerEvent;
use super::proofs::Proofs;
use super::run::first;
use super::settings::Worker;
use super::state::{Held, LockedDir, Snapshot, StateErrorKind};

/// What a look at the directory calls for.
enum Look {
    /// There is an identity.
    Ready(Identity),
    /// There is something to finish, or to ask the master for.
    Obtain,
    /// There is nothing to do but to look again.
    Wait(WorkerError),
}

impl Worker {
    /// How often a worker without an identity looks whether there is one: every 5 s.
    pub const LOOK_EVERY: Duration = Duration::from_secs(5);

    /// Becomes a member and lives as one, until `shutdown` is done: [`Worker::ready`], then
    /// [`Worker::run`], one way.
    ///
    /// # Errors
    /// As those two.
    pub async fn serve(
        &self,
        proofs: impl Into<Option<Proofs>> + Send,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), WorkerError> {
        let proofs = proofs.into();
        let live = async {
            self.ready(proofs).await?;
            let dir = self.lock_after_another().await?;
            self.run_locked(dir, std::future::pending()).await
        };
        let stop = async {
            shutdown.await;
            Ok(())
        };
        first(stop, live).await
    }

    /// Waits for an identity: enrolls if there are proofs and the directory holds nothing, otherwise
    /// looks every [`Worker::LOOK_EVERY`] until the identity files exist and parse. While it waits it
    /// holds no lock, so that [`Worker::bootstrap`] can be run beside it by another process.
    ///
    /// Failures that may pass are borne without end, unless [`Worker::with_retry_for`] set one.
    ///
    /// # Errors
    /// [`WorkerError`] when the master refuses for good, or the directory cannot be used.
    pub async fn ready(
        &self,
        proofs: impl Into<Option<Proofs>> + Send,
    ) -> Result<Identity, WorkerError> {
        let proofs = proofs.into().map(Arc::new);
        let mut told = String::new();
        loop {
            let cause = match self.look(proofs.as_deref())? {
                Look::Ready(identity) => return Ok(identity),
                Look::Wait(cause) => cause,
                Look::Obtain => {
                    let retry_for = self.retry_for(Duration::MAX);
                    match self.obtain(proofs.as_ref(), Mode::IfNeeded, retry_for).await {
                        Ok(outcome) => return Ok(outcome.identity().clone()),
                        // Another process is at it, or left a part behind.
                        Err(cause) if may_change(&cause) => cause,
                        Err(error) => return Err(error),
                    }
                }
            };
            let text = cause.to_string();
            if text != told {
                self.note(&WorkerEvent::Waiting { cause: &cause });
                told = text;
            }
            tokio::time::sleep(Self::LOOK_EVERY).await;
        }
    }

    fn look(&self, proofs: Option<&Proofs>) -> Result<Look, WorkerError> {
        let Snapshot { attempt, held } = self.dir.snapshot()?;
        let goes_on = attempt.as_ref().is_some_and(|it| it.goes_on_with(proofs));
        let asks = attempt.filter(|it| matches!(it.purpose, Purpose::Enroll | Purpose::Replace));
        let can_ask = asks.is_some() && proofs.is_some();
        Ok(match held {
            _ if goes_on => Look::Obtain,
            Held::Complete(held) => {
                self.check_configured(&held)?;
                Look::Ready(held.identity)
            }
            Held::Nothing if proofs.is_some() => Look::Obtain,
            Held::Nothing => Look::Wait(WorkerError::NoProofs),
            _ if can_ask => Look::Obtain,
            Held::Damaged(why) => Look::Wait(why.into()),
            Held::Partial { present, missing } => {
                let path = self.dir.path().to_owned();
                Look::Wait(WorkerError::Partial { path, present, missing })
            }
        })
    }

    /// A bootstrap that has just put the identity there may still be on its way out. Whoever holds the
    /// lock for longer is another worker.
    async fn lock_after_another(&self) -> Result<LockedDir, WorkerError> {
        const TRIES: u32 = 20;
        for _ in 1..TRIES {
            match self.dir.lock() {
                Err(why) if why.kind() == StateErrorKind::Busy => {
                    tokio::time::sleep(Self::LOOK_EVERY / TRIES).await;
                }
                locked => return Ok(locked?),
            }
        }
        Ok(self.dir.lock()?)
    }

    /// The identity a run begins with, an answer that is on disk made into files first.
    pub(super) fn take_up(&self, dir: &LockedDir) -> Result<Credentials, WorkerError> {
        let Snapshot { attempt, held } = dir.snapshot()?;
        if let Some(attempt) = attempt.filter(|it| it.answer.is_some()) {
            self.complete(dir, &attempt)?;
            return Ok(dir.credentials()?);
        }
        match held {
            Held::Complete(credentials) => Ok(*credentials),
            Held::Nothing => Err(WorkerError::NoProofs),
            Held::Damaged(why) => Err(why.into()),
            Held::Partial { present, missing } => {
                let path = self.dir.path().to_owned();
                Err(WorkerError::Partial { path, present, missing })
            }
        }
    }
}

fn may_change(error: &WorkerError) -> bool {
    match error {
        WorkerError::State(why) => {
            matches!(why.kind(), StateErrorKind::Busy | StateErrorKind::Damaged)
        }
        WorkerError::Partial { .. } => true,
        _ => false,
    }
}
