//! A process that is killed in the middle: what it acknowledged is there, the rest is whole or
//! absent.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use enroll_core::model::{CredentialRecord, IdentityRecord, RedemptionId, TokenId, TrustState};
use enroll_core::store::{
    Identities as _, IdentityKey, Journal as _, Nodes as _, Page, RedeemOutcome, Redemptions as _,
    Tokens as _,
};
use enroll_core::testing::scale;
use enroll_store_sqlite::SqliteStore;

use crate::support::{
    approved, being_child, block_on, check_integrity, child, fixtures, minted, name,
};

const THIS: &str = "crash::what_was_acknowledged_survives_kill_9";
/// Tasks that enroll at once.
const TASKS: usize = 32;

#[test]
fn what_was_acknowledged_survives_kill_9() {
    if let Some((path, which)) = being_child() {
        block_on(enroll_without_end(&path, which));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("enroll.db");
    let mut acknowledged = Vec::new();
    // Each round opens what the one before left behind.
    let enough = 200 * scale();
    for round in 1..=4 {
        acknowledged.extend(killed(&path, round, enough));
        block_on(verify(&path, &acknowledged));
        check_integrity(&path);
    }
    assert!(acknowledged.len() >= 4 * enough);
}

/// Runs a child until it has acknowledged `enough`, kills it, and gives all that it said.
fn killed(path: &Path, round: u64, enough: usize) -> Vec<(TokenId, RedemptionId)> {
    let mut child = child(THIS, path, round).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    let mut read = || {
        let line = lines.next()?.unwrap();
        // The last line may have been cut off: what was not said in full was not acknowledged.
        let (token, redemption) =
            line.strip_prefix("enrolled ")?.strip_suffix(" .")?.split_once(' ')?;
        Some((token.parse().unwrap(), redemption.parse().unwrap()))
    };
    while said.len() < enough {
        said.extend(read());
        assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
    }
    // On Unix this is SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    while let Some(one) = read() {
        said.push(one);
    }
    said
}

/// Enrolls nodes, each with a token of its own, and says so once it is acknowledged.
async fn enroll_without_end(path: &Path, round: u64) {
    println!();
    let store = SqliteStore::open(path).await.unwrap();
    let make = Arc::new(fixtures(round));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let (store, make) = (store.clone(), Arc::clone(&make));
        tasks.spawn(async move {
            for turn in 0.. {
                let token = minted(&store, &make, 1).await;
                let name = format!("node-{round}-{task}-{turn}.x");
                let redeem = approved(&store, &make, &token, &name).await.unwrap().unwrap();
                let id = redeem.id;
                let outcome = store.redeem(redeem).await.unwrap();
                assert!(matches!(outcome, RedeemOutcome::Enrolled(_)));
                let line = format!("enrolled {} {id} .\n", token.record.id);
                std::io::stdout().write_all(line.as_bytes()).unwrap();
            }
        });
    }
    tasks.join_all().await;
}

async fn verify(path: &Path, acknowledged: &[(TokenId, RedemptionId)]) {
    let store = SqliteStore::open(path).await.unwrap();
    for (token, redemption) in acknowledged {
        assert_eq!(store.token(*token).await.unwrap().unwrap().uses, 1);
        let spent = store.redemptions(*token, Page::first(9)).await.unwrap();
        assert_eq!(spent.iter().map(|r| r.id).collect::<Vec<_>>(), [*redemption]);
    }
    let tokens = store.tokens(Page::first(u32::MAX), None).await.unwrap();
    assert!(tokens.len() >= acknowledged.len());
    for token in tokens {
        whole(&store, token.id, token.uses).await;
    }
}

/// What a token was spent for is there in full; one that is unspent left nothing.
async fn whole(store: &SqliteStore, token: TokenId, uses: u64) {
    let spent = store.redemptions(token, Page::first(9)).await.unwrap();
    assert_eq!(spent.len() as u64, uses);
    let Some(redemption) = spent.first() else { return };
    let node = store.node(&redemption.node_name).await.unwrap().unwrap();
    assert_eq!((node.id, node.state), (redemption.node_id, TrustState::Monitoring));
    let attempts = store.attempts(&node.name, Page::first(9)).await.unwrap();
    assert_eq!(attempts.len(), 1);
    let lookup = enroll_core::store::Lookup {
        token_id: Some(token),
        node_name: Some(&node.name),
        claim: redemption.claim,
    };
    let prior = store.look_up(lookup).await.unwrap().prior.unwrap();
    assert_eq!(prior.identities.len(), 2);
    for identity in &prior.identities {
        let member = store.member(key_of(identity)).await.unwrap().unwrap();
        assert_eq!(member.node.unwrap().name, name(node.name.as_str()));
    }
}

fn key_of(identity: &IdentityRecord) -> IdentityKey {
    match &identity.credential {
        CredentialRecord::X509 { serial, .. } => IdentityKey::Serial(*serial),
        CredentialRecord::ApiKey { digest } => IdentityKey::ApiKey(*digest),
        other => panic!("{other:?} was not made"),
    }
}
