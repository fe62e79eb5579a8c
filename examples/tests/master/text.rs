//! What people are shown.

use crate::harness::{Home, Master, program, run};

#[test]
fn tokens_are_shown_once_with_what_to_do_with_them() {
    let master = Master::start(&[]);
    let said = master.cli(&["token", "mint", "--ttl", "10m", "--node-name", "node-1"]);
    for line in [
        "Token created (id: ",
        "CA fingerprint:\n  sha256:",
        "TTL: 10m",
        "Max uses: 1.",
        "Bound to node-name: node-1",
    ] {
        assert!(said.out.contains(line), "{line}: {}", said.out);
    }
    let list = master.cli(&["token", "list"]).out;
    let head: Vec<&str> = list.lines().next().expect("a head").split('|').map(str::trim).collect();
    let columns =
        ["", "ID", "NODE-NAME", "TTL-REMAINING", "MAX-USES", "USES", "CREATED-BY", "STATUS", ""];
    assert_eq!(head, columns, "{list}");
    assert!(list.contains("node-1") && list.contains("9m") && list.contains("active"), "{list}");
}

#[test]
fn nodes_are_shown_with_ids_only_when_asked() {
    let master = Master::start(&[]);
    let added = master.cli(&["node", "add", "worker-1"]).out;
    assert!(added.contains("docker run") && added.contains("systemctl"), "{added}");
    let snippet = master.cli(&["node", "token", "worker-1", "--snippet", "systemd"]).out;
    assert!(snippet.starts_with("(\nset -eu\n") && snippet.ends_with(")\n"), "{snippet}");
    let id = master.json(&["node", "get", "worker-1"])["id"].as_str().expect("an id").to_owned();
    for call in [&["node", "list"][..], &["node", "get", "worker-1"]] {
        assert!(!master.cli(call).out.contains(&id));
        let shown = master.cli(&[call, &["--show-ids"]].concat()).out;
        assert!(shown.contains(&id) && shown.contains("worker-1"), "{shown}");
    }
}

#[test]
fn where_there_is_nothing_to_paste_nothing_is_printed() {
    let home = Home::new();
    let mut serve = program();
    serve.args(["serve", "--enroll-listen", "none", "--data-dir"]).arg(home.data());
    serve.args(["--steady-listen", "127.0.0.1:0", "--operator-listen", "127.0.0.1:0"]);
    let master = home.start_as(serve);
    let said = master.cli(&["node", "add", "worker-1", "--snippet", "shell"]);
    assert!(said.code == 1 && said.out.is_empty(), "{said:?}");
    assert!(said.err.contains("nothing to paste") && said.err.contains("node token worker-1"));
    assert!(!said.err.contains("enroll_join_"), "{said:?}");
    let made = master.json(&["node", "token", "worker-1", "--snippet", "shell"]);
    assert!(made["token"].is_string(), "{made}");
}

#[test]
fn every_command_shows_how_it_is_used() {
    let help = |path: &[&str]| run(program().args(path).arg("--help")).out;
    assert!(help(&["serve"]).contains("ENROLL_MASTER_STALE_THRESHOLD_SECS"));
    for call in [
        "token mint",
        "token list",
        "token revoke",
        "token redemptions",
        "node add",
        "node list",
        "node get",
        "node token",
        "node attempts",
        "node commands",
        "node cordon",
        "node uncordon",
        "node fuse",
        "node delete",
        "auto-enrollment show",
        "auto-enrollment enable",
        "auto-enrollment disable",
        "auto-enrollment rotate",
        "admin add",
        "admin list",
        "admin remove",
        "events",
        "serve",
    ] {
        let path: Vec<&str> = call.split(' ').collect();
        let text = help(&path);
        assert!(text.contains(&format!("enroll-master {call}")), "an example of {call}: {text}");
        assert!(text.contains("ENROLL_MASTER_DATA_DIR"), "{text}");
    }
}
