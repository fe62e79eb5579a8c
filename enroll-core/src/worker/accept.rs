//! Is this answer what was asked for? Nothing of it is kept before.

use std::collections::BTreeSet;
use std::time::Duration;

use super::attempt::{Accepted, Attempt};
use super::identity::Identity;
use super::master::{Answer, CallError};
use super::mesh::MeshKeys;
use super::secret_text::SecretText;
use crate::model::{ApiKey, Credential, CredentialKind, Fingerprint, Timestamp, X509Credential};
use crate::pem;

/// Why an answer is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerFault {
    /// It holds nothing this worker could authenticate with, or two of a kind.
    #[error("it does not hold the credentials a worker needs, each kind once")]
    Credentials,
    /// It came from a master whose CA is not the one that was pinned.
    #[error("it comes from a master with another CA than the pinned one")]
    Ca,
    /// It is for another node.
    #[error("it is for another node")]
    Name,
    /// The address it names is no address.
    #[error("the address of the master in it is none")]
    Address,
    /// The API key is cut short or changed.
    #[error("its API key is damaged")]
    ApiKey,
    /// Its certificate is not the one that was asked for.
    #[cfg(feature = "x509")]
    #[error("{0}")]
    Certificate(super::certificate::CertificateFault),
    /// Its certificate is not valid by this machine's clock.
    #[error("its certificate is not valid by this machine's clock")]
    Clock,
}

impl From<AnswerFault> for CallError {
    fn from(fault: AnswerFault) -> Self {
        match fault {
            AnswerFault::Clock => Self::Clock(fault.into()),
            fault => Self::Untrusted(fault),
        }
    }
}

/// What an answer is held against.
pub(super) struct Expected<'a> {
    pub(super) attempt: &'a Attempt,
    pub(super) pins: &'a [Fingerprint],
    pub(super) now: Timestamp,
}

/// The interval a worker keeps, whatever it is told: a second to an hour.
pub(super) fn bounded(interval: Duration) -> Duration {
    interval.clamp(Duration::from_secs(1), Duration::from_secs(3600))
}

/// Whether `address` may be kept, shown and dialled: a few visible characters.
fn is_plain(address: &str) -> bool {
    (1..=300).contains(&address.len()) && address.bytes().all(|b| b.is_ascii_graphic())
}

impl Expected<'_> {
    /// Checks the answer to a request to become a member.
    pub(super) fn enrolled(&self, answer: Answer) -> Result<Accepted, AnswerFault> {
        if self.attempt.node_name.as_ref().is_some_and(|asked| *asked != answer.node_name) {
            return Err(AnswerFault::Name);
        }
        if !answer.master_addr.as_deref().is_none_or(is_plain) {
            return Err(AnswerFault::Address);
        }
        let ca = answer.ca.as_deref().map(Fingerprint::of_der);
        if !self.pins.is_empty() && !ca.is_some_and(|ca| self.pins.contains(&ca)) {
            return Err(AnswerFault::Ca);
        }
        let issued = Issued::sort(answer.credentials)?;
        let mut identity = Identity {
            node_id: answer.node_id,
            node_name: answer.node_name,
            credentials: issued.kinds(),
            ca,
            master_addr: answer.master_addr,
            heartbeat_interval_secs: bounded(answer.heartbeat_interval).as_secs(),
            enrolled_at: self.now,
            not_after: None,
            renew_after: None,
        };
        self.check_certificate(&mut identity, answer.ca.as_deref(), issued.x509.as_ref())?;
        let ca = answer.ca.map(|der| pem::encode(pem::CERTIFICATE, &der));
        Ok(issued.accepted(identity, answer.redelivered, ca, Keep::All))
    }

    /// Checks the answer to a renewal or a recovery of `held`, whose root is `ca`.
    pub(super) fn renewed(
        &self,
        credentials: Vec<Credential>,
        held: &Identity,
        ca: Option<&[u8]>,
    ) -> Result<Accepted, AnswerFault> {
        let issued = Issued::sort(credentials)?;
        // The credential that authenticated must come back; another may not appear beside it.
        let renews = if held.has(&CredentialKind::X509) {
            CredentialKind::X509
        } else {
            CredentialKind::API_KEY
        };
        if !issued.kinds().contains(&renews) || !issued.kinds().is_subset(&held.credentials) {
            return Err(AnswerFault::Credentials);
        }
        let mut identity = held.clone();
        self.check_certificate(&mut identity, ca, issued.x509.as_ref())?;
        Ok(issued.accepted(identity, false, None, Keep::IfAny))
    }

    #[cfg(feature = "x509")]
    fn check_certificate(
        &self,
        identity: &mut Identity,
        ca: Option<&[u8]>,
        issued: Option<&X509Credential>,
    ) -> Result<(), AnswerFault> {
        use super::certificate::{Leaf, Root};
        use super::key::WorkerKey;

        let Some(issued) = issued else { return Ok(()) };
        let root = Root::parse(ca.ok_or(AnswerFault::Ca)?).map_err(AnswerFault::Certificate)?;
        let key = self.attempt.key.as_ref().ok_or(AnswerFault::Credentials)?;
        let public = WorkerKey::from_pem(key.expose().to_owned())
            .and_then(|key| key.public_key_der())
            .map_err(|_| AnswerFault::Credentials)?;
        let leaf = Leaf::check(&issued.certificate, &root, &public);
        let leaf = leaf.map_err(AnswerFault::Certificate)?;
        if leaf.name != identity.node_name {
            return Err(AnswerFault::Name);
        }
        if self.now < leaf.not_before || self.now >= leaf.not_after {
            return Err(AnswerFault::Clock);
        }
        identity.not_after = Some(leaf.not_after);
        identity.renew_after = Some(renewal(issued.renew_after, self.now, leaf.not_after));
        Ok(())
    }

    #[cfg(not(feature = "x509"))]
    fn check_certificate(
        &self,
        _identity: &mut Identity,
        _ca: Option<&[u8]>,
        issued: Option<&X509Credential>,
    ) -> Result<(), AnswerFault> {
        // This build asked for no certificate and could neither check nor use one.
        if issued.is_some() { Err(AnswerFault::Credentials) } else { Ok(()) }
    }
}

/// When to renew: as the master said, but after a tenth of the time that is left, so that no answer
/// makes a worker renew without pause, and before the end.
#[cfg(feature = "x509")]
fn renewal(told: Timestamp, now: Timestamp, not_after: Timestamp) -> Timestamp {
    told.clamp(now.after(not_after.since(now) / 10), not_after)
}

/// The credentials of an answer, each kind at most once.
#[derive(Default)]
struct Issued {
    x509: Option<X509Credential>,
    api_key: Option<ApiKey>,
    mesh: MeshKeys,
}

/// What becomes of mesh keys that are there already.
#[derive(PartialEq, Eq)]
enum Keep {
    /// Those of the answer take their place, even if there are none.
    All,
    /// Those of the answer take their place if there are any.
    IfAny,
}

impl Issued {
    fn sort(credentials: Vec<Credential>) -> Result<Self, AnswerFault> {
        let mut issued = Self::default();
        for credential in credentials {
            let earlier = match credential {
                Credential::X509(it) => issued.x509.replace(it).is_some(),
                Credential::ApiKey(it) if !it.is_intact() => return Err(AnswerFault::ApiKey),
                Credential::ApiKey(it) => issued.api_key.replace(it).is_some(),
                Credential::Mesh(it) => {
                    issued.mesh.keys.push(it.into());
                    false
                }
            };
            if earlier {
                return Err(AnswerFault::Credentials);
            }
        }
        if issued.kinds().is_empty() { Err(AnswerFault::Credentials) } else { Ok(issued) }
    }

    fn kinds(&self) -> BTreeSet<CredentialKind> {
        let x509 = self.x509.as_ref().map(|_| CredentialKind::X509);
        let api_key = self.api_key.as_ref().map(|_| CredentialKind::API_KEY);
        x509.into_iter().chain(api_key).collect()
    }

    fn accepted(
        self,
        identity: Identity,
        redelivered: bool,
        ca: Option<String>,
        keep: Keep,
    ) -> Accepted {
        let all = keep == Keep::All || !self.mesh.keys.is_empty();
        Accepted {
            identity,
            redelivered,
            ca,
            certificate: self.x509.map(|it| it.certificate),
            api_key: self.api_key.map(|key| SecretText::new(key.expose().to_owned())),
            mesh: all.then_some(self.mesh),
        }
    }
}
