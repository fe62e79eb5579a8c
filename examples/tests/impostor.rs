//! Whoever is not the master gets no token, and the worker says so by its exit code.

mod harness;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use enroll_core::issue::x509::{Authority, MasterCertificate};
use enroll_core::model::{
    Clock as _, JoinToken, SystemClock, SystemEntropy, TokenPrefix, TrustDomain,
};
use enroll_http::tls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use enroll_http::tls::rustls::{ServerConfig, ServerConnection, StreamOwned};
use enroll_http::tls::{CertSlot, ServerTls, TlsIdentity};
use harness::{Machine, Master, Said};
use serde_json::json;

/// A listener that is not the master, and what it got to see.
struct Impostor {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Clone, Default)]
struct Seen {
    connections: usize,
    /// All that it could read, decrypted where it speaks TLS.
    bytes: Vec<u8>,
}

impl Impostor {
    /// Speaks TLS as `identity` and answers every request with `answer`.
    fn https(identity: TlsIdentity, answer: String) -> Self {
        let config = ServerTls::new(Arc::new(CertSlot::new(identity))).config();
        Self::listen(Some(config.expect("a configuration")), answer)
    }

    /// Speaks no TLS.
    fn http(answer: String) -> Self {
        Self::listen(None, answer)
    }

    fn listen(tls: Option<Arc<ServerConfig>>, answer: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::<Mutex<Seen>>::default();
        let told = Arc::clone(&seen);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.expect("a connection");
                stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
                told.lock().unwrap_or_else(PoisonError::into_inner).connections += 1;
                match &tls {
                    Some(tls) => {
                        let session = ServerConnection::new(Arc::clone(tls)).expect("a session");
                        converse(StreamOwned::new(session, stream), &answer, &told);
                    }
                    None => converse(stream, &answer, &told),
                }
            }
        });
        Self { address, seen }
    }

    fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Reads until the request's JSON ends, or what came is no HTTP, and answers.
fn converse(mut stream: impl Read + Write, answer: &str, told: &Mutex<Seen>) {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        told.bytes.extend_from_slice(&buffer[..length]);
        drop(told);
        read.extend_from_slice(&buffer[..length]);
        if read.ends_with(b"}") || read.starts_with(b"GET ") && read.ends_with(b"\r\n\r\n") {
            break;
        }
        if !read.starts_with(b"GET ") && !read.starts_with(b"POST ") {
            break;
        }
    }
    // Whoever has hung up is not told.
    let _told = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
}

fn authority() -> Authority {
    let (domain, at) = (TrustDomain::default(), SystemClock::new().now());
    Authority::in_memory(&domain, at, &SystemEntropy::new()).expect("an authority")
}

fn certificate(authority: &Authority) -> MasterCertificate {
    let at = SystemClock::new().now();
    authority.issue_master(&[], at, &SystemEntropy::new()).expect("a certificate")
}

fn master_of(authority: &Authority) -> TlsIdentity {
    TlsIdentity::of_master(&certificate(authority)).expect("a pair")
}

fn http_answer(status: &str, header: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{header}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn refusing() -> String {
    let problem = r#"{"type":"urn:enroll:reason:denied","title":"no","status":403,"detail":"no","reason":"denied","hint":"no"}"#;
    http_answer("403 Forbidden", "Content-Type: application/problem+json", problem)
}

/// A worker with a genuine token that calls `url` and trusts `pin`.
fn call(url: &str, pin: &str, token: &str, args: &[&str]) -> Said {
    let machine = Machine::new();
    let token = machine.put("token", token);
    let place = ["--master-url", url, "--ca-fingerprint", pin, "--node-name", "n"];
    let rest = ["--token-path", &token, "--retry-secs", "1"];
    let said = machine.run(&[&["bootstrap"], &place[..], &rest, args].concat());
    assert!(!machine.state().join("agent.crt").exists());
    said
}

async fn mint(master: &Master) -> String {
    let minted = master.mint(json!({"max_uses": 1})).await;
    minted["token"].as_str().expect("a token").to_owned()
}

/// A token that is well-formed, and no master's.
fn token() -> String {
    let (at, entropy) = (SystemClock::new().now(), SystemEntropy::new());
    let token = JoinToken::generate(&TokenPrefix::default(), at, &entropy).expect("a token");
    token.expose().to_owned()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn b4_a_listener_under_another_root_decrypts_nothing() {
    let master = Master::start(&[]);
    let minted = master.mint(json!({"max_uses": 1})).await;
    let token = minted["token"].as_str().expect("a token");
    let impostor = Impostor::https(master_of(&authority()), refusing());
    let url = format!("https://{}", impostor.address);
    let said = call(&url, master.ready("ca_fingerprint"), token, &[]);
    assert_eq!(said.code, 4, "{said:?}");
    assert!(impostor.seen().connections > 0 && impostor.seen().bytes.is_empty());

    let wrong = authority().fingerprint().to_string();
    let said = call(master.ready("enroll_url"), &wrong, token, &[]);
    assert_eq!(said.code, 4, "the pin is the operator's, whoever answers: {said:?}");
    assert_eq!(master.uses(&minted["id"]).await, (0, 0));
}

#[test]
fn b4_what_the_impostors_here_can_see_is_the_token_where_the_pin_is_theirs() {
    let theirs = authority();
    let impostor = Impostor::https(master_of(&theirs), refusing());
    let token = token();
    let url = format!("https://{}", impostor.address);
    let said = call(&url, &theirs.fingerprint().to_string(), &token, &[]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(contains(&impostor.seen().bytes, &token));
}

#[tokio::test]
async fn b4_d8_a_member_cannot_pose_as_the_master() {
    let master = Master::start(&[]);
    let member = Machine::new();
    let said = member.bootstrap(&master, &mint(&master).await, &["--node-name", "member"]);
    assert_eq!(said.code, 0, "{said:?}");
    let chain = member.file("agent.crt") + &member.file("ca.crt");
    let identity = TlsIdentity::from_pem(chain.as_bytes(), member.file("agent.key").as_bytes());
    let impostor = Impostor::https(identity.expect("a pair"), refusing());
    let url = format!("https://{}", impostor.address);
    let said = call(&url, master.ready("ca_fingerprint"), &mint(&master).await, &[]);
    assert_eq!(said.code, 4, "{said:?}");
    assert!(impostor.seen().connections > 0 && impostor.seen().bytes.is_empty());
}

#[test]
fn b4_a_chain_without_the_pinned_root_is_refused() {
    let ours = authority();
    let issued = certificate(&ours);
    let leaf = vec![CertificateDer::from(issued.chain()[0].clone())];
    let key = PrivatePkcs8KeyDer::from(issued.expose_key()).clone_key();
    let impostor = Impostor::https(TlsIdentity::new(leaf, key.into()).expect("a pair"), refusing());
    let url = format!("https://{}", impostor.address);
    let said = call(&url, &ours.fingerprint().to_string(), &token(), &[]);
    assert_eq!(said.code, 4, "{said:?}");
    assert!(impostor.seen().connections > 0 && impostor.seen().bytes.is_empty());
}

#[test]
fn b4_a_redirect_is_not_followed() {
    let ours = authority();
    let target = Impostor::https(master_of(&ours), refusing());
    let location = format!("Location: https://{}/v1/enroll", target.address);
    let answer = http_answer("307 Temporary Redirect", &location, "");
    let redirecting = Impostor::https(master_of(&ours), answer);
    let url = format!("https://{}", redirecting.address);
    let said = call(&url, &ours.fingerprint().to_string(), &token(), &[]);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(redirecting.seen().connections > 0);
    assert_eq!(target.seen().connections, 0);
}

#[test]
fn b4_a_server_without_tls_behind_an_https_url_reads_no_token() {
    let plain = Impostor::http(refusing());
    let token = token();
    let url = format!("https://{}", plain.address);
    let said = call(&url, &authority().fingerprint().to_string(), &token, &[]);
    assert!(said.code == 4, "{said:?}");
    let seen = plain.seen();
    assert!(!seen.bytes.is_empty() && !contains(&seen.bytes, &token), "it saw a handshake alone");
}

#[test]
fn a5_an_http_url_needs_the_leave_of_the_operator() {
    let plain = Impostor::http(refusing());
    let url = format!("http://{}", plain.address);
    let said = call(&url, &authority().fingerprint().to_string(), &token(), &[]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("--allow-plaintext"), "{said:?}");
    assert_eq!(plain.seen().connections, 0);
}

#[tokio::test]
async fn a5_over_http_a_worker_enrolls_where_both_sides_allow_it() {
    let master = Master::start(&["--allow-plaintext"]);
    assert!(master.ready("enroll_url").starts_with("http://"));
    let (machine, token) = (Machine::new(), mint(&master).await);
    let args = ["--node-name", "n", "--allow-plaintext"];
    let said = machine.bootstrap(&master, &token, &args);
    assert_eq!(said.code, 0, "{said:?}");
    let me = machine.member(&master).get("/v1/self").await;
    assert_eq!(me.status, 200, "in the steady state it is mTLS: {me:?}");
}

#[test]
fn a5_over_http_a_root_that_is_not_the_pinned_one_gets_no_token() {
    let other = authority();
    let pem = "Content-Type: application/x-pem-file";
    let impostor = Impostor::http(http_answer("200 OK", pem, other.root_pem()));
    let token = token();
    let url = format!("http://{}", impostor.address);
    let pin = authority().fingerprint().to_string();
    let said = call(&url, &pin, &token, &["--allow-plaintext"]);
    assert_eq!(said.code, 4, "{said:?}");
    let seen = impostor.seen();
    assert!(contains(&seen.bytes, "GET /v1/ca") && !contains(&seen.bytes, &token));
    // The pin that fits lets the token out: what was looked for can be seen.
    let said = call(&url, &other.fingerprint().to_string(), &token, &["--allow-plaintext"]);
    assert_ne!(said.code, 0, "a root is no answer to a call to enroll: {said:?}");
    assert!(contains(&impostor.seen().bytes, &token));
}
