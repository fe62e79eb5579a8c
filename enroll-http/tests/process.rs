//! What needs a process of its own: its environment, its file descriptors.
//!
//! Each test here runs this very binary again, with the test of the same name and `_inside`, which
//! does nothing when it is run by itself.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use common::{Ca, DOMAIN, Running, soon};
use enroll_http::server::Drained;
use enroll_http::tls::{ClientTls, HttpOptions, PinnedVerifier, ServerTls, http_client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const INSIDE: &str = "ENROLL_TEST_INSIDE";

fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// This binary, about to run `test` after `setup`, a line of shell.
fn again(test: &str, setup: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{setup}; exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

#[test]
#[ignore = "runs inside no_proxy_of_the_environment_is_used"]
fn no_proxy_of_the_environment_is_used_inside() {
    if !is_inside() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let ca = Ca::new(DOMAIN);
        let tls = ServerTls::new(ca.master().slot()).config().unwrap();
        let tls = Running::start(hello(), |l| l.with_tls(tls)).await;
        let plain = Running::start(hello(), |l| l).await;
        let config = ClientTls::new(Arc::new(PinnedVerifier::new([ca.pin()]))).config().unwrap();
        let ours = http_client(config.clone(), &HttpOptions::new().danger_allow_plaintext());
        let ours = ours.unwrap();
        let theirs = reqwest::Client::builder().tls_backend_preconfigured(config).build().unwrap();
        for url in [tls.url("https", "/"), plain.url("http", "/")] {
            let answer = soon(ours.get(&url).send()).await.unwrap();
            assert_eq!(answer.text().await.unwrap(), "hello");
            assert!(soon(theirs.get(&url).send()).await.is_err(), "the environment has no effect");
        }
    });
}

#[tokio::test]
async fn no_proxy_of_the_environment_is_used() {
    // A proxy that hangs up on everybody.
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    tokio::spawn(async move { while proxy.accept().await.is_ok() {} });
    let mut command = again("no_proxy_of_the_environment_is_used_inside", ":");
    command.env_remove("NO_PROXY").env_remove("no_proxy");
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"]
    {
        command.env(name, &url);
    }
    let ended = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let printed = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && printed.contains("1 passed"), "{printed}");
}

#[test]
#[ignore = "runs inside a_listener_out_of_descriptors_rests_and_recovers"]
fn a_listener_out_of_descriptors_rests_and_recovers_inside() {
    if !is_inside() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let running = runtime.block_on(Running::start(hello(), |l| l));
    println!("\nlistening {}", running.addr);
    // Until the parent hangs up.
    std::io::stdin().read_line(&mut String::new()).unwrap();
    assert_eq!(runtime.block_on(running.stop()), Drained::Clean);
}

struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Served {
    fn addr(&mut self) -> SocketAddr {
        let mut lines = BufReader::new(self.0.stdout.take().unwrap()).lines();
        let line =
            lines.find_map(|line| line.unwrap().strip_prefix("listening ").map(str::to_owned));
        line.expect("it listens").parse().unwrap()
    }

    /// Processor time used so far, in hundredths of a second, as Linux counts them.
    fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let after_name = stat.rsplit_once(')').unwrap().1;
        after_name.split_whitespace().skip(11).take(2).map(|t| t.parse::<u64>().unwrap()).sum()
    }
}

#[tokio::test]
async fn a_listener_out_of_descriptors_rests_and_recovers() {
    let mut command =
        again("a_listener_out_of_descriptors_rests_and_recovers_inside", "ulimit -n 40");
    let mut served = Served(command.spawn().unwrap());
    let addr = served.addr();
    let mut open = Vec::new();
    for _ in 0..60 {
        open.push(TcpStream::connect(addr).await.unwrap());
    }
    let mut late = TcpStream::connect(addr).await.unwrap();
    late.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    let rest = Duration::from_secs(1);
    let before = served.ticks();
    assert!(
        tokio::time::timeout(rest, late.read_exact(&mut answer)).await.is_err(),
        "it was accepted: the descriptors had not run out"
    );
    let used = served.ticks() - before;
    assert!(used < 30, "{used} hundredths of a second in one second");

    drop(open);
    soon(late.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}
