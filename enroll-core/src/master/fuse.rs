//! The deliberate second step: from monitoring to full control, by an operator, under a watchdog.
//!
//! An attempt has an id, and every step of it is a compare-and-set on that id: a re-enrollment, a
//! deletion or a deadline overtakes it, and what it then comes to is refused and undone. All of it
//! is in the store, so the watchdog goes on after a restart, on any master that has a fuser.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::enroller::Enroller;
use super::error::Error;
use super::operator::OperatorError;
use crate::model::{
    Event, FuseEnd, FuseFailure, FuseId, FuseRecord, Handover, Health, NodeName, NodeRecord,
    TrustState, What,
};
use crate::store::{NodeFilter, Page, Transition};

/// How far an attempt got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FuseProgress {
    /// Not there yet.
    Pending,
    /// The node is under control.
    Done,
}

/// Brings a node under full control, outside.
///
/// Every call ends, by a deadline of its own: the attempts of other nodes wait for it. One may be
/// dropped in the middle.
#[async_trait]
pub trait Fuser: Send + Sync {
    /// Begins; says how the outside names what was begun. Called again with the same attempt it must
    /// find what it began, not begin twice.
    ///
    /// # Errors
    /// [`FuseFailure`]: the attempt ends, and [`abort`](Self::abort) is called.
    async fn begin(&self, node: &NodeRecord, attempt: FuseId) -> Result<String, FuseFailure>;

    /// Says how far it got. Trouble that may pass is [`FuseProgress::Pending`]: the deadline ends it.
    ///
    /// # Errors
    /// [`FuseFailure`]: the attempt ends, and [`abort`](Self::abort) is called.
    async fn poll(&self, node: &NodeRecord, fuse: &FuseRecord)
    -> Result<FuseProgress, FuseFailure>;

    /// What the worker is handed to do its part, while the attempt runs. It may hold secrets: fetch it
    /// anew each time, and keep it nowhere.
    ///
    /// # Errors
    /// [`FuseFailure`] when it cannot be had at the moment: the worker asks again, and the attempt
    /// goes on.
    async fn hand_over(
        &self,
        node: &NodeRecord,
        fuse: &FuseRecord,
    ) -> Result<Handover, FuseFailure>;

    /// Undoes whatever there is of it outside, running or done; nothing to undo is a success.
    ///
    /// # Errors
    /// [`FuseFailure`] when it could not. The master that asked tries again for as long as it runs;
    /// after that an operator has to look.
    async fn abort(&self, node: &NodeRecord, fuse: &FuseRecord) -> Result<(), FuseFailure>;
}

/// What a master without a fuser leaves an attempt beyond its deadline, for a master with one to end
/// it and undo it as well: 30 s. One takes over from another well within that.
const FUSERS_FIRST: Duration = Duration::from_secs(30);

impl Enroller {
    /// Lets operators fuse nodes, by `fuser`, each attempt within `deadline`.
    #[must_use]
    pub fn with_fuser(mut self, fuser: Arc<dyn Fuser>, deadline: Duration) -> Self {
        self.fuser = Some((fuser, deadline));
        self
    }

    /// Begins to fuse a node.
    ///
    /// # Errors
    /// [`OperatorError::Conflict`] from any state but `monitoring`, while degraded, or where nothing
    /// here can fuse.
    pub async fn fuse(&self, name: &NodeName, actor: &str) -> Result<NodeRecord, OperatorError> {
        let Some((fuser, deadline)) = &self.fuser else {
            return Err(conflict("This master has no fuser: start it with --fuser."));
        };
        let node = self.node(name).await?;
        let at = self.stamps.next(&*self.clock);
        if node.state != TrustState::Monitoring {
            return Err(conflict(&format!("The node is {}, not monitoring.", node.state)));
        }
        if node.health(at, self.config.stale_after) == Health::Degraded {
            return Err(conflict("The node is degraded: it has not been heard from lately."));
        }
        let attempt = FuseId::generate(at, &*self.entropy)?;
        let fuse = FuseRecord {
            attempt,
            started_at: at,
            deadline: at.after(*deadline),
            ticket: None,
            ended: None,
        };
        let what = What::FuseStarted { node_id: node.id, node_name: node.name.clone(), attempt };
        let event = Event::by(at, actor, what);
        let started = self.step(&node, TrustState::Fusing, fuse, Some(event)).await?;
        let Some(node) = started else {
            return Err(conflict("The node changed at this moment: look at it again."));
        };
        match fuser.begin(&node, attempt).await {
            Ok(ticket) => Ok(self.keep_ticket(node, ticket).await?),
            Err(failure) => {
                self.fail_fuse(&node, failure).await?;
                Ok(self.node(name).await?)
            }
        }
    }

    async fn keep_ticket(&self, node: NodeRecord, ticket: String) -> Result<NodeRecord, Error> {
        let Some(fuse) = node.fuse.clone() else { return Ok(node) };
        let fuse = FuseRecord { ticket: Some(ticket), ..fuse };
        match self.step(&node, TrustState::Fusing, fuse.clone(), None).await? {
            Some(node) => Ok(node),
            None => {
                self.undo_fuse(self.owed.begin(&node, &fuse)).await;
                Ok(node)
            }
        }
    }

    /// Looks after every running attempt once: asks how far it got, ends what is past its deadline.
    /// Then tries again what could not be undone outside.
    ///
    /// A master without a fuser ends what nobody with one has ended within 30 s of its deadline, so
    /// that none runs for ever; what there is outside it can only name in its log.
    ///
    /// # Errors
    /// [`Error`] when the store cannot say.
    pub async fn tend(&self) -> Result<(), Error> {
        for node in self.fusing().await? {
            self.tend_fuse(&node).await?;
        }
        self.undo_what_is_owed().await;
        Ok(())
    }

    /// Whose attempts run, those that end first before the others: no deadline waits for a look.
    async fn fusing(&self) -> Result<Vec<NodeRecord>, Error> {
        let filter = NodeFilter { state: Some(TrustState::Fusing), ..NodeFilter::default() };
        let (mut fusing, mut page) = (Vec::new(), Page::first(100));
        loop {
            let nodes = self.store.nodes(page, filter.clone()).await?;
            let Some(last) = nodes.last().map(|node| node.name.clone()) else { break };
            fusing.extend(nodes);
            page = Page { after: Some(last), limit: 100 };
        }
        fusing.sort_by_key(|node| node.fuse.as_ref().map(|fuse| fuse.deadline));
        Ok(fusing)
    }

    pub(super) async fn tend_fuse_of(&self, name: &NodeName) -> Result<(), Error> {
        match self.store.node(name).await? {
            Some(node) if node.state == TrustState::Fusing => self.tend_fuse(&node).await,
            _ => Ok(()),
        }
    }

    async fn tend_fuse(&self, node: &NodeRecord) -> Result<(), Error> {
        let Some(fuse) = &node.fuse else { return Ok(()) };
        let grace = if self.fuser.is_some() { Duration::ZERO } else { FUSERS_FIRST };
        if self.clock.now() >= fuse.deadline.after(grace) {
            return self.fail_fuse(node, overdue(fuse)).await;
        }
        let (Some((fuser, _)), Some(_)) = (&self.fuser, &fuse.ticket) else {
            // Without a ticket it was begun by a call that is still on its way, or by a master that
            // died: the deadline ends it if nobody comes back.
            return Ok(());
        };
        match fuser.poll(node, fuse).await {
            Ok(FuseProgress::Pending) => Ok(()),
            Ok(FuseProgress::Done) => self.finish_fuse(node, fuse).await,
            Err(failure) => self.fail_fuse(node, failure).await,
        }
    }

    /// A success counts only before the deadline and only for the attempt that is still running.
    async fn finish_fuse(&self, node: &NodeRecord, fuse: &FuseRecord) -> Result<(), Error> {
        let at = self.clock.now();
        if at >= fuse.deadline {
            return self.fail_fuse(node, overdue(fuse)).await;
        }
        let what =
            What::Fused { node_id: node.id, node_name: node.name.clone(), attempt: fuse.attempt };
        let ended = FuseRecord { ended: Some(FuseEnd { at, failure: None }), ..fuse.clone() };
        let event = Event::new(at, what);
        if self.step(node, TrustState::Fused, ended, Some(event)).await?.is_none() {
            self.undo_fuse(self.owed.begin(node, fuse)).await;
        }
        Ok(())
    }

    /// Ends an attempt, and undoes what there is of it even if another ended it first: it may have
    /// come to be after that one looked.
    async fn fail_fuse(&self, node: &NodeRecord, failure: FuseFailure) -> Result<(), Error> {
        let Some(fuse) = node.fuse.clone() else { return Ok(()) };
        // Begun before the write: of one that is cut off, nobody knows whether it was written.
        let undoing = self.owed.begin(node, &fuse);
        let at = self.clock.now();
        let what = What::FuseFailed {
            node_id: node.id,
            node_name: node.name.clone(),
            attempt: fuse.attempt,
            source: failure.source.clone(),
        };
        let ended = FuseRecord { ended: Some(FuseEnd { at, failure: Some(failure) }), ..fuse };
        let event = Event::new(at, what);
        let _first = self.step(node, TrustState::Monitoring, ended, Some(event)).await?;
        self.undo_fuse(undoing).await;
        Ok(())
    }

    async fn step(
        &self,
        node: &NodeRecord,
        to: TrustState,
        fuse: FuseRecord,
        event: Option<Event>,
    ) -> Result<Option<NodeRecord>, Error> {
        let transition = Transition {
            node_id: node.id,
            from: node.state,
            attempt: node.fuse_attempt(),
            to,
            fuse,
            event: event.clone(),
        };
        let after = self.store.transition(transition).await?;
        if let (Some(_), Some(event)) = (&after, &event) {
            self.tell(event);
        }
        Ok(after)
    }
}

fn conflict(text: &str) -> OperatorError {
    OperatorError::Conflict(text.to_owned())
}

fn overdue(fuse: &FuseRecord) -> FuseFailure {
    FuseFailure {
        source: FuseFailure::WATCHDOG.to_owned(),
        detail: format!("It was not done by {}.", fuse.deadline.to_rfc3339()),
    }
}
