//! A member that is none any more is refused on its next request.

mod harness;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use enroll_http::tls::rustls::pki_types::ServerName;
use enroll_http::tls::rustls::{ClientConnection, StreamOwned};
use harness::{Machine, Master, PATIENCE, in_time};
use serde_json::json;

/// One connection of a member, which stays open.
struct Open(StreamOwned<ClientConnection, TcpStream>);

impl Open {
    fn dial(machine: &Machine, master: &Master) -> Self {
        let stream = TcpStream::connect(master.ready("steady_addr")).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(Arc::new(machine.tls()), name).expect("a session");
        Self(StreamOwned::new(session, stream))
    }

    /// The status of one more request on it.
    fn status(&mut self) -> u16 {
        self.0.write_all(b"GET /v1/self HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it is open");
        let mut answer = Vec::new();
        // The body is one JSON object, and ends what is sent.
        while !answer.ends_with(b"}") {
            let mut buffer = [0; 4096];
            let length = self.0.read(&mut buffer).expect("an answer");
            assert!(length > 0, "closed: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&buffer[..length]);
        }
        let status = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
        status.and_then(|digits| digits.parse().ok()).expect("a status")
    }
}

#[tokio::test]
async fn b10_a_deleted_node_is_refused_on_its_next_request_and_its_worker_ends() {
    let master = Master::start(&[]);
    let minted = master.mint(json!({"node_name": "node-1"})).await;
    let machine = Machine::new();
    let said = machine.bootstrap(&master, minted["token"].as_str().expect("a token"), &[]);
    assert_eq!(said.code, 0, "{said:?}");
    let mut worker = machine.start(&["serve", "--heartbeat-interval", "1s"]);
    in_time("a heartbeat", async || {
        assert!(worker.runs(), "{}", machine.log());
        (master.node("node-1").await["health"] == "ready").then_some(())
    })
    .await;

    let api = master.api();
    let mut open = Open::dial(&machine, &master);
    assert_eq!(open.status(), 200);
    assert_eq!(api.delete("/v1/nodes/node-1").await.status, 204);
    assert_eq!(open.status(), 401, "its handshake was good, which is not asked any more");
    assert_eq!(worker.ended(), 7, "{}", machine.log());

    let renewed = machine.member(&master).post("/v1/self/renew", &json!({})).await;
    assert_eq!((renewed.status, &renewed.body["code"]), (401, &json!("unauthorized")));
}
