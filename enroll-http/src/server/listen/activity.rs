//! What a connection is doing, and until when it may.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use enroll_core::model::NodeName;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::Limits;
use super::caps::Place;
use super::farewell::FAREWELL;
use super::turns::Turn;

/// What one connection is doing: nothing, or some exchanges.
///
/// At every instant a connection is in one of three states, and each is bounded:
/// **nothing in flight** by the header or the idle deadline, **an ordinary exchange in flight** by
/// the exchange deadline of the oldest one, **only exchanges kept open** by keep-alive, HTTP/2's or
/// TCP's.
#[derive(Debug)]
pub(super) struct Activity {
    header: Duration,
    idle: Duration,
    member_idle: Duration,
    exchange: Duration,
    now: Mutex<Now>,
    changed: Notify,
    turn: Arc<Turn>,
    stopping: watch::Receiver<bool>,
}

#[derive(Debug)]
struct Now {
    started: u64,
    ordinary: BTreeSet<(Instant, u64)>,
    kept_open: usize,
    free_since: Instant,
    phase: Phase,
    /// Until the connection ends.
    place: Option<Place>,
    /// Whether it may rest as long as a member's.
    rests_long: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No request has come yet.
    Fresh,
    /// At least one request has come.
    Used,
    /// The peer was told that the connection is closing.
    Closing,
}

/// Why a connection is out of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// It rested between two exchanges: it can be closed as the protocol wants it.
    Idle,
    /// It owes bytes, or does not take them: nothing is lost by cutting it.
    Stuck,
}

impl Activity {
    pub(super) fn new(
        limits: &Limits,
        place: Place,
        turn: Arc<Turn>,
        stopping: watch::Receiver<bool>,
    ) -> Arc<Self> {
        Arc::new(Self {
            header: limits.header,
            idle: limits.idle,
            member_idle: limits.member_idle,
            exchange: limits.exchange,
            now: Mutex::new(Now {
                started: 0,
                ordinary: BTreeSet::new(),
                kept_open: 0,
                free_since: Instant::now(),
                phase: Phase::Fresh,
                place: Some(place),
                rests_long: false,
            }),
            changed: Notify::new(),
            turn,
            stopping,
        })
    }

    /// The head of a request has been read.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        let mut now = self.now();
        if now.phase == Phase::Fresh {
            now.phase = Phase::Used;
        }
        now.started += 1;
        let key = (Instant::now(), now.started);
        now.ordinary.insert(key);
        drop(now);
        self.changed.notify_one();
        InFlight { activity: Arc::clone(self), key }
    }

    /// From here on nothing but what is in flight is waited for.
    pub(super) fn close(&self) {
        let mut now = self.now();
        now.phase = Phase::Closing;
        now.free_since = Instant::now();
        drop(now);
        self.changed.notify_one();
    }

    /// Gives the place of the connection back, once that is over: who kept an [`Exchange`] of it keeps
    /// no place.
    pub(super) fn end(&self) {
        let place = self.now().place.take();
        drop(place);
    }

    /// Resolves when the connection is out of time.
    pub(super) async fn overdue(&self) -> Overdue {
        loop {
            let (until, why) = self.deadline();
            let out_of_time = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = out_of_time => return why,
            }
        }
    }

    fn deadline(&self) -> (Option<Instant>, Overdue) {
        let now = self.now();
        if let Some((oldest, _)) = now.ordinary.first() {
            return (oldest.checked_add(self.exchange), Overdue::Stuck);
        }
        if now.kept_open > 0 {
            return (None, Overdue::Stuck);
        }
        let idle = if now.rests_long { self.member_idle } else { self.idle };
        let (allowed, why) = match now.phase {
            Phase::Fresh => (self.header, Overdue::Stuck),
            Phase::Used => (idle, Overdue::Idle),
            Phase::Closing => (FAREWELL.min(idle), Overdue::Stuck),
        };
        // What lies beyond the end of time is never.
        (now.free_since.checked_add(allowed), why)
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        // No code panics while it holds the lock with the value half changed.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One exchange, from the head of the request until its answer is written or given up.
#[derive(Debug)]
pub(super) struct InFlight {
    activity: Arc<Activity>,
    key: (Instant, u64),
}

impl InFlight {
    pub(super) fn exchange(&self) -> Exchange {
        Exchange { activity: Arc::clone(&self.activity), key: self.key }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut now = self.activity.now();
        if !now.ordinary.remove(&self.key) {
            now.kept_open = now.kept_open.saturating_sub(1);
        }
        if now.ordinary.is_empty() && now.kept_open == 0 {
            now.free_since = Instant::now();
        }
        drop(now);
        self.activity.turn.end();
        self.activity.changed.notify_one();
    }
}

/// The exchange a request belongs to; found in the extensions of every request that a
/// [`Listener`](super::Listener) serves.
#[derive(Debug, Clone)]
pub struct Exchange {
    activity: Arc<Activity>,
    key: (Instant, u64),
}

impl Exchange {
    /// Exempts this exchange from the deadline of [`Limits::with_exchange`], for a stream that is
    /// meant to last. Call it only once the caller is known: what is exempt costs a connection for
    /// as long as the peer likes. Calling it again changes nothing.
    pub fn keep_open(&self) {
        let mut now = self.activity.now();
        if now.ordinary.remove(&self.key) {
            now.kept_open += 1;
            drop(now);
            self.activity.turn.end();
            self.activity.changed.notify_one();
        }
    }

    /// Counts the connection as one of `member`'s, and no more as a stranger's of its address
    /// ([`Limits::with_members`]); where there is no place for that, it stays what it was. For whoever
    /// authorised this exchange by the certificate of its connection, as [`Member`](crate::server::Member)
    /// does: a certificate that nobody asked the store about is no member's.
    pub fn count_as_member(&self, member: &NodeName) {
        let mut now = self.activity.now();
        let Some(place) = &mut now.place else { return };
        if place.member() == Some(member) {
            return;
        }
        if !place.give_to(member) {
            tracing::debug!(%member, "a member's connection over the cap counts as a stranger's");
            return;
        }
        now.rests_long = !place.is_crowded();
    }

    /// Counts the connection as a stranger's of its address again: its certificate is no member's any
    /// more.
    pub fn count_as_stranger(&self) {
        let mut now = self.activity.now();
        now.rests_long = false;
        if let Some(place) = &mut now.place {
            place.take_back();
        }
    }

    /// Resolves when the listener shuts down: a stream that is meant to last ends itself then, and
    /// the drain does not have to wait for its bound.
    pub async fn closing(&self) {
        let mut stopping = self.activity.stopping.clone();
        // An error means that the listener is gone, which is the same news.
        drop(stopping.wait_for(|stop| *stop).await);
    }
}
