//! What a worker tells whoever looks after it.

use std::net::IpAddr;
use std::time::Duration;

use super::attempt::Purpose;
use super::error::WorkerError;
use super::identity::Identity;
use super::join::MeshJoinError;
use super::master::CallError;

/// Something that happened. None of it holds a secret.
#[derive(Debug)]
#[non_exhaustive]
pub enum WorkerEvent<'a> {
    /// A call for credentials begins.
    CallStarted {
        /// What it is to bring.
        purpose: Purpose,
        /// The first is 1.
        number: u32,
    },
    /// A call for credentials failed.
    CallFailed {
        /// What it was to bring.
        purpose: Purpose,
        /// Why.
        cause: Failure<'a>,
        /// When it is repeated; absent where it is not.
        retry_in: Option<Duration>,
    },
    /// The worker has become a member.
    Enrolled {
        /// Who it is now.
        identity: &'a Identity,
        /// Whether the answer to an earlier call was repeated.
        redelivered: bool,
    },
    /// A credential was followed by its successor.
    Renewed {
        /// By which call.
        purpose: Purpose,
        /// Who it is, with the new times.
        identity: &'a Identity,
    },
    /// There is no identity yet; the worker looks again in a while. Told when the cause changes.
    Waiting {
        /// What it waits for.
        cause: &'a WorkerError,
    },
    /// The machine is in the mesh.
    MeshJoined {
        /// Its addresses there.
        addresses: &'a [IpAddr],
    },
    /// The machine is not in the mesh yet.
    MeshFailed {
        /// Why.
        cause: &'a MeshJoinError,
        /// When it tries again.
        retry_in: Duration,
    },
    /// The master heard the worker.
    BeatSent {
        /// When the next one goes out.
        next_in: Duration,
    },
    /// The master did not hear the worker.
    BeatFailed {
        /// Why.
        cause: Failure<'a>,
        /// When the next one goes out.
        retry_in: Duration,
    },
    /// The master was not told what the machine reports.
    ReportFailed {
        /// Why.
        cause: Failure<'a>,
        /// When it is told again, or anew.
        retry_in: Duration,
    },
    /// A command was carried out, or failed, and the master knows.
    CommandReported {
        /// Its id.
        id: &'a str,
        /// Whether it was done.
        done: bool,
    },
}

/// Why something did not come about.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Failure<'a> {
    /// The call failed.
    Call(&'a CallError),
    /// Something on this machine: the identity files are gone or damaged, the disk is full.
    Local(&'a WorkerError),
}

/// Is told what happens, in order, from within the worker's own task: it must return soon.
pub trait WorkerObserver: Send + Sync {
    /// Takes note of `event`.
    fn note(&self, event: &WorkerEvent<'_>);
}

/// Writes every event to [`tracing`], failures as warnings.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Traced;

impl WorkerObserver for Traced {
    fn note(&self, event: &WorkerEvent<'_>) {
        match event {
            WorkerEvent::CallFailed { .. }
            | WorkerEvent::BeatFailed { .. }
            | WorkerEvent::MeshFailed { .. }
            | WorkerEvent::ReportFailed { .. } => {
                tracing::warn!(?event, "worker");
            }
            WorkerEvent::BeatSent { .. } => tracing::debug!(?event, "worker"),
            event => tracing::info!(?event, "worker"),
        }
    }
}
