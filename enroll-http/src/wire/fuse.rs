//! What a worker is handed while it is being fused.

use std::collections::BTreeMap;

use enroll_core::model::{FuseRecord, Handover};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Rfc3339, SecretText};

/// What a worker needs to do its part of the attempt to fuse it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct FuseTaskBody {
    /// The attempt.
    #[schema(format = "uuid")]
    pub attempt: String,
    /// When it fails by itself.
    pub deadline: Rfc3339,
    /// How the outside names what was begun there, e.g. the id of an endpoint.
    pub ticket: String,
    /// Who hands the values over, and so what they mean.
    #[schema(example = "portainer")]
    pub fuser: String,
    /// What is handed over. It is kept nowhere, and any of it may be a secret.
    #[serde(default)]
    pub values: BTreeMap<String, SecretText>,
}

impl FuseTaskBody {
    /// Writes what is handed over for a running attempt.
    #[must_use]
    pub fn of(fuse: &FuseRecord, handover: &Handover) -> Self {
        let values =
            handover.expose_all().map(|(name, value)| (name.to_owned(), SecretText::new(value)));
        Self {
            attempt: fuse.attempt.to_string(),
            deadline: fuse.deadline.into(),
            ticket: fuse.ticket.clone().unwrap_or_default(),
            fuser: handover.fuser().to_owned(),
            values: values.collect(),
        }
    }

    /// What is handed over, in the domain's terms.
    #[must_use]
    pub fn into_handover(self) -> Handover {
        let empty = Handover::from_fuser(self.fuser);
        self.values
            .into_iter()
            .fold(empty, |handover, (name, value)| handover.with(name, value.into_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use enroll_core::model::{FuseId, Timestamp};
    use serde_json::json;

    #[test]
    fn it_reads_back_and_shows_no_value() {
        let fuse = FuseRecord {
            attempt: FuseId::from_bytes([7; 16]),
            started_at: Timestamp::from_unix_secs(1_800_000_000),
            deadline: Timestamp::from_unix_secs(1_800_000_300),
            ticket: Some("5".into()),
            ended: None,
        };
        let handover = Handover::from_fuser("portainer").with("edge_key", "s3cret".to_owned());
        let body = FuseTaskBody::of(&fuse, &handover);
        let shown = format!("{body:?}");
        assert!(shown.contains("edge_key") && !shown.contains("s3cret"), "{shown}");
        let sent = serde_json::to_value(body).unwrap();
        assert_eq!(
            sent,
            json!({"attempt": "07070707-0707-0707-0707-070707070707",
                "deadline": "2027-01-15T08:05:00Z", "ticket": "5", "fuser": "portainer",
                "values": {"edge_key": "s3cret"}})
        );
        let read: FuseTaskBody = serde_json::from_value(sent).unwrap();
        let handover = read.into_handover();
        assert_eq!((handover.fuser(), handover.expose("edge_key")), ("portainer", Some("s3cret")));
    }
}
