//! A node, as people and machines are shown it.

use std::collections::BTreeMap;
use std::time::Duration;

use enroll_core::model::{
    Action, FuseRecord, Health, Method, NodeId, NodeName, NodeRecord, Status, Timestamp, TrustState,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use super::schema::words;
use super::{FactsBody, Rfc3339};

/// All there is to know of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct NodeView {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: NodeId,
    /// Its name.
    #[schema(value_type = String)]
    pub name: NodeName,
    /// What it is trusted with; `degraded` once it has been silent for too long.
    #[schema(schema_with = states)]
    pub state: String,
    /// The state beneath, while `state` is `degraded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, schema_with = last_states)]
    pub last_state: Option<String>,
    /// Whether it was heard from.
    #[schema(schema_with = healths)]
    pub health: String,
    /// The one word for people.
    #[schema(schema_with = statuses)]
    pub status: String,
    /// Whether new work is kept away.
    pub cordoned: bool,
    /// Its CPU architecture, as it says itself.
    #[schema(required = true)]
    pub arch: Option<String>,
    /// Its own labels, the operator's put over them.
    pub labels: BTreeMap<String, String>,
    /// What it says of itself.
    pub facts: FactsBody,
    /// How it last became a member; `null` while it is pending.
    #[schema(required = true, schema_with = methods)]
    pub method: Option<String>,
    /// When its name was registered, or first enrolled.
    pub created_at: Rfc3339,
    /// When it last became a member; `null` while it is pending.
    #[schema(required = true)]
    pub enrolled_at: Option<Rfc3339>,
    /// Its last heartbeat; `null` where none came since it last enrolled.
    #[schema(required = true)]
    pub last_seen_at: Option<Rfc3339>,
    /// The running attempt to fuse it, or the last one since it last enrolled; `null` for none.
    #[schema(required = true)]
    pub fuse: Option<FuseView>,
    /// What its state allows an operator to do.
    #[schema(schema_with = actions)]
    pub actions: Vec<String>,
}

/// An attempt to fuse a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct FuseView {
    /// When it began.
    pub started_at: Rfc3339,
    /// When it fails by itself.
    pub deadline: Rfc3339,
    /// How the outside names what was begun there, e.g. the id of an endpoint; `null` until that is
    /// known.
    #[schema(required = true)]
    pub ticket: Option<String>,
    /// When it ended; `null` while it runs.
    #[schema(required = true)]
    pub ended_at: Option<Rfc3339>,
    /// Why the node was not fused; `null` while the attempt runs, and where it succeeded.
    #[schema(required = true)]
    pub failure: Option<FuseFailureView>,
}

/// Why a node was not fused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct FuseFailureView {
    /// What failed, a stable word.
    #[schema(example = "watchdog_timeout")]
    pub source: String,
    /// What it was in this case.
    pub detail: String,
}

impl FuseView {
    fn of(fuse: &FuseRecord) -> Self {
        let failure = fuse.ended.as_ref().and_then(|end| end.failure.as_ref());
        Self {
            started_at: fuse.started_at.into(),
            deadline: fuse.deadline.into(),
            ticket: fuse.ticket.clone(),
            ended_at: fuse.ended.as_ref().map(|end| end.at.into()),
            failure: failure.map(|failure| FuseFailureView {
                source: failure.source.clone(),
                detail: failure.detail.clone(),
            }),
        }
    }
}

impl NodeView {
    /// The node at the instant `at`, under a master that calls it degraded after `stale_after`.
    #[must_use]
    pub fn of(node: &NodeRecord, at: Timestamp, stale_after: Duration) -> Self {
        let health = node.health(at, stale_after);
        let state = wire_state(node.state, health);
        let mut labels = node.facts.labels.clone();
        labels.extend(node.labels.clone());
        let actions = node.actions(at, stale_after);
        Self {
            id: node.id,
            name: node.name.clone(),
            state: state.to_owned(),
            last_state: (state == DEGRADED).then(|| node.state.as_str().to_owned()),
            health: health.as_str().to_owned(),
            status: node.status(at, stale_after).as_str().to_owned(),
            cordoned: node.cordoned,
            arch: node.facts.arch.clone(),
            labels,
            facts: FactsBody(node.facts.clone()),
            method: node.method.map(|method| method.as_str().to_owned()),
            created_at: node.created_at.into(),
            enrolled_at: node.enrolled_at.map(Into::into),
            last_seen_at: node.last_seen_at.map(Into::into),
            fuse: node.fuse.as_ref().map(FuseView::of),
            actions: actions.into_iter().map(|action| action.as_str().to_owned()).collect(),
        }
    }
}

/// What the roles that only look are shown of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct NodeSummary {
    /// Its name.
    #[schema(value_type = String)]
    pub name: NodeName,
    /// What it is trusted with; `degraded` once it has been silent for too long.
    #[schema(schema_with = states)]
    pub state: String,
    /// Whether it was heard from.
    #[schema(schema_with = healths)]
    pub health: String,
    /// The one word for people.
    #[schema(schema_with = statuses)]
    pub status: String,
    /// Its CPU architecture, as it says itself.
    #[schema(required = true)]
    pub arch: Option<String>,
    /// Its last heartbeat; `null` where none came since it last enrolled.
    #[schema(required = true)]
    pub last_seen_at: Option<Rfc3339>,
}

impl NodeSummary {
    /// The node at the instant `at`, under a master that calls it degraded after `stale_after`.
    #[must_use]
    pub fn of(node: &NodeRecord, at: Timestamp, stale_after: Duration) -> Self {
        let health = node.health(at, stale_after);
        Self {
            name: node.name.clone(),
            state: wire_state(node.state, health).to_owned(),
            health: health.as_str().to_owned(),
            status: node.status(at, stale_after).as_str().to_owned(),
            arch: node.facts.arch.clone(),
            last_seen_at: node.last_seen_at.map(Into::into),
        }
    }
}

/// The word on the wire for what a node is trusted with: a member that fell silent is `degraded`.
pub(super) fn wire_state(state: TrustState, health: Health) -> &'static str {
    match (state, health) {
        (TrustState::Pending, _) | (_, Health::Waiting | Health::Ready) => state.as_str(),
        (_, Health::Degraded) => DEGRADED,
    }
}

const DEGRADED: &str = "degraded";

pub(super) fn states() -> Object {
    let all = TrustState::ALL.iter().map(|state| state.as_str()).chain([DEGRADED]);
    words("What the node is trusted with; `degraded` once it has been silent for too long.", all)
}

fn last_states() -> Object {
    let members = TrustState::ALL.iter().filter(|state| **state != TrustState::Pending);
    words("The state beneath, while `state` is `degraded`.", members.map(|state| state.as_str()))
}

pub(super) fn healths() -> Object {
    words("Whether the node was heard from.", Health::ALL.iter().map(|health| health.as_str()))
}

fn statuses() -> Object {
    words("The one word for people.", Status::ALL.iter().map(|status| status.as_str()))
}

fn methods() -> Object {
    use utoipa::openapi::schema::{SchemaType, Type};
    let says = "How the node last became a member; `null` while it is pending.";
    let mut object = words(says, Method::ALL.iter().map(|method| method.as_str()));
    object.schema_type = SchemaType::from_iter([Type::String, Type::Null]);
    object.enum_values.get_or_insert_default().push(serde_json::Value::Null);
    object
}

fn actions() -> utoipa::openapi::schema::Array {
    let one = words("An act.", Action::ALL.iter().map(|action| action.as_str()));
    utoipa::openapi::schema::ArrayBuilder::new()
        .items(one)
        .description(Some("What the state allows an operator to do."))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use enroll_core::model::{Facts, FuseEnd, FuseFailure, FuseId};
    use serde_json::json;

    const STALE: Duration = Duration::from_secs(90);

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_unix_secs(1_800_000_000 + secs)
    }

    fn node(state: TrustState, last_seen_at: Option<Timestamp>) -> NodeRecord {
        NodeRecord {
            id: NodeId::from_bytes([7; 16]),
            name: NodeName::new("worker-1").unwrap(),
            state,
            cordoned: false,
            labels: [("zone".into(), "b".into())].into(),
            facts: Facts {
                arch: Some("x86_64".into()),
                labels: [("zone".into(), "a".into()), ("rack".into(), "7".into())].into(),
                ..Facts::default()
            },
            method: (state != TrustState::Pending).then_some(Method::Token),
            created_at: at(0),
            enrolled_at: (state != TrustState::Pending).then_some(at(1)),
            last_seen_at,
            fuse: None,
        }
    }

    #[test]
    fn a_view_has_the_members_of_the_contract_and_reads_back() {
        let view = NodeView::of(&node(TrustState::Monitoring, Some(at(2))), at(3), STALE);
        let sent = serde_json::to_value(&view).unwrap();
        assert_eq!(
            sent,
            json!({
                "id": "07070707-0707-0707-0707-070707070707",
                "name": "worker-1",
                "state": "monitoring",
                "health": "ready",
                "status": "ready",
                "cordoned": false,
                "arch": "x86_64",
                "labels": {"zone": "b", "rack": "7"},
                "facts": {"arch": "x86_64", "labels": {"zone": "a", "rack": "7"}},
                "method": "token",
                "created_at": "2027-01-15T08:00:00Z",
                "enrolled_at": "2027-01-15T08:00:01Z",
                "last_seen_at": "2027-01-15T08:00:02Z",
                "fuse": null,
                "actions": ["regenerate", "delete", "cordon", "fuse", "command:monitor"],
            })
        );
        assert_eq!(serde_json::from_value::<NodeView>(sent).unwrap(), view);
    }

    #[test]
    fn an_attempt_to_fuse_is_shown_with_its_end() {
        let mut node = node(TrustState::Monitoring, Some(at(2)));
        let failure = FuseFailure { source: "watchdog_timeout".into(), detail: "Too late.".into() };
        node.fuse = Some(FuseRecord {
            attempt: FuseId::from_bytes([1; 16]),
            started_at: at(3),
            deadline: at(303),
            ticket: Some("7".into()),
            ended: Some(FuseEnd { at: at(303), failure: Some(failure) }),
        });
        assert_eq!(
            serde_json::to_value(NodeView::of(&node, at(304), STALE).fuse).unwrap(),
            json!({"started_at": "2027-01-15T08:00:03Z", "deadline": "2027-01-15T08:05:03Z",
                "ticket": "7", "ended_at": "2027-01-15T08:05:03Z",
                "failure": {"source": "watchdog_timeout", "detail": "Too late."}})
        );
    }

    #[test]
    fn a_silent_member_is_degraded_over_the_state_beneath() {
        let silent = node(TrustState::Fused, Some(at(0)));
        let view = NodeView::of(&silent, at(90), STALE);
        assert_eq!((&*view.state, view.last_state.as_deref()), ("degraded", Some("fused")));
        let view = NodeView::of(&silent, at(89), STALE);
        assert_eq!((&*view.state, view.last_state), ("fused", None));
        let waiting = NodeView::of(&node(TrustState::Monitoring, None), at(9_999), STALE);
        assert_eq!((&*waiting.state, &*waiting.health), ("monitoring", "waiting"));
        let pending = NodeView::of(&node(TrustState::Pending, None), at(9_999), STALE);
        assert_eq!((&*pending.state, pending.enrolled_at), ("pending", None));
    }

    #[test]
    fn a_summary_tells_no_more_than_it_may() {
        let mut cordoned = node(TrustState::Monitoring, None);
        cordoned.cordoned = true;
        let summary = NodeSummary::of(&cordoned, at(3), STALE);
        assert_eq!(
            serde_json::to_value(&summary).unwrap(),
            json!({"name": "worker-1", "state": "monitoring", "health": "waiting",
                "status": "cordoned", "arch": "x86_64", "last_seen_at": null})
        );
    }
}
