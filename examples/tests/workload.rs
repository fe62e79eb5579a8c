//! A product's own commands: logs of any member, exec on a fused one alone.

mod harness;

use harness::{Machine, Master, at, in_time};
use serde_json::{Value, json};

const COMMANDS: &str = "/v1/nodes/worker-1/commands";

/// Queues a command and waits for its end.
async fn ended(master: &Master, kind: &str, payload: Value) -> Value {
    let wish = json!({"kind": kind, "payload": payload});
    let queued = master.api().post(COMMANDS, &wish).await;
    assert_eq!(queued.status, 202, "{queued:?}");
    in_time(kind, async || {
        let all = master.api().get(COMMANDS).await.body;
        let items = all["items"].as_array().expect("a page");
        let ours = items.iter().find(|item| item["id"] == queued.body["id"]).expect("it is listed");
        (!ours["finished_at"].is_null()).then(|| ours.clone())
    })
    .await
}

fn said(command: &Value, status: &str) -> String {
    assert_eq!(command["status"], status, "{command}");
    command["output"].as_str().expect("an output").to_owned()
}

#[tokio::test]
async fn a8b_logs_need_a_member_and_exec_a_fused_one() {
    let master = Master::start(&["--fuser", "builtin", "--heartbeat-interval-secs", "1"]);
    let minted = master.json(&["token", "mint", "--node-name", "worker-1"]);
    let machine = Machine::new();
    let token = minted["token"].as_str().expect("a token");
    // The proof stays in the environment, where exec must not find it.
    let mut command = machine.command(&at(&master));
    let log = machine.put("workload.log", &format!("{}one\ntwo\nthree\n", "x\n".repeat(20_000)));
    let programs = ["env", "false", "seq"].map(|program| ["--workload-exec", program]);
    command.args(["--workload-log", &log]).args(programs.concat());
    let _worker = machine.start_as({
        command.env("ENROLL_TOKEN", token);
        command
    });
    in_time("a heartbeat", async || {
        let node = master.api().get("/v1/nodes/worker-1").await.body;
        (node["health"] == "ready").then_some(())
    })
    .await;

    let logs = ended(&master, "logs", json!({"lines": 2})).await;
    assert_eq!(said(&logs, "done"), "two\nthree");
    let logs = ended(&master, "logs", Value::Null).await;
    assert_eq!(said(&logs, "done").lines().count(), 100);
    let logs = ended(&master, "logs", json!({"path": "/etc/passwd"})).await;
    assert!(said(&logs, "failed").contains("payload"), "the worker chooses the file: {logs}");

    let exec = json!({"kind": "exec", "payload": {"argv": ["env"]}});
    let refused = master.api().post(COMMANDS, &exec).await;
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("conflict")), "{refused:?}");

    master.json(&["node", "fuse", "worker-1"]);
    in_time("full control", async || {
        (master.node("worker-1").await["state"] == "fused").then_some(())
    })
    .await;
    let environment = said(&ended(&master, "exec", json!({"argv": ["env"]})).await, "done");
    assert!(environment.contains("PATH="), "{environment}");
    assert!(!environment.contains("ENROLL") && !environment.contains(token), "{environment}");
    let long = ended(&master, "exec", json!({"argv": ["seq", "1000000"]})).await;
    let long = said(&long, "done");
    assert!(long.starts_with("1\n2\n") && long.len() == 16 * 1024, "{} bytes", long.len());
    let failed = ended(&master, "exec", json!({"argv": ["false"]})).await;
    assert!(said(&failed, "failed").contains("exit status: 1"), "{failed}");
    let other = ended(&master, "exec", json!({"argv": ["sh", "-c", "id"]})).await;
    assert!(said(&other, "failed").contains("--workload-exec"), "{other}");
}
