//! The calls of a member: heartbeat, renewal, recovery.

use data_encoding::BASE64;
use enroll_core::master::{BeatReply, RecoverRequest};
use enroll_core::model::{CommandRecord, CommandStatus, Credential, Facts, NodeName, Rejection};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use super::credential::bodies;
use super::enroll::{bad, node_name, whole_secs};
use super::schema::words;
use super::{CredentialBody, FactsBody, Rfc3339};

/// A heartbeat.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct HeartbeatBody {
    /// The name the worker runs under; compared with the one of its identity, never used.
    #[schema(required = true, nullable = false, example = "worker-1")]
    pub node_name: Option<String>,
    /// All that it says of itself, in place of what it said before; absent where nothing changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub facts: Option<FactsBody>,
}

impl HeartbeatBody {
    /// A heartbeat of the worker that runs as `name`.
    #[must_use]
    pub fn new(name: &NodeName, facts: Option<Facts>) -> Self {
        Self { node_name: Some(name.to_string()), facts: facts.map(FactsBody) }
    }

    /// The name and the facts.
    ///
    /// # Errors
    /// `bad_request`, with the member that is missing or malformed.
    pub fn into_parts(self) -> Result<(NodeName, Option<Facts>), Rejection> {
        let name = self.node_name.as_deref().ok_or_else(|| bad("`node_name` is missing."))?;
        Ok((node_name(name)?, self.facts.map(FactsBody::checked).transpose()?))
    }
}

/// What a heartbeat is answered.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct HeartbeatAnswer {
    /// The master's clock.
    pub server_time: Rfc3339,
    /// When to report again, in seconds.
    pub heartbeat_interval_secs: u64,
    /// Whether the identity is to be renewed now.
    pub renew: bool,
    /// What the worker is to do.
    #[serde(default)]
    pub commands: Vec<CommandBody>,
}

impl HeartbeatAnswer {
    /// Writes the reply to a heartbeat.
    #[must_use]
    pub fn of(reply: &BeatReply) -> Self {
        Self {
            server_time: reply.server_time.into(),
            heartbeat_interval_secs: whole_secs(reply.heartbeat_interval),
            renew: reply.renew,
            commands: reply.commands.iter().map(CommandBody::of).collect(),
        }
    }
}

/// A command for a worker. It comes again until it is acknowledged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct CommandBody {
    /// Its id, to be acknowledged.
    #[schema(format = "uuid")]
    pub id: String,
    /// What to do.
    pub kind: String,
    /// With what.
    #[serde(default)]
    pub payload: serde_json::Value,
}

impl CommandBody {
    /// Writes what a node is told of a command.
    #[must_use]
    pub fn of(command: &CommandRecord) -> Self {
        Self {
            id: command.id.to_string(),
            kind: command.kind.clone(),
            payload: command.payload.clone(),
        }
    }
}

/// What became of a command.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct CommandReport {
    /// Whether it was carried out.
    #[schema(required = true, schema_with = outcomes)]
    pub status: Option<String>,
    /// What the worker has to say of it, at most 16 KiB; more is cut off.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub output: Option<String>,
}

impl CommandReport {
    /// Says that a command was carried out, or not.
    #[must_use]
    pub fn new(done: bool, output: Option<String>) -> Self {
        let status = if done { CommandStatus::Done } else { CommandStatus::Failed };
        Self { status: Some(status.as_str().to_owned()), output }
    }

    /// Whether it was carried out, and what the worker said.
    ///
    /// # Errors
    /// `bad_request`, with the member that is missing or malformed.
    pub fn into_parts(self) -> Result<(bool, Option<String>), Rejection> {
        let status = self.status.ok_or_else(|| bad("`status` is missing."))?;
        match status.parse() {
            Ok(CommandStatus::Done) => Ok((true, self.output)),
            Ok(CommandStatus::Failed) => Ok((false, self.output)),
            _ => Err(bad("`status` is neither `done` nor `failed`.")),
        }
    }
}

fn outcomes() -> Object {
    let ends = [CommandStatus::Done, CommandStatus::Failed];
    words("Whether it was carried out.", ends.map(CommandStatus::as_str))
}

/// A wish to renew the identity that authenticates the call.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct RenewBody {
    /// A certificate request, PEM; needed where a certificate authenticates the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub csr: Option<String>,
}

impl RenewBody {
    /// A wish for a certificate for the key in `csr`, or for another API key.
    #[must_use]
    pub const fn new(csr: Option<String>) -> Self {
        Self { csr }
    }
}

/// The credentials that take the place of those that asked, once one of them is used.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct RenewAnswer {
    /// The credentials.
    pub credentials: Vec<CredentialBody>,
}

impl RenewAnswer {
    /// Writes what was made.
    #[must_use]
    pub fn of(credentials: &[Credential]) -> Self {
        Self { credentials: bodies(credentials) }
    }
}

/// A wish to recover a certificate that ran out while its machine was off.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct RecoverBody {
    /// The expired leaf, PEM.
    #[schema(required = true, nullable = false)]
    pub certificate: Option<String>,
    /// A certificate request, PEM.
    #[schema(required = true, nullable = false)]
    pub csr: Option<String>,
    /// Base64 of the old key's signature over `enroll-recover-v1` NUL, the SHA-256 of the leaf's DER,
    /// and the DER of the request.
    #[schema(required = true, nullable = false)]
    pub signature: Option<String>,
}

impl RecoverBody {
    /// Writes the wish.
    #[must_use]
    pub fn new(request: &RecoverRequest) -> Self {
        Self {
            certificate: Some(request.certificate.clone()),
            csr: Some(request.csr.clone()),
            signature: Some(BASE64.encode(&request.signature)),
        }
    }

    /// The wish in the domain's terms.
    ///
    /// # Errors
    /// `bad_request`, with the member that is missing or malformed.
    pub fn into_request(self) -> Result<RecoverRequest, Rejection> {
        let missing = |name: &str| bad(format!("`{name}` is missing."));
        let signature = self.signature.ok_or_else(|| missing("signature"))?;
        Ok(RecoverRequest {
            certificate: self.certificate.ok_or_else(|| missing("certificate"))?,
            csr: self.csr.ok_or_else(|| missing("csr"))?,
            signature: BASE64
                .decode(signature.as_bytes())
                .map_err(|_| bad("`signature` is not base64 (RFC 4648, section 4)."))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use enroll_core::model::Reason;
    use serde_json::{Value, json};

    fn detail<T>(read: Result<T, Rejection>) -> String {
        let rejection = read.err().expect("it is refused");
        assert_eq!(rejection.reason(), Reason::BadRequest);
        rejection.detail().to_owned()
    }

    #[test]
    fn a_heartbeat_reads_back_and_its_flaws_are_named() {
        let name = NodeName::new("worker-1").unwrap();
        let facts = Facts { os: Some("linux".into()), ..Facts::default() };
        let sent = serde_json::to_value(HeartbeatBody::new(&name, Some(facts.clone()))).unwrap();
        assert_eq!(sent, json!({"node_name": "worker-1", "facts": {"os": "linux"}}));
        let beat =
            |body: Value| serde_json::from_value::<HeartbeatBody>(body).unwrap().into_parts();
        assert_eq!(beat(sent).unwrap(), (name, Some(facts)));
        assert_eq!(detail(beat(json!({}))), "`node_name` is missing.");
        assert!(detail(beat(json!({"node_name": "A"}))).starts_with("`node_name` is refused: "));
        let long = json!({"node_name": "a", "facts": {"os": "x".repeat(1025)}});
        assert_eq!(detail(beat(long)), "`os` in `facts` is too large.");
    }

    #[test]
    fn a_report_reads_back_and_its_flaws_are_named() {
        for done in [true, false] {
            let sent = CommandReport::new(done, Some("So it went.".into()));
            let sent = serde_json::to_value(sent).unwrap();
            assert_eq!(sent["status"], if done { "done" } else { "failed" });
            let read: CommandReport = serde_json::from_value(sent).unwrap();
            assert_eq!(read.into_parts().unwrap(), (done, Some("So it went.".into())));
        }
        let report =
            |body: Value| serde_json::from_value::<CommandReport>(body).unwrap().into_parts();
        assert_eq!(detail(report(json!({}))), "`status` is missing.");
        for bad in ["", "queued", "Done"] {
            let told = detail(report(json!({ "status": bad })));
            assert_eq!(told, "`status` is neither `done` nor `failed`.");
        }
    }

    #[test]
    fn a_recovery_reads_back_and_its_flaws_are_named() {
        let request = || RecoverRequest {
            certificate: "leaf".into(),
            csr: "request".into(),
            signature: vec![0xff, 0xfe],
        };
        let sent = serde_json::to_value(RecoverBody::new(&request())).unwrap();
        assert_eq!(sent, json!({"certificate": "leaf", "csr": "request", "signature": "//4="}));
        let recover =
            |body: Value| serde_json::from_value::<RecoverBody>(body).unwrap().into_request();
        let read = recover(sent.clone()).unwrap();
        assert_eq!((read.certificate, read.csr), ("leaf".into(), "request".into()));
        assert_eq!(read.signature, [0xff, 0xfe]);
        for member in ["certificate", "csr", "signature"] {
            let mut less = sent.clone();
            less.as_object_mut().unwrap().remove(member);
            assert_eq!(detail(recover(less)), format!("`{member}` is missing."));
        }
        for bad in ["//4", "__4=", "//4=\n", "x"] {
            let mut other = sent.clone();
            other["signature"] = json!(bad);
            assert!(detail(recover(other)).contains("base64"), "{bad:?}");
        }
    }
}
