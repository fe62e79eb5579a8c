//! Samples as Prometheus scrapes them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use enroll_core::model::{Sample, SampleKind};

/// Samples as OpenMetrics text, family by family and without its end mark, so that it can stand before
/// that of another text. Of a family whose samples are of two kinds, the first kind counts.
///
/// ```
/// use enroll_core::model::Sample;
/// use enroll_http::exposition;
///
/// let sent = Sample::counter("node_network_transmit_bytes_total", 7.0).with_label("device", "eth0");
/// assert_eq!(
///     exposition([&sent]),
///     "# TYPE node_network_transmit_bytes counter\n\
///      node_network_transmit_bytes_total{device=\"eth0\"} 7\n",
/// );
/// ```
pub fn exposition<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> String {
    let mut families: BTreeMap<&str, (SampleKind, Vec<&Sample>)> = BTreeMap::new();
    for sample in samples {
        let (family, kind) = family(sample);
        let (known, members) = families.entry(family).or_insert_with(|| (kind, Vec::new()));
        if *known == kind {
            members.push(sample);
        }
    }
    let mut text = String::new();
    for (family, (kind, members)) in families {
        // Writing to a string cannot fail.
        let _written = writeln!(text, "# TYPE {family} {kind}");
        members.into_iter().for_each(|sample| line(&mut text, sample));
    }
    text
}

/// What OpenMetrics calls a counter ends in `_total`, and its family does not.
fn family(sample: &Sample) -> (&str, SampleKind) {
    match (sample.kind(), sample.name().strip_suffix("_total")) {
        (SampleKind::Counter, Some(family)) if !family.is_empty() => (family, SampleKind::Counter),
        _ => (sample.name(), SampleKind::Gauge),
    }
}

fn line(text: &mut String, sample: &Sample) {
    text.push_str(sample.name());
    let mut before = '{';
    for (name, value) in sample.labels() {
        let _written = write!(text, "{before}{name}=\"");
        escape(text, value);
        text.push('"');
        before = ',';
    }
    if before == ',' {
        text.push('}');
    }
    let _written = match sample.value() {
        value if value == f64::INFINITY => writeln!(text, " +Inf"),
        value if value == f64::NEG_INFINITY => writeln!(text, " -Inf"),
        value => writeln!(text, " {value}"),
    };
}

fn escape(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\n' => text.push_str("\\n"),
            '"' | '\\' => text.extend(['\\', c]),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_stand_together_and_labels_cannot_break_out() {
        let samples = [
            Sample::gauge("b", 0.5).with_label("name", "a\"} 1\nc 2\\"),
            Sample::gauge("a", f64::INFINITY),
            Sample::gauge("b", f64::NAN).with_label("x", "1").with_label("y", "2"),
            Sample::counter("b", 3.0),
            Sample::counter("a_total", 3.0),
        ];
        assert_eq!(
            exposition(&samples),
            "# TYPE a gauge\na +Inf\n\
             # TYPE b gauge\nb{name=\"a\\\"} 1\\nc 2\\\\\"} 0.5\nb{x=\"1\",y=\"2\"} NaN\nb 3\n"
        );
    }

    #[test]
    fn nothing_measured_is_nothing_said() {
        assert_eq!(exposition([]), "");
    }
}
