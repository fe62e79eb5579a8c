//! One script of calls, made by a seed, to a master on SQLite and to one on PostgreSQL: whatever the
//! one answers, the other answers.

use std::sync::Arc;
use std::time::Duration;

use enroll_core::issue::ApiKeyIssuer;
use enroll_core::master::{
    AutoEnrollmentChange, BuiltinFuser, Caller, Enroller, FuseCommands, MintRequest,
    RegisterRequest, RenewVerdict, Verdict,
};
use enroll_core::model::{
    ApiKey, AttemptKey, Clock, CommandClass, CommandId, Credential, EnrollRequest, Entropy, Facts,
    NodeName, Origin, Presented, Role, SharedSecret, TokenId, TrustState,
};
use enroll_core::store::{NodeFilter, Page, Store};
use enroll_core::testing::{CountingEntropy, FixedClock, Fixtures};
use enroll_store_postgres::testing::{audit, fresh_url, shared};
use enroll_store_postgres::{Options, PostgresStore};
use enroll_store_sqlite::SqliteStore;

use crate::harness::times;

/// A master, and what its callers remember.
struct Side {
    enroller: Enroller,
    clock: Arc<FixedClock>,
    tokens: Vec<(TokenId, String)>,
    keys: Vec<String>,
    commands: Vec<CommandId>,
}

impl Side {
    fn new(store: Arc<dyn Store>) -> Self {
        let clock = Arc::new(FixedClock::at(Fixtures::START));
        // Two of the same, so that both sides make the same ids, tokens and keys.
        let entropy: Arc<dyn Entropy> = Arc::new(CountingEntropy::new());
        let its_clock = Arc::clone(&clock) as Arc<dyn Clock>;
        let fuser =
            BuiltinFuser::new(FuseCommands::new(Arc::clone(&store), Arc::clone(&its_clock)));
        let enroller = Enroller::with_issuers(store, vec![Arc::new(ApiKeyIssuer::default())])
            .with_clock(its_clock)
            .with_entropy(entropy)
            .with_command("ping", CommandClass::Monitor)
            .with_command("restart", CommandClass::Control)
            .with_fuser(Arc::new(fuser), Duration::from_secs(300));
        Self { enroller, clock, tokens: Vec::new(), keys: Vec::new(), commands: Vec::new() }
    }
}

/// Numbers that look like chance and are the same in every run of a seed (SplitMix64).
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One of a dozen that all calls are about, or one that hardly any other is about.
    fn name(&mut self) -> NodeName {
        let of = if self.below(2) == 0 { 12 } else { 4_000 };
        NodeName::new(&format!("node-{}", self.below(of))).expect("a name")
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        // Mostly of the last ones: the others are over.
        let last = of.len().saturating_sub(20);
        let some = &of[if self.below(5) == 0 { 0 } else { last }..];
        (!some.is_empty())
            .then(|| &some[usize::try_from(self.below(some.len() as u64)).expect("few")])
    }

    fn secret(&mut self) -> SharedSecret {
        SharedSecret::presented(format!("{:032}", self.below(3)))
    }
}

/// Makes one call, and writes down the answer.
async fn step(side: &mut Side, mut dice: Dice) -> String {
    let answer = match dice.below(20) {
        0..=2 => mint(side, &mut dice).await,
        3..=7 => enroll(side, &mut dice).await,
        8 => settings(side, &mut dice).await,
        9 => tokens(side, &mut dice).await,
        10 => lists(side, &mut dice).await,
        11 => nodes(side, &mut dice).await,
        12..=14 => member(side, &mut dice).await,
        15 => commands(side, &mut dice).await,
        16 => journal(side, &mut dice).await,
        17 => operators(side, &mut dice).await,
        18 => fuse(side, &mut dice).await,
        _ => {
            let steps = [1, 30, 100, 600, 4_000, 90_000];
            let secs = steps[usize::try_from(dice.below(6)).expect("few")];
            format!("{:?}", side.clock.advance(Duration::from_secs(secs)))
        }
    };
    // What is gathered in memory is written by a timer otherwise, which no script can foresee.
    side.enroller.flush().await;
    side.clock.advance(Duration::from_millis(7));
    answer
}

async fn mint(side: &mut Side, dice: &mut Dice) -> String {
    let mut wish = MintRequest::new()
        .with_ttl(Duration::from_secs(60 + dice.below(4_000)))
        .with_max_uses([0, 1, 1, 3][usize::try_from(dice.below(4)).expect("few")]);
    if dice.below(2) == 0 {
        wish = wish.with_node_name(dice.name());
    }
    let minted = match dice.below(4) {
        0 => side.enroller.regenerate(dice.name(), "ann").await.map(|done| format!("{done:?}")),
        1 => {
            let mut wish = RegisterRequest::new(dice.name());
            wish.labels = Some([("rack".to_owned(), dice.below(9).to_string())].into());
            side.enroller.register(wish, "ann").await.map(|done| format!("{done:?}"))
        }
        _ => side.enroller.mint(wish, "ann").await.map(|minted| {
            side.tokens.push((minted.record.id, minted.token.expose().to_owned()));
            format!("{minted:?}")
        }),
    };
    format!("{minted:?}")
}

async fn enroll(side: &mut Side, dice: &mut Dice) -> String {
    let by_secret = dice.below(5) == 0;
    let token = dice.pick(&side.tokens).map(|(_, text)| text.clone());
    let presented = match (by_secret, token) {
        (false, Some(token)) => Presented::from_parts(Some(token), None),
        _ => Presented::from_parts(None, Some(dice.secret().expose().to_owned())),
    };
    let mut request = EnrollRequest::new(presented.expect("one is there"));
    if dice.below(6) != 0 {
        request = request.with_node_name(dice.name());
    }
    if dice.below(6) != 0 {
        let key = AttemptKey::parse(&format!("{:A>32}", dice.below(4))).expect("a key");
        request = request.with_attempt_key(key);
    }
    let arch = ["x86_64", "aarch64"][usize::try_from(dice.below(2)).expect("two")];
    request = request.with_facts(Facts { arch: Some(arch.into()), ..Facts::default() });
    let verdict = side.enroller.enroll(request, Origin::default()).await;
    if let Ok(Verdict::Admitted(admission)) = &verdict {
        keep(&mut side.keys, &admission.credentials);
    }
    format!("{verdict:?}")
}

fn keep(keys: &mut Vec<String>, credentials: &[Credential]) {
    for credential in credentials {
        if let Credential::ApiKey(key) = credential {
            keys.push(key.expose().to_owned());
        }
    }
}

async fn settings(side: &Side, dice: &mut Dice) -> String {
    let change = AutoEnrollmentChange {
        enabled: Some(dice.below(4) != 0),
        secret: (dice.below(3) == 0).then(|| dice.secret()),
        previous_valid: (dice.below(2) == 0).then(|| Duration::from_secs(dice.below(9_000))),
        replace: Some(dice.below(2) == 0),
        name_patterns: None,
    };
    let changed = side.enroller.change_auto_enrollment(change, "ann").await;
    format!("{changed:?} {:?}", side.enroller.auto_enrollment().await)
}

async fn tokens(side: &Side, dice: &mut Dice) -> String {
    let Some(id) = dice.pick(&side.tokens).map(|(id, _)| *id) else { return String::new() };
    let redemptions = side.enroller.redemptions(id, Page::first(50)).await;
    let revoked = match dice.below(3) {
        0 => Some(side.enroller.revoke(id, "ann").await),
        _ => None,
    };
    format!("{redemptions:?} {revoked:?}")
}

async fn lists(side: &Side, dice: &mut Dice) -> String {
    let limit = u32::try_from(1 + dice.below(40)).expect("few");
    let after = dice.pick(&side.tokens).map(|(id, _)| *id);
    let tokens = side.enroller.tokens(Page { after, limit }, dice.below(2) == 0).await;
    let after = (dice.below(2) == 0).then(|| dice.name());
    let at = side.clock.now();
    let filter = NodeFilter {
        state: (dice.below(3) == 0).then_some(TrustState::Monitoring),
        degraded: (dice.below(3) == 0).then_some((true, at, Duration::from_secs(90))),
        arch: (dice.below(3) == 0).then(|| "x86_64".into()),
        ..NodeFilter::default()
    };
    let nodes = side.enroller.nodes(Page { after, limit }, filter).await;
    let mut counts = side.enroller.count_nodes().await.expect("the store answers");
    counts.retain(|count| count.nodes > 0);
    let mut counts: Vec<_> = counts.iter().map(|count| format!("{count:?}")).collect();
    counts.sort_unstable();
    format!("{tokens:?} {nodes:?} {counts:?}")
}

async fn nodes(side: &Side, dice: &mut Dice) -> String {
    let name = dice.name();
    match dice.below(4) {
        0 => format!("{:?}", side.enroller.delete_node(&name, false, "ann").await),
        1 => format!("{:?}", side.enroller.set_cordon(&name, true, "ann").await),
        2 => format!("{:?}", side.enroller.set_cordon(&name, false, "ann").await),
        _ => format!("{:?}", side.enroller.node(&name).await),
    }
}

async fn member(side: &mut Side, dice: &mut Dice) -> String {
    let Some(key) = dice.pick(&side.keys).cloned() else { return String::new() };
    let caller = Caller::ApiKey(ApiKey::presented(key));
    let node = match side.enroller.authenticate(&caller).await {
        Ok(Ok(node)) => node,
        refused => return format!("{refused:?}"),
    };
    match dice.below(4) {
        0 => {
            let renewed = side.enroller.renew(&node, None).await;
            if let Ok(RenewVerdict::Renewed(credentials)) = &renewed {
                keep(&mut side.keys, credentials);
            }
            format!("{renewed:?}")
        }
        1 => {
            let ids = side.commands.clone();
            let Some(id) = dice.pick(&ids) else { return String::new() };
            let output = (dice.below(2) == 0).then(|| "said so".to_owned());
            let done = dice.below(3) != 0;
            format!("{:?}", side.enroller.acknowledge(&node, *id, done, output).await)
        }
        _ => {
            let name = if dice.below(9) == 0 { dice.name() } else { node.node.name.clone() };
            let facts = Facts { version: Some(dice.below(9).to_string()), ..Facts::default() };
            format!("{:?}", side.enroller.heartbeat(&node, &name, Some(facts)).await)
        }
    }
}

async fn commands(side: &mut Side, dice: &mut Dice) -> String {
    let name = dice.name();
    let kind = ["ping", "restart", "unknown"][usize::try_from(dice.below(3)).expect("few")];
    let payload = serde_json::json!({ "n": dice.below(9) });
    let queued = side.enroller.queue_command(&name, kind, payload, "ann").await;
    if let Ok(command) = &queued {
        side.commands.push(command.id);
    }
    format!("{queued:?} {:?}", side.enroller.commands(&name, Page::first(20)).await)
}

async fn journal(side: &Side, dice: &mut Dice) -> String {
    let after = Some(dice.below(2_000));
    let events = side.enroller.events(Page { after, limit: 30 }).await;
    let attempts = side.enroller.attempts(&dice.name(), Page::first(30)).await;
    format!("{events:?} {attempts:?}")
}

async fn operators(side: &Side, dice: &mut Dice) -> String {
    let name = format!("operator-{}", dice.below(4));
    let role = Role::ALL[usize::try_from(dice.below(4)).expect("few")];
    let changed = match dice.below(2) {
        0 => format!("{:?}", side.enroller.add_admin(&name, role, "ann").await),
        _ => format!("{:?}", side.enroller.remove_admin(&name, "ann").await),
    };
    format!("{changed} {:?}", side.enroller.admins().await)
}

async fn fuse(side: &Side, dice: &mut Dice) -> String {
    let fused = side.enroller.fuse(&dice.name(), "ann").await;
    format!("{fused:?} {:?}", side.enroller.tend().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_both_stores_answer_alike() {
    let calls = times(1_500, 20_000);
    let dir = tempfile::tempdir().expect("a directory");
    let file = SqliteStore::open(dir.path().join("enroll.db")).await.expect("a file");
    let url = fresh_url(shared());
    let server = PostgresStore::connect(&url, Options::new()).await.expect("a server");
    let (mut here, mut there) = (Side::new(Arc::new(file)), Side::new(Arc::new(server)));
    let (mut dice, mut admitted) = (Dice(4), 0);
    for call in 0..calls {
        dice.next();
        let (one, other) =
            tokio::join!(step(&mut here, dice.clone()), step(&mut there, dice.clone()));
        assert_eq!(one, other, "call {call}: left SQLite, right PostgreSQL");
        admitted += usize::from(one.contains("Admitted"));
    }
    assert!(admitted > calls / 100, "{admitted} were let in: the script shows something");
    assert_eq!(audit(shared(), &url).expect("it can be read"), Vec::<String>::new());
    eprintln!("{calls} calls, {admitted} admissions, no difference");
}
