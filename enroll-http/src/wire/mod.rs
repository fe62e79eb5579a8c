//! The outside contract as JSON: every type that is read from, or written to, a connection.
//!
//! Both ends use the same types. Members that a reader does not know are ignored, so that either
//! end can be the older one. What comes from the network becomes a value of the domain here, and
//! nowhere else.

mod credential;
mod enroll;
mod facts;
mod json;
mod node;
mod problem;
mod schema;
mod secret;
mod steady;
mod time;

pub use credential::{CredentialBody, Incomplete};
pub use enroll::{EnrollAnswer, EnrollBody};
pub use facts::FactsBody;
pub use json::{MAX_DEPTH, Unreadable, read_json};
pub use node::{FuseFailureView, FuseView, NodeSummary, NodeView};
pub use problem::{ErrorCode, Problem};
pub use secret::SecretText;
pub use steady::{
    CommandBody, CommandReport, HeartbeatAnswer, HeartbeatBody, RecoverBody, RenewAnswer, RenewBody,
};
pub use time::Rfc3339;
