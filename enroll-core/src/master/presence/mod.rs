//! Members whose streams stay open: whether their identities still hold, and who is called.
//!
//! - **The store is asked, once for all**: every [`CHECK`] it names the nodes that were touched, and is
//!   asked which of their identities hold and whether they have commands queued. So what another master
//!   revoked or queued is known here within a second, and what rests costs nothing, however many
//!   streams there are.
//! - **Who is new is asked about**: the identity was looked up before its first stream was known here.
//! - **Now and then everybody is**: every [`WHOLE`], so that no mark has to be good for longer, and that
//!   a store which was taken back is noticed.
//! - **A heartbeat counts once the store has said, after it came, that its identity holds**: one that
//!   came between a revocation and the end of its stream never counts.
//! - **Whoever cannot be confirmed is not a member**: when the store has been silent for [`PATIENCE`],
//!   or does not answer for so long, every stream ends.
//! - **No look waits for a write**: what is heard while one is under way goes with the next.
//! - No task lives while nobody is watched.

mod held;
mod watch;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use self::held::Held;
pub use self::watch::{Watch, WatchEnd};
use super::members::{AuthenticatedNode, Unauthorized};
use crate::model::{Clock, IdentityId, NodeId, Timestamp};
use crate::store::{Beat, Mark, Standing, Store, StoreError};

/// How often the store is asked.
const CHECK: Duration = Duration::from_millis(400);
/// How often it is asked about everybody.
const WHOLE: Duration = Duration::from_secs(30);
/// How long the store may be silent before every stream ends.
const PATIENCE: Duration = Duration::from_secs(5);

/// All members that are watched by this master.
pub(super) struct Watches(Arc<Shared>);

struct Shared {
    store: Arc<dyn Store>,
    held: Mutex<HashMap<IdentityId, Held>>,
    /// Who looks, one at a time.
    looked: tokio::sync::Mutex<Looked>,
    /// Held while what was heard is written.
    writing: Arc<tokio::sync::Mutex<()>>,
    heard: AtomicU64,
    dropped: AtomicU64,
}

/// What the looks before have come to.
#[derive(Default)]
struct Looked {
    /// How far the store was looked at, and when it was asked about everybody.
    known: Option<(Mark, Instant)>,
    /// When the store last answered.
    answered: Option<Instant>,
}

/// What a look begins with. All of it was there before the store is asked.
struct Present {
    heard: Vec<(IdentityId, Beat)>,
    /// Who was not asked about yet.
    new: Vec<IdentityId>,
}

impl Watches {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let (held, looked) = (Mutex::default(), tokio::sync::Mutex::default());
        let writing = Arc::default();
        let (heard, dropped) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Shared { store, held, looked, writing, heard, dropped }))
    }

    /// Watches one more stream of `caller`; `None` where `most` are open.
    pub(super) fn open(
        &self,
        caller: &AuthenticatedNode,
        most: usize,
        clock: &Arc<dyn Clock>,
    ) -> Option<Watch> {
        let id = caller.identity.id;
        let mut members = self.0.held();
        let idle = members.is_empty();
        let held = members.entry(id).or_insert_with(|| Held::of(caller));
        if held.streams >= most {
            return None;
        }
        held.revive();
        held.streams += 1;
        let seen = held.subscribe();
        drop(members);
        if idle {
            let (shared, clock) = (Arc::downgrade(&self.0), Arc::clone(clock));
            drop(tokio::spawn(tend(shared, clock)));
        }
        Some(Watch::new(Arc::downgrade(&self.0), id, seen))
    }

    /// Wakes the streams of a node, for which a command was queued here.
    pub(super) fn call(&self, node_id: NodeId) {
        for held in self.0.held().values().filter(|held| held.node_id == node_id) {
            held.call();
        }
    }

    /// Writes what was heard and not written: before a master ends.
    pub(super) async fn flush(&self, at: Timestamp) {
        // Again for what was heard while something else was being written, and once more for what a
        // look beside this one has begun to write.
        for _ in 0..3 {
            self.0.look(at).await;
            drop(self.0.writing.lock().await);
            if self.0.held().values().all(|held| held.heard.is_none()) {
                return;
            }
        }
    }

    /// How many streams are open.
    pub(super) fn streams(&self) -> usize {
        self.0.held().values().map(|held| held.streams).sum()
    }

    /// How many heartbeats came over streams so far.
    pub(super) fn heard(&self) -> u64 {
        self.0.heard.load(Ordering::Relaxed)
    }

    /// How many heartbeats were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

/// Looks again and again, until nobody is watched.
async fn tend(shared: Weak<Shared>, clock: Arc<dyn Clock>) {
    loop {
        tokio::time::sleep(CHECK).await;
        let Some(shared) = shared.upgrade() else { return };
        shared.look(clock.now()).await;
        let mut members = shared.held();
        members.retain(|_, held| held.streams > 0 || held.heard.is_some());
        if members.is_empty() {
            return;
        }
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, HashMap<IdentityId, Held>> {
        // No code panics while it holds the lock with the value half changed.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the store, ends whom it does not know, and has what was heard of the others written.
    async fn look(self: &Arc<Self>, at: Timestamp) {
        let mut looked = self.looked.lock().await;
        let Some(present) = self.present() else { return };
        let silent_for = looked.answered.map_or(Duration::ZERO, |answered| answered.elapsed());
        let patience = PATIENCE.saturating_sub(silent_for).max(CHECK);
        match tokio::time::timeout(patience, self.ask(&mut looked, &present)).await {
            Ok(Ok((asked, standing))) => {
                looked.answered = Some(Instant::now());
                self.judge(asked, standing, at);
                self.hand_over(present.heard);
                return;
            }
            Ok(Err(cause)) => {
                tracing::warn!(%cause, "members with open streams cannot be confirmed");
            }
            Err(_) => {
                tracing::warn!("the store does not say who of those with open streams is one")
            }
        }
        looked.known = None;
        self.put_back(present.heard);
        self.lose_patience(looked.answered);
    }

    /// Has what was heard of members written, or, while something else is, lets it wait for the next
    /// look.
    fn hand_over(self: &Arc<Self>, heard: Vec<(IdentityId, Beat)>) {
        let Ok(turn) = Arc::clone(&self.writing).try_lock_owned() else {
            return self.put_back(heard);
        };
        let beats = self.of_members(heard);
        if !beats.is_empty() {
            let shared = Arc::clone(self);
            drop(tokio::spawn(async move {
                shared.write(beats).await;
                drop(turn);
            }));
        }
    }

    /// What was heard until now and who is new; `None` where nobody is there.
    fn present(&self) -> Option<Present> {
        let mut present = Present { heard: Vec::new(), new: Vec::new() };
        let mut members = self.held();
        for (id, held) in &mut *members {
            present.heard.extend(held.heard.take().map(|beat| (*id, beat)));
            if held.new {
                present.new.push(*id);
            }
        }
        (!members.is_empty()).then_some(present)
    }

    /// Asks about those who are new or were touched, or about everybody; says who they were, and which
    /// of them hold.
    async fn ask(
        &self,
        looked: &mut Looked,
        present: &Present,
    ) -> Result<(Vec<IdentityId>, Vec<Standing>), StoreError> {
        let known = looked.known.filter(|(_, whole)| whole.elapsed() < WHOLE);
        let touched = self.store.touched(known.map(|(mark, _)| mark)).await?;
        let (asked, whole) = match (known, touched.nodes) {
            (Some((_, whole)), Some(nodes)) => (self.of_nodes(nodes, &present.new), whole),
            _ => (self.held().keys().copied().collect(), Instant::now()),
        };
        let standing = match asked.is_empty() {
            true => Vec::new(),
            false => self.store.standing(asked.clone()).await?,
        };
        looked.known = Some((touched.mark, whole));
        Ok((asked, standing))
    }

    /// The identities of these nodes, and those that are `new`.
    fn of_nodes(&self, nodes: Vec<NodeId>, new: &[IdentityId]) -> Vec<IdentityId> {
        if nodes.is_empty() {
            return new.to_vec();
        }
        let nodes: HashSet<_> = nodes.into_iter().collect();
        let members = self.held();
        let touched = members.iter().filter(|(_, held)| !held.new && nodes.contains(&held.node_id));
        touched.map(|(id, _)| *id).chain(new.iter().copied()).collect()
    }

    /// Ends whom the store does not know and who is past their time, and calls who has commands.
    fn judge(&self, asked: Vec<IdentityId>, standing: Vec<Standing>, at: Timestamp) {
        let standing: HashMap<_, _> = standing.into_iter().map(|it| (it.id, it.called)).collect();
        let mut members = self.held();
        for id in asked {
            let Some(held) = members.get_mut(&id) else { continue };
            match standing.get(&id) {
                None => held.end(WatchEnd::Unauthorized(Unauthorized::Revoked)),
                Some(called) => {
                    held.new = false;
                    if *called {
                        held.call();
                    }
                }
            }
        }
        for held in members.values().filter(|held| held.expires_at.is_some_and(|end| at >= end)) {
            held.end(WatchEnd::Unauthorized(Unauthorized::Expired));
        }
    }

    /// What was heard of those that are still members.
    fn of_members(&self, heard: Vec<(IdentityId, Beat)>) -> Vec<Beat> {
        let members = self.held();
        let is_member = |id: &IdentityId| members.get(id).is_some_and(|held| !held.is_over());
        heard.into_iter().filter(|(id, _)| is_member(id)).map(|(_, beat)| beat).collect()
    }

    /// Lets what was heard wait for the next look.
    fn put_back(&self, heard: Vec<(IdentityId, Beat)>) {
        let mut members = self.held();
        for (id, earlier) in heard {
            if let Some(held) = members.get_mut(&id) {
                held.put_back(earlier);
            }
        }
    }

    /// Ends whom nobody could confirm for too long, and drops what was heard of them.
    fn lose_patience(&self, answered: Option<Instant>) {
        for held in self.held().values_mut() {
            let confirmed = answered.map_or(held.since, |answered| answered.max(held.since));
            if confirmed.elapsed() >= PATIENCE {
                let lost = held.heard.take().is_some();
                self.dropped.fetch_add(u64::from(lost), Ordering::Relaxed);
                held.end(WatchEnd::Unavailable);
            }
        }
    }

    async fn write(&self, beats: Vec<Beat>) {
        let count = beats.len();
        if let Err(cause) = self.store.record_beats(beats).await {
            self.dropped.fetch_add(count as u64, Ordering::Relaxed);
            tracing::warn!(count, %cause, "heartbeats of streams could not be written");
        }
    }
}
