//! Identifiers: UUIDv7 (RFC 9562), so that rows made together lie together.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Entropy, Timestamp};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, its high 48 bits the milliseconds of `at`.
            ///
            /// # Errors
            /// What `entropy` returned.
            pub fn generate(at: Timestamp, entropy: &dyn Entropy) -> std::io::Result<Self> {
                v7(at, entropy).map(Self)
            }

            /// An id read back from where it was kept.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The 16 bytes, whose order is the order of generation.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::try_parse(text).map(Self).map_err(|_| IdError)
            }
        }
    )*};
}

ids! {
    /// The id of a node; kept over re-enrollment, new after a deletion.
    NodeId
    /// The id of one credential on record.
    IdentityId
    /// The id of a redemption.
    RedemptionId
    /// The id of an attempt to enroll.
    AttemptId
    /// The id of an attempt to fuse.
    FuseId
    /// The id of a command.
    CommandId
    /// The id of a master for as long as it runs.
    MasterId
}

/// A text that is no UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID")]
#[non_exhaustive]
pub struct IdError;

fn v7(at: Timestamp, entropy: &dyn Entropy) -> std::io::Result<Uuid> {
    let mut random = [0; 10];
    entropy.fill(&mut random)?;
    let millis = u64::try_from(at.unix_millis()).unwrap_or(0);
    Ok(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
}
