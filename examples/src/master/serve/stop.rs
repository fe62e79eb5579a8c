//! When to end.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Tells everything that runs to end, once.
pub(super) struct Stop(watch::Sender<bool>);

/// Resolves when everything is to end.
pub(super) struct Stopped(watch::Receiver<bool>);

/// The signals that end the process.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    pub(super) fn stopped(&self) -> Stopped {
        Stopped(self.0.subscribe())
    }

    pub(super) fn now(&self) {
        self.0.send_replace(true);
    }
}

impl Stopped {
    pub(super) async fn wait(mut self) {
        // An error is a sender that is gone, which is an end as well.
        let _end = self.0.wait_for(|stop| *stop).await;
    }
}

impl Signals {
    /// From now on the signals are ours.
    pub(super) fn take() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next of them.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
