//! What a master does without being asked: the watchdog, which one master of a store runs at a time,
//! and hearing of what another changed.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::enroller::Enroller;
use super::error::Error;
use crate::model::MasterId;
use crate::store::Fence;

/// How often the watchdog looks: 1 s.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// For how long a master that does not come back keeps the others from its duties: 5 s. So the
/// watchdog is taken over within that and one [`WATCH_INTERVAL`] of a master's death, and at once
/// when it ends in order.
pub const DUTY_SPAN: Duration = Duration::from_secs(5);
/// How soon a change of settings is known where no word of it came: 2 s.
pub const SETTINGS_INTERVAL: Duration = Duration::from_secs(2);

impl Enroller {
    /// Does what a master does beside its listeners, until `stop` is ready: looks after running
    /// attempts to fuse ([`tend`](Self::tend)) every [`WATCH_INTERVAL`], while that is this master's
    /// duty among all that share the store, and keeps its settings as they stand there.
    ///
    /// A look that is under way then is cut off. What could not be undone outside by then is tried once
    /// more, for at most 3 s.
    pub async fn tend_until(&self, stop: impl Future<Output = ()> + Send) {
        let (stopping, stopped) = watch::channel(());
        let stop = async move {
            stop.await;
            drop(stopping);
        };
        tokio::join!(stop, self.watch_until(stopped.clone()), self.follow_until(stopped));
    }

    /// Waits until more changes were heard of than `seen`, and says how many were: a setting, a node
    /// deleted or enrolled anew, a command queued, by any master of the store.
    ///
    /// Word of what another master did usually comes within milliseconds, and may not come at all:
    /// whoever depends on it asks the store now and then besides.
    ///
    /// # Errors
    /// [`Error`] when the store cannot be listened to.
    pub async fn next_change(&self, seen: u64) -> Result<u64, Error> {
        Ok(self.store.next_change(seen).await?)
    }

    async fn watch_until(&self, mut stopped: watch::Receiver<()>) {
        let holder = match MasterId::generate(self.clock.now(), &*self.entropy) {
            Ok(holder) => holder,
            Err(cause) => {
                tracing::error!(%cause, "no random bytes: this master runs no watchdog");
                return;
            }
        };
        tokio::select! {
            _ended = stopped.changed() => {}
            () = self.watch(holder) => {}
        }
        // No other master knows of it.
        let _tried = timeout(LAST_TRY, self.undo_all_that_is_owed()).await;
        // What cannot be given up is over soon.
        let _over_soon = self.store.take_duty(self.duty(), holder, Duration::ZERO).await;
    }

    async fn watch(&self, holder: MasterId) {
        loop {
            sleep(WATCH_INTERVAL).await;
            if let Err(cause) = self.keep_watch(holder).await {
                tracing::warn!(%cause, "the watchdog could not look");
            }
        }
    }

    async fn keep_watch(&self, holder: MasterId) -> Result<(), Error> {
        if self.store.take_duty(self.duty(), holder, DUTY_SPAN).await? {
            return self.tend().await;
        }
        // What this master could not undo outside is known to no other.
        self.undo_what_is_owed().await;
        Ok(())
    }

    /// Masters without a fuser have a duty of their own: they can do no more than end what is overdue,
    /// and must not keep from it who can do all of it.
    const fn duty(&self) -> &'static str {
        match self.fuser {
            Some(_) => WATCHDOG,
            None => WATCHDOG_WITHOUT_FUSER,
        }
    }

    async fn follow_until(&self, mut stopped: watch::Receiver<()>) {
        let (mut seen, mut warned) = (0, None);
        loop {
            let next = timeout(SETTINGS_INTERVAL, self.store.next_change(seen));
            tokio::select! {
                _ended = stopped.changed() => return,
                heard = next => match heard {
                    Ok(Ok(heard)) => seen = heard,
                    // One that cannot be listened to is looked at now and then.
                    Ok(Err(_)) => sleep(SETTINGS_INTERVAL).await,
                    Err(_) => {}
                },
            }
            if let Err(cause) = self.follow(&mut warned).await {
                tracing::debug!(%cause, "the settings could not be read again");
            }
        }
    }

    async fn follow(&self, warned: &mut Option<u64>) -> Result<(), Error> {
        self.reload_settings().await?;
        if let Some(Fence { epoch, acknowledged_at: None, .. }) = self.store.fence().await?
            && *warned != Some(epoch)
        {
            *warned = Some(epoch);
            tracing::warn!(epoch, "{FENCE_RAISED}");
        }
        Ok(())
    }
}

/// The duty to look after attempts to fuse.
const WATCHDOG: &str = "watchdog";
/// The duty to end those that nobody who holds the other one has ended.
const WATCHDOG_WITHOUT_FUSER: &str = "watchdog without a fuser";
/// For how long a master that ends tries to undo what it could not.
const LAST_TRY: Duration = Duration::from_secs(3);

const FENCE_RAISED: &str = "the store was promoted or restored: every join token minted before is \
    void, and what was acknowledged last may be lost; mint new tokens, look for members that are \
    missing, then acknowledge it";
