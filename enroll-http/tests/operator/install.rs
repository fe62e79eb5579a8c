//! The snippets: run by a shell, with programs in place of the real ones that write down how they
//! were called.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use enroll_core::master::MasterConfig;
use enroll_core::model::SharedSecret;
use enroll_http::server::{InstallOptions, InvalidInstall, OperatorOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Master, STEADY, URL};

/// A secret that means something to every shell and file it could stand in.
const HOSTILE: &str = r#"it's "$(touch pwned)" `touch pwned` ${HOME} \n \\ ! # % ; END 0123456789"#;

fn hostile() -> OperatorOptions {
    let secret = SharedSecret::configured(HOSTILE.to_owned()).unwrap();
    OperatorOptions::new().with_install(InstallOptions::new().with_cluster_secret(secret).unwrap())
}

async fn register(options: OperatorOptions) -> (Master, Value) {
    let master = Master::start_with(options, |config| config, |router| router).await;
    let answer = master.post("/v1/nodes", json!({ "name": "worker-1" })).await.is(201);
    (master, answer.json)
}

/// How a stand-in for a program was called.
struct Called {
    args: Vec<String>,
    env: BTreeMap<String, String>,
}

/// A directory in which a snippet is run, with stand-ins for programs.
struct Shell(TempDir);

impl Shell {
    fn new(programs: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for program in programs {
            let path = dir.path().join(program);
            // Each call has a file of its own; entries end in NUL, so that values may hold anything.
            let script = "#!/bin/sh\nn=$(ls \"$OUT\" | wc -l)\nprintf '%s\\0' \"$0\" \"$@\" >\"$OUT/$n.args\"\nenv -0 >\"$OUT/$n.env\"\n";
            std::fs::write(&path, script).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::create_dir(dir.path().join("cwd")).unwrap();
        Self(dir)
    }

    /// Runs it as `sh` and as `bash` do, which have to understand the same.
    fn run(&self, snippet: &str) -> Vec<Called> {
        let [one, other] = ["sh", "bash"].map(|shell| self.run_in(shell, snippet));
        let args = |calls: &[Called]| calls.iter().map(|it| it.args.clone()).collect::<Vec<_>>();
        assert_eq!(args(&one), args(&other), "{snippet}");
        for (one, other) in one.iter().zip(&other) {
            assert_eq!(ours(&one.env), ours(&other.env), "{snippet}");
        }
        other
    }

    fn run_in(&self, shell: &str, snippet: &str) -> Vec<Called> {
        let place = |name: &str| self.0.path().join(name);
        let path = format!("{}:/usr/bin:/bin", self.0.path().display());
        let out = place(&format!("out-{shell}"));
        std::fs::create_dir(&out).unwrap();
        let status = Command::new(shell)
            .args(["-c", snippet])
            .env_clear()
            .env("PATH", path)
            .env("OUT", &out)
            .current_dir(place("cwd"))
            .status();
        assert!(status.unwrap().success(), "{snippet}");
        let left = std::fs::read_dir(place("cwd")).unwrap().count();
        assert_eq!(left, 0, "nothing in the snippet was run as a command");
        (0..).step_by(2).map_while(|n| self.call(&out, n)).collect()
    }

    fn call(&self, out: &Path, n: u32) -> Option<Called> {
        let read = |kind: &str| std::fs::read_to_string(out.join(format!("{n}.{kind}"))).ok();
        let entries =
            |text: String| text.split_terminator('\0').map(str::to_owned).collect::<Vec<_>>();
        let env = entries(
            read("env")
                .or_else(|| std::fs::read_to_string(out.join(format!("{}.env", n + 1))).ok())?,
        );
        let pair = |entry: &String| {
            entry.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        Some(Called { args: entries(read("args")?), env: env.iter().filter_map(pair).collect() })
    }
}

fn expected(master: &Master, registered: &Value) -> BTreeMap<String, String> {
    let pairs = [
        ("ENROLL_MASTER_URL", URL.to_owned()),
        ("ENROLL_MASTER_ADDR", STEADY.to_owned()),
        ("ENROLL_CA_FINGERPRINT", master.authority.fingerprint().to_string()),
        ("ENROLL_NODE_NAME", "worker-1".to_owned()),
        ("ENROLL_TOKEN", registered["token"].as_str().unwrap().to_owned()),
        ("ENROLL_SHARED_SECRET", HOSTILE.to_owned()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

fn ours(env: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let ours = |(name, _): &(&String, &String)| name.starts_with("ENROLL_");
    env.iter().filter(ours).map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[tokio::test]
async fn a1_the_shell_enrolls_with_everything_and_serves_with_nothing() {
    let (master, registered) = register(hostile()).await;
    let shell = Shell::new(&["enroll-worker"]);
    let calls = shell.run(registered["install"]["shell"].as_str().unwrap());
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].args[1..], ["bootstrap"]);
    assert_eq!(ours(&calls[0].env), expected(&master, &registered));
    assert_eq!(calls[1].args[1..], ["serve"]);
    assert_eq!(ours(&calls[1].env), BTreeMap::new());
}

#[tokio::test]
async fn a1_docker_is_given_secrets_in_its_environment_only() {
    let (master, registered) = register(hostile()).await;
    let shell = Shell::new(&["docker"]);
    let calls = shell.run(registered["install"]["docker"].as_str().unwrap());
    let [call] = &calls[..] else { panic!("one call") };
    let token = registered["token"].as_str().unwrap();
    assert!(call.args.iter().all(|arg| !arg.contains(token) && !arg.contains("touch")));
    assert_eq!(call.args[1..3], ["run", "-d"]);
    assert_eq!(call.args.last().unwrap(), InstallOptions::IMAGE);
    assert!(call.args.contains(&"enroll-worker-data:/var/lib/enroll".to_owned()));
    // What `-e NAME` hands on is what stands in the environment of `docker`.
    let handed =
        call.args.windows(2).filter(|two| two[0] == "-e").map(|two| match two[1].split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (two[1].clone(), call.env[&two[1]].clone()),
        });
    assert_eq!(handed.collect::<BTreeMap<_, _>>(), expected(&master, &registered));
}

#[tokio::test]
async fn a1_systemd_reads_a_file_that_a_shell_reads_the_same_way() {
    let (master, registered) = register(hostile()).await;
    let text = registered["install"]["systemd"].as_str().unwrap();
    // Run it whole, in a place of its own: where it says /etc, this place's.
    let shell = Shell::new(&["systemctl"]);
    let etc = shell.0.path().join("etc");
    std::fs::create_dir_all(etc.join("systemd/system")).unwrap();
    let calls = shell.run(&text.replace("/etc/", &format!("{}/", etc.display())));
    let said: Vec<_> = calls.iter().map(|call| call.args[1..].join(" ")).collect();
    assert_eq!(
        said,
        ["daemon-reload", "enable enroll-worker.service", "restart enroll-worker.service"]
    );
    assert!(calls.iter().all(|call| ours(&call.env).is_empty()));

    let file = etc.join("enroll-worker/worker.env");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let reads = Shell::new(&["reads"]);
    let calls = reads.run(&format!("set -a; . {}; reads", file.display()));
    assert_eq!(ours(&calls[0].env), expected(&master, &registered));
    let unit = std::fs::read_to_string(etc.join("systemd/system/enroll-worker.service")).unwrap();
    assert!(unit.contains("\nExecStart=/usr/local/bin/enroll-worker serve\n"));
    assert!(unit.contains("enroll-worker/worker.env\n"));
    assert!(!unit.contains("touch"));
}

#[tokio::test]
async fn an_embedder_says_how_its_worker_is_called() {
    let install = InstallOptions::new()
        .with_image("ghcr.io/acme/agent@sha256:00")
        .unwrap()
        .with_program("/opt/acme/acme-agent")
        .unwrap()
        .with_env_prefix("ACME_")
        .unwrap()
        .with_state_dir("/srv/acme")
        .unwrap();
    let options = OperatorOptions::new().with_install(install);
    let plaintext = |mut config: MasterConfig| {
        config.enroll_url = Some("http://192.0.2.1:7480".into());
        config.steady_addr = None;
        config
    };
    let master = Master::start_with(options, plaintext, |router| router).await;
    let answer = master.post("/v1/nodes", json!({ "name": "worker-1" })).await.is(201);
    let install = &answer.json["install"];
    let docker = install["docker"].as_str().unwrap();
    assert!(docker.contains("-v acme-agent-data:/srv/acme "), "{docker}");
    assert!(docker.ends_with("  ghcr.io/acme/agent@sha256:00\n"), "{docker}");
    let shell = install["shell"].as_str().unwrap();
    assert!(shell.contains("/opt/acme/acme-agent bootstrap &&\n"), "{shell}");
    assert!(shell.ends_with("/opt/acme/acme-agent serve\n"), "{shell}");
    let shell = Shell::new(&["acme-agent"]).run(&shell.replace("/opt/acme/", ""));
    let (first, second) = (&shell[0].env, &shell[1].env);
    assert_eq!(first["ACME_ALLOW_PLAINTEXT"], "1");
    assert_eq!((&*first["ACME_STATE_DIR"], &*second["ACME_STATE_DIR"]), ("/srv/acme", "/srv/acme"));
    assert!(!first.contains_key("ACME_MASTER_ADDR") && !second.contains_key("ACME_TOKEN"));
    let systemd = install["systemd"].as_str().unwrap();
    assert!(systemd.contains("\nExecStart=/opt/acme/acme-agent serve\n"), "{systemd}");
}

#[tokio::test]
async fn a_master_that_does_not_know_its_address_makes_no_snippet() {
    let nowhere = |mut config: MasterConfig| {
        config.enroll_url = None;
        config
    };
    let master = Master::start_with(OperatorOptions::new(), nowhere, |router| router).await;
    let answer = master.post("/v1/nodes", json!({ "name": "worker-1" })).await.is(201).json;
    assert_eq!((&answer["install"], &answer["invitation"]), (&Value::Null, &Value::Null));
    assert!(answer["token"].is_string());
}

#[test]
fn what_cannot_stand_in_a_snippet_is_refused() {
    let new = InstallOptions::new;
    for bad in ["", "-v", "a b", "a;b", "$(a)", "é", &"a".repeat(256)] {
        assert_eq!(new().with_image(bad).err(), Some(InvalidInstall::Image), "{bad}");
    }
    for bad in ["", "/", "a", "/a/", "/a b", "/a;b", "/a%", "/-a", "/..", "/a\nb"] {
        assert_eq!(new().with_program(bad).err(), Some(InvalidInstall::Path), "{bad}");
        assert_eq!(new().with_state_dir(bad).err(), Some(InvalidInstall::Path), "{bad}");
    }
    for bad in ["", "_A", "1A", "a_", "A-", &"A".repeat(33)] {
        assert_eq!(new().with_env_prefix(bad).err(), Some(InvalidInstall::EnvPrefix), "{bad}");
    }
    let secret = SharedSecret::configured("0123456789abcdef\n0123456789abcdef".into()).unwrap();
    let refused = new().with_cluster_secret(secret).err();
    assert_eq!(refused, Some(InvalidInstall::ClusterSecret));
}

#[test]
fn no_debug_shows_the_cluster_secret() {
    assert!(!format!("{:?}", hostile()).contains("touch"));
}
