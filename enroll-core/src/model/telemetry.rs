//! What a machine reports of itself: values it measured, and what happened on it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::node::UnknownWord;
use super::{NodeId, NodeName, Timestamp, What};

super::node::words! {
    /// How a measured value moves.
    SampleKind {
        /// It goes up and down.
        Gauge "gauge"
        /// It only grows, and begins again at nothing.
        Counter "counter"
    }
}

/// One value that was measured, under a name and labels as Prometheus has them.
///
/// ```
/// use enroll_core::model::Sample;
///
/// let free = Sample::gauge("node_filesystem_avail_bytes", 4096.0).with_label("mountpoint", "/");
/// assert!(free.check().is_ok());
/// assert!(Sample::gauge("free bytes", 4096.0).check().is_err());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    kind: SampleKind,
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Sample {
    /// The longest name of a sample or a label, in bytes.
    pub const MAX_NAME: usize = 128;
    /// The longest value of a label, in bytes.
    pub const MAX_TEXT: usize = 256;
    /// The most labels of one sample.
    pub const MAX_LABELS: usize = 8;
    /// The label that the master adds: whose the sample is.
    pub const NODE_LABEL: &'static str = "node";

    /// A value that goes up and down.
    #[must_use]
    pub fn gauge(name: impl Into<String>, value: f64) -> Self {
        Self::new(SampleKind::Gauge, name, value)
    }

    /// A value that only grows; by convention its name ends in `_total`.
    #[must_use]
    pub fn counter(name: impl Into<String>, value: f64) -> Self {
        Self::new(SampleKind::Counter, name, value)
    }

    /// A value of either kind.
    #[must_use]
    pub fn new(kind: SampleKind, name: impl Into<String>, value: f64) -> Self {
        Self { kind, name: name.into(), labels: BTreeMap::new(), value }
    }

    /// Tells it from others of the same name.
    #[must_use]
    pub fn with_label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// How it moves.
    #[must_use]
    pub const fn kind(&self) -> SampleKind {
        self.kind
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its labels, by name.
    #[must_use]
    pub const fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// The value.
    #[must_use]
    pub const fn value(&self) -> f64 {
        self.value
    }

    /// What it takes to keep it, in bytes: its texts and the value.
    #[must_use]
    pub fn size(&self) -> usize {
        let labels = self.labels.iter().map(|(name, value)| name.len() + value.len());
        self.name.len() + labels.sum::<usize>() + size_of::<f64>()
    }

    /// Holds the sample to the form and the bounds that a master accepts. A worker leaves out what
    /// does not hold them.
    ///
    /// # Errors
    /// [`ReportFault`].
    pub fn check(&self) -> Result<(), ReportFault> {
        let first = |c: char| c.is_ascii_alphabetic() || c == '_';
        if !is_word(&self.name, Self::MAX_NAME, |c| first(c) || c == ':', |c| c == ':') {
            return Err(ReportFault::Name);
        }
        if self.labels.len() > Self::MAX_LABELS {
            return Err(ReportFault::TooMany);
        }
        for (name, value) in &self.labels {
            let reserved = name.starts_with("__") || name == Self::NODE_LABEL;
            if reserved || !is_word(name, Self::MAX_NAME, first, |_| false) {
                return Err(ReportFault::Name);
            }
            if value.len() > Self::MAX_TEXT {
                return Err(ReportFault::TooLong);
            }
        }
        Ok(())
    }
}

/// Something that happened on a machine: a container that died, a disk that filled up. A master keeps
/// it in its journal, so it must hold no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEvent {
    at: Timestamp,
    kind: String,
    message: String,
    attributes: BTreeMap<String, String>,
}

impl HostEvent {
    /// The longest kind and the longest name of an attribute, in bytes.
    pub const MAX_KIND: usize = 64;
    /// The longest message, in bytes.
    pub const MAX_MESSAGE: usize = 1024;
    /// The longest value of an attribute, in bytes.
    pub const MAX_TEXT: usize = 256;
    /// The most attributes of one event.
    pub const MAX_ATTRIBUTES: usize = 16;

    /// What happened at `at`: `kind` is a stable word such as `container.died`, `message` is for
    /// people.
    #[must_use]
    pub fn new(at: Timestamp, kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self { at, kind: kind.into(), message: message.into(), attributes: BTreeMap::new() }
    }

    /// Says one more thing of it, for programs.
    #[must_use]
    pub fn with_attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// When it happened, by the clock of the machine.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// What kind of thing it was.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// What it was, for people; may be empty.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What it was, for programs.
    #[must_use]
    pub const fn attributes(&self) -> &BTreeMap<String, String> {
        &self.attributes
    }

    /// What it takes to tell it, in bytes: its texts and the time.
    #[must_use]
    pub fn size(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len());
        self.kind.len() + self.message.len() + attributes.sum::<usize>() + size_of::<Timestamp>()
    }

    /// The event as a journal keeps it, of this node.
    #[must_use]
    pub fn reported(self, node_id: NodeId, node_name: NodeName) -> What {
        let Self { at: happened_at, kind, message, attributes } = self;
        What::Reported { node_id, node_name, happened_at, kind, message, attributes }
    }

    /// Holds the event to the form and the bounds that a master accepts. A worker leaves out what
    /// does not hold them.
    ///
    /// # Errors
    /// [`ReportFault`].
    pub fn check(&self) -> Result<(), ReportFault> {
        let first = |c: char| c.is_ascii_lowercase();
        if !is_word(&self.kind, Self::MAX_KIND, first, |c| c == '.') {
            return Err(ReportFault::Name);
        }
        if self.attributes.len() > Self::MAX_ATTRIBUTES {
            return Err(ReportFault::TooMany);
        }
        if self.message.len() > Self::MAX_MESSAGE {
            return Err(ReportFault::TooLong);
        }
        if self.message.chars().any(char::is_control) {
            return Err(ReportFault::Control);
        }
        for (name, value) in &self.attributes {
            if !is_word(name, Self::MAX_KIND, first, |_| false) {
                return Err(ReportFault::Name);
            }
            if value.len() > Self::MAX_TEXT {
                return Err(ReportFault::TooLong);
            }
            if value.chars().any(char::is_control) {
                return Err(ReportFault::Control);
            }
        }
        Ok(())
    }
}

/// Why a sample or an event is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportFault {
    /// A name is none, or is reserved.
    #[error("a name is empty, too long, reserved, or holds a character that no name has")]
    Name,
    /// There are too many labels or attributes.
    #[error("there are too many labels or attributes")]
    TooMany,
    /// A text is too long.
    #[error("a text is too long")]
    TooLong,
    /// A text holds a control character.
    #[error("a text holds a control character")]
    Control,
}

/// Whether `text` is ASCII letters, digits and underscores, or what `also` allows, beginning as `first`
/// says.
fn is_word(
    text: &str,
    longest: usize,
    first: impl Fn(char) -> bool,
    also: impl Fn(char) -> bool,
) -> bool {
    let rest = |c: char| c.is_ascii_alphanumeric() || c == '_' || also(c);
    text.len() <= longest && text.starts_with(first) && text.chars().all(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_the_names_that_prometheus_has() {
        for good in ["up", "_x", "a:b:c", "node_load1", "A9"] {
            assert_eq!(Sample::gauge(good, 1.0).check(), Ok(()), "{good}");
        }
        for bad in ["", "9a", "a-b", "a b", "ä", "a\n", &"x".repeat(129)] {
            assert_eq!(Sample::gauge(bad, 1.0).check(), Err(ReportFault::Name), "{bad}");
            let labelled = Sample::counter("a_total", 1.0).with_label(bad, "x");
            assert_eq!(labelled.check(), Err(ReportFault::Name), "label {bad}");
        }
        for reserved in ["__name__", "node", "a:b"] {
            let labelled = Sample::gauge("a", 1.0).with_label(reserved, "x");
            assert_eq!(labelled.check(), Err(ReportFault::Name), "label {reserved}");
        }
    }

    #[test]
    fn a_sample_is_held_to_its_bounds() {
        let long = |len| Sample::gauge("a", 1.0).with_label("b", "x".repeat(len));
        assert_eq!(long(256).check(), Ok(()));
        assert_eq!(long(257).check(), Err(ReportFault::TooLong));
        let many = |count: usize| {
            let empty = Sample::gauge("a", 1.0);
            (0..count).fold(empty, |sample, n| sample.with_label(format!("l{n}"), ""))
        };
        assert_eq!(many(8).check(), Ok(()));
        assert_eq!(many(9).check(), Err(ReportFault::TooMany));
        assert_eq!(long(2).size(), 1 + 1 + 2 + 8);
    }

    #[test]
    fn an_event_is_held_to_its_form_and_bounds() {
        let at = Timestamp::from_unix_secs(1_795_000_000);
        let kind = |kind: &str| HostEvent::new(at, kind, "It died.").check();
        assert_eq!(kind("container.died"), Ok(()));
        for bad in ["", "Died", ".died", "a b", &"x".repeat(65)] {
            assert_eq!(kind(bad), Err(ReportFault::Name), "{bad}");
        }
        let says = |text: &str| HostEvent::new(at, "a", text).check();
        assert_eq!(says(&"x".repeat(1025)), Err(ReportFault::TooLong));
        assert_eq!(says("\u{1b}[31m"), Err(ReportFault::Control));
        let with = |name: &str, value: &str| {
            HostEvent::new(at, "a", "").with_attribute(name, value).check()
        };
        assert_eq!(with("image", "alpine:3"), Ok(()));
        assert_eq!(with("Image", "alpine"), Err(ReportFault::Name));
        assert_eq!(with("image", "a\nb"), Err(ReportFault::Control));
        assert_eq!(with("image", &"x".repeat(257)), Err(ReportFault::TooLong));
    }
}
