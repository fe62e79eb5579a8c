//! Master and worker die where it hurts most, and the next start makes it good.
//!
//! The points at which a process can be made to die are there with the feature `failpoints` alone:
//! `cargo test -p enroll-examples --features failpoints --test crash`.
#![cfg(feature = "failpoints")]

mod harness;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use enroll_core::failpoint::{MASTER_STEPS, WORKER_STEPS};
use harness::{Home, Machine, Master, Said, Serving, at, in_time, run, times};
use serde_json::{Value, json};

const POINT: &str = "ENROLL_FAILPOINT";
/// Both kinds of credential that are built in, so that all of a worker's files are written.
const FLAGS: &[&str] = &["--attempts-per-minute", "0", "--issue", "x509", "--issue", "api_key"];

#[tokio::test]
async fn d1_a_master_that_dies_once_it_has_spent_the_token_gives_the_same_identity_again() {
    a_master_dies_at("master:redeemed", true).await;
}

#[tokio::test]
async fn d1_a_master_that_dies_before_it_has_spent_the_token_spends_it_later() {
    a_master_dies_at("master:issued", false).await;
}

#[test]
fn d1_every_step_of_the_master_has_its_test() {
    assert_eq!(MASTER_STEPS, ["master:issued", "master:redeemed"]);
}

async fn a_master_dies_at(point: &str, redelivered: bool) {
    let master = Master::start(FLAGS);
    let token = master.mint(json!({"node_name": "n"})).await;
    let home = master.stop().1;
    let mut armed = home.serve();
    armed.args(FLAGS).env(POINT, point);
    let mut master = home.start_as(armed);

    let machine = Machine::new();
    let text = token["token"].as_str().expect("a token");
    let said = machine.bootstrap(&master, text, &["--retry-secs", "1"]);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(master.ended().code().is_none(), "it aborts, and says nothing more");

    let master = master.kill().start(FLAGS);
    let again = json_of(&machine.bootstrap(&master, text, &["--output", "json"]));
    assert_eq!(again["redelivered"], redelivered, "{again}");
    is_one(&master, &machine, &token, 1).await;
    assert_eq!(again["node_id"], machine.node_id());
    let nodes = master.api().get("/v1/nodes").await.body;
    assert_eq!(nodes["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn b5_a_worker_that_dies_at_any_step_of_its_first_enrollment_is_made_whole() {
    let master = Master::start(FLAGS);
    let mut died = 0;
    for (i, point) in WORKER_STEPS.iter().enumerate() {
        let name = format!("n{i}");
        let token = master.mint(json!({"node_name": name})).await;
        let node_id = master.node(&name).await["id"].clone();
        let machine = Machine::new();
        died += usize::from(dies_at(&master, &machine, &token, point, &[]));
        let text = token["token"].as_str().expect("a token");
        let said = machine.bootstrap(&master, text, &[]);
        assert_eq!(said.code, 0, "{point}: {said:?}");
        is_one(&master, &machine, &token, 1).await;
        assert_eq!(node_id, machine.node_id(), "{point}");
    }
    // Two points of a call; four of each file, of the attempt, of its answer; three of its end.
    assert!(died >= 30, "it died at {died} points alone");
}

#[tokio::test]
async fn b6_a_worker_that_dies_at_any_step_of_a_forced_enrollment_is_made_whole() {
    let master = Master::start(FLAGS);
    let mut died = 0;
    for (i, point) in WORKER_STEPS.iter().enumerate() {
        let name = format!("n{i}");
        let first = master.mint(json!({"node_name": name})).await;
        let machine = Machine::new();
        let text = first["token"].as_str().expect("a token");
        assert_eq!(machine.bootstrap(&master, text, &[]).code, 0);
        let node_id = machine.node_id();

        let second = master.api().post(&format!("/v1/nodes/{name}/token"), &json!({})).await.body;
        died += usize::from(dies_at(&master, &machine, &second, point, &["--force"]));
        let text = second["token"].as_str().expect("a token");
        let said = machine.bootstrap(&master, text, &[]);
        assert_eq!(said.code, 0, "{point}: {said:?}");
        // Before anything of the second attempt is on disk, the first identity is all there is.
        let used = u64::from(said.out.contains("enrolled as") || uses(&master, &second).await == 1);
        is_one(&master, &machine, &second, used).await;
        assert_eq!(machine.node_id(), node_id, "{point}: re-enrollment keeps the node");
        assert_eq!(uses(&master, &first).await, 1);
    }
    assert!(died >= 30, "it died at {died} points alone");
}

#[tokio::test]
async fn d1_d3_whatever_is_killed_and_when_every_worker_ends_with_one_identity() {
    const WORKERS: usize = 4;
    let kills = times(10, 200);
    let ports = free_ports();
    let home = Home::new();
    let mut command = home.serve_on(ports);
    command.args(FLAGS);
    let master = home.start_as(command);
    let fleet = fleet(&master, WORKERS + kills).await;
    let place: Vec<String> = at(&master).map(str::to_owned).to_vec();
    let home = master.kill();

    let seed = u64::from(std::process::id());
    eprintln!("seed {seed}");
    let mut random = Random(seed);
    let mut up = Up::start(&home, ports);
    // Whoever is a member when it is killed makes room for a machine that is nobody yet.
    let mut started = WORKERS;
    let mut workers: Vec<(usize, Serving<'_>)> =
        (0..WORKERS).map(|i| (i, serve(&fleet[i].0, &place))).collect();
    for _ in 0..kills {
        // The moment is what is tried out here: there is nothing to wait for.
        tokio::time::sleep(Duration::from_millis(random.below(300))).await;
        match usize::try_from(random.below(2 * WORKERS as u64)).expect("it is small") {
            victim if victim < WORKERS => {
                let (mut i, worker) = workers.remove(victim);
                drop(worker);
                if is_member(&fleet[i].0) {
                    i = started;
                    started += 1;
                }
                workers.insert(victim, (i, serve(&fleet[i].0, &place)));
            }
            _ => {
                drop(up);
                up = Up::start(&home, ports);
            }
        }
    }
    eprintln!("{started} machines");
    drop(up);
    let mut command = home.serve_on(ports);
    command.args(FLAGS);
    let master = home.start_as(command);
    for (i, worker) in &mut workers {
        let name = format!("n{i}");
        let seen = master.node(&name).await["last_seen_at"].clone();
        in_time("a heartbeat after the last start", async || {
            assert!(worker.runs(), "{}", fleet[*i].0.log());
            let node = master.node(&name).await;
            (node["health"] == "ready" && node["last_seen_at"] != seen).then_some(())
        })
        .await;
    }
    drop(workers);
    for (machine, token, node_id) in &fleet[..started] {
        is_one(&master, machine, token, 1).await;
        assert_eq!(*node_id, machine.node_id());
    }
}

/// Machines that are nobody yet, each with a token beside its state directory, and the ids of their
/// nodes.
async fn fleet(master: &Master, size: usize) -> Vec<(Machine, Value, Value)> {
    let mut fleet = Vec::new();
    for i in 0..size {
        let name = format!("n{i}");
        let token = master.mint(json!({"node_name": name})).await;
        let machine = Machine::new();
        machine.put("token", token["token"].as_str().expect("a token"));
        fleet.push((machine, token, master.node(&name).await["id"].clone()));
    }
    fleet
}

/// Whether all that makes a member is on the machine's disk.
fn is_member(machine: &Machine) -> bool {
    let state = machine.state();
    state.join("identity.json").exists() && !state.join("attempt.json").exists()
}

/// Runs a bootstrap that is to die at `point`; whether it came by there.
fn dies_at(master: &Master, machine: &Machine, token: &Value, point: &str, args: &[&str]) -> bool {
    let path = machine.put("token", token["token"].as_str().expect("a token"));
    let args = [&["bootstrap"], &at(master)[..], &["--token-path", &path], args].concat();
    let said = run(machine.command(&args).env(POINT, point));
    assert!(said.code == 0 || said.code == -1, "{point}: {said:?}");
    said.code == -1
}

/// The machine has one identity, which the master honours, and the token was spent `uses` times.
async fn is_one(master: &Master, machine: &Machine, token: &Value, uses: u64) {
    let again = machine.run(&["bootstrap"]);
    assert_eq!((again.code, again.out.trim()), (0, "already bootstrapped"), "{again:?}");
    assert!(!machine.state().join("attempt.json").exists());
    let me = machine.member(master).get("/v1/self").await;
    assert_eq!((me.status, &me.body["id"]), (200, &json!(machine.node_id())), "{me:?}");
    assert_eq!(master.uses(&token["id"]).await.0, uses);
    assert_eq!(master.uses(&token["id"]).await.1 as u64, uses);
}

async fn uses(master: &Master, token: &Value) -> u64 {
    master.uses(&token["id"]).await.0
}

fn json_of(said: &Said) -> Value {
    assert_eq!(said.code, 0, "{said:?}");
    serde_json::from_str(&said.out).expect("JSON")
}

fn serve<'a>(machine: &'a Machine, place: &[String]) -> Serving<'a> {
    let token = machine.state().with_file_name("token");
    let mut command = machine.command(&["--heartbeat-interval", "1s", "--token-path"]);
    command.arg(token).args(place);
    machine.start_as(command)
}

/// A master nobody waits for, which is killed when it is dropped.
struct Up(Child);

impl Up {
    fn start(home: &Home, ports: [u16; 3]) -> Self {
        let mut command: Command = home.serve_on(ports);
        command.args(FLAGS).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("enroll-master starts"))
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Ports below those that the system hands out, so that nobody takes them while the master is dead.
fn free_ports() -> [u16; 3] {
    let mut random = Random(u64::from(std::process::id()));
    std::array::from_fn(|_| {
        loop {
            let port = u16::try_from(20_000 + random.below(12_000)).expect("it is a port");
            if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
                break port;
            }
        }
    })
}

/// Numbers that look random and come again with the same seed (a linear congruential generator).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}
