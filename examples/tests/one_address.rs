//! What one address can ask for: a socket that claims to speak for the whole internet, and more
//! machines than may call at once.

mod harness;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use enroll_core::issue::x509::RootCertificate;
use enroll_http::tls::rustls::pki_types::ServerName;
use enroll_http::tls::rustls::{ClientConnection, StreamOwned};
use enroll_http::tls::{ClientTls, RootVerifier};
use harness::{Api, Machine, Master, PATIENCE, times};
use serde_json::json;

/// Requests on their way at once.
const PIPELINED: usize = 250;

/// One connection to the enroll listener, whose answers are read as they come.
struct Socket {
    stream: StreamOwned<ClientConnection, TcpStream>,
    read: Vec<u8>,
}

impl Socket {
    fn dial(master: &Master) -> Self {
        let root = RootCertificate::from_pem(&ca(master)).expect("a root");
        let verifier = Arc::new(RootVerifier::master(&root).expect("a root to trust"));
        let tls = ClientTls::new(verifier).config().expect("a configuration");
        let url = master.ready("enroll_url");
        let address = url.strip_prefix("https://").expect("an https URL");
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(Arc::new(tls), name).expect("a session");
        Self { stream: StreamOwned::new(session, stream), read: Vec::new() }
    }

    /// Sends requests that say they come from the `from`th address and the next ones.
    fn ask(&mut self, from: usize, count: usize) {
        let mut batch = String::new();
        for n in from..from + count {
            let [_, a, b, c] = u32::try_from(n).expect("few enough").to_be_bytes();
            batch.push_str(&format!(
                "POST /v1/enroll HTTP/1.1\r\nHost: m\r\nX-Forwarded-For: 11.{a}.{b}.{c}\r\n\
                 Forwarded: for=11.{a}.{b}.{c}\r\nContent-Length: 2\r\n\r\n{{}}"
            ));
        }
        self.stream.write_all(batch.as_bytes()).expect("it is open");
    }

    /// The status of the next answer.
    fn status(&mut self) -> u16 {
        loop {
            if let Some((status, length)) = answer(&self.read) {
                self.read.drain(..length);
                return status;
            }
            let mut buffer = [0; 16 * 1024];
            let length = self.stream.read(&mut buffer).expect("an answer");
            assert!(length > 0, "closed: {}", String::from_utf8_lossy(&self.read));
            self.read.extend_from_slice(&buffer[..length]);
        }
    }
}

/// The status of a whole answer at the front of `read`, and its length.
fn answer(read: &[u8]) -> Option<(u16, usize)> {
    let head = read.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&read[..head]).expect("a head");
    let body = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let body: usize = body.expect("a length").parse().expect("a number");
    let status = text.get(9..12).expect("a status").parse().expect("a number");
    (read.len() >= head + body).then_some((status, head + body))
}

fn ca(master: &Master) -> String {
    std::fs::read_to_string(master.data().join("ca.crt")).expect("the root")
}

/// What the master holds in memory, in KiB.
fn resident(master: &Master) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", master.pid()));
    let status = status.expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn a12_invented_addresses_get_one_socket_no_further_than_its_rate() {
    let master = Master::start(&[]);
    let mut socket = Socket::dial(&master);
    let calls = times(5_000, 300_000);
    let (before, began) = (resident(&master), Instant::now());
    let (mut through, mut refused) = (0, 0);
    for from in (0..calls).step_by(PIPELINED) {
        let count = PIPELINED.min(calls - from);
        socket.ask(from, count);
        for _ in 0..count {
            match socket.status() {
                400 => through += 1,
                429 => refused += 1,
                other => panic!("{other}"),
            }
        }
    }
    let (took, grown) = (began.elapsed(), resident(&master).saturating_sub(before));
    println!(
        "of {calls} requests with invented addresses {through} got through and {refused} did not, \
         in {took:.1?}; the master grew by {grown} KiB"
    );
    let earned = 10 + took.as_secs() / 6 + 1;
    assert!((10..=earned).contains(&through), "{through} of {earned}");
    assert!(took < Duration::from_secs(3_600) && grown < 32 * 1024, "{grown} KiB in {took:?}");
}

#[tokio::test]
async fn a12_machines_over_the_rate_wait_as_they_are_told_and_all_get_in() {
    let master = Master::start(&["--attempts-per-minute", "30"]);
    let minted = master.mint(json!({})).await;
    let token = minted["token"].as_str().expect("a token");
    let enroll = Api::new(master.ready("enroll_url"), &ca(&master), None);
    for _ in 0..28 {
        assert_eq!(enroll.post("/v1/enroll", &json!({})).await.status, 400);
    }
    std::thread::scope(|scope| {
        let enroll = |n: usize| {
            let master = &master;
            move || Machine::new().bootstrap(master, token, &["--node-name", &format!("rack-{n}")])
        };
        let machines: Vec<_> = (0..6).map(|n| scope.spawn(enroll(n))).collect();
        for machine in machines {
            let said = machine.join().expect("it was run");
            assert_eq!(said.code, 0, "{said:?}");
        }
    });
    assert_eq!(master.uses(&minted["id"]).await, (6, 6));
    let scraped = master.api().get("/metrics").await.body;
    let limited = scraped.as_str().expect("a text").lines().find_map(|line| {
        line.strip_prefix("enroll_rejections_total{reason=\"rate_limited\"} ")?.parse::<u32>().ok()
    });
    assert!(limited >= Some(3), "{limited:?} were told to wait");
}
