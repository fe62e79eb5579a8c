//! Tables for people.

use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use enroll_core::model::{Clock as _, SystemClock, Timestamp};
use enroll_http::wire::Rfc3339;

use super::output::plain;

/// A table with a line per row, whatever the width of the terminal.
pub(super) fn table<const N: usize>(
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head);
    let mut any = false;
    for row in rows {
        any = true;
        table.add_row(row.map(|cell| plain(&cell)));
    }
    if any { table.to_string() } else { format!("{table}\n(none)") }
}

/// A text, or a dash.
pub(super) fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| text.to_string())
}

/// An instant, or a dash.
pub(super) fn at(instant: Option<Rfc3339>) -> String {
    or_dash(instant.map(|instant| instant.0.to_rfc3339()))
}

/// How long it is until `end`, by this machine's clock.
pub(super) fn remaining(end: Rfc3339) -> String {
    left(SystemClock::new().now(), end.0)
}

fn left(now: Timestamp, end: Timestamp) -> String {
    if end <= now { "-".to_owned() } else { span(end.since(now)) }
}

/// A span of time in its two largest units.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(parts.len() - 1);
    let shown = parts[first..].iter().take(2).filter(|(count, unit)| *count > 0 || *unit == "s");
    let text: String = shown.map(|(count, unit)| format!("{count}{unit}")).collect();
    text.strip_suffix("m0s").map_or_else(|| text.clone(), |minutes| format!("{minutes}m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_shown_in_its_two_largest_units() {
        let shown = |seconds| span(Duration::from_secs(seconds));
        assert_eq!(shown(0), "0s");
        assert_eq!(shown(59), "59s");
        assert_eq!(shown(600), "10m");
        assert_eq!(shown(598), "9m58s");
        assert_eq!(shown(3600), "1h");
        assert_eq!(shown(3661), "1h1m");
        assert_eq!(shown(86_400), "1d");
        assert_eq!(shown(2 * 86_400 + 5 * 3600 + 9), "2d5h");
    }

    #[test]
    fn nothing_is_left_after_the_end() {
        let at = Timestamp::from_unix_secs;
        assert_eq!(left(at(10), at(70)), "1m");
        assert_eq!(left(at(70), at(70)), "-");
    }

    #[test]
    fn a_table_has_its_head_even_without_rows() {
        let text = table(["ID", "NODE-NAME"], [["1".to_owned(), "a".to_owned()]]);
        assert!(text.starts_with("| ID | NODE-NAME |\n"), "{text}");
        let none = table::<2>(["ID", "NODE-NAME"], []);
        assert!(none.contains("| ID | NODE-NAME |") && none.ends_with("(none)"), "{none}");
    }
}
