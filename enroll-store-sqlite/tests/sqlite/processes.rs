//! Two processes on one file: each waits for the other's transaction, and no use is spent twice.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;

use enroll_core::store::{Page, Tokens as _};
use enroll_core::testing::scale;
use enroll_store_sqlite::SqliteStore;

use crate::support::{
    being_child, block_on, check_integrity, child, enroll, fixtures, minted, minted_for, token_of,
};

const THIS: &str = "processes::two_processes_contest_tokens_without_an_error";
const PROCESSES: u64 = 2;
/// Tasks of each process that enroll at once.
const TASKS: usize = 8;

#[test]
fn two_processes_contest_tokens_without_an_error() {
    if let Some((path, which)) = being_child() {
        println!("won {}", block_on(contest(&path, which)));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("enroll.db");
    let contested = 200 * scale();
    let ids = block_on(mint(&path, contested));
    let wins = start_together(&path).into_iter().map(wins);
    let wins: Vec<usize> = wins.collect();
    assert_eq!(wins.iter().sum::<usize>(), contested, "{wins:?}");
    assert!(wins.iter().all(|&won| won > 0), "there was no contest: {wins:?}");
    block_on(async {
        let store = SqliteStore::open(&path).await.unwrap();
        for id in ids {
            assert_eq!(store.token(id).await.unwrap().unwrap().uses, 1);
            assert_eq!(store.redemptions(id, Page::first(9)).await.unwrap().len(), 1);
        }
    });
    check_integrity(&path);
}

/// Children that were all ready before the first of them began.
fn start_together(path: &Path) -> Vec<Child> {
    let mut children: Vec<Child> = (1..=PROCESSES)
        .map(|which| {
            let mut command = child(THIS, path, which);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in &mut children {
        let mut said = [0];
        let out = child.stdout.as_mut().unwrap();
        while said != *READY {
            out.read_exact(&mut said).unwrap();
        }
    }
    for child in &mut children {
        drop(child.stdin.take());
    }
    children
}

/// What a child says when it is ready, and nothing else says before.
const READY: &[u8; 1] = b"#";

fn wins(child: Child) -> usize {
    let out = child.wait_with_output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let said = text.lines().find_map(|line| line.split_once("won "));
    said.unwrap_or_else(|| panic!("{text}")).1.trim().parse().unwrap()
}

/// Mints one-shot tokens, and writes their texts down beside the database for the children.
async fn mint(path: &Path, contested: usize) -> Vec<enroll_core::model::TokenId> {
    let store = SqliteStore::open(path).await.unwrap();
    let make = fixtures(0);
    let (mut texts, mut ids) = (String::new(), Vec::new());
    for _ in 0..contested {
        let token = minted(&store, &make, 1).await;
        texts.push_str(&format!("{}\n", token.token.expose()));
        ids.push(token.record.id);
    }
    std::fs::write(path.with_extension("tokens"), texts).unwrap();
    ids
}

/// Tries every token, many at once, and says how many it won. It begins when its standard input ends.
async fn contest(path: &Path, which: u64) -> usize {
    let texts = std::fs::read_to_string(path.with_extension("tokens")).unwrap();
    let mut texts: Vec<String> = texts.lines().map(str::to_owned).collect();
    if which.is_multiple_of(2) {
        // From the other end, so that both have won something when they meet.
        texts.reverse();
    }
    let texts = Arc::new(texts);
    let store = SqliteStore::open(path).await.unwrap();
    let make = Arc::new(fixtures(which));
    println!("#");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let (store, make, texts) = (store.clone(), Arc::clone(&make), Arc::clone(&texts));
        tasks.spawn(async move {
            let mut won = 0;
            for (turn, text) in texts.iter().enumerate() {
                let name = format!("node-{which}-{task}-{turn}.x");
                // It reads before it writes: had its transaction begun as a reader's, it could not
                // write any more once the other process wrote in between.
                minted_for(&store, &make, &format!("for-{name}")).await;
                let token = token_of(&store, text).await;
                won += usize::from(enroll(&store, &make, &token, &name).await.unwrap());
            }
            won
        });
    }
    tasks.join_all().await.into_iter().sum()
}

const OPENING: &str = "processes::many_processes_open_a_new_database_at_once";

#[test]
fn many_processes_open_a_new_database_at_once() {
    if let Some((path, _)) = being_child() {
        block_on(SqliteStore::open(&path)).unwrap();
        println!("opened");
        return;
    }
    for _ in 0..4 * scale() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("enroll.db");
        let children: Vec<_> = (0..6)
            .map(|which| child(OPENING, &path, which).stdout(Stdio::piped()).spawn().unwrap())
            .collect();
        for child in children {
            let out = child.wait_with_output().unwrap();
            let text = String::from_utf8(out.stdout).unwrap();
            assert!(text.contains("opened"), "{text}");
        }
        check_integrity(&path);
    }
}
