//! Redemptions through the PostgreSQL store over 1, 8 and 32 connections, each in a transaction of its
//! own, beside pgbench with the same statements over as many; those of many callers in batches, beside
//! the same without; and a fleet token beside as many tokens of their own.

use std::num::NonZeroUsize;

use enroll_core::model::Timestamp;
use enroll_core::store::Tokens as _;
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
/// With how many of them batches are measured, and a fleet token.
const MOST: u32 = 32;
/// Callers at once, where there are more than connections.
const MANY: u32 = 256;
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
    let (mut batched, mut fleet) = (Pairs::default(), Pairs::default());
    for round in 1..=plan.rounds {
        eprintln!("PostgreSQL: round {round} of {}", plan.rounds);
        for (pairs, connections) in beside_pgbench.iter_mut().zip(CONNECTIONS) {
            let ours = bench.through_the_store(connections, connections).await?;
            pairs.push(ours, bench.through_pgbench(connections)?);
        }
        let own = bench.in_batches().await?;
        batched.push(own, bench.through_the_store(MOST, MANY).await?);
        fleet.push(bench.by_fleet_token().await?, own);
    }
    let mut figures: Vec<Figure> = CONNECTIONS
        .iter()
        .zip(&beside_pgbench)
        .map(|(count, pairs)| pairs.figure(&format!("{count} connections"), "through pgbench"))
        .collect();
    figures.push(batched.figure("256 callers, in batches", "each by itself, 32 connections"));
    figures.push(fleet.figure("256 callers, one fleet token", "with tokens of their own"));
    let notes = vec![format!(
        "the limit is the same statements in pgbench, prepared and in one pipeline; {} redemptions each",
        bench.batch
    )];
    Ok(Section { title: title.into(), notes, figures })
}

struct Bench<'a> {
    cluster: &'a Cluster,
    fixtures: Fixtures,
    /// One for each count of connections, which commits each redemption by itself.
    stores: Vec<(u32, PostgresStore)>,
    batching: PostgresStore,
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
            let options = Options::new().with_pool_size(size).with_batch(NonZeroUsize::MIN);
            stores.push((connections, PostgresStore::connect(&url, options).await?));
        }
        let batching = PostgresStore::connect(&url, Options::new()).await?;
        let fixtures = Fixtures::new();
        let batch = plan.redemptions / MANY * MANY;
        let all = plan.tokens + plan.rounds * batch * 5;
        let since = AT.before(std::time::Duration::from_millis(all.into()));
        let tokens = tokens::make(&fixtures, since, all);
        tokens::keep_in(&fixtures, &tokens, &batching).await?;
        let script = Script::prepare(cluster, &url, plan.rounds * batch * 3)?;
        let tokens = tokens.into_iter();
        Ok(Self { cluster, fixtures, stores, batching, tokens, script, batch, fleets: 0 })
    }

    /// Redemptions per second, each of a token of its own and in a transaction of its own.
    async fn through_the_store(&mut self, connections: u32, callers: u32) -> Result<f64, Failure> {
        let store = self.stores.iter().find(|(count, _)| *count == connections);
        let store = store.ok_or("no store of this size")?.1.clone();
        self.redeem_own(&store, callers).await
    }

    /// The same through the store as it comes.
    async fn in_batches(&mut self) -> Result<f64, Failure> {
        let store = self.batching.clone();
        self.redeem_own(&store, MANY).await
    }

    async fn redeem_own(&mut self, store: &PostgresStore, callers: u32) -> Result<f64, Failure> {
        let batch: Vec<_> = self.tokens.by_ref().take(self.batch as usize).collect();
        let wanted = wishes(&self.fixtures, &batch)?;
        Ok(per_second(self.batch, at_once(store, wanted, callers).await?))
    }

    /// Redemptions per second, all of one unlimited token.
    async fn by_fleet_token(&mut self) -> Result<f64, Failure> {
        self.fleets += 1;
        let minted = AT.before(std::time::Duration::from_millis(self.fleets));
        let token = self.fixtures.token(minted);
        self.batching.mint(self.fixtures.mint(&token)).await.map(drop)?;
        let wanted = wishes_of_one(&self.fixtures, &token, self.batch)?;
        Ok(per_second(self.batch, at_once(&self.batching, wanted, MANY).await?))
    }

    fn through_pgbench(&mut self, connections: u32) -> Result<f64, Failure> {
        self.script.run(self.cluster, connections, self.batch / connections)
    }
}
