//! Making credentials for what was approved.
//!
//! A local issuer works in memory: what it made counts only once the redemption has committed. An
//! external one acts outside, so it says how to undo, and the master undoes it when the redemption
//! is lost.

mod api_key;
mod unconfigured;
#[cfg(feature = "x509")]
pub mod x509;

use async_trait::async_trait;

use crate::model::{
    Credential, CredentialKind, CredentialRecord, Entropy, Facts, Host, Method, NodeName, Reason,
    Timestamp,
};

pub use api_key::ApiKeyIssuer;
pub use unconfigured::Unconfigured;

/// What an issuer is told.
#[non_exhaustive]
pub struct Grant<'a> {
    /// The node's name, decided by the master.
    pub node_name: &'a NodeName,
    /// How the machine proved itself; `None` at a renewal.
    pub method: Option<Method>,
    /// The key it proved to hold; `None` where no issuer asks for one.
    #[cfg(feature = "x509")]
    pub key: Option<&'a x509::ProvenKey>,
    /// What it says of itself.
    pub facts: &'a Facts,
    /// Where the master itself is reached: no credential of a node may name these.
    pub master_hosts: &'a [Host],
    /// The instant of the request.
    pub at: Timestamp,
    /// Where randomness comes from.
    pub entropy: &'a dyn Entropy,
}

impl<'a> Grant<'a> {
    /// What an issuer is told of a node where no key is certified: for who tests an issuer of their
    /// own.
    #[must_use]
    pub const fn new(
        node_name: &'a NodeName,
        facts: &'a Facts,
        at: Timestamp,
        entropy: &'a dyn Entropy,
    ) -> Self {
        Self {
            node_name,
            method: None,
            #[cfg(feature = "x509")]
            key: None,
            facts,
            master_hosts: &[],
            at,
            entropy,
        }
    }
}

/// What an issuer made.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "issuers build every field")]
pub struct Issued {
    /// What goes to the machine.
    pub credential: Credential,
    /// What goes on record.
    pub record: CredentialRecord,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// Why nothing was made. What was asked for stays unspent.
#[derive(Debug, thiserror::Error)]
#[error("the {kind} issuer failed")]
pub struct IssueError {
    kind: CredentialKind,
    reason: Reason,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl IssueError {
    /// An issuer of `kind` failed: `issue_failed`.
    #[must_use]
    pub fn new(
        kind: CredentialKind,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, reason: Reason::IssueFailed, source: source.into() }
    }

    /// Answers with `reason` instead: `mesh_mint_failed`, `not_configured`, `bad_csr`.
    #[must_use]
    pub const fn with_reason(mut self, reason: Reason) -> Self {
        self.reason = reason;
        self
    }

    /// What the machine is answered.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }
}

/// Makes credentials of one kind.
#[async_trait]
pub trait Issuer: Send + Sync {
    /// The kind it makes.
    fn kind(&self) -> CredentialKind;

    /// Whether it certifies a key of the machine's own, so that a certificate request is required.
    fn needs_key(&self) -> bool;

    /// Makes one credential.
    ///
    /// # Errors
    /// [`IssueError`]; nothing may be left behind outside then.
    async fn issue(&self, grant: &Grant<'_>) -> Result<Issued, IssueError>;

    /// The credential on record once more, where it can be handed over twice; `None` where a new
    /// one has to be made, as for every bearer secret.
    fn again(&self, record: &CredentialRecord) -> Option<Credential>;

    /// Takes back outside what `issue` did there. A local issuer has nothing to do.
    ///
    /// # Errors
    /// [`IssueError`] when it could not; it will be asked again.
    async fn undo(&self, record: &CredentialRecord) -> Result<(), IssueError>;
}
