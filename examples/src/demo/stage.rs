//! The processes of the demo, and what is asked of them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use enroll_core::model::{Invitation, TokenPrefix};
use serde_json::Value;
use tempfile::TempDir;

use super::{PATIENCE, lossy, say};

pub(super) const MASTER: &str = "enroll-master";
pub(super) const WORKER: &str = "enroll-worker";

/// Why the demo cannot go on, in a sentence.
#[derive(Debug)]
pub(super) struct Trouble(String);

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<std::io::Error> for Trouble {
    fn from(cause: std::io::Error) -> Self {
        Self(cause.to_string())
    }
}

/// What the operator hands to whoever sets a machine up.
pub(super) struct Minted {
    /// The invitation.
    pub(super) join: String,
}

/// A master, its workers, and the directory they live in.
pub(super) struct Stage {
    root: Option<TempDir>,
    dir: PathBuf,
    master: Child,
    workers: BTreeMap<&'static str, Child>,
    shown: String,
}

/// The nodes as the master lists them.
pub(super) struct Nodes(Vec<Value>);

impl Nodes {
    pub(super) fn is(&self, name: &str, status: &str) -> bool {
        self.0.iter().any(|node| node["name"] == name && node["status"] == status)
    }

    pub(super) fn ready(&self, name: &str) -> bool {
        self.is(name, "ready")
    }
}

impl Stage {
    pub(super) fn set() -> Result<Self, Trouble> {
        let root = tempfile::Builder::new().prefix("enroll-demo-").tempdir()?;
        let dir = root.path().to_owned();
        let own = std::env::current_exe()?;
        for name in [MASTER, WORKER] {
            symlink(&own, dir.join(name))?;
        }
        let args = [
            "serve",
            "--data-dir",
            "data",
            "--enroll-listen",
            "127.0.0.1:0",
            "--steady-listen",
            "127.0.0.1:0",
            "--operator-listen",
            "127.0.0.1:0",
            "--advertise",
            "127.0.0.1",
            "--heartbeat-interval-secs",
            "1",
            "--stale-threshold-secs",
            "3",
        ];
        shown(MASTER, &args);
        let master = spawn(&dir, MASTER, &args)?;
        let mut stage =
            Self { root: Some(root), dir, master, workers: BTreeMap::new(), shown: String::new() };
        stage.wait_for_the_master()?;
        Ok(stage)
    }

    fn wait_for_the_master(&mut self) -> Result<(), Trouble> {
        let (began, ready) = (Instant::now(), self.dir.join("data/ready.json"));
        while !ready.exists() {
            if let Some(status) = self.master.try_wait()? {
                return Err(Trouble(format!("the master ended: {status}\n{}", self.log(MASTER))));
            }
            if began.elapsed() > PATIENCE {
                return Err(Trouble(format!("the master did not start\n{}", self.log(MASTER))));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// What a process wrote to its log.
    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.join(format!("{name}.log"))).unwrap_or_default()
    }

    /// Runs the operator's command line and reads its JSON.
    fn operator(&self, args: &[&str]) -> Result<Value, Trouble> {
        let args = [args, &["--data-dir", "data", "--output", "json"]].concat();
        let output =
            Command::new(self.dir.join(MASTER)).current_dir(&self.dir).args(&args).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Trouble(format!("{MASTER} {}: {said}", args.join(" "))));
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|why| Trouble(format!("{MASTER} {} printed no JSON: {why}", args.join(" "))))
    }

    pub(super) fn mint(&self, name: &str) -> Result<Minted, Trouble> {
        let args = ["token", "mint", "--node-name", name];
        shown(MASTER, &args);
        let minted = self.operator(&args)?;
        match minted["invitation"].as_str() {
            Some(join) => Ok(Minted { join: join.to_owned() }),
            None => Err(Trouble("the master made no invitation".to_owned())),
        }
    }

    /// Starts a worker that lives on; with an invitation it enrolls first.
    pub(super) fn start_worker(
        &mut self,
        name: &'static str,
        join: Option<&str>,
    ) -> Result<(), Trouble> {
        let state = format!("state/{name}");
        std::fs::create_dir_all(self.dir.join("state"))?;
        let mut args = vec!["serve", "--state-dir", &state, "--metrics-port", "0"];
        let invitation = format!("{name}.join");
        if let Some(join) = join {
            write_private(&self.dir.join(&invitation), join)?;
            args.extend(["--join-path", &invitation]);
        }
        shown(WORKER, &args);
        let child = spawn_as(&self.dir, WORKER, name, &args)?;
        self.workers.insert(name, child);
        Ok(())
    }

    pub(super) fn kill_worker(&mut self, name: &str) -> Result<(), Trouble> {
        if let Some(mut child) = self.workers.remove(name) {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Prints the table whenever it changes, until it shows what is waited for.
    pub(super) fn table_until(
        &mut self,
        what: &str,
        done: impl Fn(&Nodes) -> bool,
    ) -> Result<(), Trouble> {
        let began = Instant::now();
        loop {
            let listed = self.operator(&["node", "list"])?;
            let nodes = Nodes(listed["items"].as_array().cloned().unwrap_or_default());
            self.show(&nodes);
            if done(&nodes) {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                let logs: String = self.workers.keys().map(|name| self.log(name)).collect();
                return Err(Trouble(format!("waited in vain for: {what}\n{logs}")));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn show(&mut self, nodes: &Nodes) {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
        table.set_header(["NAME", "STATE", "STATUS", "ARCH"]);
        let text = |node: &Value, key: &str| node[key].as_str().unwrap_or("-").to_owned();
        for node in &nodes.0 {
            table.add_row(["name", "state", "status", "arch"].map(|key| text(node, key)));
        }
        let table = table.to_string();
        if table != self.shown {
            println!("{table}");
            self.shown = table;
        }
    }

    /// The same invitation over a line that loses the first answer.
    pub(super) fn through_a_lossy_line(&self, minted: &Minted) -> Result<Minted, Trouble> {
        let prefix = TokenPrefix::default();
        let mut invitation = Invitation::parse(&prefix, &minted.join)
            .map_err(|why| Trouble(format!("the invitation cannot be read: {why}")))?;
        let target = address(&invitation.url)?;
        invitation.url = format!("https://{}", lossy::open(target)?);
        Ok(Minted { join: invitation.to_text().as_str().to_owned() })
    }

    /// The audit log holds that an answer was given again, and how often the token was spent.
    pub(super) fn show_redelivery(&self) -> Result<(), Trouble> {
        let events = self.operator(&["events"])?;
        let events = events["items"].as_array().cloned().unwrap_or_default();
        let count = |kind: &str| {
            let of = |event: &&Value| event["type"] == kind && event["node_name"] == "worker-3";
            events.iter().filter(of).count()
        };
        let (enrolled, again) = (count("enrolled"), count("redelivered"));
        println!(
            "The log of worker-3: enrolled {enrolled} time, the answer given again {again} time."
        );
        if (enrolled, again) == (1, 1) { Ok(()) } else { Err(Trouble("that is not so".into())) }
    }

    pub(super) fn try_spent(&self, minted: &Minted) -> Result<(), Trouble> {
        write_private(&self.dir.join("again.join"), &minted.join)?;
        let args = ["bootstrap", "--state-dir", "state/again", "--join-path", "again.join"];
        shown(WORKER, &args);
        let output =
            Command::new(self.dir.join(WORKER)).current_dir(&self.dir).args(args).output()?;
        let Output { status, stderr, .. } = output;
        let said = String::from_utf8_lossy(&stderr);
        let last = said.lines().last().unwrap_or_default();
        println!("{last}\nexit code {}", status.code().unwrap_or(-1));
        if status.code() == Some(3) { Ok(()) } else { Err(Trouble("it was not refused".into())) }
    }

    /// Leaves everything running and says how to go on.
    pub(super) fn keep(mut self) {
        let Some(root) = self.root.take() else { return };
        let dir = root.keep();
        let workers = std::mem::take(&mut self.workers);
        let pids: Vec<String> = workers
            .values()
            .map(Child::id)
            .chain([self.master.id()])
            .map(|pid| pid.to_string())
            .collect();
        say("Everything is left running.");
        println!("  look:  cd {} && ./{MASTER} node list --data-dir data", dir.display());
        println!("  stop:  kill {} && rm -r {}", pids.join(" "), dir.display());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.root.is_none() {
            return;
        }
        // A process that has ended already needs no end.
        for child in self.workers.values_mut().chain([&mut self.master]) {
            let _ended = child.kill();
            let _reaped = child.wait();
        }
    }
}

fn shown(binary: &str, args: &[&str]) {
    println!("  $ {binary} {}", args.join(" "));
}

fn spawn(dir: &Path, binary: &str, args: &[&str]) -> Result<Child, Trouble> {
    spawn_as(dir, binary, binary, args)
}

fn spawn_as(dir: &Path, binary: &str, name: &str, args: &[&str]) -> Result<Child, Trouble> {
    let log = File::create(dir.join(format!("{name}.log")))?;
    Command::new(dir.join(binary))
        .current_dir(dir)
        .args(args)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .map_err(|why| Trouble(format!("{binary} cannot be started: {why}")))
}

fn write_private(path: &Path, text: &str) -> Result<(), Trouble> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}

fn address(url: &str) -> Result<SocketAddr, Trouble> {
    let host = url.trim_start_matches("https://").trim_end_matches('/');
    let mut found = host.to_socket_addrs()?;
    found.next().ok_or_else(|| Trouble(format!("{url} names no address")))
}
