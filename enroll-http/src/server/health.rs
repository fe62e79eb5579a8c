//! Whether the master lives, and whether it can work.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use enroll_core::master::Enroller;
use enroll_core::model::Timestamp;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use utoipa::ToSchema;

use super::answer::{json, trouble};

/// `/healthz` and `/readyz`.
pub(super) fn routes(enroller: Arc<Enroller>) -> Router {
    let probe = Arc::new(Probe { enroller, last: Mutex::new(None) });
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(probe)
}

/// That the process answers.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Alive {
    /// `ok`.
    status: String,
}

/// Whether the master can decide.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Ready {
    /// Whether it can.
    ready: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    reason: Option<String>,
}

/// Asks the store at most once per [`FRESH`], however often it is asked itself: anyone may ask.
pub(super) struct Probe {
    enroller: Arc<Enroller>,
    last: Mutex<Option<(Timestamp, Result<(), String>)>>,
}

impl Probe {
    async fn ready(&self) -> Result<(), String> {
        // Held while the store is asked, so that whoever comes meanwhile shares the answer.
        let mut last = self.last.lock().await;
        let now = self.enroller.clock().now();
        if let Some((at, known)) = &*last
            && (*at..at.after(FRESH)).contains(&now)
        {
            return known.clone();
        }
        let known = match tokio::time::timeout(PATIENCE, self.enroller.ready()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let _logged = trouble(&error);
                Err(format!("The store does not answer: {error}."))
            }
            Err(_) => Err(format!("The store does not answer within {PATIENCE:?}.")),
        };
        // It is as old as its end: those who waited for it must find it fresh.
        *last = Some((self.enroller.clock().now(), known.clone()));
        known
    }
}

/// Whether the process answers.
#[utoipa::path(get, path = "/healthz", tag = "health",
    responses((status = 200, description = "It does.", body = Alive)))]
pub(super) async fn healthz() -> Response {
    json(StatusCode::OK, &Alive { status: "ok".to_owned() })
}

/// Whether the master can decide: its store answers.
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, description = "It can.", body = Ready),
    (status = 503, description = "It cannot, and says why.", body = Ready)))]
pub(super) async fn readyz(State(probe): State<Arc<Probe>>) -> Response {
    match probe.ready().await {
        Ok(()) => json(StatusCode::OK, &Ready { ready: true, reason: None }),
        Err(reason) => {
            let answer = Ready { ready: false, reason: Some(reason) };
            json(StatusCode::SERVICE_UNAVAILABLE, &answer)
        }
    }
}

/// For how long an answer of the store is good.
const FRESH: Duration = Duration::from_secs(1);
/// How long the store may take.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use enroll_core::model::Clock;
    use enroll_core::store::MemoryStore;
    use enroll_core::testing::{Fault, FlakyStore, Operation};
    use tokio::time::{Instant, sleep};

    /// A clock that goes with the time of the test.
    struct Going(Instant);

    impl Clock for Going {
        fn now(&self) -> Timestamp {
            Timestamp::from_unix_secs(1_800_000_000).after(self.0.elapsed())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_while_a_store_hangs_shares_one_answer() {
        let store = Arc::new(FlakyStore::new(MemoryStore::new()));
        let hangs = || Fault::rival(|_| sleep(Duration::from_secs(3_600)));
        store.script(Operation::Probe, (0..10).map(|_| hangs()));
        let began = Instant::now();
        let enroller = Enroller::with_issuers(Arc::clone(&store) as _, Vec::new())
            .with_clock(Arc::new(Going(began)));
        let probe = Probe { enroller: Arc::new(enroller), last: Mutex::new(None) };
        let asked_at = async |secs| {
            sleep(Duration::from_secs(secs)).await;
            (probe.ready().await.is_err(), began.elapsed() < PATIENCE + FRESH)
        };
        let answers = tokio::join!(asked_at(0), asked_at(2), asked_at(4));
        assert_eq!(answers, ((true, true), (true, true), (true, true)));
        assert_eq!(store.calls(Operation::Probe), 1);
    }
}
