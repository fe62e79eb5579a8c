//! Where settings come from, and which are refused.

use std::ffi::OsStr;
use std::fs::{Permissions, write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::harness::{Home, Master, Said, program, run};

const GOOD: &str = "0123456789abcdef0123456789abcdef";

fn refused(command: &mut Command, code: i32, words: &[&str]) -> Said {
    let said = run(command);
    assert_eq!(said.code, code, "{said:?}");
    for word in words {
        assert!(said.err.contains(word), "{word}: {said:?}");
    }
    said
}

#[test]
fn a_flag_counts_before_a_variable_and_that_before_the_file() {
    let host = |with_variable: bool, with_flag: bool| {
        let home = Home::new();
        let config = home.beside("master.toml");
        let text = "advertise = [\"config.example\", \"10.0.0.9\"]\nsteady-addr = \"mesh.example\"\nattempts_per_minute = 0\n";
        write(&config, text).expect("a file");
        let mut serve = home.serve();
        serve.arg("--config").arg(&config);
        if with_variable {
            serve.env("ENROLL_MASTER_ADVERTISE", "env.example,10.0.0.8");
        }
        if with_flag {
            serve.args(["--advertise", "flag.example"]);
        }
        let master = home.start_as(serve);
        assert!(master.ready("steady_addr").starts_with("mesh.example:"), "the file's, always");
        let url = master.ready("enroll_url").to_owned();
        url.rsplit_once(':').expect("a port").0.to_owned()
    };
    assert_eq!(host(false, false), "https://config.example");
    assert_eq!(host(true, false), "https://env.example");
    assert_eq!(host(true, true), "https://flag.example");
}

#[test]
fn a_variable_may_name_a_file_that_holds_the_value() {
    let home = Home::new();
    let (value, config) = (home.beside("value"), home.beside("master.toml"));
    write(&value, "file.example\n10.0.0.7\n").expect("a file");
    write(&config, "advertise = \"config.example\"\n").expect("a file");
    let mut serve = home.serve();
    serve.env("ENROLL_MASTER_ADVERTISE_FILE", &value).env("ENROLL_MASTER_CONFIG", &config);
    let master = home.start_as(serve);
    assert!(master.ready("enroll_url").starts_with("https://file.example:"));
}

#[test]
fn a_variable_given_both_ways_names_both() {
    let home = Home::new();
    let mut serve = home.serve();
    serve.env("ENROLL_MASTER_ADVERTISE", "a.example").env("ENROLL_MASTER_ADVERTISE_FILE", "/none");
    refused(&mut serve, 2, &["ENROLL_MASTER_ADVERTISE ", "ENROLL_MASTER_ADVERTISE_FILE"]);
    // What another command would take is not looked at.
    let mut serve = home.serve();
    serve.env("ENROLL_MASTER_OUTPUT", "json").env("ENROLL_MASTER_OUTPUT_FILE", "/none");
    home.start_as(serve);
}

#[test]
fn a_wrong_value_says_where_it_comes_from() {
    let home = Home::new();
    let config = home.beside("master.toml");
    let mut serve = home.serve();
    serve.env("ENROLL_MASTER_FUSE_DEADLINE_SECS", "soon");
    refused(&mut serve, 2, &["--fuse-deadline-secs", "ENROLL_MASTER_FUSE_DEADLINE_SECS"]);
    let mut serve = home.serve();
    refused(serve.env("ENROLL_MASTER_STORE", ""), 2, &["ENROLL_MASTER_STORE"]);
    for (text, word) in [
        ("attempts_per_minute = -1", "`attempts_per_minute` in"),
        ("attempts_per_hour = 1", "`attempts_per_hour`"),
        ("[store]\nurl = 1", "`store`"),
        ("advertise = ", "TOML"),
    ] {
        write(&config, text).expect("a file");
        let mut serve = home.serve();
        refused(serve.arg("--config").arg(&config), 2, &[word, "master.toml"]);
    }
    assert!(!home.data().exists(), "nothing was made");
}

#[test]
fn a_weak_cluster_secret_refuses_to_start() {
    let home = Home::new();
    let path = home.beside("secret");
    for weak in
        ["", "\n", "short", &"a".repeat(64), &format!("{GOOD}\nshort"), &format!("{GOOD} \n")]
    {
        write(&path, weak).expect("a file");
        let mut serve = home.serve();
        let said = refused(serve.arg("--cluster-secret-path").arg(&path), 1, &["cluster secret"]);
        assert!(weak.trim().is_empty() || !said.err.contains(&format!("{weak:?}")), "{said:?}");
        assert!(!home.data().exists(), "nothing was made");
    }
}

#[tokio::test]
async fn the_cluster_secret_is_wanted_and_handed_on_in_snippets() {
    let home = Home::new();
    let path = home.beside("secret");
    let old = "fedcba9876543210fedcba9876543210";
    write(&path, format!("{GOOD}\n{old}\n")).expect("a file");
    let mut serve = home.serve();
    serve.arg("--cluster-secret-path").arg(&path);
    let master = home.start_as(serve);
    let api = master.api();
    let node = api.post("/v1/nodes", &serde_json::json!({ "name": "worker-1" })).await.body;
    let shell = node["install"]["shell"].as_str().expect("a snippet");
    assert!(shell.contains(GOOD) && !shell.contains(old), "{shell}");
    assert!(!master.log().contains(GOOD) && !master.out().contains(GOOD));
    assert!(master.out().contains("ENROLL_SHARED_SECRET"), "the next step says it is needed");
}

#[test]
fn what_this_build_cannot_do_is_said_before_anything_is_made() {
    let home = Home::new();
    for (flags, word) in [
        (["--fuser", "portainer"], "--portainer-url"),
        (["--store", "postgre://u:s3cret@db/enroll"], "--store"),
        (["--store-ca-path", "roots.pem"], "--store-ca-path"),
    ] {
        let said = home.refuses(&flags);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains(word) && !said.err.contains("s3cret"), "{said:?}");
    }
    let config = home.beside("master.toml");
    write(&config, "issue = []\n").expect("a file");
    refused(home.serve().arg("--config").arg(&config), 2, &["--issue"]);
    assert!(!home.data().join("ca.key").exists(), "no authority was made");
}

#[test]
fn what_can_hardly_be_meant_is_said() {
    let master = Master::start(&["--issue", "headscale", "--stale-threshold-secs", "30"]);
    let log = master.log();
    assert!(log.contains("neither x509 nor api_key"), "{log}");
    assert!(log.contains("--heartbeat-interval-secs 30 is not below"), "{log}");
    let log = Master::start(&[]).log();
    assert!(!log.contains("--issue") && !log.contains("--heartbeat-interval-secs"), "{log}");
}

#[test]
fn a_path_need_not_be_text() {
    let home = Home::new();
    let path = home.beside("x").with_file_name(OsStr::from_bytes(b"\xe9"));
    let mut serve = program();
    serve.env("ENROLL_MASTER_STORE", "postgres://u:s3cret@127.0.0.1:1/db");
    let said = run(serve.args(["serve", "--data-dir"]).arg(path));
    assert!(said.code == 1 && !said.err.contains("s3cret"), "{said:?}");
}

#[test]
fn an_authority_that_others_can_read_refuses_to_start() {
    let (status, home) = Master::start(&[]).stop();
    assert!(status.success());
    let key = home.data().join("ca.key");
    std::fs::set_permissions(&key, Permissions::from_mode(0o640)).expect("it is ours");
    let said = home.refuses(&[]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("ca.key") && said.err.contains("0640"), "{said:?}");
}

#[test]
fn the_trust_domain_is_fixed_with_the_authority() {
    let (_, home) = Master::start(&["--trust-domain", "fleet.example"]).stop();
    let said = home.refuses(&["--trust-domain", "other.example"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("fleet.example") && said.err.contains("other.example"), "{said:?}");
    // Left away, it is what it was.
    home.start(&[]);
}

#[test]
fn a_store_of_another_authority_is_refused() {
    let (_, first) = Master::start(&[]).stop();
    let store = format!("sqlite:{}", first.data().join("enroll.db").display());
    let said = Home::new().refuses(&["--store", &store]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("belongs to the certificate authority sha256:"), "{said:?}");
}

#[tokio::test]
async fn plaintext_is_said_to_be_plain() {
    let master = Master::start(&["--allow-plaintext"]);
    let url = master.ready("enroll_url").to_owned();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    let ca = std::fs::read_to_string(master.data().join("ca.crt")).expect("a root");
    let answer = crate::harness::Api::new(&url, &ca, None).get("/v1/ca").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, Some(ca.as_str())));
    assert!(master.out().contains("--allow-plaintext"), "the worker has to be told");
    let minted = master.cli(&["token", "mint"]);
    assert!(
        minted.out.contains("serve --join-path join.txt --node-name <name> --allow-plaintext\n")
    );
    let minted = Master::start(&[]).cli(&["token", "mint"]);
    assert!(minted.out.contains("serve --join-path join.txt --node-name <name>\n"), "{minted:?}");
}

#[test]
fn an_address_in_use_says_which_flag_moves_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("an address").to_string();
    let home = Home::new();
    let mut serve = program();
    serve.args(["serve", "--enroll-listen", "127.0.0.1:0", "--steady-listen", &addr]);
    serve.args(["--operator-listen", "127.0.0.1:0", "--data-dir"]).arg(home.data());
    refused(&mut serve, 1, &[&addr, "--steady-listen"]);
}
