//! The master's half: the facade that embedders hold, and what stands around it.

mod auto;
mod batch;
mod beats;
mod budget;
mod builtin_fuser;
mod claimant;
mod commands;
mod config;
mod enroll;
mod enroller;
mod error;
mod fuse;
mod fuse_command;
mod hand_over;
mod members;
mod mesh;
mod observer;
mod operator;
mod policy;
mod presence;
#[cfg(feature = "x509")]
mod recover;
mod redemption;
mod stamps;
mod telemetry;
mod undo;
mod watch;

pub use auto::{AutoEnrollmentChange, AutoEnrollmentView};
pub use builtin_fuser::BuiltinFuser;
pub use config::MasterConfig;
pub use enroll::{Admission, Verdict};
pub use enroller::Enroller;
pub use error::{Error, ErrorKind};
pub use fuse::{FuseProgress, Fuser};
pub use fuse_command::FuseCommands;
pub use hand_over::HandOverVerdict;
pub use members::{
    AuthenticatedNode, BeatReply, BeatVerdict, Caller, RecoverRequest, RenewVerdict, Terms,
    Unauthorized,
};
pub use mesh::{MESH_INTERVAL, MESH_RETRY, Mesh, MeshError, MeshMember, MeshNode, mesh_place};
pub use observer::Observer;
pub use operator::{
    MintRequest, Minted, OperatorError, RegisterRequest, Registered, RevokeVerdict,
};
pub use policy::{AllowAll, Candidate, Denial, InUse, Policy};
pub use presence::{Watch, WatchEnd};
pub use telemetry::{NodeMetrics, Taken};
pub use watch::{DUTY_SPAN, SETTINGS_INTERVAL, WATCH_INTERVAL};
