//! The worker's own listener, which its master alone may call.

use std::net::TcpListener;
use std::sync::Arc;

use enroll_core::issue::x509::{Authority, RootCertificate};
use enroll_core::model::{Clock as _, NodeName, SystemClock, SystemEntropy};
use enroll_http::tls::rustls::ClientConfig;
use enroll_http::tls::{CertSlot, ClientTls, HttpOptions, RootVerifier, TlsIdentity, http_client};
use serde_json::Value;

use crate::harness::{Machine, Master};
use crate::node_is;

/// Calls `url` as who holds `identity`, and expects `node` there.
async fn call(
    url: &str,
    root: &RootCertificate,
    node: &str,
    identity: Option<TlsIdentity>,
) -> Result<Value, reqwest::Error> {
    let node = NodeName::new(node).expect("a name");
    let verifier = Arc::new(RootVerifier::node(root, node).expect("a root to trust"));
    let tls = ClientTls::new(verifier);
    let tls = match identity {
        Some(identity) => tls.with_identity(Arc::new(CertSlot::new(identity))),
        None => tls,
    };
    let config: ClientConfig = tls.config().expect("a configuration");
    let client = http_client(config, &HttpOptions::new()).expect("a client");
    let answer = client.get(url).send().await?.error_for_status()?;
    Ok(serde_json::from_str(&answer.text().await?).expect("JSON"))
}

fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("it is bound").port()
}

#[tokio::test]
async fn b7_b12_the_listener_of_a_worker_lets_in_its_master_alone() {
    let master = Master::start(&["--heartbeat-interval-secs", "1"]);
    let added = master.json(&["node", "add", "worker-1"]);
    let (machine, port) = (Machine::new(), free_port());
    let (endpoint, listen) = (format!("https://127.0.0.1:{port}"), format!("127.0.0.1:{port}"));
    let flags = ["--advertised-endpoint", &endpoint, "--listen", &listen, "--fact", "slots=4"];
    let said = machine.bootstrap(&master, added["token"].as_str().expect("a token"), &flags);
    assert_eq!(said.code, 0, "{said:?}");
    let mut worker = machine.start(&["serve"]);
    let ready = |node: &Value| node["health"] == "ready";
    let node = node_is(&master, &mut worker, "ready", ready).await;
    assert_eq!(node["facts"]["advertised_endpoint"], *endpoint);

    let data = master.data();
    let authority = Authority::open(&data, SystemClock::new().now()).expect("the master's own");
    let masters = || {
        let (at, entropy) = (SystemClock::new().now(), SystemEntropy::new());
        let issued = authority.issue_master(&[], at, &entropy).expect("a certificate");
        Some(TlsIdentity::of_master(&issued).expect("a pair"))
    };
    let (url, root) = (format!("{endpoint}/v1/self"), authority.root());
    let own = call(&url, root, "worker-1", masters()).await.expect("the master is let in");
    assert_eq!((&own["node_name"], &own["node_id"]), (&"worker-1".into(), &node["id"]));
    assert_eq!(own["facts"]["slots"], "4", "{own}");

    let (chain, key) = (machine.file("agent.crt"), machine.file("agent.key"));
    let member = TlsIdentity::from_pem(chain.as_bytes(), key.as_bytes()).expect("a pair");
    for (who, identity) in [("a member", Some(member)), ("nobody", None)] {
        assert!(call(&url, root, "worker-1", identity).await.is_err(), "{who} is let in");
    }
    let other = call(&url, root, "worker-2", masters()).await;
    assert!(other.is_err(), "who calls expects exactly that node: {other:?}");
}

#[tokio::test]
async fn b12_a_listener_that_cannot_be_opened_names_its_flag() {
    let master = Master::start(&[]);
    let machine = crate::member(&master);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = taken.local_addr().expect("it is bound").to_string();
    let said = machine.run(&["serve", "--listen", &listen]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("--listen") && said.err.contains(&listen), "{said:?}");
}
