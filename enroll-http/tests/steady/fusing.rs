//! What a worker is handed while it is being fused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::StatusCode;
use enroll_core::master::{Enroller, FuseProgress, Fuser};
use enroll_core::model::{FuseFailure, FuseId, FuseRecord, Handover, NodeRecord};
use serde_json::json;

use crate::common::fleet::{Fleet, Setup, name};

/// Hands a key over, unless it is away.
#[derive(Default)]
struct Keeper {
    away: AtomicBool,
}

#[async_trait]
impl Fuser for Keeper {
    async fn begin(&self, _: &NodeRecord, _: FuseId) -> Result<String, FuseFailure> {
        Ok("5".into())
    }

    async fn poll(&self, _: &NodeRecord, _: &FuseRecord) -> Result<FuseProgress, FuseFailure> {
        Ok(FuseProgress::Pending)
    }

    async fn hand_over(&self, _: &NodeRecord, _: &FuseRecord) -> Result<Handover, FuseFailure> {
        if self.away.load(Ordering::SeqCst) {
            let (source, detail) = ("keeper_error".into(), "s3cret is where it was".into());
            return Err(FuseFailure { source, detail });
        }
        Ok(Handover::from_fuser("keeper").with("key", "s3cret".to_owned()))
    }

    async fn abort(&self, _: &NodeRecord, _: &FuseRecord) -> Result<(), FuseFailure> {
        Ok(())
    }
}

#[tokio::test]
async fn it_is_told_while_the_attempt_runs_and_to_that_worker_alone() {
    let keeper = Arc::new(Keeper::default());
    let fuser = Arc::clone(&keeper);
    let master = move |enroller: Enroller| enroller.with_fuser(fuser, Duration::from_secs(300));
    let fleet = Fleet::with(Setup { master: Box::new(master), ..Setup::default() }).await;
    let (machine, certificate, _) = fleet.enrolled("worker-1").await;
    let member = fleet.member(&machine, &certificate);
    let (machine, certificate, _) = fleet.enrolled("worker-2").await;
    let other = fleet.member(&machine, &certificate);

    let path = "/v1/self/fuse";
    member.get_steady(path).await.assert_problem(404);
    fleet.stranger().get_steady(path).await.assert_unauthorized();
    let node = fleet.enroller.fuse(&name("worker-1"), "admin").await.unwrap();
    let fuse = node.fuse.unwrap();

    let given = member.get_steady(path).await;
    given.assert_ok("FuseTaskBody");
    assert_eq!(given.body["attempt"], json!(fuse.attempt.to_string()));
    assert_eq!(given.body["ticket"], "5");
    assert_eq!(
        (&given.body["fuser"], &given.body["values"]["key"]),
        (&json!("keeper"), &json!("s3cret"))
    );
    let view = member.get_steady("/v1/self").await;
    assert_eq!(view.body["fuse"]["ticket"], "5");
    assert!(!view.text.contains("s3cret"));
    other.get_steady(path).await.assert_problem(404);

    keeper.away.store(true, Ordering::SeqCst);
    let later = member.get_steady(path).await;
    later.assert_problem(503);
    assert_eq!(later.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!later.text.contains("s3cret"), "what the fuser said is for the log");
    keeper.away.store(false, Ordering::SeqCst);

    // Past the deadline, whatever milliseconds operators' acts were set apart by.
    fleet.clock.advance(Duration::from_secs(301));
    member.get_steady(path).await.assert_problem(404);
}
