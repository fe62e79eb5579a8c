//! The outside contract as JSON: every type that is read from, or written to, a connection.
//!
//! Both ends use the same types. Members that a reader does not know are ignored, so that either
//! end can be the older one. What comes from the network becomes a value of the domain here, and
//! nowhere else.

mod admin;
mod command;
mod credential;
mod enroll;
mod event;
mod facts;
mod fuse;
mod json;
mod list;
mod mesh;
mod node;
mod problem;
mod registration;
mod schema;
mod secret;
mod settings;
mod shown;
mod state;
mod steady;
mod telemetry;
mod time;
mod token;

pub use admin::{AddedAdmin, AdminItem, NewAdmin};
pub use command::{CommandItem, NewCommand, QueuedCommand};
pub use credential::{CredentialBody, Incomplete};
pub use enroll::{EnrollAnswer, EnrollBody};
#[cfg(feature = "grpc")]
pub(crate) use enroll::{bad, node_name};
pub use event::{AttemptItem, EventItem};
pub use facts::FactsBody;
pub use fuse::FuseTaskBody;
pub use json::{MAX_DEPTH, Unreadable, read_json};
pub use list::List;
pub use mesh::MeshNodeItem;
pub use node::{FuseFailureView, FuseView, NodeSummary, NodeView};
pub use problem::{ErrorCode, Problem};
pub use registration::{Install, NewNode, RegisteredNode};
pub use secret::SecretText;
pub use settings::{AutoEnrollment, AutoEnrollmentWish};
pub use shown::ShownNode;
pub use state::{Check, Diagnosis, FenceView, FenceWish};
pub use steady::{
    CommandBody, CommandReport, HeartbeatAnswer, HeartbeatBody, RecoverBody, RenewAnswer, RenewBody,
};
pub use telemetry::{EventsReport, HostEventBody, MetricsReport, ReportAnswer, SampleBody};
pub use time::Rfc3339;
pub use token::{MintedToken, NewToken, RedemptionItem, TokenItem};
