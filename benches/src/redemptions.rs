//! Redemptions through the store, by 1 caller and by 64.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use enroll_core::decision::Decision;
use enroll_core::model::{NameState, Sha256, Snapshot, Timestamp};
use enroll_core::store::{Redeem, RedeemOutcome, Redemptions as _, Tokens as _};
use enroll_core::testing::{Claimant, Fixtures, TestToken};
use enroll_store_sqlite::SqliteStore;

use crate::bare::Bare;
use crate::measure::{Figure, per_second};

/// How much is measured, and where.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    pub(crate) redemptions: u32,
    pub(crate) tokens: u32,
    pub(crate) dir: PathBuf,
}

/// Callers at once, and operations in one bare transaction.
const MANY: u32 = 64;
/// Redemptions by many callers, for one by a single caller.
const TIMES: u32 = 10;

type Failure = Box<dyn Error + Send + Sync>;

impl Plan {
    /// All tokens in the table: those that are redeemed, and those that only stand there.
    pub(crate) const fn all_tokens(&self) -> u32 {
        self.tokens + self.rounds * (self.alone() + self.together())
    }

    const fn alone(&self) -> u32 {
        self.redemptions
    }

    const fn together(&self) -> u32 {
        self.redemptions * TIMES / MANY * MANY
    }
}

/// Measures every round in turn: store alone, bare alone, store with many, bare with many.
pub(crate) fn run(plan: &Plan) -> Result<Vec<Figure>, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measured(plan))
}

async fn measured(plan: &Plan) -> Result<Vec<Figure>, Failure> {
    let dir = tempfile::Builder::new().prefix("enroll-bench-").tempdir_in(&plan.dir)?;
    let fixtures = Fixtures::new();
    eprintln!("minting {} tokens", plan.all_tokens());
    let (stored, bare) = (dir.path().join("store.db"), dir.path().join("bare.db"));
    let mut tokens = mint(&fixtures, plan, &stored).await?.into_iter();
    std::fs::copy(&stored, &bare)?;
    let store = SqliteStore::open(&stored).await?;
    let mut bare = Bare::open(&bare)?;
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        eprintln!("round {round} of {}", plan.rounds);
        // Both sides redeem the same tokens, each in its own copy of the database.
        let batch: Vec<TestToken> = tokens.by_ref().take(plan.alone() as usize).collect();
        let ours = one_by_one(&store, wishes(&fixtures, &batch)?).await?;
        let limit = bare.run(&wishes(&fixtures, &batch)?, 1)?;
        alone.push((per_second(plan.alone(), ours), per_second(plan.alone(), limit)));
        let batch: Vec<TestToken> = tokens.by_ref().take(plan.together() as usize).collect();
        let ours = many_at_once(&store, wishes(&fixtures, &batch)?).await?;
        let limit = bare.run(&wishes(&fixtures, &batch)?, MANY as usize)?;
        together.push((per_second(plan.together(), ours), per_second(plan.together(), limit)));
    }
    Ok(vec![
        Figure::of("1 caller | 1 per transaction", &alone),
        Figure::of("64 callers | 64 per transaction", &together),
    ])
}

const AT: Timestamp = Fixtures::START;

/// One-shot tokens, minted in the order of their ids, as a master mints them.
async fn mint(fixtures: &Fixtures, plan: &Plan, path: &Path) -> Result<Vec<TestToken>, Failure> {
    let store = SqliteStore::open(path).await?;
    let mut tokens: Vec<TestToken> = Vec::with_capacity(plan.all_tokens() as usize);
    while tokens.len() < plan.all_tokens() as usize {
        let mut writes = tokio::task::JoinSet::new();
        for _ in 0..256.min(plan.all_tokens() as usize - tokens.len()) {
            // Each in a millisecond of its own: ids of one millisecond differ in 29 bits, which so many
            // would find two of alike in.
            let minted = AT.after(Duration::from_millis(tokens.len() as u64));
            let mut token = fixtures.token(minted);
            token.record.max_uses = 1;
            let (store, mint) = (store.clone(), fixtures.mint(&token));
            writes.spawn(async move { store.mint(mint).await.map(drop) });
            tokens.push(token);
        }
        while let Some(written) = writes.join_next().await {
            written??;
        }
    }
    Ok(tokens)
}

/// The redemptions of `tokens`, each by a machine of its own with one certificate.
fn wishes(fixtures: &Fixtures, tokens: &[TestToken]) -> Result<Vec<Redeem>, Failure> {
    let wish = |token: &TestToken| {
        // Ids tell upper from lower case, and names have only the lower.
        let own = Sha256::of(token.record.id.to_string().as_bytes()).to_hex();
        let claimant = Claimant::new(token, &format!("w-{}", &own[..16]));
        let seen =
            Snapshot { token: Some(token.record.clone()), name: NameState::Unknown, prior: None };
        let Ok(Decision::Approved(approval)) = fixtures.decide(&claimant, &seen, AT) else {
            return Err("a fresh token is not approved".into());
        };
        let mut redeem = fixtures.redeem(approval, AT);
        redeem.identities.truncate(1);
        Ok(redeem)
    };
    tokens.iter().map(wish).collect()
}

async fn one_by_one(store: &SqliteStore, wishes: Vec<Redeem>) -> Result<Duration, Failure> {
    let began = Instant::now();
    for wish in wishes {
        redeem(store, wish).await?;
    }
    Ok(began.elapsed())
}

async fn many_at_once(store: &SqliteStore, wishes: Vec<Redeem>) -> Result<Duration, Failure> {
    let mut shares: Vec<Vec<Redeem>> = (0..MANY).map(|_| Vec::new()).collect();
    for (place, wish) in wishes.into_iter().enumerate() {
        if let Some(share) = shares.get_mut(place % MANY as usize) {
            share.push(wish);
        }
    }
    let gate = Arc::new(tokio::sync::Barrier::new(MANY as usize + 1));
    let mut callers = tokio::task::JoinSet::new();
    for share in shares {
        let (store, gate) = (store.clone(), Arc::clone(&gate));
        callers.spawn(async move {
            gate.wait().await;
            for wish in share {
                redeem(&store, wish).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    gate.wait().await;
    let began = Instant::now();
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(began.elapsed())
}

async fn redeem(store: &SqliteStore, wish: Redeem) -> Result<(), Failure> {
    match store.redeem(wish).await? {
        RedeemOutcome::Enrolled(_) => Ok(()),
        other => Err(format!("a redemption was lost: {other:?}").into()),
    }
}
