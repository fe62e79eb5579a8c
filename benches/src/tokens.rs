//! Tokens to measure with, and who redeems them.

use std::path::Path;
use std::time::Duration;

use enroll_core::model::{Sha256, Timestamp};
use enroll_core::store::{Store, Tokens};
use enroll_core::testing::{Fixtures, TestToken};
use enroll_store_sqlite::SqliteStore;

use crate::plan::Failure;

/// `count` one-shot tokens, the first minted at `from`, in the order of their ids, as a master mints
/// them. The same call makes the same tokens.
pub(crate) fn make(fixtures: &Fixtures, from: Timestamp, count: u32) -> Vec<TestToken> {
    let make = |place: u32| {
        // Each in a millisecond of its own: ids of one millisecond differ in 29 bits, which so many
        // would find two of alike in.
        let minted = from.after(Duration::from_millis(u64::from(place)));
        fixtures.token(minted).uses(1).ttl(DAY)
    };
    (0..count).map(make).collect()
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Writes `tokens` into a database of their own.
pub(crate) async fn write(
    fixtures: &Fixtures,
    tokens: &[TestToken],
    path: &Path,
) -> Result<(), Failure> {
    keep_in(fixtures, tokens, &SqliteStore::open(path).await?).await
}

/// Keeps `tokens` in a store, many at once.
pub(crate) async fn keep_in<S>(
    fixtures: &Fixtures,
    tokens: &[TestToken],
    store: &S,
) -> Result<(), Failure>
where
    S: Tokens + Clone + 'static,
{
    eprintln!("minting {} tokens", tokens.len());
    for together in tokens.chunks(256) {
        let mut writes = tokio::task::JoinSet::new();
        for token in together {
            let (store, mint) = (store.clone(), fixtures.mint(token));
            writes.spawn(async move { store.mint(mint).await.map(drop) });
        }
        while let Some(written) = writes.join_next().await {
            written??;
        }
    }
    Ok(())
}

/// Keeps `tokens` in any store, one after the other.
pub(crate) async fn keep(
    fixtures: &Fixtures,
    tokens: &[TestToken],
    store: &dyn Store,
) -> Result<(), Failure> {
    for token in tokens {
        store.mint(fixtures.mint(token)).await.map(drop)?;
    }
    Ok(())
}

/// The name of the machine that redeems `token`: as random as the names of machines can be.
pub(crate) fn name(token: &TestToken) -> String {
    // Ids tell upper from lower case, and names have only the lower.
    let own = Sha256::of(token.record.id.to_string().as_bytes()).to_hex();
    format!("w-{}", &own[..16])
}
