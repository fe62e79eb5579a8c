//! Headscale away, slow, failing, forgetful: nothing is spent, and nothing has to be mended here.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use enroll_core::model::Reason;
use enroll_http::integrations::headscale::HeadscaleOptions;
use tokio::task::JoinSet;

use crate::stub::{API_KEY, Mood, Stub, Version};
use crate::support::{Fleet, PATIENCE, client, make, options};

fn chain(error: &dyn Error) -> String {
    let mut text = format!("{error:?} {error}");
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(" {cause:?} {cause}"));
        next = cause.source();
    }
    text
}

#[tokio::test]
async fn a13_a_failure_spends_nothing_and_passes_by_itself() {
    for version in [Version::V026, Version::V030] {
        let stub = Stub::start(version).await;
        let fleet = Fleet::new(client(&stub, options()));
        let token = fleet.mint().await;
        for mood in [Mood::Fails, Mood::Forgot, Mood::Slow, Mood::Babbles] {
            stub.feel(mood);
            let began = Instant::now();
            let reason = fleet.refused(&token, "worker-1").await;
            assert_eq!(reason, Reason::MeshMintFailed, "{version:?} {mood:?}");
            assert!(began.elapsed() < 20 * PATIENCE, "{mood:?}: the machine is waiting");
            assert_eq!(fleet.uses(token.id()).await, 0, "{mood:?}");
            assert_eq!(stub.open(), [""; 0], "{mood:?}");
        }
        stub.feel(Mood::Well);
        fleet.enroll(&token, "worker-1", 1).await;
        assert_eq!(fleet.uses(token.id()).await, 1);
        assert_eq!(stub.open().len(), 1);
    }
}

#[tokio::test]
async fn nobody_there_is_no_different() {
    let stub = Stub::start(Version::V029).await;
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = stub.moved_to(nobody.local_addr().unwrap());
    drop(nobody);
    let fleet = Fleet::new(client(&gone, options()));
    let token = fleet.mint().await;
    assert_eq!(fleet.refused(&token, "worker-1").await, Reason::MeshMintFailed);
    assert_eq!(fleet.uses(token.id()).await, 0);
}

#[tokio::test]
async fn an_error_says_what_to_do_and_no_secret() {
    let stub = Stub::start(Version::V029).await;
    let ours = client(&stub, options());
    let told = async |mood| {
        stub.feel(mood);
        let text = chain(&make(&ours).await.unwrap_err());
        assert!(!text.contains(API_KEY) && !text.contains("s3cret"), "{text}");
        text
    };
    assert!(told(Mood::Forgot).await.contains("headscale apikeys create"));
    let failed = told(Mood::Fails).await;
    assert!(failed.contains("500") && failed.contains("database is locked"), "{failed}");
    assert!(!failed.contains('\u{1b}'), "what it says cannot move the cursor: {failed}");
    assert!(told(Mood::Babbles).await.contains("no Headscale"));
    assert!(told(Mood::Slow).await.contains("Headscale"));
    stub.feel(Mood::Well);
    stub.inside().users = 0;
    let nobody = chain(&make(&client(&stub, options())).await.unwrap_err());
    assert!(nobody.contains("headscale users create"), "{nobody}");
}

#[tokio::test]
async fn no_more_calls_are_under_way_than_allowed() {
    let stub = Stub::start(Version::V029).await;
    stub.feel(Mood::Slow);
    let tagged = HeadscaleOptions::new().with_tag("tag:worker").with_deadline(PATIENCE);
    let ours = Arc::new(client(&stub, tagged.with_calls(2)));
    let mut calls = JoinSet::new();
    for _ in 0..16 {
        let ours = Arc::clone(&ours);
        calls.spawn(async move { make(&ours).await.is_err() });
    }
    assert!(calls.join_all().await.into_iter().all(|failed| failed));
    // Those that end give their turn to others that are about to end.
    let arrived = stub.inside().calls.len();
    assert!((2..=8).contains(&arrived), "{arrived} of 16 at once");
}

#[tokio::test]
async fn nobody_waits_for_others_longer_than_a_call_may_take() {
    let stub = Stub::start(Version::V029).await;
    stub.feel(Mood::Slow);
    let ours = Arc::new(client(&stub, options()));
    let mut calls = JoinSet::new();
    let began = Instant::now();
    for _ in 0..16 {
        let ours = Arc::clone(&ours);
        calls.spawn(async move { make(&ours).await.is_err() });
    }
    assert!(calls.join_all().await.into_iter().all(|failed| failed));
    assert!(began.elapsed() < 3 * PATIENCE, "{:?}", began.elapsed());
}
