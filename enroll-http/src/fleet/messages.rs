//! Messages as values of the domain, and back.

use std::fmt;

use enroll_core::master::Terms;
use enroll_core::model::{
    ApiKey, CommandRecord, Credential, Facts, HostEvent, Rejection, Sample, SampleKind, Timestamp,
    X509Credential,
};
use enroll_core::worker::Command;

use super::v1;
use crate::wire::{FactsBody, bad, read_json};

/// A request that says under which name its worker runs.
pub(crate) trait Pinned {
    /// The name, as it came; empty where there is none.
    fn node_name(&self) -> &str;
}

macro_rules! pinned {
    ($($message:ident)+) => {$(
        impl Pinned for v1::$message {
            fn node_name(&self) -> &str {
                &self.node_name
            }
        }
    )+};
}
pinned! {
    HeartbeatRequest ReportMetricsRequest ReportEventsRequest CommandsRequest AcknowledgeRequest
    RenewRequest
}

impl v1::HeartbeatRequest {
    pub(crate) fn facts(&self) -> Result<Option<Facts>, Rejection> {
        let Some(text) = &self.facts_json else { return Ok(None) };
        let facts: FactsBody = read_json(text.as_bytes())
            .map_err(|why| bad(format!("`facts_json` cannot be read: {why}")))?;
        facts.checked().map(Some)
    }
}

impl From<&Sample> for v1::Sample {
    fn from(sample: &Sample) -> Self {
        let kind = match sample.kind() {
            SampleKind::Gauge => v1::SampleKind::Gauge,
            SampleKind::Counter => v1::SampleKind::Counter,
        };
        Self {
            name: sample.name().to_owned(),
            kind: kind.into(),
            labels: sample.labels().clone(),
            value: sample.value(),
        }
    }
}

impl From<v1::Sample> for Sample {
    fn from(sample: v1::Sample) -> Self {
        let kind = match sample.kind() {
            v1::SampleKind::Counter => SampleKind::Counter,
            v1::SampleKind::Unspecified | v1::SampleKind::Gauge => SampleKind::Gauge,
        };
        let plain = Self::new(kind, sample.name, sample.value);
        sample
            .labels
            .into_iter()
            .fold(plain, |sample, (name, value)| sample.with_label(name, value))
    }
}

impl From<&HostEvent> for v1::HostEvent {
    fn from(event: &HostEvent) -> Self {
        Self {
            at_unix_millis: event.at().unix_millis(),
            kind: event.kind().to_owned(),
            message: event.message().to_owned(),
            attributes: event.attributes().clone(),
        }
    }
}

impl From<v1::HostEvent> for HostEvent {
    fn from(event: v1::HostEvent) -> Self {
        let at = Timestamp::from_unix_millis(event.at_unix_millis);
        let plain = Self::new(at, event.kind, event.message);
        let attributes = event.attributes.into_iter();
        attributes.fold(plain, |event, (name, value)| event.with_attribute(name, value))
    }
}

impl From<Terms> for v1::Instruction {
    fn from(terms: Terms) -> Self {
        let terms = v1::Terms {
            server_time_unix_millis: terms.server_time.unix_millis(),
            heartbeat_interval_secs: terms.heartbeat_interval.as_secs().max(1),
            renew: terms.renew,
        };
        Self { what: Some(v1::instruction::What::Terms(terms)) }
    }
}

impl From<CommandRecord> for v1::Instruction {
    fn from(command: CommandRecord) -> Self {
        let command = v1::Command {
            id: command.id.to_string(),
            kind: command.kind,
            payload_json: command.payload.to_string(),
        };
        Self { what: Some(v1::instruction::What::Command(command)) }
    }
}

impl TryFrom<v1::Command> for Command {
    type Error = serde_json::Error;

    fn try_from(command: v1::Command) -> Result<Self, serde_json::Error> {
        let payload = serde_json::from_str(&command.payload_json)?;
        Ok(Self { id: command.id, kind: command.kind, payload })
    }
}

impl v1::Credential {
    /// Writes a credential; `None` for a kind that is not renewed.
    pub(crate) fn of(credential: &Credential) -> Option<Self> {
        let kind = credential.kind().as_str().to_owned();
        match credential {
            Credential::X509(x509) => Some(Self {
                kind,
                certificate: Some(x509.certificate.clone()),
                ca_bundle: Some(x509.ca_bundle.clone()),
                not_after_unix_millis: Some(x509.not_after.unix_millis()),
                renew_after_unix_millis: Some(x509.renew_after.unix_millis()),
                ..Self::default()
            }),
            Credential::ApiKey(key) => {
                Some(Self { kind, key: Some(key.expose().to_owned()), ..Self::default() })
            }
            _ => None,
        }
    }

    /// Reads a credential; `None` for a kind that this release does not know, and for one that lacks
    /// what its kind has.
    pub(crate) fn into_credential(self) -> Option<Credential> {
        match self.kind.as_str() {
            "x509" => Some(Credential::X509(X509Credential {
                certificate: self.certificate?,
                ca_bundle: self.ca_bundle?,
                not_after: Timestamp::from_unix_millis(self.not_after_unix_millis?),
                renew_after: Timestamp::from_unix_millis(self.renew_after_unix_millis?),
            })),
            "api_key" => Some(Credential::ApiKey(ApiKey::presented(self.key?))),
            _ => None,
        }
    }
}

impl fmt::Debug for v1::Credential {
    /// Leaves out what is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("kind", &self.kind)
            .field("key", &self.key.as_ref().map(|_| "[redacted]"))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for v1::Command {
    /// Leaves the payload out: only its kind knows whether it is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_and_an_event_come_back_as_they_went() {
        for sample in [
            Sample::gauge("node_load1", 0.5),
            Sample::counter("node_network_bytes_total", 7.0).with_label("device", "eth0"),
        ] {
            assert_eq!(Sample::from(v1::Sample::from(&sample)), sample);
        }
        let event = HostEvent::new(Timestamp::from_unix_millis(1_800_000_000_123), "a.b", "Text.")
            .with_attribute("image", "alpine");
        assert_eq!(HostEvent::from(v1::HostEvent::from(&event)), event);
    }

    #[test]
    fn a_credential_comes_back_as_it_went_and_shows_no_secret() {
        let key = Credential::ApiKey(ApiKey::presented("enroll_key_s3cret".into()));
        let wire = v1::Credential::of(&key).expect("it has a form");
        let reply = v1::RenewReply { credentials: vec![wire.clone()] };
        assert!(!format!("{reply:?}").contains("s3cret"), "{reply:?}");
        let Some(Credential::ApiKey(read)) = wire.into_credential() else { panic!("another kind") };
        assert_eq!(read.expose(), "enroll_key_s3cret");
        let at = Timestamp::from_unix_secs(1_800_000_000);
        let x509 = Credential::X509(X509Credential {
            certificate: "leaf".into(),
            ca_bundle: "root".into(),
            not_after: at,
            renew_after: at,
        });
        let wire = v1::Credential::of(&x509).expect("it has a form");
        let again = v1::Credential::of(&wire.clone().into_credential().expect("it is whole"));
        assert_eq!(again, Some(wire.clone()));
        let less = v1::Credential { ca_bundle: None, ..wire };
        assert!(less.into_credential().is_none());
    }

    #[test]
    fn a_command_shows_no_payload() {
        let command = v1::Command {
            id: "1".into(),
            kind: "look".into(),
            payload_json: r#"{"at":"s3cret"}"#.into(),
        };
        assert!(!format!("{command:?}").contains("s3cret"));
        let read = Command::try_from(command).expect("it is JSON");
        assert_eq!(read.payload["at"], "s3cret");
    }
}
