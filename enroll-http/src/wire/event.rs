//! The audit log, and attempts to enroll.

use std::net::IpAddr;

use enroll_core::model::{AttemptOutcome, AttemptRecord, JournalledEvent, Reason, TokenId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use utoipa::openapi::schema::{Object, SchemaType, Type};

use super::Rfc3339;
use super::schema::words;

/// Something that happened.
///
/// What it tells beside its type depends on the type: ids and names, never a secret. A reader meets
/// types it does not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct EventItem {
    /// Its place in the log, for `?after=`; greater than that of every earlier event.
    pub seq: u64,
    /// When.
    pub at: Rfc3339,
    /// The operator who did it; null when no operator did.
    #[schema(required = true)]
    pub actor: Option<String>,
    /// What happened, in a stable word.
    #[serde(rename = "type")]
    #[schema(example = "token_minted")]
    pub kind: String,
    /// The ids and names of what it happened to.
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

impl From<JournalledEvent> for EventItem {
    fn from(journalled: JournalledEvent) -> Self {
        let JournalledEvent { seq, event } = journalled;
        // An enum of structs of texts and numbers always serialises, as an object with its type.
        let mut details = match serde_json::to_value(&event.what) {
            Ok(Value::Object(details)) => details,
            _ => Map::new(),
        };
        let kind = match details.remove("type") {
            Some(Value::String(kind)) => kind,
            _ => String::new(),
        };
        Self { seq, at: event.at.into(), actor: event.actor, kind, details }
    }
}

/// A call to enroll under the name of a node, accepted or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct AttemptItem {
    /// When.
    pub at: Rfc3339,
    /// How it ended.
    #[schema(schema_with = outcomes)]
    pub outcome: String,
    /// Why it was refused, as a stable code; null where it was not.
    #[schema(required = true, schema_with = reasons)]
    pub reason: Option<String>,
    /// From where.
    #[schema(value_type = Option<String>, required = true)]
    pub source_ip: Option<IpAddr>,
    /// The token it presented, by its public half.
    #[schema(value_type = Option<String>, required = true)]
    pub token_id: Option<TokenId>,
}

impl From<AttemptRecord> for AttemptItem {
    fn from(record: AttemptRecord) -> Self {
        let (outcome, reason) = match record.outcome {
            AttemptOutcome::Accepted => (ACCEPTED, None),
            AttemptOutcome::Redelivered => (REDELIVERED, None),
            AttemptOutcome::Refused(reason) => (REFUSED, Some(reason.code().to_owned())),
            // An outcome to come is not known to have made a member until it is told apart here.
            _ => (REFUSED, None),
        };
        Self {
            at: record.at.into(),
            outcome: outcome.to_owned(),
            reason,
            source_ip: record.source_ip,
            token_id: record.token_id,
        }
    }
}

const ACCEPTED: &str = "accepted";
const REDELIVERED: &str = "redelivered";
const REFUSED: &str = "refused";

fn outcomes() -> Object {
    words("How it ended.", [ACCEPTED, REDELIVERED, REFUSED])
}

fn reasons() -> Object {
    let says = "Why it was refused; `null` where it was not.";
    let mut object = words(says, Reason::ALL.iter().map(|reason| reason.code()));
    object.schema_type = SchemaType::from_iter([Type::String, Type::Null]);
    object.enum_values.get_or_insert_default().push(Value::Null);
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use enroll_core::model::{Event, NodeName, Timestamp, What};
    use serde_json::json;

    #[test]
    fn an_event_is_flat_and_reads_back_whatever_its_type() {
        let at = Timestamp::from_unix_secs(1_795_000_000);
        let what = What::Cordoned { node_name: NodeName::new("worker-1").unwrap() };
        let event = JournalledEvent { seq: 7, event: Event::by(at, "ann", what) };
        let wire = serde_json::to_value(EventItem::from(event)).unwrap();
        let flat = json!({
            "seq": 7, "at": "2026-11-18T11:06:40Z", "actor": "ann",
            "type": "cordoned", "node_name": "worker-1",
        });
        assert_eq!(wire, flat);
        let newer = json!({ "seq": 8, "at": "2026-11-18T11:06:40Z", "type": "x", "more": [1] });
        let read: EventItem = serde_json::from_value(newer).unwrap();
        assert_eq!((read.kind.as_str(), &read.details["more"]), ("x", &json!([1])));
    }
}
