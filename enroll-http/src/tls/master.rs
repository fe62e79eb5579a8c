//! A master's certificate, replaced in place before it ends.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use enroll_core::issue::x509::{Authority, IssueError, MasterCertificate};
use enroll_core::model::{
    Clock, Entropy, Host, SystemClock, SystemEntropy, Timestamp, renewal_due,
};

use super::{CertSlot, TlsError, TlsIdentity};

/// What the listeners of a master present: a certificate of its own authority, made in memory and
/// made anew long before it ends, for as long as the process lives.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use enroll_core::issue::x509::Authority;
/// use enroll_http::tls::{MasterIdentity, ServerTls};
///
/// let authority = Authority::open_or_create("ca/")?;
/// let identity = MasterIdentity::issue(authority, vec!["master.example".parse()?])?;
/// let tls = ServerTls::new(identity.slot()).config()?;
/// tokio::spawn(async move { identity.renew_until(std::future::pending()).await });
/// # Ok(())
/// # }
/// ```
pub struct MasterIdentity {
    authority: Arc<Authority>,
    hosts: Vec<Host>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    slot: Arc<CertSlot>,
    due: AtomicI64,
}

/// Why a master's certificate could not be made. The one in force stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MasterIdentityError {
    /// The authority did not issue it.
    #[error("the master's certificate was not issued")]
    Issue(#[from] IssueError),
    /// It cannot be presented.
    #[error("the master's certificate cannot be presented")]
    Present(#[from] TlsError),
}

impl MasterIdentity {
    /// How often [`Self::renew_until`] looks whether it is time: once an hour, so that a machine that
    /// slept or whose clock was set is not late for long.
    pub const LOOK: Duration = Duration::from_secs(60 * 60);

    /// A certificate for a master that is reached under `hosts`, by the system's clock and
    /// randomness.
    ///
    /// # Errors
    /// [`MasterIdentityError`].
    pub fn issue(
        authority: impl Into<Arc<Authority>>,
        hosts: Vec<Host>,
    ) -> Result<Self, MasterIdentityError> {
        let (clock, entropy) = (SystemClock::new(), SystemEntropy::new());
        Self::issue_with(authority, hosts, Arc::new(clock), Arc::new(entropy))
    }

    /// The same by another clock and randomness.
    ///
    /// # Errors
    /// [`MasterIdentityError`].
    pub fn issue_with(
        authority: impl Into<Arc<Authority>>,
        hosts: Vec<Host>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, MasterIdentityError> {
        let authority = authority.into();
        let at = clock.now();
        let first = authority.issue_master(&hosts, at, &*entropy)?;
        let slot = Arc::new(CertSlot::new(TlsIdentity::of_master(&first)?));
        let due = AtomicI64::new(due(&first, at));
        Ok(Self { authority, hosts, clock, entropy, slot, due })
    }

    /// Where the certificate in force is found; shared by every listener of the master.
    #[must_use]
    pub fn slot(&self) -> Arc<CertSlot> {
        Arc::clone(&self.slot)
    }

    /// Puts a new certificate in force where two thirds of the present one's life have passed; says
    /// whether it did.
    ///
    /// # Errors
    /// [`MasterIdentityError`]; the one in force stays.
    pub fn renew_if_due(&self) -> Result<bool, MasterIdentityError> {
        let at = self.clock.now();
        if at.unix_millis() < self.due.load(Ordering::SeqCst) {
            return Ok(false);
        }
        let next = self.authority.issue_master(&self.hosts, at, &*self.entropy)?;
        self.slot.replace(TlsIdentity::of_master(&next)?);
        self.due.store(due(&next, at), Ordering::SeqCst);
        Ok(true)
    }

    /// [Renews](Self::renew_if_due) in time until `stop` is ready: what a master runs beside its
    /// listeners.
    pub async fn renew_until(&self, stop: impl Future<Output = ()> + Send) {
        let mut stop = std::pin::pin!(stop);
        loop {
            if tokio::time::timeout(Self::LOOK, &mut stop).await.is_ok() {
                return;
            }
            match self.renew_if_due() {
                Ok(true) => tracing::info!("the master's certificate was renewed"),
                Ok(false) => {}
                Err(error) => {
                    let cause = std::error::Error::source(&error);
                    tracing::error!(?cause, "{error}");
                }
            }
        }
    }
}

/// When the certificate issued at `at` is to be replaced, in milliseconds since the Unix epoch.
fn due(certificate: &MasterCertificate, at: Timestamp) -> i64 {
    renewal_due(at, certificate.not_after()).unix_millis()
}

impl fmt::Debug for MasterIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterIdentity").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use enroll_core::model::TrustDomain;
    use enroll_core::testing::{CountingEntropy, FixedClock};

    #[test]
    fn a_certificate_is_replaced_in_place_after_two_thirds_of_its_life() {
        let start = Timestamp::from_unix_secs(1_800_000_000);
        let clock = Arc::new(FixedClock::at(start));
        let entropy = Arc::new(CountingEntropy::new());
        let authority = Authority::in_memory(&TrustDomain::default(), start, &*entropy).unwrap();
        let hosts = vec!["master.example".parse().unwrap()];
        let told = Arc::clone(&clock);
        let identity = MasterIdentity::issue_with(authority, hosts, told, entropy).unwrap();
        let slot = identity.slot();
        let leaf = || slot.current().chain()[0].to_vec();
        let first = leaf();

        clock.advance(MasterCertificate::LIFETIME / 3 * 2 - Duration::from_secs(3600));
        assert!(!identity.renew_if_due().unwrap());
        assert_eq!(leaf(), first);

        clock.advance(Duration::from_secs(2 * 3600));
        assert!(identity.renew_if_due().unwrap());
        assert_ne!(leaf(), first, "the slot the listeners hold presents the new one");
        assert!(!identity.renew_if_due().unwrap(), "once is enough");
    }
}
