//! Portainer's API, as much of it as is spoken here.

use serde::Deserialize;

use crate::wire::SecretText;

/// An environment in Portainer, with its own spelling.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Endpoint {
    pub(super) id: u64,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    r#type: u32,
    #[serde(default)]
    pub(super) edge_key: Option<SecretText>,
    #[serde(default, rename = "EdgeID")]
    pub(super) edge_id: String,
    /// Unix time; 0 before the first.
    #[serde(default)]
    last_check_in_date: i64,
    #[serde(default)]
    heartbeat: bool,
}

impl Endpoint {
    /// Whether it is one that waits for, or has, an Edge agent on Docker.
    pub(super) const fn is_edge(&self) -> bool {
        self.r#type == EDGE_AGENT_ON_DOCKER
    }

    /// Whether its agent was heard from.
    pub(super) const fn has_checked_in(&self) -> bool {
        self.last_check_in_date > 0 || self.heartbeat
    }
}

/// What Portainer says of itself.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SystemStatus {
    pub(super) version: String,
}

/// `EndpointCreationType` of an Edge agent.
pub(super) const CREATE_EDGE_AGENT: &str = "4";
/// `Type` of an endpoint with an Edge agent on Docker.
const EDGE_AGENT_ON_DOCKER: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_endpoint_is_read_as_portainer_writes_it_and_shows_no_key() {
        let read = |value| serde_json::from_value::<Endpoint>(value).unwrap();
        let waiting = read(json!({"Id": 5, "Name": "worker-1", "Type": 4, "EdgeKey": "s3cret",
            "EdgeID": "", "UserTrusted": true, "Heartbeat": false, "LastCheckInDate": 0}));
        assert!(waiting.is_edge() && !waiting.has_checked_in());
        assert_eq!((waiting.id, &*waiting.name, &*waiting.edge_id), (5, "worker-1", ""));
        assert_eq!(waiting.edge_key.as_ref().unwrap().expose(), "s3cret");
        assert!(!format!("{waiting:?}").contains("s3cret"));
        assert!(read(json!({"Id": 5, "Heartbeat": true})).has_checked_in());
        assert!(read(json!({"Id": 5, "LastCheckInDate": 1_800_000_000})).has_checked_in());
        assert!(!read(json!({"Id": 5, "Type": 1})).is_edge());
    }
}
