//! Telling the master what the machine measures and what happened on it, beside the heartbeats.
//!
//! - **Nothing is reported before the master has heard a heartbeat.**
//! - **Values are not kept for later**: what could not be told is measured anew.
//! - **Events are told again until the master has them**, the newest [`WAITING`] of them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch::Receiver;

use super::backoff::{Backoff, up_to};
use super::identity::Credentials;
use super::master::CallError;
use super::observer::{Failure, WorkerEvent};
use super::run::first;
use super::settings::Worker;
use crate::model::HostEvent;

/// Who the worker is, once the master has heard it.
pub(super) type Member = Option<Arc<Credentials>>;

/// Between reports that fail: 5 s, doubling to five minutes.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(300));
/// Events that wait to be told, at most; beyond it the oldest is forgotten.
const WAITING: usize = 256;
/// Events told with one call, at most.
const AT_ONCE: usize = 64;
/// The bytes of the events told with one call, at most, unless there is but one: JSON may write them
/// twice as long, and a master takes 256 KiB.
const BYTES_AT_ONCE: usize = 64 * 1024;
/// A tenth of a span is jitter.
const JITTER: u32 = 10;

impl Worker {
    /// Reports for as long as it is polled.
    pub(super) async fn report(&self, member: Receiver<Member>) -> Infallible {
        first(self.report_metrics(member.clone()), self.report_events(member)).await
    }

    async fn report_metrics(&self, mut member: Receiver<Member>) -> Infallible {
        let mut failures = 0;
        loop {
            let me = holder(&mut member).await;
            let mut samples = self.settings.telemetry.metrics().await;
            samples.retain(|sample| sample.check().is_ok());
            let every = self.settings.report_interval;
            let mut wait = every.saturating_sub(up_to(every / JITTER, &*self.settings.entropy));
            if !samples.is_empty() {
                match self.master.report_metrics(&me, &samples).await {
                    Ok(()) => failures = 0,
                    Err(error) => wait = wait.max(self.unreported(&error, &mut failures)),
                }
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn report_events(&self, mut member: Receiver<Member>) -> Infallible {
        let mut waiting = VecDeque::new();
        let mut failures = 0;
        loop {
            if waiting.is_empty() {
                let mut events = self.settings.telemetry.events().await;
                events.retain(|event| event.check().is_ok());
                waiting.extend(events);
            }
            let over = waiting.len().saturating_sub(WAITING);
            waiting.drain(..over);
            let batch = batch_of(&waiting);
            if batch.is_empty() {
                continue;
            }
            let me = holder(&mut member).await;
            match self.master.report_events(&me, &batch).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    let wait = self.unreported(&error, &mut failures);
                    tokio::time::sleep(wait).await;
                    if !error.is_last_word() {
                        continue;
                    }
                }
            }
            waiting.drain(..batch.len());
        }
    }

    /// Says that a report failed, and how long to wait before the next.
    fn unreported(&self, error: &CallError, failures: &mut u32) -> Duration {
        *failures = failures.saturating_add(1);
        let retry_in = BACKOFF.wait(*failures, error.retry_after(), &*self.settings.entropy);
        self.note(&WorkerEvent::ReportFailed { cause: Failure::Call(error), retry_in });
        retry_in
    }
}

/// The oldest events, as many as one call tells.
fn batch_of(waiting: &VecDeque<HostEvent>) -> Vec<HostEvent> {
    let mut bytes = 0;
    let fits = |(nth, event): &(usize, &HostEvent)| {
        bytes += event.size();
        *nth == 0 || bytes <= BYTES_AT_ONCE
    };
    waiting
        .iter()
        .take(AT_ONCE)
        .enumerate()
        .take_while(fits)
        .map(|(_, event)| event.clone())
        .collect()
}

/// Who the worker is, as soon as the master has heard it.
async fn holder(member: &mut Receiver<Member>) -> Arc<Credentials> {
    if let Ok(known) = member.wait_for(Option::is_some).await
        && let Some(me) = &*known
    {
        return Arc::clone(me);
    }
    // The run is over.
    std::future::pending().await
}
