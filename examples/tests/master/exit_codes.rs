//! The status an operator's command ends with.

use crate::harness::{Home, Master, Said, program, run};

#[track_caller]
fn ends(said: &Said, code: i32, word: &str) {
    assert_eq!(said.code, code, "{said:?}");
    assert!(said.out.is_empty() && said.err.contains(word), "{said:?}");
    assert!(said.err.starts_with("error: "), "{said:?}");
}

#[test]
fn a_refusal_is_1_with_the_masters_own_words() {
    let master = Master::start(&[]);
    ends(&master.cli(&["node", "get", "nobody"]), 1, "there is no node");
    ends(&master.cli(&["token", "revoke", "nonsense"]), 1, "id");
    ends(&master.cli(&["node", "add", "Not_A_Name"]), 1, "name");
    ends(&master.cli(&["node", "fuse", "nobody"]), 1, "");
    let id = "01a1fae0-a604-7918-8c68-b475dfe4578a";
    ends(&master.cli(&["node", "get", id]), 1, "name");
}

#[test]
fn an_answer_that_cannot_be_written_is_1_and_one_that_nobody_reads_is_not() {
    let master = Master::start(&[]);
    let full = || std::fs::File::options().write(true).open("/dev/full").expect("a full device");
    for call in [&["token", "mint"][..], &["node", "add", "worker-1"], &["node", "list"]] {
        let said = run(master.call(call).stdout(full()));
        ends(&said, 1, "cannot be written");
    }
    let said = run(master.call(&["node", "delete", "worker-1"]).stdout(full()));
    ends(&said, 1, "it is done");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    assert_eq!(run(master.call(&["node", "list"]).stdout(writer)).code, 0);
}

#[test]
fn wrong_usage_is_2() {
    let master = Master::start(&[]);
    for wrong in [
        &["token", "mint", "--ttl", "soon"][..],
        &["token", "list", "--limit", "501"],
        &["node", "get"],
        &["node", "get", "a", "--name", "b"],
        &["admin", "add", "--name", "ann", "--role", "king"],
        &["admin", "add", "--name", "ann"],
        &["token", "list", "--output", "yaml"],
        &["token", "list", "--admin-token-path", "/nowhere"],
        &["token", "list", "--operator-url", "http://127.0.0.1:1"],
        &["nonsense"],
    ] {
        ends(&master.cli(wrong), 2, "");
    }
    assert_eq!(run(&mut program()).code, 2, "called without anything, it shows its help");
}

#[test]
fn another_master_is_4() {
    let (ours, other) = (Master::start(&[]), Master::start(&[]));
    let url = other.ready("operator_url");
    let said = ours.cli(&["token", "list", "--operator-url", url]);
    ends(&said, 4, "cannot be trusted");
    let ca = other.data().join("ca.crt");
    let said = ours.cli(&[
        "token",
        "list",
        "--operator-url",
        url,
        "--ca-path",
        ca.to_str().expect("a path"),
    ]);
    ends(&said, 1, "admin token");
}

#[test]
fn nobody_there_is_5() {
    let home = Home::new();
    let said = run(program().args(["token", "list", "--data-dir"]).arg(home.data()));
    ends(&said, 5, "no master runs");
    let master = Master::start(&[]);
    let url = master.ready("operator_url").to_owned();
    let (_, home) = master.stop();
    let mut list = program();
    list.args(["token", "list", "--operator-url", &url, "--data-dir"]).arg(home.data());
    ends(&run(&mut list), 5, "cannot be reached");
}
