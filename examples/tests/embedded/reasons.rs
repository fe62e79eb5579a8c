//! Every reason of the taxonomy, reached over HTTP, and met by the real worker.

use enroll_core::model::{AttemptOutcome, Reason, WorkerAction};
use enroll_core::store::Page;
use serde_json::json;
use tokio::task::JoinSet;

use crate::built::{Built, name};
use crate::harness::in_time;
use crate::scene::{NODE, Scene, waits};

#[tokio::test(flavor = "multi_thread")]
async fn a11_every_reason_is_answered_counted_and_shown_as_the_table_says() {
    for reason in Reason::ALL {
        let Scene { master, proofs } = Scene::of(*reason).await;
        let before = counted(&master, *reason);
        let body = json!({
            "token": proofs.token, "shared_secret": proofs.secret, "node_name": NODE,
            "csr": "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n",
        });
        let answer = master.api().post("/v1/enroll", &body).await;
        let said = &answer.body;
        assert_eq!(answer.status, reason.status(), "{reason}: {answer:?}");
        assert_eq!(answer.content_type, "application/problem+json", "{reason}");
        assert_eq!(said["reason"], reason.code(), "{answer:?}");
        assert_eq!(said["type"], format!("urn:enroll:reason:{reason}"));
        assert_eq!(said["status"], reason.status());
        assert_eq!(
            (&said["title"], &said["hint"]),
            (&reason.title().into(), &reason.hint().into())
        );
        assert!(said["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{answer:?}");
        let wait = said.get("retry_after_secs").map(|secs| secs.as_u64().expect("seconds"));
        let within = waits(*reason).map(|range| wait.is_some_and(|secs| range.contains(&secs)));
        assert_eq!(wait.is_some().then_some(true), within, "{reason}: {answer:?}");
        assert_eq!(answer.retry_after, wait.map(|secs| secs.to_string()), "{reason}");
        assert_eq!(counted(&master, *reason), before + 1, "{reason}: counted once");
        journalled(&master, *reason).await;
    }
}

fn counted(master: &Built, reason: Reason) -> u64 {
    master.counted(&format!("enroll_rejections_total{{reason=\"{reason}\"}}"))
}

/// The attempt is on record under the name it claimed, but for those that never were a request, and
/// those there was no store for.
async fn journalled(master: &Built, reason: Reason) {
    if matches!(reason, Reason::RateLimited | Reason::Unavailable) {
        return;
    }
    let node = name(NODE);
    let row = in_time("the attempt", async || {
        let rows = master.enroller.attempts(&node, Page::first(1)).await.expect("a page");
        let outcome = rows.first().map(|row| row.outcome);
        (outcome == Some(AttemptOutcome::Refused(reason))).then(|| rows[0].clone())
    })
    .await;
    assert_eq!(row.source_ip, Some([127, 0, 0, 1].into()), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_c8_the_worker_does_for_every_reason_what_the_table_says() {
    let mut meeting = JoinSet::new();
    for reason in Reason::ALL {
        meeting.spawn(meets(*reason));
    }
    while let Some(met) = meeting.join_next().await {
        met.expect("the worker does as it should");
    }
}

async fn meets(reason: Reason) {
    let Scene { master, proofs } = Scene::of(reason).await;
    let before = counted(&master, reason);
    let retry_secs = if reason == Reason::RateLimited { "60" } else { "8" };
    let said = master.bootstrap(proofs, NODE, retry_secs).await;
    let calls = counted(&master, reason) - before;
    let (code, repeated) = match reason.worker_action() {
        WorkerAction::WaitRetryAfter => (0, calls >= 1),
        WorkerAction::BackOff => (5, calls >= 2),
        _ => (3, calls == 1),
    };
    assert_eq!(said.code, code, "{reason}: {said:?}");
    assert!(repeated, "{reason}: it called {calls} times: {said:?}");
    assert!(said.err.contains(reason.code()), "{reason}: {said:?}");
    let waits = code != 3;
    assert_eq!(said.err.contains("trying again in"), waits, "{reason}: {said:?}");
    assert!(waits || said.err.contains(reason.hint()), "{reason}: what to do next: {said:?}");
}
