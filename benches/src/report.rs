//! The result, for people and for programs.

use comfy_table::Table;
use serde_json::{Value, json};

use crate::measure::{Section, Spread, Unit};
use crate::plan::Plan;

/// One section, for people.
pub(crate) fn text(section: &Section) -> String {
    let mut text = table(section);
    text.push('\n');
    for note in &section.notes {
        text.push_str(&format!("{note}\n"));
    }
    text
}

/// How all of it was measured.
pub(crate) fn closing(plan: &Plan) -> String {
    format!(
        "median (least to greatest) of {} rounds, each measured beside its limit in turn; {} cores, {}{}",
        plan.rounds,
        cores(),
        plan.dir.display(),
        if cfg!(debug_assertions) { "; NOT a release build" } else { "" },
    )
}

fn table(section: &Section) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([section.title.as_str(), "measured", "limit", "of the limit"]);
    for figure in &section.figures {
        let (limit, ratio) = match &figure.limit {
            Some(limit) => (
                format!("{} {}", shown(limit.value, figure.unit), limit.what),
                spread(limit.ratio, 2),
            ),
            None => (String::new(), String::new()),
        };
        table.add_row([figure.what.clone(), shown(figure.value, figure.unit), limit, ratio]);
    }
    table.to_string()
}

fn shown(value: Spread, unit: Unit) -> String {
    let digits = usize::from(value.median < 100.0);
    format!("{} {}", spread(value, digits), unit.as_str()).trim_end().to_owned()
}

fn spread(spread: Spread, digits: usize) -> String {
    let Spread { min, median, max } = spread;
    if min == max {
        return format!("{median:.digits$}");
    }
    format!("{median:.digits$} ({min:.digits$} to {max:.digits$})")
}

pub(crate) fn json(plan: &Plan, sections: &[Section]) -> Value {
    json!({
        "v": 2,
        "rounds": plan.rounds,
        "redemptions": plan.redemptions,
        "tokens": plan.tokens,
        "cores": cores(),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "release": !cfg!(debug_assertions),
        "sections": sections,
    })
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
