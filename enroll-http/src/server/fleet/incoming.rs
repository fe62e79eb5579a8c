//! A stream that a member sends.

use std::time::Duration;

use enroll_core::master::{AuthenticatedNode, Enroller, Watch, WatchEnd};
use enroll_core::model::{Facts, Reason, Rejection};
use tokio::time::Instant;
use tonic::{Status, Streaming};

use super::{Caller, refused};
use crate::fleet::{Pinned, status};
use crate::server::Exchange;
use crate::server::answer::trouble;
use crate::server::member::unauthorized;

/// The messages of one stream, for as long as its identity holds and the listener serves.
pub(super) struct Incoming<M> {
    caller: Caller,
    member: AuthenticatedNode,
    messages: Streaming<M>,
    open: Open,
    pace: Pace,
    first: bool,
}

impl<M: Pinned> Incoming<M> {
    /// Lets a member's stream in.
    pub(super) async fn open(caller: Caller, messages: Streaming<M>) -> Result<Self, Status> {
        let member = caller.member().await?;
        let open = Open::of(&caller, &member)?;
        Ok(Self { caller, member, messages, open, pace: Pace::new(), first: true })
    }

    /// The next message; `None` when the member has said all.
    pub(super) async fn next(&mut self) -> Result<Option<M>, Status> {
        self.pace.keep().await;
        let message = tokio::select! {
            biased;
            why = self.open.over() => return Err(why),
            message = self.messages.message() => message?,
        };
        let Some(message) = message else { return Ok(None) };
        self.caller.pin(&self.member, message.node_name(), self.first)?;
        if std::mem::take(&mut self.first) {
            // The first message may have come long after the call began.
            self.member = self.caller.member().await?;
        }
        Ok(Some(message))
    }

    pub(super) const fn member(&self) -> &AuthenticatedNode {
        &self.member
    }
}

impl<M> Incoming<M> {
    /// Takes a heartbeat: the first of a node is on record when this returns.
    pub(super) async fn hear(&mut self, facts: Option<Facts>) -> Result<(), Status> {
        let enroller = &self.caller.enroller;
        if self.member.node.last_seen_at.is_some() {
            self.open.watch.heard(enroller.clock().now(), facts);
            return Ok(());
        }
        let heard = enroller.hear(&self.member, facts).await;
        heard.map_err(|error| status(&trouble(&error)))?;
        self.member.node.last_seen_at = Some(self.member.at);
        Ok(())
    }
}

/// What keeps a stream open, and ends it.
pub(super) struct Open {
    pub(super) watch: Watch,
    exchange: Option<Exchange>,
}

impl Open {
    /// From here on the stream may last.
    pub(super) fn of(caller: &Caller, member: &AuthenticatedNode) -> Result<Self, Status> {
        let watch = caller.enroller.attend(member).ok_or_else(|| {
            let words = format!(
                "This identity has {} streams open on this master already.",
                Enroller::MAX_STREAMS
            );
            let rejection = Rejection::new(Reason::RateLimited).with_detail(words);
            refused(rejection.with_retry_after(CROWDED))
        })?;
        let exchange = caller.extensions.get::<Exchange>().cloned();
        if let Some(exchange) = &exchange {
            exchange.keep_open();
        }
        Ok(Self { watch, exchange })
    }

    /// Resolves when the stream has to end: with its identity, or with the listener.
    pub(super) async fn over(&mut self) -> Status {
        let closing = closing(self.exchange.as_ref());
        tokio::select! {
            why = self.watch.ended() => ended(why),
            () = closing => leaving(),
        }
    }

    /// Resolves with nothing when a command waits.
    pub(super) async fn called(&mut self) -> Result<(), Status> {
        let closing = closing(self.exchange.as_ref());
        tokio::select! {
            called = self.watch.called() => called.map_err(ended),
            () = closing => Err(leaving()),
        }
    }
}

async fn closing(exchange: Option<&Exchange>) {
    match exchange {
        Some(exchange) => exchange.closing().await,
        // Behind a listener of an embedder's own.
        None => std::future::pending().await,
    }
}

pub(super) fn ended(why: WatchEnd) -> Status {
    match why {
        WatchEnd::Unauthorized(why) => {
            tracing::debug!(%why, "a stream ends with its identity");
            status(&unauthorized())
        }
        _ => refused(Rejection::new(Reason::Unavailable)),
    }
}

fn leaving() -> Status {
    let words = "This master is shutting down.";
    refused(Rejection::new(Reason::Unavailable).with_detail(words))
}

/// When who has too many streams open may come again: ghosts of broken connections are gone by then.
const CROWDED: Duration = Duration::from_secs(30);

/// Slows down who sends too fast: what is not read fills the peer's window.
struct Pace {
    since: Instant,
    read: u32,
}

impl Pace {
    /// Messages that are read in a second.
    const MESSAGES: u32 = 20;
    const SECOND: Duration = Duration::from_secs(1);

    fn new() -> Self {
        Self { since: Instant::now(), read: 0 }
    }

    async fn keep(&mut self) {
        if self.read >= Self::MESSAGES {
            tokio::time::sleep_until(self.since + Self::SECOND).await;
        }
        if self.since.elapsed() >= Self::SECOND {
            *self = Self::new();
        }
        self.read += 1;
    }
}
