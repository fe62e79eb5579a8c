//! A database whose pages were overwritten: every operation is an error, none an empty answer.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use enroll_core::decision::Decision;
use enroll_core::model::{
    AdminRecord, BearerDigest, CommandClass, CommandId, CommandRecord, CommandStatus,
    CredentialRecord, FuseId, FuseRecord, IdentityRecord, NodeRecord, Role, Sha256, TrustState,
};
use enroll_core::store::{
    Admins as _, Beat, Commands as _, Finish, Identities as _, IdentityKey, Journal as _, Lookup,
    NodeFilter, Nodes as _, Page, Redeem, Redeliver, Redemptions as _, Renewal, Settings as _,
    StoreError, StoreErrorKind, Tokens as _, Transition,
};
use enroll_core::testing::{Claimant, Fixtures, TestToken};
use enroll_store_sqlite::SqliteStore;

use crate::support::{AT, approved, block_on, event, minted, name};

/// What is asked of the store, made while it was whole.
struct Questions {
    make: Fixtures,
    token: TestToken,
    claimant: Claimant,
    redeem: Redeem,
    redeliver: Redeliver,
    node: NodeRecord,
    identity: IdentityRecord,
    command: CommandRecord,
}

#[test]
fn every_operation_on_a_corrupt_database_fails_closed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("enroll.db");
    let asked = block_on(async {
        let store = SqliteStore::open(&path).await.unwrap();
        questions(&store).await
    });
    overwrite(&path);
    block_on(async {
        let store = SqliteStore::open(&path).await.unwrap();
        let answers = ask(&store, asked).await;
        assert_eq!(answers.len(), 39);
        for (operation, answer) in answers {
            assert_eq!(answer, Some(StoreErrorKind::Broken), "{operation}");
        }
    });
}

/// Overwrites the first page of every table and index but those that opening reads.
fn overwrite(path: &Path) {
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut statement = connection
        .prepare(
            "SELECT rootpage FROM sqlite_schema
             WHERE rootpage > 0 AND tbl_name NOT IN ('enroll_migrations', 'enroll_probe')",
        )
        .unwrap();
    let roots: Vec<u32> =
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    drop(statement);
    connection.close().unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    for root in roots {
        file.write_all_at(&[0xa5; 4096], u64::from(root - 1) * 4096).unwrap();
    }
}

async fn questions(store: &SqliteStore) -> Questions {
    let make = Fixtures::new();
    let token = minted(store, &make, 0).await;
    let first = approved(store, &make, &token, "one").await.unwrap().unwrap();
    let identity = first.identities[0].clone();
    assert!(store.redeem(first).await.is_ok());
    let claimant = Claimant::new(&token, "one");
    let seen = store.look_up(lookup(&token, &claimant)).await.unwrap();
    let Ok(Decision::Redeliver(redelivery)) = make.decide(&claimant, &seen, AT) else {
        panic!("an open redemption is given again")
    };
    let attempt = make.attempt(&name("one"), AT);
    let node = store.node(&name("one")).await.unwrap().unwrap();
    Questions {
        redeem: approved(store, &make, &token, "two").await.unwrap().unwrap(),
        redeliver: Redeliver { redelivery, at: AT, replacements: vec![], attempt, event: event() },
        command: command(&make, &node),
        make,
        token,
        claimant,
        node,
        identity,
    }
}

fn lookup<'a>(token: &TestToken, claimant: &'a Claimant) -> Lookup<'a> {
    let token_id = Some(token.record.id);
    Lookup { token_id, node_name: claimant.node_name(), claim: claimant.claim() }
}

fn command(make: &Fixtures, node: &NodeRecord) -> CommandRecord {
    CommandRecord {
        id: CommandId::generate(AT, make.entropy()).unwrap(),
        node_id: node.id,
        node_name: node.name.clone(),
        kind: "look".into(),
        payload: Default::default(),
        class: CommandClass::Monitor,
        status: CommandStatus::Queued,
        queued_by: "tests".into(),
        queued_at: AT,
        delivered_at: None,
        finished_at: None,
        output: None,
    }
}

type Answers = Vec<(&'static str, Option<StoreErrorKind>)>;

/// What an operation answered: `None` is an answer, whatever it says.
fn kind<T>(answer: Result<T, StoreError>) -> Option<StoreErrorKind> {
    answer.err().map(|error| error.kind())
}

async fn ask(store: &SqliteStore, asked: Questions) -> Answers {
    let mut answers = ask_about_nodes(store, &asked).await;
    answers.extend(ask_about_identities(store, &asked).await);
    answers.extend(ask_about_commands(store, &asked).await);
    answers.extend(ask_about_settings(store, &asked).await);
    answers.extend(ask_about_tokens(store, &asked).await);
    let looked_up = store.look_up(lookup(&asked.token, &asked.claimant)).await;
    answers.extend([
        ("look_up", kind(looked_up)),
        ("redeem", kind(store.redeem(asked.redeem).await)),
        ("redeliver", kind(store.redeliver(asked.redeliver).await)),
    ]);
    answers
}

async fn ask_about_tokens(store: &SqliteStore, asked: &Questions) -> Answers {
    let id = asked.token.record.id;
    vec![
        ("mint", kind(store.mint(asked.make.mint(&asked.make.token(AT))).await)),
        ("token", kind(store.token(id).await)),
        ("tokens", kind(store.tokens(Page::first(9), None).await)),
        ("live tokens", kind(store.tokens(Page::first(9), Some(AT)).await)),
        ("revoke", kind(store.revoke(id, AT, event()).await)),
        ("redemptions", kind(store.redemptions(id, Page::first(9)).await)),
    ]
}

async fn ask_about_nodes(store: &SqliteStore, asked: &Questions) -> Answers {
    let named = &asked.node.name;
    let transition = Transition {
        node_id: asked.node.id,
        from: TrustState::Monitoring,
        attempt: None,
        to: TrustState::Fusing,
        fuse: FuseRecord {
            attempt: FuseId::generate(AT, asked.make.entropy()).unwrap(),
            started_at: AT,
            deadline: AT.after(Duration::from_secs(1)),
            ticket: None,
            ended: None,
        },
        event: None,
    };
    let beat = Beat { node_id: asked.node.id, at: AT, facts: None };
    vec![
        ("node", kind(store.node(named).await)),
        ("nodes", kind(store.nodes(Page::first(9), NodeFilter::default()).await)),
        ("count_nodes", kind(store.count_nodes(AT, Duration::from_secs(90)).await)),
        ("set_cordon", kind(store.set_cordon(named, true, event()).await)),
        ("delete_node", kind(store.delete_node(named, AT, event()).await)),
        ("transition", kind(store.transition(transition).await)),
        ("record_beats", kind(store.record_beats(vec![beat]).await)),
    ]
}

async fn ask_about_identities(store: &SqliteStore, asked: &Questions) -> Answers {
    let CredentialRecord::X509 { serial, .. } = &asked.identity.credential else {
        panic!("a certificate comes first")
    };
    let api_key = BearerDigest::from_bytes([7; 32]);
    let id = asked.identity.id;
    let mut successor = asked.identity.clone();
    successor.predecessor = Some(id);
    let renewal = Renewal { successor, at: AT, event: event() };
    vec![
        ("member by serial", kind(store.member(IdentityKey::Serial(*serial)).await)),
        ("member by key", kind(store.member(IdentityKey::ApiKey(api_key)).await)),
        ("standing", kind(store.standing(vec![id]).await)),
        ("touched", kind(store.touched(None).await)),
        ("mark_used", kind(store.mark_used(id, AT).await)),
        ("successor", kind(store.successor(id, Sha256::of(b"key")).await)),
        ("renew", kind(store.renew(renewal).await)),
    ]
}

async fn ask_about_commands(store: &SqliteStore, asked: &Questions) -> Answers {
    let (id, node_id) = (asked.command.id, asked.node.id);
    let finish =
        Finish { node_id, id, at: AT, status: CommandStatus::Done, output: None, event: event() };
    vec![
        ("queue_command", kind(store.queue_command(asked.command.clone(), event()).await)),
        ("open_commands", kind(store.open_commands(node_id, 9).await)),
        ("mark_delivered", kind(store.mark_delivered(node_id, vec![id], AT).await)),
        ("finish", kind(store.finish(finish).await)),
        ("command", kind(store.command(id).await)),
        ("commands", kind(store.commands(&asked.node.name, Page::first(9)).await)),
    ]
}

async fn ask_about_settings(store: &SqliteStore, asked: &Questions) -> Answers {
    let digest = BearerDigest::from_bytes([9; 32]);
    let admin = AdminRecord { name: "one".into(), role: Role::Admin, digest, created_at: AT };
    let attempts = vec![asked.make.attempt(&asked.node.name, AT)];
    vec![
        ("insert_admin", kind(store.insert_admin(admin, event()).await)),
        ("admin", kind(store.admin(digest).await)),
        ("admins", kind(store.admins().await)),
        ("remove_admin", kind(store.remove_admin("one", event()).await)),
        ("setting", kind(store.setting("key").await)),
        ("put_setting", kind(store.put_setting("key", "x".into(), 0, event()).await)),
        ("record_attempts", kind(store.record_attempts(attempts).await)),
        ("attempts", kind(store.attempts(&asked.node.name, Page::first(9)).await)),
        ("record_events", kind(store.record_events(vec![event()]).await)),
        ("events", kind(store.events(Page::first(9)).await)),
    ]
}
