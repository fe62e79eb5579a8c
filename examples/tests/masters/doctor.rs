//! `enroll-master doctor`.

use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use enroll_store_postgres::testing::{fresh_url, shared};
use serde_json::Value;

use crate::harness::{Master, program, run};

fn checks(out: &str) -> Vec<(String, bool)> {
    let found: Value = serde_json::from_str(out).unwrap_or_else(|why| panic!("{why}: {out}"));
    let checks = found["checks"].as_array().expect("a list");
    let read = |check: &Value| {
        let name = check["check"].as_str().expect("a word").to_owned();
        assert!(check["detail"].is_string() && check["hint"].is_null() == (check["ok"] == true));
        (name, check["ok"] == true)
    };
    assert_eq!(found["ok"] == true, checks.iter().all(|check| check["ok"] == true));
    checks.iter().map(read).collect()
}

#[test]
fn a_master_that_is_well_is_found_well() {
    let url = fresh_url(shared());
    for (args, more) in [(vec![], vec![]), (vec!["--store", &url], vec!["failover", "connections"])]
    {
        let master = Master::start(&args);
        let said = master.cli(&["doctor", "--output", "json"]);
        assert_eq!(said.code, 0, "{said:?}");
        let found = checks(&said.out);
        let listeners = ["enroll listener", "steady listener", "operator listener"];
        let always = ["certificates", "files", "master", "store", "durability", "clock", "fence"];
        for what in always.into_iter().chain(listeners).chain(more) {
            assert!(found.iter().any(|(name, ok)| name == what && *ok), "{what}: {found:?}");
        }
        let text = master.cli(&["doctor"]);
        assert!(text.code == 0 && text.out.contains("ok     durability"), "{text:?}");
        assert!(!text.out.contains("WRONG"), "{text:?}");
    }
}

#[test]
fn without_tls_it_is_not_enough_that_somebody_answers() {
    let stub = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = stub.local_addr().expect("an address").port();
    let answering = std::thread::spawn(move || {
        let (mut peer, _) = stub.accept().expect("a call");
        let _read = peer.read(&mut [0; 1024]);
        let _sent = peer.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n");
    });
    let master = Master::start(&[]);
    let ready = master.data().join("ready.json");
    let mut told = master.ready_json().clone();
    told["enroll_url"] = format!("http://127.0.0.1:{port}").into();
    std::fs::write(&ready, told.to_string()).expect("it is ours");
    let said = master.cli(&["doctor"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("WRONG  enroll listener") && said.out.contains("502"), "{said:?}");
    answering.join().expect("it was called");
}

#[test]
fn what_is_wrong_is_named_with_what_to_do() {
    let master = Master::start(&[]);
    let key = master.data().join("ca.key");
    std::fs::set_permissions(&key, Permissions::from_mode(0o644)).expect("it is ours");
    let said = master.cli(&["doctor"]);
    assert_eq!(said.code, 1, "{said:?}");
    for word in ["WRONG  files", "ca.key", "0644", "0600"] {
        assert!(said.out.contains(word), "{word}: {said:?}");
    }
    std::fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("it is ours");

    let (_, home) = master.stop();
    let said = run(program().args(["doctor", "--output", "json", "--data-dir"]).arg(home.data()));
    assert_eq!(said.code, 1, "{said:?}");
    assert!(checks(&said.out).contains(&("master".into(), false)), "{said:?}");
    assert!(said.err.contains("found something wrong"), "{said:?}");
}
