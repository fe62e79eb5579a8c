//! The reference master as a process.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use super::{Api, eventually};

/// A master's data directory, which outlives the process.
pub(crate) struct Home(TempDir);

/// A running master.
pub(crate) struct Master {
    child: Child,
    home: Option<Home>,
    ready: Value,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Home {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    /// One for another master of the same fleet: with a copy of the authority and of the operator's
    /// token of this one.
    pub(crate) fn of_the_fleet_of(master: &Master) -> Self {
        let home = Self::new();
        std::fs::create_dir(home.data()).expect("an empty directory");
        for file in ["ca.key", "ca.crt", "admin.token"] {
            let (from, to) = (master.data().join(file), home.data().join(file));
            std::fs::copy(from, to).expect("a copy, with its mode");
        }
        home
    }

    /// The data directory itself; there once a master was started.
    pub(crate) fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// A file beside the data directory.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What the master said on standard error, all starts together.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.beside("master.log")).unwrap_or_default()
    }

    /// `serve` on ports of its own choice, for a test to add to: flags, variables.
    pub(crate) fn serve(&self) -> Command {
        let mut command = program();
        command.arg("serve").arg("--data-dir").arg(self.data());
        for listener in ["--enroll-listen", "--steady-listen", "--operator-listen"] {
            command.args([listener, "127.0.0.1:0"]);
        }
        command
    }

    /// `serve` on ports that a restart finds again.
    pub(crate) fn serve_on(&self, ports: [u16; 3]) -> Command {
        let mut command = program();
        command.arg("serve").arg("--data-dir").arg(self.data());
        let listeners = ["--enroll-listen", "--steady-listen", "--operator-listen"];
        for (listener, port) in listeners.into_iter().zip(ports) {
            command.arg(listener).arg(format!("127.0.0.1:{port}"));
        }
        command
    }

    /// Runs `serve` where it is expected to end by itself.
    pub(crate) fn refuses(&self, args: &[&str]) -> Said {
        run(self.serve().args(args))
    }

    /// Starts a master here and waits until it answers.
    pub(crate) fn start(self, args: &[&str]) -> Master {
        let mut command = self.serve();
        command.args(args);
        self.start_as(command)
    }

    /// Starts `command`, made of [`Home::serve`], and waits until it answers.
    pub(crate) fn start_as(self, mut command: Command) -> Master {
        let log = File::options().create(true).append(true).open(self.beside("master.log"));
        let out = File::create(self.beside("master.out")).expect("a file for its output");
        let child = command.stdin(Stdio::null()).stdout(out).stderr(log.expect("a log file"));
        let child = child.spawn().expect("enroll-master starts");
        let mut master = Master { child, home: Some(self), ready: Value::Null };
        let path = master.data().join("ready.json");
        master.ready = eventually("ready.json", || {
            let ended = master.child.try_wait().expect("the child is ours");
            assert!(ended.is_none(), "the master ended: {ended:?}");
            let ready: Value = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
            (ready["pid"] == master.child.id()).then_some(ready)
        });
        master
    }
}

impl Master {
    /// A master with every default but its ports.
    pub(crate) fn start(args: &[&str]) -> Self {
        Home::new().start(args)
    }

    fn home(&self) -> &Home {
        self.home.as_ref().expect("it is taken away only at the end")
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.home().data()
    }

    /// A file beside its data directory.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.home().beside(name)
    }

    /// What it said on standard output.
    pub(crate) fn out(&self) -> String {
        std::fs::read_to_string(self.beside("master.out")).expect("its output")
    }

    /// What it said on standard error.
    pub(crate) fn log(&self) -> String {
        self.home().log()
    }

    /// A text of `ready.json`.
    pub(crate) fn ready(&self, key: &str) -> &str {
        self.ready[key].as_str().unwrap_or_else(|| panic!("{key} in {}", self.ready))
    }

    /// All of `ready.json`.
    pub(crate) fn ready_json(&self) -> &Value {
        &self.ready
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An operator's command against it.
    pub(crate) fn call(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.args(args).arg("--data-dir").arg(self.data());
        command
    }

    /// Runs an operator's command against it.
    pub(crate) fn cli(&self, args: &[&str]) -> Said {
        run(&mut self.call(args))
    }

    /// What an operator's command with `--output json` prints.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let said = self.cli(&[args, &["--output", "json"]].concat());
        assert_eq!(said.code, 0, "{args:?}: {said:?}");
        serde_json::from_str(&said.out).unwrap_or_else(|why| panic!("{args:?}: {why}: {said:?}"))
    }

    /// Mints a token; the answer.
    pub(crate) async fn mint(&self, request: Value) -> Value {
        let minted = self.api().post("/v1/tokens", &request).await;
        assert_eq!(minted.status, 201, "{minted:?}");
        minted.body
    }

    /// A node as operators see it.
    pub(crate) async fn node(&self, name: &str) -> Value {
        let node = self.api().get(&format!("/v1/nodes/{name}")).await;
        assert_eq!(node.status, 200, "{node:?}");
        node.body
    }

    /// How often the token was used, and by how many redemptions.
    pub(crate) async fn uses(&self, id: &Value) -> (u64, usize) {
        let id = id.as_str().expect("the id of a token");
        let api = self.api();
        let tokens = api.get("/v1/tokens?limit=500&include_expired=true").await.body;
        let items = tokens["items"].as_array().expect("a page");
        let token = items.iter().find(|token| token["id"] == id).expect("it is on the page");
        let redemptions = api.get(&format!("/v1/tokens/{id}/redemptions")).await.body;
        let redemptions = redemptions["items"].as_array().expect("a page").len();
        (token["uses"].as_u64().expect("a count"), redemptions)
    }

    /// A client of its operator API with the first operator's token.
    pub(crate) fn api(&self) -> Api {
        let token = read(&self.data().join("admin.token"));
        Api::new(self.ready("operator_url"), &read(&self.data().join("ca.crt")), Some(token.trim()))
    }

    /// Waits until it ends by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        eventually("its end", || self.child.try_wait().expect("the child is ours"))
    }

    /// Ends it as a service manager does.
    pub(crate) fn stop(mut self) -> (ExitStatus, Home) {
        self.signal(Signal::TERM);
        let status = self.ended();
        (status, self.home.take().expect("it is taken away only here"))
    }

    /// Ends it as a power failure does.
    pub(crate) fn kill(mut self) -> Home {
        self.child.kill().expect("the child is ours");
        self.child.wait().expect("the child is ours");
        self.home.take().expect("it is taken away only here")
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        rustix::process::kill_process(pid.expect("a process id"), signal).expect("it runs");
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        let Some(home) = &self.home else { return };
        if std::thread::panicking() {
            eprintln!("---- the master's log\n{}----", home.log());
        }
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The program, in an environment that says nothing of it.
pub(crate) fn program() -> Command {
    super::quiet(Command::new(env!("CARGO_BIN_EXE_enroll-master")))
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Said {
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints text");
    Said { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}
