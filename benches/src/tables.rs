//! What operators do, while few and while many tokens stand in the table.

use std::time::Instant;

use enroll_core::model::{Clock as _, Event, SystemClock, Timestamp, What};
use enroll_core::store::{Page, Tokens as _};
use enroll_core::testing::{Fixtures, TestToken};
use enroll_store_sqlite::SqliteStore;

use crate::measure::{Figure, Section, Unit};
use crate::plan::{Failure, Plan};
use crate::tokens;

/// Times that each is done in a round.
const TIMES: u32 = 500;
/// Tokens in the small table.
const FEW: u32 = 10_000;

/// A table of tokens, and what each round on it came to, in microseconds each.
struct Tables {
    store: SqliteStore,
    fixtures: Fixtures,
    next: Timestamp,
    known: Vec<TestToken>,
    mint: Vec<f64>,
    list: Vec<f64>,
    revoke: Vec<f64>,
}

/// Measures the small table and the large one in turn.
pub(crate) async fn measure(plan: &Plan) -> Result<Section, Failure> {
    let dir = tempfile::Builder::new().prefix("enroll-bench-").tempdir_in(&plan.dir)?;
    let mut few = Tables::fill(&dir.path().join("few.db"), FEW).await?;
    let mut many = Tables::fill(&dir.path().join("many.db"), plan.tokens.max(FEW)).await?;
    for round in 1..=plan.rounds {
        eprintln!("tables: round {round} of {}", plan.rounds);
        few.round().await?;
        many.round().await?;
    }
    let beside = |what, many: &[f64], few: &[f64]| {
        Figure::beside(what, Unit::Micros, many, "with 10 thousand", few)
    };
    Ok(Section {
        title: format!("what operators do, {} tokens in the table", plan.tokens.max(FEW)),
        notes: vec!["one caller on SQLite, each write synced to the disk by itself".into()],
        figures: vec![
            beside("mint", &many.mint, &few.mint),
            beside("list a page of 50", &many.list, &few.list),
            beside("revoke", &many.revoke, &few.revoke),
        ],
    })
}

impl Tables {
    async fn fill(path: &std::path::Path, count: u32) -> Result<Self, Failure> {
        let (fixtures, since) = (Fixtures::new(), SystemClock::new().now());
        let known = tokens::make(&fixtures, since, count);
        tokens::write(&fixtures, &known, path).await?;
        let next = since.after(std::time::Duration::from_millis(u64::from(count)));
        let store = SqliteStore::open(path).await?;
        let (mint, list, revoke) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { store, fixtures, next, known, mint, list, revoke })
    }

    async fn round(&mut self) -> Result<(), Failure> {
        let fresh = tokens::make(&self.fixtures, self.next, TIMES);
        self.next = self.next.after(std::time::Duration::from_millis(u64::from(TIMES)));
        let began = Instant::now();
        for token in &fresh {
            self.store.mint(self.fixtures.mint(token)).await.map(drop)?;
        }
        self.mint.push(micros(began));
        // Pages and tokens from all over the table, so that no page is warm by chance alone.
        let step = self.known.len() / TIMES as usize;
        let places: Vec<_> = self
            .known
            .iter()
            .step_by(step.max(1))
            .take(TIMES as usize)
            .map(|t| t.record.id)
            .collect();
        let began = Instant::now();
        for place in &places {
            let page = Page { after: Some(*place), limit: 50 };
            self.store.tokens(page, None).await.map(drop)?;
        }
        self.list.push(micros(began));
        let began = Instant::now();
        for token in &fresh {
            let at = SystemClock::new().now();
            let what = What::SettingChanged { key: "bench".into() };
            self.store.revoke(token.record.id, at, Event::new(at, what)).await.map(drop)?;
        }
        self.revoke.push(micros(began));
        Ok(())
    }
}

fn micros(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES)
}
