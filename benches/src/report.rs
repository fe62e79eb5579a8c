//! The result, for people and for programs.

use comfy_table::Table;
use serde_json::{Value, json};

use crate::measure::{Figure, Spread};
use crate::redemptions::Plan;

pub(crate) fn table(plan: &Plan, figures: &[Figure]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["durable redemptions through SQLite", "per second", "limit", "ratio"]);
    for figure in figures {
        table.add_row([
            figure.what.clone(),
            rate(figure.per_second),
            rate(figure.limit_per_second),
            ratio(figure.ratio),
        ]);
    }
    format!(
        "{table}\nmedian (least to greatest) of {} rounds, in turn; the limit is the same statements bare\n{} tokens in the table, {} cores, {}",
        plan.rounds,
        plan.all_tokens(),
        cores(),
        plan.dir.display(),
    )
}

fn rate(spread: Spread) -> String {
    format!("{:.0} ({:.0} to {:.0})", spread.median, spread.min, spread.max)
}

fn ratio(spread: Spread) -> String {
    format!("{:.2} ({:.2} to {:.2})", spread.median, spread.min, spread.max)
}

pub(crate) fn json(plan: &Plan, figures: &[Figure]) -> Value {
    json!({
        "v": 1,
        "rounds": plan.rounds,
        "redemptions": plan.redemptions,
        "tokens": plan.all_tokens(),
        "cores": cores(),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "release": !cfg!(debug_assertions),
        "figures": figures,
    })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}
