//! Masters whose machines' clocks are ten minutes off, one fast, one slow.

use std::path::PathBuf;

use enroll_store_postgres::testing::{fresh_url, shared};
use serde_json::{Value, json};

use crate::harness::{Home, Machine, Master, in_time};

/// The library that gives a process another clock.
fn faketime() -> PathBuf {
    let lib = std::fs::read_dir("/usr/lib").expect("a directory").flatten();
    let found =
        lib.map(|entry| entry.path().join("faketime/libfaketime.so.1")).find(|path| path.is_file());
    found.expect("libfaketime is installed: ./test does that")
}

/// A master on a machine whose clock is off by so much, e.g. `+10m`.
fn skewed(home: Home, url: &str, by: &str) -> Master {
    let mut serve = home.serve();
    serve.args(["--store", url, "--heartbeat-interval-secs", "1"]);
    serve.env("LD_PRELOAD", faketime()).env("FAKETIME", by).env("DONT_FAKE_MONOTONIC", "1");
    home.start_as(serve)
}

/// How many minutes this machine's clock and the one of a master are apart, as doctors find.
fn apart(master: &Master) -> u64 {
    let said = master.cli(&["doctor", "--output", "json"]);
    let found: Value = serde_json::from_str(&said.out).expect("JSON");
    let checks = found["checks"].as_array().expect("a list");
    let clock = checks.iter().find(|check| check["check"] == "clock").expect("it looked");
    assert_eq!(clock["ok"], false, "{clock}");
    let detail = clock["detail"].as_str().expect("a text");
    let millis = detail.split_whitespace().find_map(|word| word.parse::<u64>().ok());
    millis.expect("a number") / 60_000
}

#[tokio::test]
async fn masters_ten_minutes_off_judge_alike() {
    let url = fresh_url(shared());
    let fast = skewed(Home::new(), &url, "+10m");
    let slow = skewed(Home::of_the_fleet_of(&fast), &url, "-10m");
    for master in [&fast, &slow] {
        assert!([9, 10].contains(&apart(master)), "the clocks are off: {}", apart(master));
    }

    // The shortest life of a token is a tenth of what the clocks are off by.
    for (mints, redeems, name) in [(&fast, &slow, "worker-1"), (&slow, &fast, "worker-2")] {
        let token = mints.mint(json!({"max_uses": 1, "ttl_secs": 60})).await;
        let text = token["token"].as_str().expect("a token");
        let machine = Machine::new();
        let said = machine.bootstrap(redeems, text, &["--node-name", name]);
        assert_eq!(said.code, 0, "{said:?}");
        // Its certificate is good at both at once, and so is what they hear of it.
        for master in [mints, redeems, mints] {
            let beat = json!({"node_name": name});
            let answer = machine.member(master).post("/v1/self/heartbeat", &beat).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        for master in [mints, redeems] {
            let node = in_time("it is ready", async || {
                Some(master.node(name).await).filter(|node| node["health"] == "ready")
            });
            assert_eq!(node.await["state"], "monitoring");
        }
    }

    // A deletion at one is after, not before, what the other minted earlier; and before what it mints
    // later.
    let early = fast.mint(json!({"max_uses": 0})).await;
    assert_eq!(slow.api().delete("/v1/nodes/worker-1").await.status, 204);
    let late = fast.mint(json!({"max_uses": 0})).await;
    let text = |token: &Value| token["token"].as_str().expect("a token").to_owned();
    let said = Machine::new().bootstrap(&fast, &text(&early), &["--node-name", "worker-1"]);
    assert!(said.code == 3 && said.err.contains("name_taken"), "{said:?}");
    let said = Machine::new().bootstrap(&slow, &text(&late), &["--node-name", "worker-1"]);
    assert_eq!(said.code, 0, "{said:?}");
}
