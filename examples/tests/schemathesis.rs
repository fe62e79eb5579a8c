//! Schemathesis makes requests up from the OpenAPI document, right ones and wrong ones, and holds what
//! the real master answers against it: no 5xx, no status and no body that the document does not have.

mod harness;

use std::process::Command;

use harness::{Home, Machine, Master, run, times};

/// Installs Schemathesis where it is missing, and runs it.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/schemathesis.sh");
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../enroll-http/openapi.json");
/// Not `ignored_auth` and the like: which role may do what is a test of its own.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";

/// A master on which nothing is missing: what is not configured would rightly be a 503.
fn master() -> Master {
    let home = Home::new();
    let secret = home.beside("cluster-secret");
    std::fs::write(&secret, "correct-horse-battery-staple-0123456789").expect("writable");
    let secret = secret.to_str().expect("a path in UTF-8").to_owned();
    let own = ["--advertise", "127.0.0.1", "--attempts-per-minute", "0", "--fuser", "builtin"];
    home.start(&[&own[..], &["--cluster-secret-path", &secret]].concat())
}

/// Tries the calls of one listener; `member` is who calls.
fn holds(listener: &str, master: &Master, url: &str, member: Option<&Machine>) {
    // Some of the cases follow from the document alone; the rest is made up at random.
    let each = times(2, 700);
    let phases = if each < 100 { "examples,fuzzing" } else { "examples,coverage,fuzzing,stateful" };
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("schemathesis.toml");
    let headers = if listener == "operator" {
        "[headers]\nAuthorization = \"Bearer ${ADMIN_TOKEN}\"\n"
    } else {
        ""
    };
    std::fs::write(&file, headers).expect("writable");
    let token = std::fs::read_to_string(master.data().join("admin.token")).expect("a token");
    let mut command = Command::new(SCRIPT);
    command.arg(env!("CARGO_TARGET_TMPDIR")).arg("--config-file").arg(&file);
    command.args(["run", DOCUMENT, "--url", url, "--include-tag", listener, "--checks", CHECKS]);
    command.arg("--tls-verify").arg(master.data().join("ca.crt"));
    command.args(["--phases", phases, "--max-examples", &each.to_string(), "--warnings", "off"]);
    if let Some(member) = member {
        let state = member.state();
        command.arg("--request-cert").arg(state.join("agent.crt"));
        command.arg("--request-cert-key").arg(state.join("agent.key"));
    }
    let said = run(command.current_dir(dir.path()).env("ADMIN_TOKEN", token.trim()));
    assert_eq!(said.code, 0, "{}\n{}\n{}", said.out, said.err, master.log());
    let counted = said.out.lines().find(|line| line.contains(" generated, "));
    let counted = counted.unwrap_or_else(|| panic!("no count: {}", said.out)).trim();
    println!("{listener}: {counted}");
}

#[test]
fn the_enroll_listener_answers_as_its_document_says() {
    let master = master();
    holds("enroll", &master, master.ready("enroll_url"), None);
}

#[test]
fn the_operator_listener_answers_as_its_document_says() {
    let master = master();
    master.json(&["node", "add", "worker-1"]);
    holds("operator", &master, master.ready("operator_url"), None);
}

#[test]
fn the_steady_listener_answers_as_its_document_says() {
    let master = master();
    let added = master.json(&["node", "add", "worker-1"]);
    let machine = Machine::new();
    let secret = master.beside("cluster-secret");
    let secret = ["--shared-secret-path", secret.to_str().expect("a path in UTF-8")];
    let said = machine.bootstrap(&master, added["token"].as_str().expect("a token"), &secret);
    assert_eq!(said.code, 0, "{said:?}");
    let url = format!("https://{}", master.ready("steady_addr"));
    holds("steady", &master, &url, Some(&machine));
}
