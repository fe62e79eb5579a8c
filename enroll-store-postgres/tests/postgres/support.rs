//! What these tests do to a store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use enroll_core::decision::Decision;
use enroll_core::model::{Event, Timestamp, What};
use enroll_core::store::{
    Lookup, MintOutcome, Redeem, RedeemOutcome, Redemptions as _, StoreError, Tokens as _,
};
use enroll_core::testing::{Claimant, Fixtures, TestToken};
use enroll_store_postgres::{Options, PostgresStore};

/// When everything happens.
pub(crate) const AT: Timestamp = Fixtures::START;
/// How long anything that has to happen may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn open(url: &str) -> PostgresStore {
    PostgresStore::connect(url, Options::new()).await.unwrap()
}

/// How many times `small` something is done: `ENROLL_TEST_SCALE` multiplies it, up to `full`.
pub(crate) fn times(small: usize, full: usize) -> usize {
    match std::env::var("ENROLL_TEST_SCALE").as_deref() {
        Ok("full") => full,
        _ => (small * enroll_core::testing::scale()).min(full),
    }
}

/// A token for any node, that the store keeps.
pub(crate) async fn minted(store: &PostgresStore, make: &Fixtures, uses: u32) -> TestToken {
    let token = make.token(next_instant()).uses(uses);
    assert!(matches!(store.mint(make.mint(&token)).await.unwrap(), MintOutcome::Minted(None)));
    token
}

/// Another instant for each token: of thousands of one millisecond two would soon have the same id.
fn next_instant() -> Timestamp {
    static MINTED: AtomicU64 = AtomicU64::new(0);
    AT.after(Duration::from_millis(MINTED.fetch_add(1, Ordering::Relaxed)))
}

/// The redemption that `name` would make of `token`, as the store stands; `None` when it is refused.
pub(crate) async fn approved(
    store: &PostgresStore,
    make: &Fixtures,
    token: &TestToken,
    name: &str,
) -> Result<Option<Redeem>, StoreError> {
    let claimant = Claimant::new(token, name);
    let lookup = Lookup {
        token_id: Some(token.record.id),
        node_name: claimant.node_name(),
        claim: claimant.claim(),
    };
    let seen = store.look_up(lookup).await?;
    Ok(match make.decide(&claimant, &seen, AT.after(Duration::from_secs(60))) {
        Ok(Decision::Approved(approval)) => {
            Some(make.redeem(approval, AT.after(Duration::from_secs(60))))
        }
        _ => None,
    })
}

/// Enrolls `name` with `token`; says whether it won.
pub(crate) async fn enroll(
    store: &PostgresStore,
    make: &Fixtures,
    token: &TestToken,
    name: &str,
) -> Result<bool, StoreError> {
    let Some(redeem) = approved(store, make, token, name).await? else { return Ok(false) };
    Ok(matches!(store.redeem(redeem).await?, RedeemOutcome::Enrolled(_)))
}

pub(crate) fn event() -> Event {
    Event::by(AT, "tests", What::SettingChanged { key: "key".into() })
}

/// Looks until there is something.
pub(crate) async fn in_time<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
