//! What a member reports of its machine.

use std::collections::BTreeMap;

use enroll_core::master::Taken;
use enroll_core::model::{HostEvent, NodeName, Rejection, Sample, SampleKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use super::Rfc3339;
use super::enroll::{bad, node_name};
use super::schema::words;

/// What a machine measures now: all of it.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct MetricsReport {
    /// The name the worker runs under; compared with the one of its identity, never used.
    #[schema(required = true, nullable = false, example = "worker-1")]
    pub node_name: Option<String>,
    /// The values, at most 512; what is over, or not of the form, is left out.
    #[serde(default)]
    #[schema(required = true)]
    pub samples: Vec<SampleBody>,
}

/// One value that was measured.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct SampleBody {
    /// Its name, as Prometheus has them.
    #[serde(default)]
    #[schema(required = true, max_length = 128, example = "node_load1")]
    pub name: String,
    /// How it moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, schema_with = kinds)]
    pub kind: Option<String>,
    /// What tells it from others of its name, at most 8.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    pub labels: BTreeMap<String, String>,
    /// The value.
    #[serde(default)]
    #[schema(required = true)]
    pub value: f64,
}

/// Things that happened on a machine, oldest first.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct EventsReport {
    /// The name the worker runs under; compared with the one of its identity, never used.
    #[schema(required = true, nullable = false, example = "worker-1")]
    pub node_name: Option<String>,
    /// What happened; what is not of the form, or more than one machine may say, is left out.
    #[serde(default)]
    #[schema(required = true)]
    pub events: Vec<HostEventBody>,
}

/// Something that happened on a machine. It must hold no secret.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct HostEventBody {
    /// When, by the machine's clock.
    pub at: Rfc3339,
    /// A stable word.
    #[schema(max_length = 64, example = "container.died")]
    pub kind: String,
    /// What it was, for people.
    #[serde(default)]
    #[schema(required = false, max_length = 1024)]
    pub message: String,
    /// What it was, for programs; at most 16.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    pub attributes: BTreeMap<String, String>,
}

/// How much of a report was taken.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct ReportAnswer {
    /// So many items.
    pub kept: u64,
    /// So many were not of the form, or over a bound.
    pub left_out: u64,
}

impl ReportAnswer {
    pub(crate) const fn of(taken: Taken) -> Self {
        Self { kept: taken.kept as u64, left_out: taken.left_out as u64 }
    }
}

impl MetricsReport {
    /// What the machine of the worker that runs as `name` measures. JSON knows no value that is not
    /// finite: such a sample is left out.
    #[must_use]
    pub fn new(name: &NodeName, samples: &[Sample]) -> Self {
        let finite = samples.iter().filter(|sample| sample.value().is_finite());
        let samples = finite.map(SampleBody::of).collect();
        Self { node_name: Some(name.to_string()), samples }
    }

    /// The name and the samples.
    ///
    /// # Errors
    /// `bad_request`, with the member that is missing or malformed.
    pub fn into_parts(self) -> Result<(NodeName, Vec<Sample>), Rejection> {
        let samples = self.samples.into_iter().map(SampleBody::into_sample);
        Ok((name(self.node_name.as_deref())?, samples.collect::<Result<_, _>>()?))
    }
}

impl SampleBody {
    fn of(sample: &Sample) -> Self {
        Self {
            name: sample.name().to_owned(),
            kind: Some(sample.kind().as_str().to_owned()),
            labels: sample.labels().clone(),
            value: sample.value(),
        }
    }

    fn into_sample(self) -> Result<Sample, Rejection> {
        let kind = match self.kind.as_deref().map(str::parse::<SampleKind>) {
            None => SampleKind::Gauge,
            Some(Ok(kind)) => kind,
            Some(Err(_)) => return Err(bad("`kind` is neither `gauge` nor `counter`.")),
        };
        let plain = Sample::new(kind, self.name, self.value);
        let labels = self.labels.into_iter();
        Ok(labels.fold(plain, |sample, (name, value)| sample.with_label(name, value)))
    }
}

impl EventsReport {
    /// What happened on the machine of the worker that runs as `name`.
    #[must_use]
    pub fn new(name: &NodeName, events: &[HostEvent]) -> Self {
        let events = events.iter().map(HostEventBody::of).collect();
        Self { node_name: Some(name.to_string()), events }
    }

    /// The name and the events.
    ///
    /// # Errors
    /// `bad_request`, with the member that is missing or malformed.
    pub fn into_parts(self) -> Result<(NodeName, Vec<HostEvent>), Rejection> {
        let events = self.events.into_iter().map(HostEventBody::into_event).collect();
        Ok((name(self.node_name.as_deref())?, events))
    }
}

impl HostEventBody {
    fn of(event: &HostEvent) -> Self {
        Self {
            at: event.at().into(),
            kind: event.kind().to_owned(),
            message: event.message().to_owned(),
            attributes: event.attributes().clone(),
        }
    }

    fn into_event(self) -> HostEvent {
        let plain = HostEvent::new(self.at.0, self.kind, self.message);
        let attributes = self.attributes.into_iter();
        attributes.fold(plain, |event, (name, value)| event.with_attribute(name, value))
    }
}

fn name(given: Option<&str>) -> Result<NodeName, Rejection> {
    node_name(given.ok_or_else(|| bad("`node_name` is missing."))?)
}

fn kinds() -> Object {
    words("How it moves; a gauge where absent.", SampleKind::ALL.iter().map(|kind| kind.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use enroll_core::model::Timestamp;
    use serde_json::{Value, json};

    #[test]
    fn reports_read_back_and_their_flaws_are_named() {
        let name = NodeName::new("worker-1").unwrap();
        let samples = [
            Sample::gauge("node_load1", 0.5),
            Sample::counter("node_network_bytes_total", 7.0).with_label("device", "eth0"),
        ];
        let endless = Sample::gauge("endless", f64::INFINITY);
        let sent = [&samples[..], &[endless]].concat();
        let sent = serde_json::to_value(MetricsReport::new(&name, &sent)).unwrap();
        assert_eq!(
            sent["samples"][0],
            json!({"name": "node_load1", "kind": "gauge", "value": 0.5})
        );
        let read =
            |body: Value| serde_json::from_value::<MetricsReport>(body).unwrap().into_parts();
        assert_eq!(read(sent).unwrap(), (name.clone(), samples.to_vec()));
        assert_eq!(read(json!({})).unwrap_err().detail(), "`node_name` is missing.");
        let odd = json!({"node_name": "worker-1", "samples": [{"name": "a", "kind": "odd"}]});
        assert!(read(odd).unwrap_err().detail().starts_with("`kind` is neither"));

        let event = HostEvent::new(Timestamp::from_unix_secs(1_800_000_000), "a.b", "Text.")
            .with_attribute("image", "alpine");
        let sent = EventsReport::new(&name, std::slice::from_ref(&event));
        let sent = serde_json::to_value(sent).unwrap();
        assert_eq!(sent["events"][0]["at"], "2027-01-15T08:00:00Z");
        let read: EventsReport = serde_json::from_value(sent).unwrap();
        assert_eq!(read.into_parts().unwrap(), (name, vec![event]));
    }
}
