//! A store that fails on demand.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Decorator, Operation};
use crate::store::{Store, StoreError, StoreErrorKind};

/// What becomes of one call.
#[non_exhaustive]
pub enum Fault<S> {
    /// It goes well.
    None,
    /// It fails before it reaches the store: nothing is written.
    Before(StoreErrorKind),
    /// The store does as it was told, and the answer is lost: what a connection does that breaks
    /// while it commits.
    After(StoreErrorKind),
    /// Something else gets to the store first: a race that is always lost.
    Rival(Rival<S>),
}

/// What gets to the store first.
pub type Rival<S> =
    Box<dyn FnOnce(Arc<S>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

impl<S> Fault<S> {
    /// Has `rival` get to the store first.
    pub fn rival<F>(rival: impl FnOnce(Arc<S>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::Rival(Box::new(|store| Box::pin(rival(store))))
    }
}

impl<S> fmt::Debug for Fault<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Before(kind) => write!(f, "Before({kind:?})"),
            Self::After(kind) => write!(f, "After({kind:?})"),
            Self::Rival(_) => f.write_str("Rival(..)"),
        }
    }
}

/// A store that does as the one inside does, but for the calls whose fault was scripted.
pub struct FlakyStore<S> {
    inner: Arc<S>,
    script: Mutex<Script<S>>,
}

struct Script<S> {
    faults: BTreeMap<Operation, VecDeque<Fault<S>>>,
    calls: BTreeMap<Operation, usize>,
}

impl<S: Store> FlakyStore<S> {
    /// A store around `inner` whose every call goes well.
    #[must_use]
    pub fn new(inner: S) -> Self {
        let script = Script { faults: BTreeMap::new(), calls: BTreeMap::new() };
        Self { inner: Arc::new(inner), script: Mutex::new(script) }
    }

    /// Scripts the next calls of `operation`, one fault each, after those scripted before; calls
    /// beyond them go well.
    pub fn script(&self, operation: Operation, faults: impl IntoIterator<Item = Fault<S>>) {
        self.lock().faults.entry(operation).or_default().extend(faults);
    }

    /// Calls of `operation` so far, failed ones among them.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> usize {
        self.lock().calls.get(&operation).copied().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, Script<S>> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_fault(&self, operation: Operation) -> Fault<S> {
        let mut script = self.lock();
        *script.calls.entry(operation).or_default() += 1;
        let scripted = script.faults.get_mut(&operation).and_then(VecDeque::pop_front);
        scripted.unwrap_or(Fault::None)
    }
}

impl<S> fmt::Debug for FlakyStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("FlakyStore").field("faults", &script.faults).finish_non_exhaustive()
    }
}

impl<S: Store> Decorator for FlakyStore<S> {
    type Inner = S;

    fn inner(&self) -> &S {
        &self.inner
    }

    async fn around<T: Send>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        match self.next_fault(operation) {
            Fault::None => call.await,
            Fault::Before(kind) => Err(StoreError::new(kind, "do what a test has fail")),
            Fault::After(kind) => {
                call.await?;
                Err(StoreError::new(kind, "answer where a test has it fail"))
            }
            Fault::Rival(rival) => {
                rival(Arc::clone(&self.inner)).await;
                call.await
            }
        }
    }
}

crate::decorate_store! {
    [S: Store] [FlakyStore<S>]:
    Redemptions Tokens Nodes Identities Commands Admins Settings Journal Masters Probe
}
