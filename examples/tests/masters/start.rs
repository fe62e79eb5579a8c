//! How a master comes to a PostgreSQL server, and a second one to the first.

use std::fs::write;

use enroll_store_postgres::testing::{Setup, fresh_url, shared, started};
use serde_json::json;

use crate::harness::{Home, Machine, Master};

#[tokio::test]
async fn d3_a_second_master_starts_from_a_copy_and_either_admits() {
    let url = fresh_url(shared());
    let first = Master::start(&["--store", &url]);
    let file = first.beside("store.url");
    write(&file, format!("{url}\n")).expect("a file");
    let home = Home::of_the_fleet_of(&first);
    let mut serve = home.serve();
    serve.env("ENROLL_MASTER_STORE_FILE", &file);
    let second = home.start_as(serve);
    assert_eq!(first.ready("ca_fingerprint"), second.ready("ca_fingerprint"));
    assert!(!second.data().join("enroll.db").exists(), "it keeps nothing here");

    let token = first.mint(json!({"max_uses": 1})).await;
    let text = token["token"].as_str().expect("a token");
    let machine = Machine::new();
    let said = machine.bootstrap(&second, text, &["--node-name", "worker-1"]);
    assert_eq!(said.code, 0, "{said:?}");
    let said = Machine::new().bootstrap(&first, text, &["--node-name", "worker-2"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("already_consumed"), "{said:?}");

    // What one issued is known to the other, and what one revoked is refused by the other.
    let body = json!({"node_name": "worker-1"});
    let (here, there) = (machine.member(&first), machine.member(&second));
    assert_eq!(here.post("/v1/self/heartbeat", &body).await.status, 200);
    assert_eq!(there.post("/v1/self/heartbeat", &body).await.status, 200);
    assert_eq!(second.api().delete("/v1/nodes/worker-1").await.status, 204);
    assert_eq!(here.post("/v1/self/heartbeat", &body).await.status, 401);
    assert_eq!(there.post("/v1/self/heartbeat", &body).await.status, 401);
    assert_eq!(first.uses(&token["id"]).await, (1, 1));
}

#[test]
fn a_foreign_authority_is_refused() {
    let url = fresh_url(shared());
    let _first = Master::start(&["--store", &url]);
    let said = Home::new().refuses(&["--store", &url]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("belongs to the certificate authority sha256:"), "{said:?}");
}

#[test]
fn i8_no_error_repeats_a_password() {
    let home = Home::new();
    for (url, code, word) in [
        ("postgre://user:s3cret@db/fleet", 2, "--store"),
        ("postgres://user:s3cret@db/fleet?no_such=option", 1, "not understood"),
        ("postgres://user:s3cret@192.0.2.1/fleet", 1, "--store-ca-path"),
        ("postgres://user:s3cret@192.0.2.1/fleet?sslmode=disable", 1, "TLS"),
        ("postgres://user:s3cret@127.0.0.1:1/fleet", 1, "unavailable"),
    ] {
        let file = home.beside("store.url");
        write(&file, url).expect("a file");
        for by_file in [false, true] {
            let mut serve = home.serve();
            match by_file {
                true => serve.env("ENROLL_MASTER_STORE_FILE", &file),
                false => serve.args(["--store", url]),
            };
            let said = crate::harness::run(&mut serve);
            assert_eq!(said.code, code, "{url}: {said:?}");
            assert!(said.err.contains(word), "{url}: {said:?}");
            assert!(!said.err.contains("s3cret"), "{url}: {said:?}");
            let warned = said.err.contains("ENROLL_MASTER_STORE_FILE") && code == 1;
            assert_eq!(warned, !by_file && code == 1, "{url}: {said:?}");
        }
        let help =
            crate::harness::run(home.serve().arg("--help").env("ENROLL_MASTER_STORE_FILE", &file));
        assert!(help.code == 0 && !help.out.contains("s3cret"), "{help:?}");
    }
}

#[test]
fn i4_a_server_that_could_forget_is_refused_with_the_reason() {
    for setting in ["fsync", "full_page_writes"] {
        let cluster = started(Setup::default().with(setting, "off"));
        let said = Home::new().refuses(&["--store", &cluster.url()]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains(&format!("`{setting}` is off")), "{said:?}");
        assert!(said.err.contains("restart the server"), "what to do next: {said:?}");
    }
    let standby = shared().standby().expect("a standby");
    let said = Home::new().refuses(&["--store", &standby.url()]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("in recovery") && said.err.contains("primary"), "{said:?}");
}
