//! Coming back after the certificate ran out while the machine was off.

use super::enroller::Enroller;
use super::error::Error;
use super::members::{RecoverRequest, RenewVerdict, Unauthorized};
use crate::issue::x509::{Csr, PeerLeaf};
use crate::model::{CredentialRecord, NodeName, Reason, Rejection, Subject, recovery_message};
use crate::store::{IdentityKey, Member, UseOutcome};

impl Enroller {
    /// Makes the successor of an identity that expired at most
    /// [`recovery_window`](super::MasterConfig::recovery_window) ago, for who holds its key. It must
    /// be the node's current identity, or its unused successor, and not revoked.
    ///
    /// The store is asked before any signature is verified: what is not on record costs no
    /// public-key operation.
    ///
    /// # Errors
    /// [`Error`] when the master cannot.
    pub async fn recover(&self, request: &RecoverRequest) -> Result<RenewVerdict, Error> {
        let at = self.clock.now();
        let leaf = match expired_leaf(&request.certificate) {
            Ok(leaf) => leaf,
            Err(rejection) => return Ok(RenewVerdict::Refused(rejection)),
        };
        let csr = match Csr::parse(&request.csr) {
            Ok(csr) => csr,
            Err(why) => return Ok(refused(Reason::BadCsr, format!("{why}."))),
        };
        let Some(member) = self.store.member(IdentityKey::Serial(leaf.parsed.serial())).await?
        else {
            return Ok(RenewVerdict::Unauthorized(Unauthorized::Unknown));
        };
        let Member { identity, node: Some(node), .. } = member else {
            return Ok(RenewVerdict::Unauthorized(Unauthorized::NodeGone));
        };
        if identity.revoked_at.is_some() {
            return Ok(RenewVerdict::Unauthorized(Unauthorized::Revoked));
        }
        let end = identity.expires_at.unwrap_or(at);
        let same_key = matches!(&identity.credential,
            CredentialRecord::X509 { key_digest, .. } if *key_digest == leaf.parsed.key_digest());
        if !same_key || node.name != leaf.name {
            return Ok(RenewVerdict::Unauthorized(Unauthorized::Unknown));
        }
        if at >= end.after(self.config.recovery_window) {
            return Ok(RenewVerdict::Unauthorized(Unauthorized::Expired));
        }
        let message = recovery_message(leaf.parsed.der(), csr.der());
        if leaf.parsed.public_key().verify(&message, &request.signature).is_err() {
            return Ok(RenewVerdict::Unauthorized(Unauthorized::Unknown));
        }
        // Who proves its key has it: what it was to succeed ends here. Else the one would stay good
        // beside what comes of the other.
        if identity.first_used_at.is_none()
            && self.store.mark_used(identity.id, at).await? == UseOutcome::Revoked
        {
            return Ok(RenewVerdict::Unauthorized(Unauthorized::Revoked));
        }
        self.succeed(&identity, &node, Some(&request.csr), at, true).await
    }
}

struct ExpiredLeaf {
    parsed: PeerLeaf,
    name: NodeName,
}

/// Reads the leaf. Whether the root signed it is settled by the store: its serial, its name and its
/// key must be on record there.
fn expired_leaf(pem: &str) -> Result<ExpiredLeaf, Rejection> {
    let bad = |detail: &str| Rejection::new(Reason::BadRequest).with_detail(detail.to_owned());
    let parsed =
        PeerLeaf::from_pem(pem).map_err(|why| bad(&format!("`certificate` is refused: {why}.")))?;
    let Subject::Node(name) = parsed.id().subject() else {
        return Err(bad("`certificate` is not a node's."));
    };
    let name = name.clone();
    Ok(ExpiredLeaf { parsed, name })
}

fn refused(reason: Reason, detail: String) -> RenewVerdict {
    RenewVerdict::Refused(Rejection::new(reason).with_detail(detail))
}
