//! Redemptions through the store, by 1 caller and by 64.

use std::sync::Arc;
use std::time::{Duration, Instant};

use enroll_core::decision::Decision;
use enroll_core::model::{NameState, Snapshot, Timestamp};
use enroll_core::store::{Redeem, RedeemOutcome, Redemptions};
use enroll_core::testing::{Claimant, Fixtures, TestToken};
use enroll_store_sqlite::SqliteStore;

use crate::bare::Bare;
use crate::instructions::MANY as MANY_COUNTED;
use crate::measure::{Figure, Section, Unit, per_second};
use crate::plan::{Failure, Plan};
use crate::tokens;

/// Callers at once, and operations in one bare transaction.
const MANY: u32 = 64;
/// Redemptions by many callers, for one by a single caller.
const TIMES: u32 = 10;

impl Plan {
    /// All tokens in the table: those that are redeemed, and those that only stand there.
    const fn all_tokens(&self) -> u32 {
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
pub(crate) async fn measure(plan: &Plan) -> Result<Section, Failure> {
    let dir = tempfile::Builder::new().prefix("enroll-bench-").tempdir_in(&plan.dir)?;
    let fixtures = Fixtures::new();
    let (stored, bare) = (dir.path().join("store.db"), dir.path().join("bare.db"));
    // None of them minted after the redemptions.
    let since = AT.before(Duration::from_millis(plan.all_tokens().into()));
    let tokens = tokens::make(&fixtures, since, plan.all_tokens());
    tokens::write(&fixtures, &tokens, &stored).await?;
    std::fs::copy(&stored, &bare)?;
    let store = SqliteStore::open(&stored).await?;
    let mut bare = Bare::open(&bare)?;
    let mut tokens = tokens.into_iter();
    let (mut alone, mut together) = (Pairs::default(), Pairs::default());
    for round in 1..=plan.rounds {
        eprintln!("redemptions: round {round} of {}", plan.rounds);
        // Both sides redeem the same tokens, each in its own copy of the database.
        let batch: Vec<TestToken> = tokens.by_ref().take(plan.alone() as usize).collect();
        let ours = one_by_one(&store, wishes(&fixtures, &batch)?).await?;
        let limit = bare.run(&wishes(&fixtures, &batch)?, 1)?;
        alone.add(plan.alone(), ours, limit);
        let batch: Vec<TestToken> = tokens.by_ref().take(plan.together() as usize).collect();
        let ours = many_at_once(&store, wishes(&fixtures, &batch)?).await?;
        let limit = bare.run(&wishes(&fixtures, &batch)?, MANY as usize)?;
        together.add(plan.together(), ours, limit);
    }
    Ok(Section {
        title: "durable redemptions through SQLite".into(),
        notes: vec![format!(
            "the limit is the same statements bare; {} tokens in the table",
            plan.all_tokens()
        )],
        figures: vec![
            alone.figure("1 caller", "at 1 per transaction"),
            together.figure("64 callers", "at 64 per transaction"),
        ],
    })
}

/// Rates of every round, ours and the limit's.
#[derive(Default)]
pub(crate) struct Pairs {
    ours: Vec<f64>,
    limits: Vec<f64>,
}

impl Pairs {
    fn add(&mut self, count: u32, ours: Duration, limit: Duration) {
        self.push(per_second(count, ours), per_second(count, limit));
    }

    pub(crate) fn push(&mut self, ours: f64, limit: f64) {
        self.ours.push(ours);
        self.limits.push(limit);
    }

    pub(crate) fn figure(&self, what: &str, limit: &str) -> Figure {
        Figure::beside(what, Unit::PerSecond, &self.ours, limit, &self.limits)
    }
}

const AT: Timestamp = Fixtures::START;

/// The redemptions of `tokens`, each by a machine of its own with one certificate.
pub(crate) fn wishes(fixtures: &Fixtures, tokens: &[TestToken]) -> Result<Vec<Redeem>, Failure> {
    tokens.iter().map(|token| wish(fixtures, token, &tokens::name(token))).collect()
}

/// So many redemptions of one token, likewise.
pub(crate) fn wishes_of_one(
    fixtures: &Fixtures,
    token: &TestToken,
    count: u32,
) -> Result<Vec<Redeem>, Failure> {
    let name = tokens::name(token);
    (0..count).map(|machine| wish(fixtures, token, &format!("{name}-{machine}"))).collect()
}

fn wish(fixtures: &Fixtures, token: &TestToken, name: &str) -> Result<Redeem, Failure> {
    let claimant = Claimant::new(token, name);
    let seen =
        Snapshot { token: Some(token.record.clone()), name: NameState::Unknown, prior: None };
    let Ok(Decision::Approved(approval)) = fixtures.decide(&claimant, &seen, AT) else {
        return Err("a fresh token is not approved".into());
    };
    let mut redeem = fixtures.redeem(approval, AT);
    redeem.identities.truncate(1);
    Ok(redeem)
}

async fn one_by_one(store: &SqliteStore, wishes: Vec<Redeem>) -> Result<Duration, Failure> {
    let began = Instant::now();
    for wish in wishes {
        redeem(store, wish).await?;
    }
    Ok(began.elapsed())
}

async fn many_at_once(store: &SqliteStore, wishes: Vec<Redeem>) -> Result<Duration, Failure> {
    at_once(store, wishes, MANY).await
}

/// Carries `wishes` out by so many callers at once; how long it took.
pub(crate) async fn at_once<S>(
    store: &S,
    wishes: Vec<Redeem>,
    callers: u32,
) -> Result<Duration, Failure>
where
    S: Redemptions + Clone + 'static,
{
    let count = usize::try_from(callers)?;
    let mut shares: Vec<Vec<Redeem>> = (0..count).map(|_| Vec::new()).collect();
    for (place, wish) in wishes.into_iter().enumerate() {
        if let Some(share) = shares.get_mut(place % count) {
            share.push(wish);
        }
    }
    let gate = Arc::new(tokio::sync::Barrier::new(count + 1));
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

async fn redeem(store: &impl Redemptions, wish: Redeem) -> Result<(), Failure> {
    match store.redeem(wish).await? {
        RedeemOutcome::Enrolled(_) => Ok(()),
        other => Err(format!("a redemption was lost: {other:?}").into()),
    }
}

/// Redeems so many tokens of a fresh database, one after the other: what is counted in instructions.
pub(crate) async fn repeat(times: u32) -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let fixtures = Fixtures::new();
    let path = dir.path().join("store.db");
    // As many however many are used, so that the table is the same.
    let made = tokens::make(&fixtures, AT, MANY_COUNTED);
    tokens::write(&fixtures, &made, &path).await?;
    let store = SqliteStore::open(&path).await?;
    let mut used = wishes(&fixtures, &made)?;
    used.truncate(times as usize);
    one_by_one(&store, used).await.map(drop)
}
