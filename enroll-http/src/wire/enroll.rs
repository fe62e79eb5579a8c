//! The call by which a machine becomes a member.

use std::time::Duration;

use enroll_core::master::{Admission, MasterConfig};
use enroll_core::model::{
    AttemptKey, EnrollRequest, NodeId, NodeName, Presented, Reason, Rejection, Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::credential::bodies;
use super::node::{healths, states, wire_state};
use super::{CredentialBody, FactsBody, SecretText};

/// What a machine sends to become a member. Which members are needed depends on how it proves
/// itself and on what the master issues.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct EnrollBody {
    /// The join token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub token: Option<SecretText>,
    /// The cluster secret beside a token; alone, the enrollment secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub shared_secret: Option<SecretText>,
    /// The name it is to have; may be absent where the token is bound to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, max_length = 253, example = "worker-1")]
    pub node_name: Option<String>,
    /// A certificate request, PEM; needed where certificates are issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub csr: Option<String>,
    /// Base64url of 16 bytes or more that the worker keeps: what a retry is recognised by where no
    /// certificate request is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub attempt_key: Option<SecretText>,
    /// What it says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub facts: Option<FactsBody>,
}

impl EnrollBody {
    /// The request in the domain's terms.
    ///
    /// # Errors
    /// `bad_request`, with the member that is missing or malformed.
    pub fn into_request(self) -> Result<EnrollRequest, Rejection> {
        let (token, secret) = (
            self.token.map(SecretText::into_string),
            self.shared_secret.map(SecretText::into_string),
        );
        let presented = Presented::from_parts(token, secret)
            .ok_or_else(|| bad("`token` is missing, and so is `shared_secret`."))?;
        let mut request = EnrollRequest::new(presented);
        request.node_name = self.node_name.as_deref().map(node_name).transpose()?;
        request.csr = self.csr;
        request.attempt_key = self.attempt_key.map(attempt_key).transpose()?;
        request.facts = self.facts.unwrap_or_default().0;
        Ok(request)
    }
}

/// What a new member is answered.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct EnrollAnswer {
    /// The node's id.
    #[schema(value_type = String, format = "uuid")]
    pub node_id: NodeId,
    /// The node's name.
    #[schema(value_type = String, example = "worker-1")]
    pub node_name: NodeName,
    /// What the node is trusted with.
    #[schema(schema_with = states)]
    pub state: String,
    /// Whether it was heard from.
    #[schema(schema_with = healths)]
    pub health: String,
    /// Its credentials, in the order in which the master is set up to issue them.
    pub credentials: Vec<CredentialBody>,
    /// Where the master is reached from now on, `host:port`; absent where the master does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false, example = "100.64.0.1:7481")]
    pub master_addr: Option<String>,
    /// How often to report, in seconds.
    pub heartbeat_interval_secs: u64,
    /// Whether this is an answer that was given before and lost.
    pub redelivered: bool,
}

impl EnrollAnswer {
    /// Writes an admission, at the instant `at`, of a master set up as `config` says.
    #[must_use]
    pub fn of(admission: &Admission, config: &MasterConfig, at: Timestamp) -> Self {
        let node = &admission.node;
        let health = node.health(at, config.stale_after);
        Self {
            node_id: node.id,
            node_name: node.name.clone(),
            state: wire_state(node.state, health).to_owned(),
            health: health.as_str().to_owned(),
            credentials: bodies(&admission.credentials),
            master_addr: config.steady_addr.clone(),
            heartbeat_interval_secs: whole_secs(config.heartbeat_interval),
            redelivered: admission.redelivered,
        }
    }
}

/// Seconds of an interval a worker is told: at least one, because none would be no pause at all.
pub(super) fn whole_secs(interval: Duration) -> u64 {
    interval.as_secs().max(1)
}

pub(crate) fn node_name(text: &str) -> Result<NodeName, Rejection> {
    NodeName::new(text).map_err(|why| bad(format!("`node_name` is refused: {why}.")))
}

fn attempt_key(text: SecretText) -> Result<AttemptKey, Rejection> {
    AttemptKey::parse(text.expose())
        .ok_or_else(|| bad("`attempt_key` is not 16 bytes or more in base64url."))
}

pub(crate) fn bad(detail: impl Into<String>) -> Rejection {
    Rejection::new(Reason::BadRequest).with_detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(body: Value) -> Result<EnrollRequest, Rejection> {
        serde_json::from_value::<EnrollBody>(body).unwrap().into_request()
    }

    #[test]
    fn what_is_presented_follows_from_what_is_there() {
        let request = read(json!({"token": "t", "node_name": "worker-1"})).unwrap();
        assert!(matches!(request.presented, Presented::Token(token) if token.expose() == "t"));
        let request = read(json!({"token": "t", "shared_secret": "s"})).unwrap();
        assert!(matches!(request.presented, Presented::TokenAndSecret(..)));
        let request = read(json!({"token": null, "shared_secret": "s"})).unwrap();
        assert!(matches!(request.presented, Presented::Secret(_)));
        let empty = read(json!({"token": "", "shared_secret": ""})).unwrap();
        assert!(matches!(empty.presented, Presented::TokenAndSecret(..)), "present, and wrong");
    }

    #[test]
    fn everything_else_is_handed_on() {
        let key = "AAECAwQFBgcICQoLDA0ODw";
        let request = read(json!({
            "token": "t", "node_name": "worker-1", "csr": "pem", "attempt_key": key,
            "facts": {"arch": "x86_64", "labels": {"k": "v"}, "gpus": 2}, "unknown": [1]
        }))
        .unwrap();
        assert_eq!(request.node_name.unwrap().as_str(), "worker-1");
        assert_eq!(request.csr.as_deref(), Some("pem"));
        let ours = AttemptKey::parse(key).unwrap();
        assert_eq!(request.attempt_key.unwrap().claim(), ours.claim());
        assert_eq!(request.facts.arch.as_deref(), Some("x86_64"));
        assert_eq!(request.facts.other["gpus"], 2);
    }

    #[test]
    fn what_is_wrong_is_named_and_not_repeated() {
        for (body, detail) in [
            (json!({}), "`token` is missing, and so is `shared_secret`."),
            (
                json!({"token": "t", "node_name": ""}),
                "`node_name` is refused: a node name cannot be empty.",
            ),
            (
                json!({"token": "t", "node_name": "\u{1b}[31mS3cret"}),
                "`node_name` is refused: a node name has only lower-case letters, digits, hyphens and dots.",
            ),
            (
                json!({"token": "t", "attempt_key": "s3cret"}),
                "`attempt_key` is not 16 bytes or more in base64url.",
            ),
        ] {
            let rejection = read(body).unwrap_err();
            assert_eq!((rejection.reason(), rejection.detail()), (Reason::BadRequest, detail));
        }
    }

    #[test]
    fn no_debug_shows_a_secret() {
        let body: EnrollBody = serde_json::from_value(
            json!({"token": "s3cret", "shared_secret": "s3cret", "attempt_key": "s3cret"}),
        )
        .unwrap();
        assert!(!format!("{body:?}").contains("s3cret"));
        assert_eq!(
            serde_json::to_value(&body).unwrap(),
            json!({"token": "s3cret", "shared_secret": "s3cret", "attempt_key": "s3cret"})
        );
    }
}
