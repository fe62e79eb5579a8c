//! Operators come, act within their role, and go.

use std::fs::{remove_file, write};

use crate::harness::Master;

/// The path of a file with an operator's new token.
fn add(master: &Master, name: &str, role: &str) -> String {
    let added = master.json(&["admin", "add", "--name", name, "--role", role]);
    let path = master.beside(&format!("{name}.token"));
    write(&path, added["token"].as_str().expect("a token")).expect("a file");
    path.to_str().expect("a path").to_owned()
}

#[test]
fn a_role_allows_what_it_says_until_it_is_taken_away() {
    let master = Master::start(&[]);
    let (viewer, operator) = (add(&master, "vera", "viewer"), add(&master, "otto", "operator"));
    let as_of = |path: &str, call: &[&str]| {
        master.cli(&[call, &["--admin-token-path", path]].concat()).code
    };
    assert_eq!(as_of(&viewer, &["node", "list"]), 0);
    assert_eq!(as_of(&viewer, &["token", "list"]), 1);
    assert_eq!(as_of(&operator, &["token", "list"]), 0);
    assert_eq!(as_of(&operator, &["token", "mint"]), 1);
    assert_eq!(master.cli(&["admin", "remove", "otto"]).code, 0);
    let said = master.cli(&["token", "list", "--admin-token-path", &operator]);
    assert_eq!(said.code, 1, "{said:?}");
    let said = master.cli(&["admin", "remove", "admin"]);
    assert!(said.code == 1 && said.err.contains("last operator"), "{said:?}");
}

#[test]
fn the_token_on_disk_can_be_made_anew_and_one_withdrawn_stays_so() {
    let master = Master::start(&[]);
    let path = master.data().join("admin.token");
    let first = std::fs::read_to_string(&path).expect("a token");
    let (_, home) = master.stop();

    remove_file(&path).expect("it is ours");
    let master = home.start(&[]);
    let second = std::fs::read_to_string(&path).expect("another token");
    assert_ne!(first, second);
    let admins = master.json(&["admin", "list"]);
    assert_eq!(admins["items"].as_array().map(Vec::len), Some(2), "{admins}");
    assert_eq!(master.cli(&["admin", "remove", "--name", "admin"]).code, 0);
    let (_, home) = master.stop();

    write(&path, first).expect("it is ours");
    let master = home.start(&[]);
    assert_eq!(master.cli(&["admin", "list"]).code, 1, "a start does not bring it back");
    assert!(master.log().contains("this admin token is no operator's"));
}
