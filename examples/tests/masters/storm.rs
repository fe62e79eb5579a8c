//! Masters and their database are killed while machines enroll: nobody gets in twice, and nobody who
//! was let in is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use enroll_store_postgres::testing::{Cluster, Setup, Stop, audit, fresh_url, started};
use serde_json::json;
use tokio::task::JoinSet;

use super::herd::Herd;
use crate::harness::{Api, Master, times};

const MASTERS: usize = 3;
const WORKERS: usize = 64;
/// Machines that want each one-shot token.
const RIVALS: usize = 4;
/// Uses of each counted token, of which half as many again are wanted.
const COUNTED: usize = 20;

/// One machine that wants in with one token.
#[derive(Clone)]
struct Claim {
    token: usize,
    name: String,
    key: String,
}

/// A token, and how many it lets in.
struct Token {
    id: String,
    text: String,
    uses: usize,
}

/// Who got in: by token, the nodes and their names.
type Admitted = BTreeMap<usize, BTreeSet<(String, String)>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_i3_i4_nobody_gets_in_twice_and_nobody_is_forgotten() {
    let one_shot = times(100, 50_000);
    let kills = times(8, 200);
    let cluster = Arc::new(started(Setup::default()));
    let url = fresh_url(&cluster);
    let args = ["--attempts-per-minute", "0", "--issue", "api_key", "--store", &url];
    let first = Master::start(&args);
    let tokens = Arc::new(mint(&first, one_shot).await);
    let claims = claims(&tokens);
    let contested = claims.len();
    let herd = Herd::start(first, MASTERS, &args);

    let began = Instant::now();
    let (next, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let claims = Arc::new(claims);
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let (callers, tokens, claims) = (herd.callers(), Arc::clone(&tokens), Arc::clone(&claims));
        let (next, done) = (Arc::clone(&next), Arc::clone(&done));
        workers.spawn(async move {
            let mut admitted = Vec::new();
            while let Some(claim) = claims.get(next.fetch_add(1, Ordering::SeqCst)) {
                if let Some(node) = insist(&callers, worker, claim, &tokens[claim.token].text).await
                {
                    admitted.push((claim.token, node, claim.name.clone()));
                }
                done.fetch_add(1, Ordering::SeqCst);
            }
            admitted
        });
    }
    let restarts = strike(&herd, &cluster, &done, contested, kills).await;
    let mut admitted = Admitted::new();
    while let Some(worker) = workers.join_next().await {
        for (token, node, name) in worker.expect("a worker does not panic") {
            admitted.entry(token).or_default().insert((node, name));
        }
    }
    let took = began.elapsed();
    let starts = herd.end();
    judge(&cluster, &url, &tokens, &admitted);
    eprintln!(
        "{contested} contested redemptions in {took:?}: {kills} masters killed, {restarts} \
        immediate stops of the database, {starts} starts of masters"
    );
}

/// One-shot tokens, and for every fifty of them a counted and an unlimited one.
async fn mint(master: &Master, one_shot: usize) -> Vec<Token> {
    let others = one_shot.div_ceil(50);
    let uses = std::iter::repeat_n(1, one_shot)
        .chain(std::iter::repeat_n(COUNTED, others))
        .chain(std::iter::repeat_n(0, others));
    let mut minting = JoinSet::new();
    let mut tokens = Vec::new();
    let api = Arc::new(master.api());
    for uses in uses {
        let api = Arc::clone(&api);
        minting.spawn(async move {
            let wish = json!({"max_uses": uses, "ttl_secs": 86_400});
            let minted = loop {
                // Two ids of one millisecond may be alike; then it is minted again.
                let answer = api.post("/v1/tokens", &wish).await;
                if answer.status == 201 {
                    break answer.body;
                }
            };
            let text = |key: &str| minted[key].as_str().expect("a text").to_owned();
            Token { id: text("id"), text: text("token"), uses }
        });
        if minting.len() >= 16 {
            tokens.push(minting.join_next().await.expect("one runs").expect("it does not panic"));
        }
    }
    while let Some(token) = minting.join_next().await {
        tokens.push(token.expect("it does not panic"));
    }
    tokens
}

/// Who wants in, those of one token beside each other.
fn claims(tokens: &[Token]) -> Vec<Claim> {
    let of = |(token, minted): (usize, &Token)| {
        let rivals = match minted.uses {
            1 => RIVALS,
            _ => COUNTED * 3 / 2,
        };
        (0..rivals).map(move |rival| Claim {
            token,
            name: format!("node-{token}-{rival}"),
            key: format!("{token:032}{rival:032}"),
        })
    };
    tokens.iter().enumerate().flat_map(of).collect()
}

/// Asks one master after the other until there is a final answer; the node it became.
async fn insist(callers: &[Api], worker: usize, claim: &Claim, token: &str) -> Option<String> {
    let body = json!({"token": token, "node_name": claim.name, "attempt_key": claim.key});
    let deadline = Instant::now() + Duration::from_secs(300);
    for attempt in worker.. {
        assert!(Instant::now() < deadline, "{} got no final answer", claim.name);
        let answer = callers[attempt % callers.len()].try_post("/v1/enroll", &body).await;
        match answer {
            Some(answer) if answer.status == 200 => {
                return Some(answer.body["node_id"].as_str().expect("an id").to_owned());
            }
            Some(answer) if answer.status == 410 => return None,
            Some(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
            None => {}
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}

/// Kills masters and their database, spread evenly over the work; how often the database.
async fn strike(
    herd: &Herd,
    cluster: &Arc<Cluster>,
    done: &AtomicUsize,
    work: usize,
    kills: usize,
) -> usize {
    let mut restarts = 0;
    for strike in 0..kills {
        let due = work * (strike + 1) / (kills + 2);
        while done.load(Ordering::SeqCst) < due {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Which one is not to depend on which comes next.
        herd.kill(strike * 7919 % 101);
        if strike % 4 == 1 {
            restarts += 1;
            let cluster = Arc::clone(cluster);
            let restarted = tokio::task::spawn_blocking(move || {
                cluster.stop(Stop::Immediate)?;
                cluster.resume()
            });
            restarted.await.expect("it does not panic").expect("it starts again");
        }
    }
    restarts
}

/// What machines were told, beside what the database says.
fn judge(cluster: &Cluster, url: &str, tokens: &[Token], admitted: &Admitted) {
    for (place, token) in tokens.iter().enumerate() {
        let got_in = admitted.get(&place).map_or(0, BTreeSet::len);
        let wanted = match token.uses {
            0 => COUNTED * 3 / 2,
            uses => uses,
        };
        assert_eq!(got_in, wanted, "I1: token {} is good for {}", token.id, token.uses);
    }
    let (_, schema) = url.rsplit_once("%3D").expect("a schema of its own");
    let rows = cluster
        .sql(&format!("SELECT token_id, node_id, node_name FROM {schema}.enroll_redemptions"))
        .expect("they can be read");
    let on_record: BTreeSet<&str> = rows.lines().collect();
    let told: BTreeSet<String> = admitted
        .iter()
        .flat_map(|(place, nodes)| nodes.iter().map(move |node| (place, node)))
        .map(|(place, (node, name))| format!("{}|{node}|{name}", tokens[*place].id))
        .collect();
    let told: BTreeSet<&str> = told.iter().map(String::as_str).collect();
    assert_eq!(told, on_record, "I4: left: who was let in; right: what is on record");
    assert_eq!(audit(cluster, url).expect("it can be read"), Vec::<String>::new());
}
