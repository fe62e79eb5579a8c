//! What these tests do to a store, and how they run themselves in another process.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use enroll_core::decision::Decision;
use enroll_core::model::{Event, NodeName, Timestamp, TokenPrefix, What};
use enroll_core::store::{
    Lookup, MintOutcome, Redeem, RedeemOutcome, Redemptions as _, StoreError, Tokens as _,
};
use enroll_core::testing::{Claimant, Fixtures, TestToken};
use enroll_store_sqlite::SqliteStore;

/// When everything happens.
pub(crate) const AT: Timestamp = Fixtures::START;

/// Where a test finds the database when it runs as a child; unset in the parent.
const DATABASE: &str = "ENROLL_TEST_DATABASE";
/// Which of several children it is.
const CHILD: &str = "ENROLL_TEST_CHILD";

/// The test called `name`, in a process of its own, on the database at `path`.
pub(crate) fn child(name: &str, path: &Path, which: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    as_child(command.args(["--exact", "--nocapture", name]), path, which);
    command
}

/// The same, after the shell has run `before`.
pub(crate) fn child_after(before: &str, name: &str, path: &Path) -> Command {
    let mut command = Command::new("sh");
    let script = format!("{before}\nexec \"$0\" --exact --nocapture \"$1\"");
    command.args(["-c", &script]).arg(std::env::current_exe().unwrap()).arg(name);
    as_child(&mut command, path, 0);
    command
}

fn as_child(command: &mut Command, path: &Path, which: u64) {
    command.env(DATABASE, path).env(CHILD, which.to_string());
}

/// The database and the number of this child; `None` in the parent.
pub(crate) fn being_child() -> Option<(std::path::PathBuf, u64)> {
    let path = std::env::var_os(DATABASE)?;
    Some((path.into(), std::env::var(CHILD).unwrap().parse().unwrap()))
}

/// Runs to the end on a runtime with several threads.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

/// Makers that no other child shares a value with.
pub(crate) fn fixtures(child: u64) -> Fixtures {
    let make = Fixtures::new();
    // Far more than any one child draws.
    let mut skipped = vec![0; 32 * 200_000 * usize::try_from(child).unwrap()];
    enroll_core::model::Entropy::fill(make.entropy(), &mut skipped).unwrap();
    make
}

/// A token for any node, that the store keeps.
pub(crate) async fn minted(store: &SqliteStore, make: &Fixtures, uses: u32) -> TestToken {
    let token = make.token(next_instant()).uses(uses);
    assert!(matches!(store.mint(make.mint(&token)).await.unwrap(), MintOutcome::Minted(None)));
    token
}

/// A token for the node `name`, that the store keeps.
pub(crate) async fn minted_for(store: &SqliteStore, make: &Fixtures, name: &str) {
    let token = make.token(next_instant()).bound_to(name);
    assert!(matches!(store.mint(make.mint(&token)).await.unwrap(), MintOutcome::Minted(Some(_))));
}

/// Another instant for each token: of thousands of one millisecond two would soon have the same id.
fn next_instant() -> Timestamp {
    static MINTED: AtomicU64 = AtomicU64::new(0);
    AT.after(Duration::from_millis(MINTED.fetch_add(1, Ordering::Relaxed)))
}

/// A token that another process minted, by its text.
pub(crate) async fn token_of(store: &SqliteStore, text: &str) -> TestToken {
    use enroll_core::model::JoinToken;
    let token = JoinToken::parse(&TokenPrefix::default(), text).unwrap();
    let record = store.token(token.id()).await.unwrap().unwrap();
    TestToken { token, record }
}

/// The redemption that `name` would make of `token`, as the store stands; `None` when it is refused.
pub(crate) async fn approved(
    store: &SqliteStore,
    make: &Fixtures,
    token: &TestToken,
    name: &str,
) -> Result<Option<Redeem>, StoreError> {
    let claimant = Claimant::new(token, name);
    let lookup = Lookup {
        token_id: Some(token.record.id),
        node_name: claimant.node_name(),
        claim: claimant.claim(),
    };
    let seen = store.look_up(lookup).await?;
    Ok(match make.decide(&claimant, &seen, AT) {
        Ok(Decision::Approved(approval)) => Some(make.redeem(approval, AT)),
        _ => None,
    })
}

/// Enrolls `name` with `token`; says whether it won.
pub(crate) async fn enroll(
    store: &SqliteStore,
    make: &Fixtures,
    token: &TestToken,
    name: &str,
) -> Result<bool, StoreError> {
    let Some(redeem) = approved(store, make, token, name).await? else { return Ok(false) };
    Ok(matches!(store.redeem(redeem).await?, RedeemOutcome::Enrolled(_)))
}

pub(crate) fn name(text: &str) -> NodeName {
    enroll_core::testing::name(text)
}

pub(crate) fn event() -> Event {
    Event::by(AT, "tests", What::SettingChanged { key: "key".into() })
}

/// SQLite's own verdict on a database that no store has open.
pub(crate) fn check_integrity(path: &Path) {
    let connection = rusqlite::Connection::open(path).unwrap();
    let check = |pragma| connection.query_row(pragma, [], |row| row.get::<_, String>(0));
    assert_eq!(check("PRAGMA integrity_check").unwrap(), "ok");
    assert_eq!(check("PRAGMA foreign_key_check"), Err(rusqlite::Error::QueryReturnedNoRows));
}
