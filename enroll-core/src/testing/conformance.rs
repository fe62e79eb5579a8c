//! How the laws are run: each against a fresh store, on a runtime with several threads.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Once};

use tokio::sync::Barrier;
use tokio::task::{JoinError, JoinSet};

use super::laws;
use crate::store::Store;

/// A law at work.
pub type LawFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One law: a clause of a contract, as something that panics when a store breaks it.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "two values that belong together")]
pub struct Law {
    /// Its name; it begins with the clause.
    pub name: &'static str,
    /// The law.
    pub run: fn(Arc<dyn Store>) -> LawFuture,
}

/// Runs one law against the store that `fresh` makes, on a runtime of its own.
///
/// # Panics
/// When the law is broken, or there is no runtime to be had.
pub fn check<S, F>(law: fn(Arc<dyn Store>) -> LawFuture, fresh: impl FnOnce() -> F)
where
    S: Store + 'static,
    F: Future<Output = S>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a test has a runtime");
    runtime.block_on(async {
        let store = Arc::new(fresh().await);
        law(store).await;
    });
}

/// Runs all of `contenders` at once, each in a task of its own, none before all are ready to go.
///
/// # Panics
/// When a contender does.
pub async fn race<T, F>(contenders: impl IntoIterator<Item = F>) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let contenders: Vec<F> = contenders.into_iter().collect();
    let start = Arc::new(Barrier::new(contenders.len().max(1)));
    let mut running = JoinSet::new();
    for contender in contenders {
        let start = Arc::clone(&start);
        running.spawn(async move {
            start.wait().await;
            contender.await
        });
    }
    running.join_all().await
}

/// Runs `one` and `other` at once, neither before both are ready to go.
///
/// # Panics
/// When either does.
pub async fn together<A, B>(
    one: impl Future<Output = A> + Send + 'static,
    other: impl Future<Output = B> + Send + 'static,
) -> (A, B)
where
    A: Send + 'static,
    B: Send + 'static,
{
    let start = Arc::new(Barrier::new(2));
    let ready = Arc::clone(&start);
    let other = tokio::spawn(async move {
        ready.wait().await;
        other.await
    });
    let one = tokio::spawn(async move {
        start.wait().await;
        one.await
    });
    (one.await.unwrap_or_else(repeat_panic), other.await.unwrap_or_else(repeat_panic))
}

/// Panics as the task did, so that the words of the law are not lost.
fn repeat_panic<T>(error: JoinError) -> T {
    std::panic::resume_unwind(error.into_panic())
}

/// How many times the smallest size the contested laws run: `ENROLL_TEST_SCALE`, a whole number or
/// the word `full` for [`FULL_SCALE`]; 1 when it is not set. Says on standard error, once, how to
/// run large.
///
/// # Panics
/// When the variable is set to anything else.
#[must_use]
pub fn scale() -> usize {
    static SAY: Once = Once::new();
    SAY.call_once(|| {
        eprintln!("{SCALE}=<n> runs the contested laws n times as large; `full` is {FULL_SCALE}");
    });
    match std::env::var(SCALE).as_deref() {
        Err(_) => 1,
        Ok("full") => FULL_SCALE,
        Ok(text) => match text.parse() {
            Ok(factor @ 1..) => factor,
            _ => panic!("{SCALE} is a whole number from 1 on, or `full`"),
        },
    }
}

const SCALE: &str = "ENROLL_TEST_SCALE";
/// The factor at which the largest law contests 100,000 tokens.
pub const FULL_SCALE: usize = 500;

/// Makes one `#[test]` for each law, each with a fresh store of its own.
///
/// It takes the path of an `async fn` that makes an empty store; where that needs a directory or a
/// database, the store has to keep it alive. The tests need nothing of the crate that uses them.
///
/// ```
/// use enroll_core::store::MemoryStore;
///
/// async fn fresh() -> MemoryStore {
///     MemoryStore::new()
/// }
/// enroll_core::store_conformance!(fresh);
/// ```
#[macro_export]
macro_rules! store_conformance {
    ($fresh:path) => {
        $crate::__store_laws! { __store_law_tests [$fresh] }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __store_law_tests {
    ([$fresh:path] $($noun:ident: $($law:ident)+;)+) => {$($(
        #[test]
        fn $law() {
            $crate::testing::check(
                |store| ::std::boxed::Box::pin($crate::testing::laws::$noun::$law(store)),
                || async { $fresh().await },
            );
        }
    )+)+};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __store_law_list {
    ([] $($noun:ident: $($law:ident)+;)+) => {
        /// Every law, in the order of the contracts.
        pub const LAWS: &[Law] = &[$($(
            Law { name: stringify!($law), run: |store| Box::pin(laws::$noun::$law(store)) },
        )+)+];
    };
}
crate::__store_laws! { __store_law_list [] }
