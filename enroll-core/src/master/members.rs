//! Members: who calls, heartbeats, renewal, recovery.

use std::time::Duration;

use super::enroller::Enroller;
use super::error::Error;
use super::presence::Watch;
use crate::issue::{Grant, Issued};
use crate::model::{
    ApiKey, CommandRecord, Credential, Event, Facts, IdentityId, IdentityRecord, NodeName,
    NodeRecord, Reason, Rejection, Serial, Timestamp, What, renewal_due,
};
use crate::store::{Beat, IdentityKey, RenewOutcome, Renewal, UseOutcome};

/// What a caller presents on the steady listener.
#[derive(Debug)]
#[non_exhaustive]
pub enum Caller {
    /// A certificate that chains to the root, as the transport verified.
    Certificate {
        /// Its serial.
        serial: Serial,
        /// The node its SPIFFE id names.
        node_name: NodeName,
    },
    /// A bearer key.
    ApiKey(ApiKey),
}

/// A caller the store knows, at the instant of the request.
#[derive(Debug)]
#[non_exhaustive]
pub struct AuthenticatedNode {
    /// The identity that was presented.
    pub identity: IdentityRecord,
    /// The node that holds it.
    pub node: NodeRecord,
    /// The instant of the request.
    pub at: Timestamp,
    /// Whether a command waited for the node at that instant, delivered or not.
    pub has_open_commands: bool,
}

/// Why a caller is nobody here. All of them are one answer, `unauthorized`, to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unauthorized {
    /// The identity is not on record.
    #[error("the identity is not known here")]
    Unknown,
    /// It was revoked, replaced, or its successor is in use.
    #[error("the identity was revoked or replaced")]
    Revoked,
    /// Its node was deleted.
    #[error("the node of the identity was deleted")]
    NodeGone,
    /// Its time has elapsed.
    #[error("the identity has expired")]
    Expired,
}

/// What a heartbeat is answered.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BeatReply {
    /// The master's clock.
    pub server_time: Timestamp,
    /// When to report again.
    pub heartbeat_interval: Duration,
    /// Whether the identity is to be renewed now.
    pub renew: bool,
    /// What the node is to do, oldest first; handed over again until acknowledged.
    pub commands: Vec<CommandRecord>,
}

/// How a member is to live from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Terms {
    /// The master's clock.
    pub server_time: Timestamp,
    /// When to report again.
    pub heartbeat_interval: Duration,
    /// Whether the identity is to be renewed now.
    pub renew: bool,
}

/// What became of a heartbeat.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub enum BeatVerdict {
    /// It counts.
    Recorded(BeatReply),
    /// The name it gave is not the identity's.
    NameMismatch,
}

/// What became of a wish to renew or recover.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub enum RenewVerdict {
    /// These take the place of the identity that asked, once one of them is used.
    Renewed(Vec<Credential>),
    /// The request is refused.
    Refused(Rejection),
    /// The identity is not, or no longer, one that may renew.
    Unauthorized(Unauthorized),
}

/// A wish to recover an identity that expired while its machine was off.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "the three members of the request")]
pub struct RecoverRequest {
    /// PEM of the expired leaf.
    pub certificate: String,
    /// PEM of a request for the new one.
    pub csr: String,
    /// Signature by the old key over the [`recovery_message`](crate::model::recovery_message).
    pub signature: Vec<u8>,
}

impl Enroller {
    /// Says who calls, from the store as it stands now. The first call of an identity is recorded,
    /// durably, before this returns: it ends the redelivery of its redemption and retires the
    /// identity it renews.
    ///
    /// # Errors
    /// [`Error`] when the store cannot say.
    pub async fn authenticate(
        &self,
        caller: &Caller,
    ) -> Result<Result<AuthenticatedNode, Unauthorized>, Error> {
        let at = self.clock.now();
        let key = match caller {
            Caller::Certificate { serial, .. } => IdentityKey::Serial(*serial),
            Caller::ApiKey(key) => IdentityKey::ApiKey(key.digest()),
        };
        let Some(member) = self.store.member(key).await? else {
            return Ok(Err(Unauthorized::Unknown));
        };
        let identity = member.identity;
        if identity.revoked_at.is_some() {
            return Ok(Err(Unauthorized::Revoked));
        }
        let Some(node) = member.node else { return Ok(Err(Unauthorized::NodeGone)) };
        if identity.has_expired(at) {
            return Ok(Err(Unauthorized::Expired));
        }
        if let Caller::Certificate { node_name, .. } = caller
            && *node_name != node.name
        {
            return Ok(Err(Unauthorized::Unknown));
        }
        if identity.first_used_at.is_none()
            && self.store.mark_used(identity.id, at).await? == UseOutcome::Revoked
        {
            return Ok(Err(Unauthorized::Revoked));
        }
        let has_open_commands = member.has_open_commands;
        Ok(Ok(AuthenticatedNode { identity, node, at, has_open_commands }))
    }

    /// Takes a heartbeat. The first one of an enrollment is on record when this returns; later ones
    /// are gathered and are on record within a second.
    ///
    /// # Errors
    /// [`Error`] when the first one cannot be recorded.
    pub async fn heartbeat(
        &self,
        caller: &AuthenticatedNode,
        node_name: &NodeName,
        facts: Option<Facts>,
    ) -> Result<BeatVerdict, Error> {
        if !self.is_pinned(caller, node_name) {
            return Ok(BeatVerdict::NameMismatch);
        }
        self.hear(caller, facts).await?;
        let Terms { server_time, heartbeat_interval, renew } = self.terms(caller);
        // What is queued from here on comes with the next one.
        let commands =
            if caller.has_open_commands { self.deliver(caller).await? } else { Vec::new() };
        let reply = BeatReply { server_time, heartbeat_interval, renew, commands };
        Ok(BeatVerdict::Recorded(reply))
    }

    /// Whether `node_name` is the name of the identity that calls. Where it is not, that is on record,
    /// as one of the [`EVENTS_AT_ONCE`](Self::EVENTS_AT_ONCE) that a node may report.
    #[must_use]
    pub fn is_pinned(&self, caller: &AuthenticatedNode, node_name: &NodeName) -> bool {
        let node = &caller.node;
        let pinned = *node_name == node.name;
        if !pinned {
            let what = What::NameMismatch { node_id: node.id, node_name: node.name.clone() };
            let event = Event::new(self.clock.now(), what);
            match self.reports.may_say(node.id, 1, event.at) {
                0 => self.tell(&event),
                _ => self.note(event),
            }
        }
        pinned
    }

    /// Takes a sign of life of a member who was authenticated for it, as [`heartbeat`](Self::heartbeat)
    /// does, and hands nothing over.
    ///
    /// # Errors
    /// [`Error`] when the first one cannot be recorded.
    pub async fn hear(
        &self,
        caller: &AuthenticatedNode,
        facts: Option<Facts>,
    ) -> Result<(), Error> {
        let node = &caller.node;
        let beat = Beat { node_id: node.id, at: caller.at, facts };
        if node.last_seen_at.is_some() {
            self.beats.push(node.enrolled_at, beat);
        } else {
            self.store.record_beats(vec![beat]).await?;
            let what = What::FirstHeartbeat { node_id: node.id, node_name: node.name.clone() };
            self.note(Event::new(caller.at, what));
        }
        Ok(())
    }

    /// How a member is to live from now on.
    #[must_use]
    pub fn terms(&self, caller: &AuthenticatedNode) -> Terms {
        let server_time = self.clock.now();
        Terms {
            server_time,
            heartbeat_interval: self.config.heartbeat_interval,
            renew: renewal_is_due(&caller.identity, server_time),
        }
    }

    /// The most streams of one identity that are open on one master: 16.
    pub const MAX_STREAMS: usize = 16;

    /// Watches over a stream that stays open, so that it ends within a second of the end of the
    /// identity, on whichever master that comes about. `None` when the identity has
    /// [`MAX_STREAMS`](Self::MAX_STREAMS) open. Called within a tokio runtime.
    pub fn attend(&self, caller: &AuthenticatedNode) -> Option<Watch> {
        self.watches.open(caller, Self::MAX_STREAMS, &self.clock)
    }

    /// How many heartbeats came over streams of members so far, but for the first of each node.
    #[must_use]
    pub fn heard_over_streams(&self) -> u64 {
        self.watches.heard()
    }

    /// How many streams of members are open on this master.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.watches.streams()
    }

    /// Makes the successor of the identity that asks: a certificate for the key in `csr`, or a new
    /// API key. The identity stays valid until it ends or the successor is first used.
    ///
    /// # Errors
    /// [`Error`] when the master cannot.
    pub async fn renew(
        &self,
        caller: &AuthenticatedNode,
        csr: Option<&str>,
    ) -> Result<RenewVerdict, Error> {
        self.succeed(&caller.identity, &caller.node, csr, caller.at, false).await
    }

    /// The common end of renewal and recovery.
    pub(super) async fn succeed(
        &self,
        identity: &IdentityRecord,
        node: &NodeRecord,
        csr: Option<&str>,
        at: Timestamp,
        recovered: bool,
    ) -> Result<RenewVerdict, Error> {
        let kind = identity.credential.kind();
        let Some(issuer) = self.issuer(&kind) else {
            return Ok(RenewVerdict::Refused(
                Rejection::new(Reason::NotConfigured)
                    .with_detail(format!("This master issues no credential of the kind {kind}.")),
            ));
        };
        #[cfg(not(feature = "x509"))]
        let _nothing_certifies_a_key_here = csr;
        #[cfg(feature = "x509")]
        let key = match proven(&kind, csr) {
            Ok(key) => key,
            Err(rejection) => return Ok(RenewVerdict::Refused(rejection)),
        };
        #[cfg(feature = "x509")]
        if let Some(key) = &key
            && let Some(same) = self.store.successor(identity.id, key.digest()).await?
            && !same.has_expired(at)
            && let Some(credential) = issuer.again(&same.credential)
        {
            return Ok(RenewVerdict::Renewed(vec![credential]));
        }
        let grant = Grant {
            node_name: &node.name,
            method: None,
            #[cfg(feature = "x509")]
            key: key.as_ref(),
            facts: &node.facts,
            master_hosts: &self.config.hosts,
            at,
            entropy: &*self.entropy,
        };
        let issued = match issuer.issue(&grant).await {
            Ok(issued) => issued,
            Err(failure) => {
                tracing::warn!(cause = ?std::error::Error::source(&failure), "{failure}");
                return Ok(RenewVerdict::Refused(Rejection::new(failure.reason())));
            }
        };
        let what = What::Renewed { node_id: node.id, node_name: node.name.clone(), recovered };
        let event = Event::new(at, what);
        let renewal = Renewal {
            successor: self.successor_record(identity, &issued, at)?,
            at,
            event: event.clone(),
        };
        match self.store.renew(renewal).await? {
            RenewOutcome::Renewed => {
                self.tell(&event);
                Ok(RenewVerdict::Renewed(vec![issued.credential]))
            }
            RenewOutcome::Revoked => Ok(RenewVerdict::Unauthorized(Unauthorized::Revoked)),
        }
    }

    fn successor_record(
        &self,
        identity: &IdentityRecord,
        issued: &Issued,
        at: Timestamp,
    ) -> Result<IdentityRecord, Error> {
        Ok(IdentityRecord {
            id: IdentityId::generate(at, &*self.entropy)?,
            predecessor: Some(identity.id),
            credential: issued.record.clone(),
            issued_at: at,
            expires_at: issued.expires_at,
            first_used_at: None,
            revoked_at: None,
            ..identity.clone()
        })
    }
}

fn renewal_is_due(identity: &IdentityRecord, at: Timestamp) -> bool {
    identity.expires_at.is_some_and(|end| at >= renewal_due(identity.issued_at, end))
}

/// The key a renewal of a certificate brings; `None` where none is needed.
#[cfg(feature = "x509")]
fn proven(
    kind: &crate::model::CredentialKind,
    csr: Option<&str>,
) -> Result<Option<crate::issue::x509::ProvenKey>, Rejection> {
    if *kind != crate::model::CredentialKind::X509 {
        return Ok(None);
    }
    let csr = csr.ok_or_else(|| {
        Rejection::new(Reason::BadRequest).with_detail("`csr` is missing: a certificate renews.")
    })?;
    crate::issue::x509::Csr::parse(csr)
        .and_then(|csr| csr.verify())
        .map(Some)
        .map_err(|why| Rejection::new(Reason::BadCsr).with_detail(format!("{why}.")))
}
