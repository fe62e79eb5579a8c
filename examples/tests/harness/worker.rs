//! The reference worker as a process, on a machine of its own.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use enroll_core::issue::x509::RootCertificate;
use enroll_http::tls::rustls::ClientConfig;
use enroll_http::tls::{CertSlot, ClientTls, HttpOptions, RootVerifier, TlsIdentity, http_client};
use serde_json::Value;
use tempfile::TempDir;

use super::{Api, Master, Said, eventually, run};

/// A machine: a disk that outlives the worker.
pub(crate) struct Machine(TempDir);

/// A worker that runs.
pub(crate) struct Serving<'a> {
    child: Child,
    machine: &'a Machine,
}

impl Machine {
    /// One that is nobody yet.
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    /// The state directory; there once a worker was started.
    pub(crate) fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    /// A file of the state directory.
    pub(crate) fn file(&self, name: &str) -> String {
        let path = self.state().join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
    }

    /// Puts a file beside the state directory.
    pub(crate) fn put(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("the disk is writable");
        path.to_str().expect("a path in UTF-8").to_owned()
    }

    /// What all workers here said on standard error while they ran.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.0.path().join("worker.log")).unwrap_or_default()
    }

    /// What the worker that runs here shows at `/metrics`.
    pub(crate) fn metrics(&self) -> String {
        let address = eventually("the address of its metrics", || {
            let log = self.log();
            let (_, after) = log.rsplit_once("metrics address=")?;
            after.split_whitespace().next().map(|text| text.replace("0.0.0.0", "127.0.0.1"))
        });
        super::curl(&format!("http://{address}/metrics"))
    }

    /// The worker, for a test to add to.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = worker();
        command.arg("--state-dir").arg(self.state()).args(["--metrics-port", "0"]).args(args);
        command
    }

    /// Runs a worker that is expected to end by itself.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        run(&mut self.command(args))
    }

    /// Runs `bootstrap` with a token of `master`'s.
    pub(crate) fn bootstrap(&self, master: &Master, token: &str, args: &[&str]) -> Said {
        let token = self.put("token", token);
        self.run(&[&["bootstrap"], &at(master)[..], &["--token-path", &token], args].concat())
    }

    /// Starts a worker that goes on.
    pub(crate) fn start(&self, args: &[&str]) -> Serving<'_> {
        self.start_as(self.command(args))
    }

    /// Starts `command`, made of [`Machine::command`].
    pub(crate) fn start_as(&self, mut command: Command) -> Serving<'_> {
        let log = File::options().create(true).append(true).open(self.0.path().join("worker.log"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.expect("a log"));
        Serving { child: child.spawn().expect("enroll-worker starts"), machine: self }
    }

    /// The id of the node that this machine is.
    pub(crate) fn node_id(&self) -> String {
        let identity: Value = serde_json::from_str(&self.file("identity.json")).expect("JSON");
        identity["node_id"].as_str().expect("an id").to_owned()
    }

    /// A client that presents what is in the state directory now.
    pub(crate) fn member(&self, master: &Master) -> Api {
        let client = http_client(self.tls(), &HttpOptions::new()).expect("a client");
        Api::with_client(&format!("https://{}", master.ready("steady_addr")), client)
    }

    /// TLS with what is in the state directory now.
    pub(crate) fn tls(&self) -> ClientConfig {
        let root = RootCertificate::from_pem(&self.file("ca.crt")).expect("a root");
        let verifier = Arc::new(RootVerifier::master(&root).expect("a root to trust"));
        let (chain, key) = (self.file("agent.crt"), self.file("agent.key"));
        let identity = TlsIdentity::from_pem(chain.as_bytes(), key.as_bytes()).expect("a pair");
        let tls = ClientTls::new(verifier).with_identity(Arc::new(CertSlot::new(identity)));
        tls.config().expect("a configuration")
    }
}

impl Serving<'_> {
    /// Waits until the worker ends by itself; its exit code.
    pub(crate) fn ended(&mut self) -> i32 {
        let status =
            eventually("the worker's end", || self.child.try_wait().expect("the child is ours"));
        status.code().unwrap_or(-1)
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_none()
    }

    /// Waits until it has said `text` on standard error.
    pub(crate) fn says(&mut self, text: &str) {
        eventually(text, || {
            let said = self.machine.log().contains(text);
            assert!(said || self.runs(), "it ended: {}", self.machine.log());
            said.then_some(())
        });
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        // As a power failure ends it; it may have ended by itself.
        let _ended = self.child.kill();
        let _status = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- the worker's log\n{}----", self.machine.log());
        }
    }
}

/// Where `master` enrolls, and its pin.
pub(crate) fn at(master: &Master) -> [&str; 4] {
    ["--master-url", master.ready("enroll_url"), "--ca-fingerprint", master.ready("ca_fingerprint")]
}

/// The program, in an environment that says nothing of it.
pub(crate) fn worker() -> Command {
    super::quiet(Command::new(env!("CARGO_BIN_EXE_enroll-worker")))
}
