//! The worker's half: gets an identity once, keeps it, proves it is alive, renews.
//!
//! It shares the words of the domain and the taxonomy of rejections with the master, and nothing
//! else. How a call travels is a transport's matter, behind a trait with one method per verb.

mod accept;
mod attempt;
mod backoff;
mod bootstrap;
#[cfg(feature = "x509")]
mod certificate;
mod commands;
mod environment;
mod error;
mod fuse;
mod identity;
mod join;
#[cfg(feature = "x509")]
mod key;
mod master;
mod mesh;
mod observer;
mod proofs;
mod refusal;
mod renew;
mod report;
mod run;
mod secret_text;
mod serve;
mod settings;
mod state;
mod telemetry;

pub use accept::AnswerFault;
pub use attempt::{OpenAttempt, Purpose};
pub use backoff::Backoff;
pub use bootstrap::Outcome;
#[cfg(feature = "x509")]
pub use certificate::CertificateFault;
pub use commands::{CommandHandler, CommandOutcome, NoCommands};
pub use environment::{Environment, EnvironmentError};
pub use error::WorkerError;
pub use fuse::{FuseHandler, FuseTask, Rollout};
pub use identity::{ClientCertificate, Credentials, Identity};
pub use join::{Joined, Joining, MeshJoin, MeshJoinError, Noop};
#[cfg(feature = "x509")]
pub use key::{KeyError, WorkerKey};
#[cfg(feature = "mock")]
pub use master::MockMaster;
pub use master::{
    Answer, Beat, BeatAnswer, CallError, Command, CommandReport, EnrollCall, Master, RecoverCall,
    RenewCall,
};
pub use observer::{Failure, Traced, WorkerEvent, WorkerObserver};
pub use proofs::Proofs;
pub use refusal::Refusal;
pub use settings::Worker;
pub use state::{LockedDir, StateDir, StateError, StateErrorKind, Status};
pub use telemetry::{NoTelemetry, Telemetry};
