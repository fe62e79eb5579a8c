//! The dashboard to import asks for what there is, and for all that counts refusals and failures.

mod harness;

use std::collections::BTreeSet;

use harness::{Machine, Master, at};
use serde_json::Value;

const DASHBOARD: &str = include_str!("../dashboards/fleet.json");

/// Words of PromQL that name no metric, and the labels it groups by.
const NO_METRICS: [&str; 15] = [
    "by",
    "health",
    "histogram_quantile",
    "increase",
    "instance",
    "le",
    "max",
    "method",
    "min",
    "node",
    "outcome",
    "rate",
    "reason",
    "source",
    "state",
];

/// The names in an expression.
fn names(expression: &str) -> BTreeSet<String> {
    let no_spans = expression.split('[').map(|part| part.split_once(']').map_or(part, |it| it.1));
    let text = no_spans.collect::<String>();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()));
    let known = |word: &&str| ["sum", "time"].contains(word) || NO_METRICS.contains(word);
    names.filter(|word| !known(word)).map(str::to_owned).collect()
}

fn expressions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().expect("an expression").to_owned()).collect()
}

/// The names of the samples in a text that Prometheus reads.
fn exposed(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect()
}

#[tokio::test]
async fn a21_every_metric_it_asks_for_is_exposed_by_a_master_or_a_worker() {
    let master = Master::start(&["--heartbeat-interval-secs", "1"]);
    let minted = master.json(&["token", "mint", "--node-name", "worker-1"]);
    let machine = Machine::new();
    let token = machine.put("token", minted["token"].as_str().expect("a token"));
    let worker = machine.start(&[&at(&master)[..], &["--token-path", &token]].concat());
    let text = machine.metrics();
    drop(worker);
    let of_the_master = master.api().get("/metrics").await.body;
    let mut there = exposed(of_the_master.as_str().expect("a text"));
    there.extend(exposed(&text));

    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let asked: BTreeSet<String> =
        expressions(&dashboard).iter().flat_map(|expression| names(expression)).collect();
    let missing: Vec<_> = asked.difference(&there).collect();
    assert!(missing.is_empty(), "nobody exposes {missing:?}");
    for wanted in ["enroll_rejections_total", "fuse_failed_total", "enroll_accepted_total"] {
        assert!(asked.contains(wanted), "{wanted} is not shown");
    }
}

#[test]
fn names_are_told_from_the_words_around_them() {
    let all = names(
        "sum by (reason) (rate(enroll_rejections_total{a=\"b\"}[$__rate_interval])) - time()",
    );
    assert!(all.contains("enroll_rejections_total") && !all.contains("rate"), "{all:?}");
    assert!(!all.iter().any(|name| name.contains("interval")), "{all:?}");
}
