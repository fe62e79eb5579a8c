//! The authority as an issuer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Authority, Leaf, LeafRequest, PeerLeaf};
use crate::issue::{Grant, IssueError, Issued, Issuer};
use crate::model::{
    Credential, CredentialKind, CredentialRecord, Facts, Host, Reason, Timestamp, X509Credential,
    renewal_due,
};

/// Makes X.509 leaves for keys that were proven, signed by an [`Authority`].
#[derive(Debug, Clone)]
pub struct X509Issuer {
    authority: Arc<Authority>,
    lifetime: Duration,
}

impl X509Issuer {
    /// Leaves that live for [`Leaf::DEFAULT_LIFETIME`].
    #[must_use]
    pub fn new(authority: impl Into<Arc<Authority>>) -> Self {
        Self { authority: authority.into(), lifetime: Leaf::DEFAULT_LIFETIME }
    }

    /// Leaves that live for `lifetime`, and never past the root.
    #[must_use]
    pub const fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    fn leaf(&self, grant: &Grant<'_>) -> Result<Leaf, IssueError> {
        let fail = |cause| IssueError::new(CredentialKind::X509, cause);
        let key = grant.key.ok_or_else(|| {
            IssueError::new(CredentialKind::X509, "no key was proven").with_reason(Reason::BadCsr)
        })?;
        let endpoint = endpoint_host(grant.facts);
        let mut request = LeafRequest::new(grant.node_name, key, grant.at)
            .with_master_hosts(grant.master_hosts)
            .with_lifetime(self.lifetime);
        if let Some(host) = &endpoint {
            request = request.with_endpoint(host);
        }
        self.authority.issue_leaf(&request, grant.entropy).map_err(fail)
    }

    fn credential(
        &self,
        certificate: String,
        starts: Timestamp,
        not_after: Timestamp,
    ) -> Credential {
        Credential::X509(X509Credential {
            certificate,
            ca_bundle: self.authority.root_pem().to_owned(),
            not_after,
            renew_after: renewal_due(starts, not_after),
        })
    }
}

#[async_trait]
impl Issuer for X509Issuer {
    fn kind(&self) -> CredentialKind {
        CredentialKind::X509
    }

    fn needs_key(&self) -> bool {
        true
    }

    async fn issue(&self, grant: &Grant<'_>) -> Result<Issued, IssueError> {
        let leaf = self.leaf(grant)?;
        Ok(Issued {
            credential: self.credential(leaf.chain_pem, grant.at, leaf.not_after),
            record: CredentialRecord::X509 {
                serial: leaf.serial,
                key_digest: leaf.key_digest,
                certificate: leaf.der,
            },
            expires_at: Some(leaf.not_after),
        })
    }

    fn again(&self, record: &CredentialRecord) -> Option<Credential> {
        let CredentialRecord::X509 { certificate, .. } = record else { return None };
        let leaf = PeerLeaf::parse(certificate).ok()?;
        let starts = leaf.not_before().after(Leaf::BACK);
        Some(self.credential(
            crate::pem::encode("CERTIFICATE", certificate),
            starts,
            leaf.not_after(),
        ))
    }

    async fn undo(&self, _record: &CredentialRecord) -> Result<(), IssueError> {
        Ok(())
    }
}

/// The host of the endpoint a node advertises, where it is one that can stand in a certificate.
fn endpoint_host(facts: &Facts) -> Option<Host> {
    Host::of_url(facts.advertised_endpoint.as_deref()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_endpoint_is_read() {
        let host = |url: &str| {
            let facts = Facts { advertised_endpoint: Some(url.into()), ..Facts::default() };
            endpoint_host(&facts)
        };
        assert_eq!(host("https://10.0.0.21:9443"), Host::new("10.0.0.21").ok());
        assert_eq!(host("https://[::1]:9443/x"), Host::new("::1").ok());
        assert_eq!(host("https://node.example"), Host::new("node.example").ok());
        assert_eq!(host("http://node.example"), None);
        assert_eq!(host("https://"), None);
        assert_eq!(host("https://user@host"), None);
    }
}
