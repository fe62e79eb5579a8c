//! Redemptions that wait while others are under way, and go together.
//!
//! Nobody waits for a batch to fill: whoever comes while fewer than [`ABREAST`] batches are under way
//! is carried out at once, and a batch that is done takes what has come meanwhile.

use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use enroll_core::model::{NodeName, NodeRecord};
use enroll_core::store::Redeem;
use tokio::sync::oneshot;

use crate::PostgresStore;
use crate::error::Failure;
use crate::redeem::Way;

/// Batches of one store that are under way at once, at most: enough for the server to work on one
/// while it syncs another.
const ABREAST: usize = 4;

/// What waits, and how much is under way.
pub(crate) struct Batches {
    state: Mutex<State>,
    /// Redemptions in one batch, at most.
    most: usize,
    abreast: usize,
}

struct State {
    waiting: VecDeque<Waiting>,
    under_way: usize,
}

struct Waiting {
    way: Way,
    redeem: Arc<Redeem>,
    answer: oneshot::Sender<Answer>,
}

/// What became of one redemption of a batch.
enum Answer {
    Won(Box<NodeRecord>),
    Lost,
    /// The server refused the batch, nothing of which was written, for something that only one of its
    /// redemptions may have brought in.
    Alone,
    Failed(Failure),
}

impl PostgresStore {
    /// Carries out one redemption, together with others that wait at the same moment; `None` when it
    /// was lost.
    pub(crate) async fn redeem_with_others(
        &self,
        redeem: &Arc<Redeem>,
    ) -> Result<Option<NodeRecord>, Failure> {
        let way = Way::of(redeem)?;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { way, redeem: Arc::clone(redeem), answer };
        if self.inner.batches.push(waiting) {
            let run = Run { batches: Arc::clone(&self.inner.batches), ended: false };
            tokio::spawn(run.until_nobody_waits(self.clone()));
        }
        match answered.await {
            Ok(Answer::Won(node)) => Ok(Some(*node)),
            Ok(Answer::Lost) => Ok(None),
            Ok(Answer::Alone) => {
                let alone = self.redeem_at_once(way, std::slice::from_ref(redeem)).await?;
                Ok(alone.into_iter().next())
            }
            Ok(Answer::Failed(failure)) => Err(failure),
            // Whoever was to answer was stopped, perhaps in the middle.
            Err(_) => Err(Failure::TimedOut),
        }
    }

    async fn redeem_batch(&self, batch: Vec<Waiting>) {
        let Some(way) = batch.first().map(|first| first.way) else { return };
        let redeems: Vec<_> = batch.iter().map(|waiting| Arc::clone(&waiting.redeem)).collect();
        match self.redeem_at_once(way, &redeems).await {
            Ok(nodes) => {
                let mut nodes: HashMap<_, _> =
                    nodes.into_iter().map(|node| (node.id, Box::new(node))).collect();
                for Waiting { redeem, answer, .. } in batch {
                    let node = nodes.remove(&redeem.node_id());
                    // Who does not wait any more will ask what became of it.
                    let _gone = answer.send(node.map_or(Answer::Lost, Answer::Won));
                }
            }
            Err(failure) => {
                let failure = Arc::new(failure);
                let alone = batch.len() > 1 && failure.is_refusal();
                for Waiting { answer, .. } in batch {
                    let failed = || Answer::Failed(Failure::Shared(Arc::clone(&failure)));
                    let _gone = answer.send(if alone { Answer::Alone } else { failed() });
                }
            }
        }
    }
}

impl Batches {
    pub(crate) fn new(most: NonZeroUsize, connections: usize) -> Self {
        let state = State { waiting: VecDeque::new(), under_way: 0 };
        let most = most.get();
        // Without batches every connection carries a redemption of its own.
        let abreast = if most == 1 { connections } else { ABREAST.min(connections) };
        Self { state: Mutex::new(state), most, abreast: abreast.max(1) }
    }

    /// Adds one that waits, and says whether the caller has to run batches.
    fn push(&self, waiting: Waiting) -> bool {
        let mut state = self.state();
        state.waiting.push_back(waiting);
        let runs = state.under_way < self.abreast;
        state.under_way += usize::from(runs);
        runs
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock, so what it guards is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What can go in one batch with the first that waits: it takes its name in the same way, and no
    /// two take the same.
    fn next(&mut self, most: usize) -> Vec<Waiting> {
        let Some(first) = self.waiting.pop_front() else { return Vec::new() };
        let name = |waiting: &Waiting| -> NodeName { waiting.redeem.approval.node_name().clone() };
        let (way, mut names) = (first.way, HashSet::from([name(&first)]));
        let mut batch = vec![first];
        let mut place = 0;
        while let Some(waiting) = self.waiting.get(place).filter(|_| batch.len() < most) {
            if waiting.way == way && names.insert(name(waiting)) {
                batch.extend(self.waiting.remove(place));
            } else {
                place += 1;
            }
        }
        batch
    }
}

/// One that runs batches until nobody waits.
struct Run {
    batches: Arc<Batches>,
    ended: bool,
}

impl Run {
    async fn until_nobody_waits(mut self, store: PostgresStore) {
        while let Some(batch) = self.next() {
            store.redeem_batch(batch).await;
        }
    }

    /// The next batch. That nobody waits and that this one ends is one step: whoever comes after it
    /// runs batches again.
    fn next(&mut self) -> Option<Vec<Waiting>> {
        let mut state = self.batches.state();
        let batch = state.next(self.batches.most);
        self.ended = batch.is_empty();
        state.under_way -= usize::from(self.ended);
        (!self.ended).then_some(batch)
    }
}

/// One that was stopped, with the runtime that it ran in.
impl Drop for Run {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut state = self.batches.state();
        state.under_way -= 1;
        if state.under_way == 0 {
            // Nobody is left to carry them out; whoever waits is told.
            state.waiting.clear();
        }
    }
}
