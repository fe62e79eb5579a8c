//! The words of the domain: values that validate themselves, and records that hold no secret.

mod base62;
mod clock;
mod command;
mod credential;
mod digest;
mod entropy;
mod event;
mod fuse;
mod host;
mod id;
mod invitation;
mod name;
mod node;
mod pattern;
mod reason;
mod record;
mod recovery;
mod request;
mod secret;
mod serial;
mod snapshot;
mod telemetry;
mod token;
mod trust_domain;

#[cfg(feature = "mock")]
pub use clock::MockClock;
pub use clock::{Clock, SystemClock, Timestamp, TimestampError};
pub use command::{CommandClass, CommandRecord, CommandStatus};
pub use credential::{Credential, MeshCredential, X509Credential, renewal_due};
pub use digest::{Fingerprint, FingerprintError, Sha256};
#[cfg(feature = "mock")]
pub use entropy::MockEntropy;
pub use entropy::{Entropy, SystemEntropy};
pub use event::{Event, JournalledEvent, What};
pub use fuse::{FuseEnd, FuseFailure, FuseRecord, Handover};
pub use host::{Host, HostError};
pub use id::{AttemptId, CommandId, FuseId, IdError, IdentityId, MasterId, NodeId, RedemptionId};
pub use invitation::{Invitation, InvitationError};
pub use name::{NameError, NodeName};
pub use node::{Action, Health, Method, Role, Status, TokenStatus, TrustState, UnknownWord};
pub use pattern::{NamePattern, PatternError};
pub use reason::{Reason, Rejection, WorkerAction};
pub use record::{
    AdminRecord, AttemptOutcome, AttemptRecord, CredentialKind, CredentialRecord, IdentityRecord,
    NodeRecord, RedemptionRecord, TokenRecord,
};
pub use recovery::recovery_message;
pub use request::{AttemptKey, ClaimKey, EnrollRequest, Facts, Origin, Presented, PresentedToken};
pub use secret::{
    AdminToken, ApiKey, BearerDigest, SecretError, SecretMatched, SharedSecret, SharedSecretDigest,
};
pub use serial::{Serial, SerialError};
pub use snapshot::{NameState, Prior, Snapshot};
pub use telemetry::{HostEvent, ReportFault, Sample, SampleKind};
pub use token::{JoinToken, TokenDigest, TokenError, TokenId, TokenMatched, TokenPrefix};
pub use trust_domain::{SpiffeId, SpiffeIdError, Subject, TrustDomain, TrustDomainError};
