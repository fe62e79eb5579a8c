//! With the real Headscale.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Api, Home, Master, in_time, run};
use crate::lab::{Headscale, NO_GO, SCRIPT, is_wanted};

#[test]
fn a7_a20_two_machines_join_report_over_the_mesh_and_leave_it() {
    if !is_wanted() {
        return;
    }
    let bin = Path::new(env!("CARGO_BIN_EXE_enroll-master")).parent().expect("a directory");
    let said = run(Command::new("bash").arg(SCRIPT).env("ENROLL_BIN", bin));
    if said.code == NO_GO {
        eprintln!("\n######## {}\n", said.err.trim());
        return;
    }
    eprintln!("{}{}", said.out, said.err);
    assert_eq!(said.code, 0);
    assert!(said.out.ends_with("==> done\n"), "{}", said.out);
}

fn start(lab: &Headscale, more: &[&str]) -> Master {
    let flags = lab.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
    Master::start(&flags)
}

/// Asks to become `name`, as a machine of its own.
async fn ask(api: &Api, token: &Value, name: &str) -> (u16, Value) {
    // 22 digits of base64url are 16 bytes; each name makes others.
    let own = format!("{name:A<22}").replace('-', "B");
    let wish = json!({ "token": token, "node_name": name, "attempt_key": own });
    let answer = api.post("/v1/enroll", &wish).await;
    (answer.status, answer.body)
}

fn enroll_api(master: &Master) -> Api {
    let ca = std::fs::read_to_string(master.data().join("ca.crt")).expect("its root");
    Api::new(master.ready("enroll_url"), &ca, None)
}

fn authkey(body: &Value) -> String {
    let credentials = body["credentials"].as_array().expect("credentials");
    let mesh = credentials.iter().find(|it| it["kind"] == "headscale").expect("a key of the mesh");
    mesh["authkey"].as_str().expect("its text").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_of_32_machines_one_joins_and_no_key_of_the_others_is_left() {
    let Some(lab) = Headscale::start() else { return };
    let master = start(&lab, &[]);
    let minted = master.mint(json!({ "max_uses": 1 })).await;
    let api = Arc::new(enroll_api(&master));
    let mut racing = JoinSet::new();
    for index in 0..32 {
        let (api, token) = (Arc::clone(&api), minted["token"].clone());
        racing.spawn(async move { ask(&api, &token, &format!("w{index}")).await });
    }
    let answers = racing.join_all().await;
    let won: Vec<_> = answers.iter().filter(|(status, _)| *status == 200).collect();
    let [(_, winner)] = &won[..] else { panic!("one wins: {answers:?}") };
    // One that found Headscale busy for ten seconds would be told to come back.
    assert!(answers.iter().all(|(status, _)| [200, 410, 502].contains(status)), "{answers:?}");
    let raced = answers.iter().filter(|(_, body)| body["reason"] == "race_consumed").count();
    assert!(raced > 0, "nobody raced: {answers:?}");
    eprintln!("32 asked: 1 member, {raced} lost the race after their key was made");
    assert_eq!(master.uses(&minted["id"]).await, (1, 1));
    let winners = authkey(winner);
    // Of a call that was given up on a busy machine Headscale may have made a key all the same, which
    // nobody has and which ends by itself.
    let given_up = master.log().matches("operation timed out").count();
    in_time("the end of the others' keys", async || {
        let open = lab.open_keys();
        assert!(open.iter().any(|shown| winners.starts_with(shown)), "{open:?}");
        (open.len() <= 1 + given_up).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a13_a_real_headscale_that_is_away_or_forgot_the_key_spends_nothing() {
    let Some(lab) = Headscale::start() else { return };
    let key = lab.file("api.key");
    let good = std::fs::read_to_string(&key).expect("its API key");
    std::fs::write(&key, "hskey-api-000000000000-none\n").expect("the disk is writable");
    let home = Home::new();
    let flags = lab.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let master = home.start(&flags);
    let minted = master.mint(json!({ "max_uses": 1 })).await;
    let (status, body) = ask(&enroll_api(&master), &minted["token"], "w1").await;
    assert_eq!((status, &body["reason"]), (502, &json!("mesh_mint_failed")), "{body}");
    assert!(body["hint"].as_str().is_some_and(|hint| hint.contains("API key")), "{body}");
    assert_eq!(master.uses(&minted["id"]).await, (0, 0));
    assert!(master.log().contains("headscale apikeys create"), "{}", master.log());
    assert!(lab.open_keys().is_empty());

    std::fs::write(&key, good).expect("the disk is writable");
    let (_, home) = master.stop();
    let master = home.start(&flags);
    let (status, body) = ask(&enroll_api(&master), &minted["token"], "w1").await;
    assert_eq!(status, 200, "{body}");
    assert!(authkey(&body).starts_with(&lab.open_keys()[0]));
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn i1_a_key_whose_master_died_before_it_was_on_record_ends_by_itself() {
    const LIFETIME: &str = "20";
    let Some(lab) = Headscale::start() else { return };
    let more = ["--headscale-key-lifetime-secs", LIFETIME];
    let master = start(&lab, &more);
    let minted = master.mint(json!({ "max_uses": 1 })).await;
    let (_, home) = master.stop();
    let mut armed = home.serve();
    armed.args(lab.flags()).args(more).env("ENROLL_FAILPOINT", "master:issued");
    let mut master = home.start_as(armed);
    let wish =
        json!({ "token": minted["token"], "node_name": "w1", "attempt_key": "A".repeat(22) });
    let ca = std::fs::read_to_string(master.data().join("ca.crt")).expect("its root");
    assert!(
        Api::new(master.ready("enroll_url"), &ca, None)
            .try_post("/v1/enroll", &wish)
            .await
            .is_none()
    );
    assert!(master.ended().code().is_none(), "it aborts");
    let orphan = lab.open_keys();
    assert_eq!(orphan.len(), 1, "it was made, and nobody has it");

    let flags = lab.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let master = master.kill().start(&flags);
    assert_eq!(master.uses(&minted["id"]).await, (0, 0));
    let (status, body) = ask(&enroll_api(&master), &minted["token"], "w1").await;
    assert_eq!(status, 200, "{body}");
    let ours = authkey(&body);
    in_time("the end of the orphan", async || {
        let open = lab.open_keys();
        (open.len() == 1 && ours.starts_with(&open[0])).then_some(())
    })
    .await;
}
