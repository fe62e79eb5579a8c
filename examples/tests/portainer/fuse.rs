//! From monitoring to fused and to each way it fails, by the real master and the real worker. Docker
//! is a stand-in that writes down what it was called with: there is no engine where tests run.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Home, Machine, Master, Serving, at, eventually, in_time};
use crate::stub::{API_KEY, EDGE_SECRET, Fault, Portainer, VERSION};

/// A directory with a program named docker, and what it was called with.
pub(crate) struct Docker(TempDir);

impl Docker {
    /// One that does as it is told and prints an id.
    pub(crate) fn new() -> Self {
        Self::that("echo 4f1d2c3b")
    }

    /// One that ends a `run` with these lines of a shell.
    pub(crate) fn that(ends: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let place = dir.path().display();
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = run ] || exit 1\nprintf '%s\\n' \"$@\" >'{place}/args'\n\
             env >'{place}/env'\ncat >'{place}/input'\ntouch '{place}/called'\n{ends}\n"
        );
        let program = dir.path().join("docker");
        std::fs::write(&program, script).expect("the disk is writable");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&program, mode).expect("it is ours");
        Self(dir)
    }

    fn path(&self) -> String {
        let usual = std::env::var("PATH").unwrap_or_default();
        format!("{}:{usual}", self.0.path().display())
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).expect("docker was called")
    }

    /// Waits until it was called to the end.
    fn called(&self) {
        let place: PathBuf = self.0.path().join("called");
        eventually("docker", || place.exists().then_some(()));
    }
}

/// A master before `portainer`.
pub(crate) fn master(portainer: &Portainer, flags: &[&str]) -> Master {
    let home = Home::new();
    let key = home.beside("portainer-key");
    std::fs::write(&key, format!("{API_KEY}\n")).expect("the disk is writable");
    let (key, url) = (key.to_str().expect("a path in UTF-8"), portainer.url());
    let fuser = ["--fuser", "portainer", "--portainer-url", &url, "--portainer-api-key-path", key];
    let quick = ["--portainer-allow-plaintext", "--heartbeat-interval-secs", "1"];
    home.start(&[&fuser[..], &quick, flags].concat())
}

/// A worker named worker-1 that was heard from, with `docker` before all other programs.
pub(crate) async fn member<'a>(
    master: &Master,
    machine: &'a Machine,
    docker: &Docker,
    flags: &[&str],
) -> Serving<'a> {
    let minted = master.json(&["token", "mint", "--node-name", "worker-1"]);
    let token = machine.put("token", minted["token"].as_str().expect("a token"));
    let enroll = [&at(master)[..], &["--token-path", &token], flags].concat();
    let mut command = machine.command(&enroll);
    command.env("PATH", docker.path()).env("OF_THE_WORKER", "alone");
    let worker = machine.start_as(command);
    in_time("a heartbeat", async || {
        (master.node("worker-1").await["health"] == "ready").then_some(())
    })
    .await;
    worker
}

const WITH_DOCKER: [&str; 2] = ["--fuse-with", "docker"];

/// Fuses it; the node as the operator is shown it.
pub(crate) fn fuse(master: &Master) -> Value {
    master.json(&["node", "fuse", "worker-1"])
}

/// Waits for `state`; the node.
pub(crate) async fn comes_to(master: &Master, state: &str) -> Value {
    in_time(state, async || {
        let node = master.node("worker-1").await;
        (node["state"] == state).then_some(node)
    })
    .await
}

/// Waits until the attempt has failed by `source`; why.
async fn fails(master: &Master, source: &str) -> String {
    let node = comes_to(master, "monitoring").await;
    let failure = &node["fuse"]["failure"];
    assert_eq!(failure["source"], source, "{node}");
    let metrics = master.api().get("/metrics").await.body;
    let line = format!("fuse_failed_total{{source=\"{source}\"}} 1\n");
    assert!(metrics.as_str().is_some_and(|text| text.contains(&line)), "{line}{metrics}");
    failure["detail"].as_str().expect("a detail").to_owned()
}

/// That nothing is left of an attempt in Portainer.
async fn nothing_is_left(portainer: &Portainer) {
    in_time("the endpoint's end", async || portainer.endpoints().is_empty().then_some(())).await;
}

/// That neither secret is in any file of the master or the worker, or in what they tell.
async fn no_secret_is_kept(master: &Master, machine: &Machine) {
    let mut places = vec![master.log(), master.out(), machine.log()];
    for path in ["/metrics", "/v1/events?limit=500", "/v1/nodes/worker-1/commands"] {
        places.push(master.api().get(path).await.body.to_string());
    }
    for dir in [master.data(), machine.state()] {
        for file in std::fs::read_dir(dir).expect("a directory") {
            let path = file.expect("a file").path();
            let bytes = std::fs::read(&path).expect("it is readable");
            places.push(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    for place in places {
        assert!(!place.contains(EDGE_SECRET) && !place.contains(API_KEY), "{place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a15_a_node_is_fused_once_its_agent_has_checked_in_and_not_before() {
    let (portainer, docker, machine) = (Portainer::start().await, Docker::new(), Machine::new());
    let master = master(&portainer, &["--portainer-public-url", "https://portainer.example:9443"]);
    let _worker = member(&master, &machine, &docker, &WITH_DOCKER).await;
    let alone = machine.member(&master);
    assert_eq!(alone.get("/v1/self/fuse").await.status, 404);

    let begun = fuse(&master);
    assert_eq!((&begun["state"], &begun["fuse"]["ticket"]), (&json!("fusing"), &json!("1")));
    assert_eq!(portainer.urls(), ["https://portainer.example:9443"]);
    docker.called();
    let key = format!("{EDGE_SECRET}1");
    let args = docker.read("args");
    assert!(args.contains(&format!("\nportainer/agent:{VERSION}\n")), "{args}");
    assert!(!args.contains(EDGE_SECRET), "{args}");
    let environment = docker.read("env");
    assert!(!environment.contains(EDGE_SECRET) && !environment.contains("OF_THE_WORKER"));
    let input = docker.read("input");
    assert!(input.contains(&format!("\nEDGE_KEY={key}\n")), "{input}");

    let done = in_time("the worker's word", async || {
        let all = master.api().get("/v1/nodes/worker-1/commands").await.body;
        (all["items"][0]["status"] == "done").then_some(all)
    })
    .await;
    assert_eq!(done["items"][0]["payload"]["endpoint_id"], 1, "{done}");
    let node = master.node("worker-1").await;
    assert_eq!(node["state"], "fusing", "the worker's word is not Portainer's");
    let handed = alone.get("/v1/self/fuse").await.body;
    assert_eq!(handed["values"]["edge_key"], key.as_str());

    portainer.check_in();
    let node = comes_to(&master, "fused").await;
    assert_eq!(node["fuse"]["ticket"], "1", "the endpoint is on the record");
    assert_eq!(alone.get("/v1/self/fuse").await.status, 404);
    no_secret_is_kept(&master, &machine).await;
    let shown = master.cli(&["node", "get", "worker-1"]);
    assert!(shown.out.contains("fuse ticket"), "{shown:?}");

    // The machine is set up anew: the trust that was built on the old one goes.
    let again = master.json(&["node", "token", "worker-1"]);
    let other = Machine::new();
    let said = other.bootstrap(&master, again["token"].as_str().expect("a token"), &[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(master.node("worker-1").await["state"], "monitoring");
    nothing_is_left(&portainer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a15_an_agent_that_never_checks_in_is_a_watchdog_timeout_and_its_endpoint_goes() {
    let (portainer, docker, machine) = (Portainer::start().await, Docker::new(), Machine::new());
    let master = master(&portainer, &["--fuse-deadline-secs", "4"]);
    let _worker = member(&master, &machine, &docker, &WITH_DOCKER).await;
    assert_eq!(fuse(&master)["state"], "fusing");
    // Portainer being away for a while is no failure of its own.
    portainer.fail("get", Fault::Refused(502), 2);
    fails(&master, "watchdog_timeout").await;
    nothing_is_left(&portainer).await;
    no_secret_is_kept(&master, &machine).await;
    assert_eq!(fuse(&master)["state"], "fusing", "an operator may try again");
    portainer.check_in();
    comes_to(&master, "fused").await;
    assert_eq!(master.cli(&["node", "delete", "worker-1"]).code, 0);
    nothing_is_left(&portainer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a15_trouble_with_portainer_is_a_portainer_error() {
    let (portainer, docker, machine) = (Portainer::start().await, Docker::new(), Machine::new());
    let refusing = master(&portainer, &[]);
    let worker = member(&refusing, &machine, &docker, &WITH_DOCKER).await;
    portainer.fail("list", Fault::Refused(401), 2);
    assert_eq!(fuse(&refusing)["state"], "monitoring");
    let why = fails(&refusing, "portainer_error").await;
    assert!(why.contains("401") && why.contains("API key"), "{why}");
    drop((worker, refusing));

    // Somebody deletes the endpoint while it waits.
    let (portainer, docker, machine) = (Portainer::start().await, Docker::new(), Machine::new());
    let master = master(&portainer, &[]);
    let _worker = member(&master, &machine, &docker, &WITH_DOCKER).await;
    assert_eq!(fuse(&master)["state"], "fusing");
    portainer.clear();
    let why = fails(&master, "portainer_error").await;
    assert!(why.contains("404"), "{why}");
    no_secret_is_kept(&master, &machine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a15_a_worker_that_cannot_roll_the_agent_out_says_why() {
    // The same with an engine that is not there, and one that repeats what it was given.
    let dead = "echo 'Cannot connect to the Docker daemon' >&2; exit 1";
    let telltale = "cat \"${0%/*}/input\" >&2; tail -n 2 \"${0%/*}/input\" | head -n 1 >&2; exit 1";
    for (ends, flags, word) in [
        ("exit 0", &[][..], "--fuse-with docker"),
        (dead, &WITH_DOCKER[..], "Cannot connect to the Docker daemon"),
        (telltale, &WITH_DOCKER[..], "holds a secret"),
    ] {
        let portainer = Portainer::start().await;
        let (docker, machine) = (Docker::that(ends), Machine::new());
        let master = master(&portainer, &[]);
        let _worker = member(&master, &machine, &docker, flags).await;
        assert_eq!(fuse(&master)["state"], "fusing");
        let why = fails(&master, "worker_error").await;
        assert!(why.contains(word), "{why}");
        nothing_is_left(&portainer).await;
        no_secret_is_kept(&master, &machine).await;
    }
}
