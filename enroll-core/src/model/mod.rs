//! The words of the domain: values that validate themselves, and records that hold no secret.

mod base62;
mod clock;
mod digest;
mod entropy;
mod invitation;
mod name;
mod secret;
mod token;

pub use clock::{Clock, SystemClock, Timestamp, TimestampError};
pub use digest::{Fingerprint, FingerprintError, Sha256};
pub use entropy::{Entropy, SystemEntropy};
pub use invitation::{Invitation, InvitationError};
pub use name::{NameError, NodeName};
pub use secret::{
    AdminToken, ApiKey, BearerDigest, SecretError, SecretMatched, SharedSecret, SharedSecretDigest,
};
pub use token::{JoinToken, TokenDigest, TokenError, TokenId, TokenMatched, TokenPrefix};
