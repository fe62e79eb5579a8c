//! What the store says of itself: the fence, and whether all is well.

use std::time::Duration;

use super::OperatorError;
use crate::master::enroller::Enroller;
use crate::model::{Clock as _, Event, SystemClock, Timestamp, What};
use crate::store::{Fence, Finding};

impl Enroller {
    /// Whether the store was taken back to an earlier state: promoted or restored.
    ///
    /// # Errors
    /// [`OperatorError::Failed`].
    pub async fn fence(&self) -> Result<Option<Fence>, OperatorError> {
        Ok(self.store.fence().await?)
    }

    /// Notes that an operator knows that the store was taken back; of this epoch, where one is given.
    /// Once is enough: again changes nothing. The tokens stay void.
    ///
    /// # Errors
    /// [`OperatorError::Conflict`] where it was not, or has been again since that epoch.
    pub async fn acknowledge_fence(
        &self,
        epoch: Option<u64>,
        actor: &str,
    ) -> Result<Fence, OperatorError> {
        let conflict = |text: &str| OperatorError::Conflict(text.to_owned());
        let never =
            || conflict("The store was never promoted or restored: nothing to acknowledge.");
        let fence = self.store.fence().await?.ok_or_else(never)?;
        if epoch.is_some_and(|epoch| epoch != fence.epoch) {
            return Err(conflict(&format!(
                "The fence has the epoch {} now: look at it again.",
                fence.epoch
            )));
        }
        if fence.acknowledged_at.is_none() {
            let at = self.stamps.next(&*self.clock);
            let event = Event::by(at, actor, What::FenceAcknowledged { epoch: fence.epoch });
            if self.store.acknowledge_fence(fence.epoch, at, event.clone()).await? {
                self.tell(&event);
            }
        }
        self.store.fence().await?.ok_or_else(never)
    }

    /// Looks whether all is well with the store, its durability, its clock and the fence. What cannot
    /// be asked for is a finding, not an error.
    pub async fn diagnose(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        match self.store.probe().await {
            Ok(()) => findings.push(Finding::good(STORE, "It reads and writes.")),
            Err(error) => {
                let says = format!("It does not: {}.", told(&error));
                return vec![Finding::bad(STORE, says, "Look at the database, then at its log.")];
            }
        }
        match self.store.diagnose().await {
            Ok(of_store) => findings.extend(of_store),
            Err(error) => {
                let says = format!("It does not say how it stands: {}.", told(&error));
                findings.push(Finding::bad(STORE, says, "Look at the database, then at its log."));
            }
        }
        findings.push(clocks(self.clock.now(), SystemClock::new().now()));
        match self.store.fence().await {
            Ok(fence) => findings.push(of_fence(fence)),
            Err(error) => {
                let says = format!("It cannot be read: {}.", told(&error));
                findings.push(Finding::bad(FENCE, says, "Look at the database, then at its log."));
            }
        }
        findings
    }
}

fn told(error: &(dyn std::error::Error + 'static)) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Compares the clock that counts with this machine's.
fn clocks(counts: Timestamp, here: Timestamp) -> Finding {
    let apart = counts.since(here).max(here.since(counts));
    let says =
        format!("The one that counts and this machine's are {} ms apart.", apart.as_millis());
    if apart <= CLOCKS_APART {
        return Finding::good(CLOCK, says);
    }
    Finding::bad(CLOCK, says, "Let NTP keep the clocks of this machine and of the database's.")
}

fn of_fence(fence: Option<Fence>) -> Finding {
    match fence {
        None => Finding::good(FENCE, "The store was never promoted or restored."),
        Some(Fence { epoch, raised_at, acknowledged_at: Some(at) }) => {
            let (raised, known) = (raised_at.to_rfc3339(), at.to_rfc3339());
            let says = format!("Epoch {epoch}, raised {raised}, acknowledged {known}.");
            Finding::good(FENCE, says)
        }
        Some(Fence { epoch, raised_at, acknowledged_at: None }) => Finding::bad(
            FENCE,
            format!(
                "Epoch {epoch}: the store was promoted or restored, noticed {}; tokens minted \
                before are void.",
                raised_at.to_rfc3339()
            ),
            "Mint new tokens, look for members that are missing, then `fence acknowledge`.",
        ),
    }
}

const STORE: &str = "store";
const CLOCK: &str = "clock";
const FENCE: &str = "fence";
/// How far the clocks of a healthy machine and its database are apart at most.
const CLOCKS_APART: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_either_way_are_told() {
        let at = Timestamp::from_unix_secs;
        assert!(clocks(at(100), at(103)).is_good() && clocks(at(103), at(100)).is_good());
        assert!(!clocks(at(700), at(100)).is_good() && !clocks(at(100), at(700)).is_good());
    }

    #[test]
    fn a_fence_is_bad_until_somebody_knows_of_it() {
        let at = Timestamp::from_unix_secs(1);
        let fence = |acknowledged_at| Some(Fence { epoch: 2, raised_at: at, acknowledged_at });
        assert!(of_fence(None).is_good() && of_fence(fence(Some(at))).is_good());
        assert!(!of_fence(fence(None)).is_good());
    }
}
