//! The issuer that is wanted and was not set up.

use async_trait::async_trait;

use super::{Grant, IssueError, Issued, Issuer};
use crate::model::{Credential, CredentialKind, CredentialRecord, Reason};

/// Stands for an issuer whose client is missing: every approval comes to `not_configured`, which
/// spends nothing, and the machine asks again until the master was set up.
#[derive(Debug, Clone)]
pub struct Unconfigured(CredentialKind);

impl Unconfigured {
    /// The place of an issuer of `kind`.
    #[must_use]
    pub const fn new(kind: CredentialKind) -> Self {
        Self(kind)
    }
}

#[async_trait]
impl Issuer for Unconfigured {
    fn kind(&self) -> CredentialKind {
        self.0.clone()
    }

    fn needs_key(&self) -> bool {
        false
    }

    async fn issue(&self, _grant: &Grant<'_>) -> Result<Issued, IssueError> {
        let why = "it is to be issued, and its client is not configured";
        Err(IssueError::new(self.0.clone(), why).with_reason(Reason::NotConfigured))
    }

    fn again(&self, _record: &CredentialRecord) -> Option<Credential> {
        None
    }

    async fn undo(&self, _record: &CredentialRecord) -> Result<(), IssueError> {
        let why = "its client is not configured";
        Err(IssueError::new(self.0.clone(), why).with_reason(Reason::NotConfigured))
    }
}
