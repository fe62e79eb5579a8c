//! One identity with open streams.

use tokio::sync::watch::{Receiver, Sender};
use tokio::time::Instant;

use super::watch::WatchEnd;
use crate::master::members::AuthenticatedNode;
use crate::model::{Facts, NodeId, Timestamp};
use crate::store::Beat;

/// One identity with open streams.
pub(super) struct Held {
    pub(super) node_id: NodeId,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) streams: usize,
    /// Whether the store is to be asked about it, touched or not.
    pub(super) new: bool,
    /// When it was looked up for the first stream.
    pub(super) since: Instant,
    /// The heartbeats since the last look, as one.
    pub(super) heard: Option<Beat>,
    seen: Sender<Seen>,
}

/// What the streams of an identity see of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) ended: Option<WatchEnd>,
    /// Counts up when a command waits.
    pub(super) calls: u64,
}

impl Held {
    pub(super) fn of(caller: &AuthenticatedNode) -> Self {
        let (seen, _) = tokio::sync::watch::channel(Seen { ended: None, calls: 0 });
        Self {
            node_id: caller.node.id,
            expires_at: caller.identity.expires_at,
            streams: 0,
            new: true,
            since: Instant::now(),
            heard: None,
            seen,
        }
    }

    /// Who could not be confirmed for a while, and has been since, is watched anew.
    pub(super) fn revive(&mut self) {
        let revived = self.seen.send_if_modified(|seen| {
            seen.ended.take_if(|why| *why == WatchEnd::Unavailable).is_some()
        });
        if revived {
            self.new = true;
            self.since = Instant::now();
        }
    }

    /// What a stream that opens now sees from here on.
    pub(super) fn subscribe(&self) -> Receiver<Seen> {
        self.seen.subscribe()
    }

    /// Takes a heartbeat. Several before the next look are one.
    pub(super) fn hear(&mut self, at: Timestamp, facts: Option<Facts>) {
        let now = Beat { node_id: self.node_id, at, facts };
        match &mut self.heard {
            Some(heard) => heard.merge(now),
            None => self.heard = Some(now),
        }
    }

    /// Lets what was heard `earlier` wait for the next look.
    pub(super) fn put_back(&mut self, mut earlier: Beat) {
        if let Some(later) = self.heard.take() {
            earlier.merge(later);
        }
        self.heard = Some(earlier);
    }

    /// Wakes the streams: a command waits.
    pub(super) fn call(&self) {
        self.seen.send_modify(|seen| seen.calls = seen.calls.wrapping_add(1));
    }

    pub(super) fn is_over(&self) -> bool {
        self.seen.borrow().ended.is_some()
    }

    /// Ends the streams. The first reason is the one they are told.
    pub(super) fn end(&self, why: WatchEnd) {
        self.seen.send_if_modified(|seen| {
            let first = seen.ended.is_none();
            seen.ended.get_or_insert(why);
            first
        });
    }
}
