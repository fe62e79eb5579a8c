//! What happens to the containers, as their runtime tells it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use enroll_core::model::{HostEvent, Timestamp};
use http_body_util::BodyExt as _;
use serde::Deserialize;

use super::runtime::{Runtime, RuntimeError};
use super::telemetry::Happened;

/// One event of the runtime.
#[derive(Debug, Deserialize)]
struct Told {
    #[serde(rename = "Action")]
    action: String,
    #[serde(rename = "Actor")]
    actor: Actor,
    /// Unix time in nanoseconds.
    #[serde(rename = "timeNano")]
    at: i64,
}

#[derive(Debug, Deserialize)]
struct Actor {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(rename = "Attributes", default)]
    attributes: BTreeMap<String, String>,
}

/// Adds to `happened` all that happens to containers from `since` on. A runtime that is away is asked
/// again, and then for what happened meanwhile.
pub(super) async fn for_ever(runtime: Arc<Runtime>, happened: Arc<Happened>, since: Timestamp) {
    let mut watch = Watch { happened, last: since.unix_millis().saturating_mul(1_000_000) };
    let mut pause = FIRST_PAUSE;
    loop {
        let before = watch.last;
        if let Err(cause) = watch.follow(&runtime).await {
            tracing::debug!(%cause, "the events of the containers are not told");
        }
        pause = if watch.last == before { (pause * 2).min(LONGEST_PAUSE) } else { FIRST_PAUSE };
        tokio::time::sleep(pause).await;
    }
}

struct Watch {
    happened: Arc<Happened>,
    /// When the last event was, in nanoseconds.
    last: i64,
}

impl Watch {
    async fn follow(&mut self, runtime: &Runtime) -> Result<(), RuntimeError> {
        let (secs, nanos) = (self.last / NANOS, self.last % NANOS);
        // {"type":["container"]}
        let filters = "%7B%22type%22%3A%5B%22container%22%5D%7D";
        let path = format!("/events?since={secs}.{nanos:09}&filters={filters}");
        let mut body = runtime.stream(&path).await?;
        let mut line = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            for byte in data {
                match byte {
                    b'\n' => self.take(&std::mem::take(&mut line)),
                    _ if line.len() >= MAX_LINE => return Err(RuntimeError::Answer),
                    byte => line.push(byte),
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, line: &[u8]) {
        let Ok(told) = serde_json::from_slice::<Told>(line) else { return };
        // What was told before comes again with what happened at the same instant.
        if told.at <= self.last {
            return;
        }
        self.last = told.at;
        self.happened.add(told.event());
    }
}

impl Told {
    /// What is reported of it. Its labels are not, which may hold anything; nor is what somebody ran
    /// inside a container, whose arguments may hold a secret.
    fn event(&self) -> Option<HostEvent> {
        let (action, state) = match self.action.split_once(": ") {
            Some((action, state)) => (action, Some(state)),
            None => (self.action.as_str(), None),
        };
        if !ACTIONS.contains(&action) {
            return None;
        }
        let known = |name: &str| self.actor.attributes.get(name).map(|text| shown(text));
        let name = known("name").unwrap_or_default();
        let at = Timestamp::from_unix_millis(self.at / 1_000_000);
        let event = HostEvent::new(at, format!("container.{action}"), format!("{name}: {action}"))
            .with_attribute("container", name)
            .with_attribute("id", shown(self.actor.id.get(..12).unwrap_or(&self.actor.id)));
        let more = [
            ("image", known("image")),
            ("exit_code", known("exitCode")),
            ("signal", known("signal")),
            ("state", state.map(shown)),
        ];
        Some(more.into_iter().fold(event, |event, (name, value)| match value {
            Some(value) => event.with_attribute(name, value),
            None => event,
        }))
    }
}

/// A text within the bounds of an attribute.
fn shown(text: &str) -> String {
    let plain = text.chars().filter(|c| !c.is_control());
    let mut length = 0;
    plain
        .take_while(|c| {
            length += c.len_utf8();
            length <= HostEvent::MAX_TEXT
        })
        .collect()
}

/// What is worth telling.
const ACTIONS: [&str; 13] = [
    "create",
    "start",
    "restart",
    "pause",
    "unpause",
    "stop",
    "kill",
    "die",
    "oom",
    "destroy",
    "rename",
    "update",
    "health_status",
];
const NANOS: i64 = 1_000_000_000;
const MAX_LINE: usize = 256 * 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(action: &str, attributes: serde_json::Value) -> Option<HostEvent> {
        let actor = json!({"ID": "0123456789abcdef", "Attributes": attributes});
        let line = json!({"Type": "container", "Action": action, "Actor": actor,
            "time": 1_800_000_000, "timeNano": 1_800_000_000_123_456_789_i64});
        serde_json::from_value::<Told>(line).unwrap().event()
    }

    #[test]
    fn an_event_says_what_happened_to_which_container_and_no_label() {
        let attributes = json!({"name": "web", "image": "nginx:1", "exitCode": "137",
            "com.example.password": "s3cret"});
        let event = told("die", attributes).unwrap();
        assert_eq!(event.check(), Ok(()));
        assert_eq!((event.kind(), event.message()), ("container.die", "web: die"));
        assert_eq!(event.at().unix_millis(), 1_800_000_000_123);
        let named = |name: &str| event.attributes().get(name).map(String::as_str);
        assert_eq!((named("container"), named("id")), (Some("web"), Some("0123456789ab")));
        assert_eq!((named("exit_code"), named("image")), (Some("137"), Some("nginx:1")));
        assert!(!format!("{event:?}").contains("s3cret"));
        let sick = told("health_status: unhealthy", json!({"name": "web"})).unwrap();
        assert_eq!(sick.kind(), "container.health_status");
        assert_eq!(sick.attributes()["state"], "unhealthy");
    }

    #[test]
    fn what_ran_inside_a_container_is_not_told() {
        for action in ["exec_create: sh -c 'echo s3cret'", "exec_start: x", "attach", ""] {
            assert_eq!(told(action, json!({"name": "web"})), None, "{action}");
        }
        let long = told("start", json!({"name": "é".repeat(400) + "\n"})).unwrap();
        assert_eq!(long.check(), Ok(()));
    }
}
