//! A real Headscale.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::run;

pub(crate) const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/mesh.sh");
const ASKED: &str = "ENROLL_TEST_MESH";
/// What the script ends with where there is no Go.
pub(crate) const NO_GO: i32 = 77;

/// Whether the real mesh is wanted; says so where it is not.
pub(crate) fn is_wanted() -> bool {
    let wanted = std::env::var_os(ASKED).is_some_and(|value| value == "1");
    if !wanted {
        eprintln!(
            "\n######## SKIPPED: the real Headscale and tailscaled; {ASKED}=1 builds them with Go and runs them\n"
        );
    }
    wanted
}

/// A Headscale that runs.
pub(crate) struct Headscale {
    child: Child,
    dir: TempDir,
    tools: PathBuf,
}

impl Headscale {
    /// Starts one where it is wanted, and where there is Go to build it with.
    pub(crate) fn start() -> Option<Self> {
        if !is_wanted() {
            return None;
        }
        let said = run(Command::new("bash").args([SCRIPT, "tools"]));
        if said.code == NO_GO {
            eprintln!("\n######## {}\n", said.err.trim());
            return None;
        }
        assert_eq!(said.code, 0, "{said:?}");
        let tools = PathBuf::from(said.out.trim());
        let dir = tempfile::tempdir().expect("a temporary directory");
        let made = run(Command::new("bash").args([SCRIPT, "prepare"]).arg(dir.path()));
        assert_eq!(made.code, 0, "{made:?}");
        let log = std::fs::File::create(dir.path().join("log")).expect("a log");
        let child =
            headscale(&tools, dir.path()).arg("serve").stdout(Stdio::null()).stderr(log).spawn();
        let lab = Self { child: child.expect("Headscale starts"), dir, tools };
        let made = run(Command::new("bash").args([SCRIPT, "account"]).arg(lab.dir.path()));
        assert_eq!(made.code, 0, "{made:?}");
        Some(lab)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The master's flags.
    pub(crate) fn flags(&self) -> Vec<String> {
        let url = std::fs::read_to_string(self.file("url")).expect("its URL");
        let path = |name: &str| self.file(name).to_str().expect("a path in UTF-8").to_owned();
        let flags = [
            ("--headscale-url", url.trim().to_owned()),
            ("--headscale-api-key-path", path("api.key")),
            ("--headscale-ca-path", path("ca.crt")),
            ("--headscale-user", "fleet".to_owned()),
            ("--issue", "api_key".to_owned()),
            ("--issue", "headscale".to_owned()),
            ("--attempts-per-minute", "0".to_owned()),
        ];
        flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
    }

    /// The keys that a machine could still join with, by the part of them that is shown.
    pub(crate) fn open_keys(&self) -> Vec<String> {
        let said = run(headscale(&self.tools, self.dir.path()).args([
            "preauthkeys",
            "list",
            "--output",
            "json",
        ]));
        assert_eq!(said.code, 0, "{said:?}");
        let keys: Value =
            serde_json::from_str(&said.out).unwrap_or_else(|why| panic!("{why}: {said:?}"));
        let now = now();
        let keys = keys.as_array().cloned().unwrap_or_default();
        let is_open = |key: &Value| key["used"] != true && ends(key) > now;
        let shown =
            |key: &Value| key["key"].as_str().map(|text| text.trim_end_matches('*').to_owned());
        keys.iter().filter(|key| is_open(key)).filter_map(shown).collect()
    }
}

impl Drop for Headscale {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.file("log")).unwrap_or_default();
            eprintln!("---- Headscale's log\n{log}----");
        }
    }
}

fn headscale(tools: &Path, dir: &Path) -> Command {
    let mut command = Command::new(tools.join("headscale"));
    command.arg("--config").arg(dir.join("config.yaml"));
    command
}

/// When a key ends, in seconds of the epoch; its command line writes protobuf's own form.
fn ends(key: &Value) -> i64 {
    key["expiration"]["seconds"].as_i64().unwrap_or_else(|| panic!("an end: {key}"))
}

fn now() -> i64 {
    use enroll_core::model::{Clock as _, SystemClock};
    SystemClock::new().now().unix_secs()
}
