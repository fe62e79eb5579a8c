//! Bearer keys for machines.

use async_trait::async_trait;

use super::{Grant, IssueError, Issued, Issuer};
use crate::model::{ApiKey, Credential, CredentialKind, CredentialRecord, TokenPrefix};

/// Makes API keys: 256 random bits, of which only the SHA-256 is kept.
#[derive(Debug, Clone, Default)]
pub struct ApiKeyIssuer {
    prefix: TokenPrefix,
}

impl ApiKeyIssuer {
    /// Keys that begin with `<prefix>_key_`.
    #[must_use]
    pub const fn new(prefix: TokenPrefix) -> Self {
        Self { prefix }
    }
}

#[async_trait]
impl Issuer for ApiKeyIssuer {
    fn kind(&self) -> CredentialKind {
        CredentialKind::API_KEY
    }

    fn needs_key(&self) -> bool {
        false
    }

    async fn issue(&self, grant: &Grant<'_>) -> Result<Issued, IssueError> {
        let key = ApiKey::generate(&self.prefix, grant.entropy)
            .map_err(|cause| IssueError::new(CredentialKind::API_KEY, cause))?;
        let record = CredentialRecord::ApiKey { digest: key.digest() };
        Ok(Issued { credential: Credential::ApiKey(key), record, expires_at: None })
    }

    fn again(&self, _record: &CredentialRecord) -> Option<Credential> {
        None
    }

    async fn undo(&self, _record: &CredentialRecord) -> Result<(), IssueError> {
        Ok(())
    }
}
