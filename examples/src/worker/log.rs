//! What happens, for people who read a log.

use enroll_core::worker::{Failure, WorkerEvent};

use super::exit::chain;

pub(super) fn note(event: &WorkerEvent<'_>) {
    match event {
        WorkerEvent::CallStarted { purpose, number } => {
            tracing::debug!(number, "calling the master to {purpose:?}");
        }
        WorkerEvent::CallFailed { cause, retry_in, .. } => match retry_in {
            Some(wait) => {
                tracing::warn!("{}; trying again in {:.1} s", why(cause), wait.as_secs_f64());
            }
            None => tracing::debug!("{}; not tried again", why(cause)),
        },
        WorkerEvent::Enrolled { identity, redelivered } => tracing::info!(
            node = %identity.node_name(), id = %identity.node_id(), redelivered, "enrolled"
        ),
        WorkerEvent::Renewed { identity, .. } => {
            let until = identity.not_after().map(|end| end.to_rfc3339());
            tracing::info!(until, "identity renewed");
        }
        WorkerEvent::Waiting { cause } => tracing::info!("waiting: {}", chain(*cause)),
        WorkerEvent::BeatSent { next_in } => tracing::debug!(?next_in, "heartbeat"),
        WorkerEvent::BeatFailed { cause, retry_in } => tracing::warn!(
            "heartbeat failed: {}; trying again in {:.1} s",
            why(cause),
            retry_in.as_secs_f64()
        ),
        WorkerEvent::ReportFailed { cause, retry_in } => tracing::warn!(
            "the master was not told what was measured: {}; trying again in {:.1} s",
            why(cause),
            retry_in.as_secs_f64()
        ),
        WorkerEvent::MeshJoined { addresses: [] } => {}
        WorkerEvent::MeshJoined { addresses } => tracing::info!(?addresses, "in the mesh"),
        WorkerEvent::MeshFailed { cause, retry_in } => tracing::warn!(
            "not in the mesh: {}; trying again in {:.1} s",
            chain(*cause),
            retry_in.as_secs_f64()
        ),
        WorkerEvent::CommandReported { id, done } => tracing::info!(id, done, "command reported"),
        event => tracing::info!(?event, "worker"),
    }
}

fn why(cause: &Failure<'_>) -> String {
    match cause {
        Failure::Call(error) => chain(*error),
        Failure::Local(error) => chain(*error),
        _ => "unknown".to_owned(),
    }
}
