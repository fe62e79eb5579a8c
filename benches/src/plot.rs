//! The shares of the limits, as a picture.

use std::fmt::Write as _;

use crate::measure::{Figure, Limit, Section};

const WIDTH: u32 = 930;
const ROW: u32 = 22;
const LABEL: u32 = 500;

/// A bar for each figure that has a limit: how far it gets, and between which ends the rounds lay.
pub(crate) fn svg(sections: &[Section]) -> String {
    let mut rows = String::new();
    let mut y = ROW;
    for section in sections {
        let shown: Vec<_> = section
            .figures
            .iter()
            .filter_map(|f| f.limit.as_ref().map(|limit| (f, limit)))
            .collect();
        if shown.is_empty() {
            continue;
        }
        y += ROW / 2;
        text(&mut rows, 8, y, "bold", &section.title);
        for (figure, limit) in shown {
            y += ROW;
            bar(&mut rows, y, figure, limit);
        }
        y += ROW;
    }
    let one = LABEL + scaled(1.0);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{rows}\
         <line x1=\"{one}\" x2=\"{one}\" y1=\"4\" y2=\"{y}\" stroke=\"#444\" stroke-dasharray=\"3 3\"/>\n\
         <text x=\"{one}\" y=\"{below}\" text-anchor=\"middle\" fill=\"#444\">the limit</text>\n</svg>\n",
        height = y + ROW,
        below = y + 14,
    )
}

fn bar(rows: &mut String, y: u32, figure: &Figure, limit: &Limit) {
    let what = format!("{}, beside {}", figure.what.trim(), limit.what);
    text(rows, 16, y, "normal", &what);
    let (min, median, max) = (limit.ratio.min, limit.ratio.median, limit.ratio.max);
    let (x1, x2, middle) = (LABEL + scaled(min), LABEL + scaled(max), y - 4);
    let width = scaled(median);
    let top = y - 12;
    // Writing into a String does not fail.
    let _written = writeln!(
        rows,
        "<rect x=\"{LABEL}\" y=\"{top}\" width=\"{width}\" height=\"14\" fill=\"#4a78b5\"/>\n\
         <line x1=\"{x1}\" x2=\"{x2}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"#111\"/>\n\
         <text x=\"{after}\" y=\"{y}\">{median:.2}</text>",
        after = LABEL + scaled(max.max(median)) + 6,
    );
}

fn text(rows: &mut String, x: u32, y: u32, weight: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _written =
        writeln!(rows, "<text x=\"{x}\" y=\"{y}\" font-weight=\"{weight}\">{words}</text>");
}

/// Twice the limit fills the width.
fn scaled(ratio: f64) -> u32 {
    let room = f64::from(WIDTH - LABEL - 50);
    (ratio.clamp(0.0, 2.0) / 2.0 * room) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Unit;

    #[test]
    fn every_figure_with_a_limit_has_a_bar() {
        let beside = Figure::beside("a<b", Unit::PerSecond, &[3.0], "c", &[4.0]);
        let figures = vec![beside, Figure::alone("alone", Unit::Count, vec![1.0])];
        let svg = svg(&[Section { title: "t".into(), notes: Vec::new(), figures }]);
        assert_eq!(svg.matches("fill=\"#4a78b5\"").count(), 1);
        assert!(svg.contains("a&lt;b, beside c") && svg.contains(">0.75<"), "{svg}");
    }
}
