//! Getting a successor for a credential, through the journal.

use super::accept::Expected;
use super::attempt::{Attempt, Purpose};
use super::error::WorkerError;
use super::identity::Credentials;
use super::master::{CallError, RecoverCall, RenewCall};
use super::observer::WorkerEvent;
use super::settings::Worker;
use super::state::LockedDir;
use crate::failpoint;
use crate::model::Credential;
use crate::pem;

/// Why there is no successor yet.
#[derive(Debug)]
pub(super) enum NotRenewed {
    /// The call failed.
    Call(CallError),
    /// The disk or the key failed.
    Local(WorkerError),
}

impl<E: Into<WorkerError>> From<E> for NotRenewed {
    fn from(error: E) -> Self {
        Self::Local(error.into())
    }
}

impl Worker {
    /// Asks once for a successor of `me`, with a new key, or with the key of an attempt that is open.
    /// `me` stays in use until the successor is on disk.
    pub(super) async fn succeed(
        &self,
        dir: &LockedDir,
        me: &Credentials,
        purpose: Purpose,
        number: u32,
    ) -> Result<Credentials, NotRenewed> {
        let name = Some(me.identity.node_name.clone());
        let earlier = dir.snapshot()?.attempt;
        if let Some(answered) = earlier.as_ref().filter(|it| it.answer.is_some()) {
            return Ok(dir.finish(answered)?);
        }
        let mut attempt =
            Attempt::begin(purpose, name, earlier, self.now(), &*self.settings.entropy)?;
        dir.begin(&attempt)?;
        self.note(&WorkerEvent::CallStarted { purpose, number });
        failpoint::hit(failpoint::BEFORE_CALL);
        let credentials = match self.ask(me, &attempt).await {
            Ok(credentials) => credentials,
            Err(error) => {
                if let CallError::Refused(refusal) = &error
                    && refusal.is_final()
                {
                    dir.refuse(&mut attempt, refusal.code())?;
                }
                return Err(NotRenewed::Call(error));
            }
        };
        failpoint::hit(failpoint::AFTER_CALL);
        let ca = me.ca_pem().and_then(|text| pem::decode(pem::CERTIFICATE, text));
        let expected = Expected { attempt: &attempt, pins: &[], now: self.now() };
        let accepted = expected
            .renewed(credentials, &me.identity, ca.as_ref().map(|der| der.as_slice()))
            .map_err(|fault| NotRenewed::Call(fault.into()))?;
        dir.answer(&mut attempt, accepted)?;
        let successor = dir.finish(&attempt)?;
        self.note(&WorkerEvent::Renewed { purpose, identity: &successor.identity });
        Ok(successor)
    }

    async fn ask(&self, me: &Credentials, attempt: &Attempt) -> Result<Vec<Credential>, CallError> {
        // An API key is renewed without a request: the key is the master's to make.
        let csr = attempt.csr.clone().filter(|_| me.certificate.is_some());
        if attempt.purpose == Purpose::Recover {
            let call = recovery(me, csr).ok_or_else(|| {
                CallError::Malformed("the certificate on disk cannot be recovered".into())
            })?;
            return self.master.recover(me, &call).await;
        }
        self.master.renew(me, &RenewCall { csr }).await
    }
}

/// The request that is signed by the old key.
#[cfg(feature = "x509")]
fn recovery(me: &Credentials, csr: Option<String>) -> Option<RecoverCall> {
    use super::certificate::leaf_der;
    use super::key::WorkerKey;
    use crate::model::recovery_message;

    let (held, csr) = (me.certificate.as_ref()?, csr?);
    let leaf = leaf_der(&held.chain_pem).ok()?;
    let message = recovery_message(&leaf, &pem::decode(pem::REQUEST, &csr)?);
    let key = WorkerKey::from_pem(held.key_pem.expose().to_owned()).ok()?;
    let signature = key.sign(&message).ok()?;
    let certificate = pem::encode(pem::CERTIFICATE, &leaf);
    Some(RecoverCall { certificate, csr, signature })
}

#[cfg(not(feature = "x509"))]
fn recovery(_me: &Credentials, _csr: Option<String>) -> Option<RecoverCall> {
    None
}
