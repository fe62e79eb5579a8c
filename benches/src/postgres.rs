//! Redemptions through the PostgreSQL store over 1, 8 and 32 connections, beside pgbench with the same
//! statements over as many; and a fleet token beside as many tokens of their own.

use std::num::NonZeroUsize;

use enroll_core::model::Timestamp;
use enroll_core::store::{Redeem, Tokens as _};
use enroll_core::testing::{Fixtures, TestToken};
use enroll_store_postgres::testing::{Cluster, Setup, fresh_url};
use enroll_store_postgres::{Options, PostgresStore};

use crate::measure::{Figure, Section, per_second};
use crate::pgbench::Script;
use crate::plan::{Failure, Plan};
use crate::redemptions::{Pairs, at_once, wishes, wishes_of_one};
use crate::tokens;

/// Connections, each with a caller of its own.
const CONNECTIONS: [u32; 3] = [1, 8, 32];
/// With which of them a fleet token is measured.
const MOST: u32 = 32;
const AT: Timestamp = Fixtures::START;

/// Measures every round in turn, on a server of its own.
pub(crate) async fn measure(plan: &Plan) -> Result<Section, Failure> {
    let title = "durable redemptions through PostgreSQL";
    let Some(cluster) = Cluster::start(Setup::default())? else {
        let notes = vec!["left out: no PostgreSQL server is installed".into()];
        return Ok(Section { title: title.into(), notes, figures: Vec::new() });
    };
    let mut bench = Bench::new(plan, &cluster).await?;
    let mut beside_pgbench = CONNECTIONS.map(|_| Pairs::default());
    let mut fleet = Pairs::default();
    for round in 1..=plan.rounds {
        eprintln!("PostgreSQL: round {round} of {}", plan.rounds);
        for (pairs, connections) in beside_pgbench.iter_mut().zip(CONNECTIONS) {
            let ours = bench.through_the_store(connections).await?;
            pairs.push(ours, bench.through_pgbench(connections)?);
        }
        let own = bench.through_the_store(MOST).await?;
        fleet.push(bench.by_fleet_token().await?, own);
    }
    let mut figures: Vec<Figure> = CONNECTIONS
        .iter()
        .zip(&beside_pgbench)
        .map(|(count, pairs)| pairs.figure(&format!("{count} connections"), "through pgbench"))
        .collect();
    figures.push(fleet.figure("one fleet token, 32 connections", "with tokens of their own"));
    let notes = vec![format!(
        "the limit is the same statements in pgbench, prepared and in one pipeline; {} redemptions each",
        bench.batch
    )];
    Ok(Section { title: title.into(), notes, figures })
}

struct Bench<'a> {
    cluster: &'a Cluster,
    fixtures: Fixtures,
    stores: Vec<(u32, PostgresStore)>,
    tokens: std::vec::IntoIter<TestToken>,
    script: Script,
    batch: u32,
    fleets: u64,
}

impl<'a> Bench<'a> {
    async fn new(plan: &Plan, cluster: &'a Cluster) -> Result<Self, Failure> {
        let url = fresh_url(cluster);
        let mut stores = Vec::new();
        for connections in CONNECTIONS {
            let size = NonZeroUsize::new(usize::try_from(connections)?).ok_or("no connections")?;
            let options = Options::new().with_pool_size(size);
            stores.push((connections, PostgresStore::connect(&url, options).await?));
        }
        let fixtures = Fixtures::new();
        let batch = plan.redemptions / MOST * MOST;
        let tokens = tokens::make(&fixtures, AT, plan.tokens + plan.rounds * batch * 4);
        let (_, store) = stores.last().ok_or("no store")?;
        tokens::keep_in(&fixtures, &tokens, store).await?;
        let script = Script::prepare(cluster, &url, plan.rounds * batch * 3)?;
        let tokens = tokens.into_iter();
        Ok(Self { cluster, fixtures, stores, tokens, script, batch, fleets: 0 })
    }

    /// Redemptions per second, each of a token of its own.
    async fn through_the_store(&mut self, connections: u32) -> Result<f64, Failure> {
        let batch: Vec<_> = self.tokens.by_ref().take(self.batch as usize).collect();
        self.redeem(wishes(&self.fixtures, &batch)?, connections).await
    }

    /// Redemptions per second, all of one unlimited token.
    async fn by_fleet_token(&mut self) -> Result<f64, Failure> {
        self.fleets += 1;
        let minted = AT.before(std::time::Duration::from_millis(self.fleets));
        let token = self.fixtures.token(minted);
        let (_, store) = self.stores.last().ok_or("no store")?;
        store.mint(self.fixtures.mint(&token)).await.map(drop)?;
        self.redeem(wishes_of_one(&self.fixtures, &token, self.batch)?, MOST).await
    }

    async fn redeem(&self, wanted: Vec<Redeem>, connections: u32) -> Result<f64, Failure> {
        let store = self.stores.iter().find(|(count, _)| *count == connections);
        let (_, store) = store.ok_or("no store of this size")?;
        Ok(per_second(self.batch, at_once(store, wanted, connections).await?))
    }

    fn through_pgbench(&mut self, connections: u32) -> Result<f64, Failure> {
        self.script.run(self.cluster, connections, self.batch / connections)
    }
}
