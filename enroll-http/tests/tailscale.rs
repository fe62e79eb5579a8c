//! The driver of the tailscale command line, before programs that write down how they were called.
#![expect(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use enroll_core::model::{CredentialKind, MeshCredential, NodeName, Timestamp};
use enroll_core::worker::{Joined, Joining, MeshJoin as _, MeshJoinError};
use enroll_http::integrations::tailscale::Tailscale;
use tempfile::TempDir;
use zeroize::Zeroizing;

/// A machine with a `tailscale` that keeps its state in a file.
struct Machine(TempDir);

/// Notes its arguments, its environment, and the key it was given by file.
const PROGRAM: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$@" >>"$here/calls"
env >>"$here/env"
case "$*" in
    *status*) printf '{"BackendState":"%s","TailscaleIPs":["100.64.0.2"],"New":1}' "$(cat "$here/state")" ;;
    *" up "* | up*)
        if [ -e "$here/refuses" ]; then echo "authkey expired" >&2; exit 1; fi
        for arg; do
            case $arg in
                --auth-key=file:*) file=${arg#--auth-key=file:}; cat "$file" >>"$here/keys"; stat -c %a "$file" >>"$here/modes" ;;
            esac
        done
        echo Running >"$here/state" ;;
esac
"#;

impl Machine {
    fn new(state: &str) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        let program = machine.at("tailscale");
        std::fs::write(&program, PROGRAM).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        machine.be(state);
        machine
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn be(&self, state: &str) {
        std::fs::write(self.at("state"), state).unwrap();
    }

    fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.at(name)).unwrap_or_default()
    }

    /// How often it joined.
    fn joins(&self) -> usize {
        self.said("calls").lines().filter(|call| call.contains("--auth-key")).count()
    }

    fn driver(&self) -> Tailscale {
        Tailscale::new(self.at("mesh"))
            .with_program(self.at("tailscale"))
            .with_env("PATH", std::env::var_os("PATH").unwrap())
            .with_deadline(Duration::from_secs(20))
    }

    async fn join(&self, keys: &[MeshCredential]) -> Result<Joined, MeshJoinError> {
        let node_name = NodeName::new("worker-1.site").unwrap();
        self.driver().join(&Joining { node_name: &node_name, keys }).await
    }
}

fn key(text: &str) -> MeshCredential {
    MeshCredential {
        kind: CredentialKind::from_static("headscale"),
        authkey: Zeroizing::new(format!("hskey-auth-{text}")),
        control_url: "https://mesh.example".into(),
        expires_at: Timestamp::from_unix_secs(0),
    }
}

#[tokio::test]
async fn a7_a_key_goes_by_file_and_is_left_nowhere() {
    let machine = Machine::new("NeedsLogin");
    let joined = machine.join(&[key("s3cret")]).await.unwrap();
    assert_eq!(joined.addresses, ["100.64.0.2".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(
        (machine.said("keys"), machine.said("modes")),
        ("hskey-auth-s3cret".into(), "600\n".into())
    );
    let calls = machine.said("calls");
    assert!(calls.contains("--login-server=https://mesh.example"), "{calls}");
    assert!(calls.contains("--hostname=worker-1-site"), "{calls}");
    assert!(!calls.contains("s3cret") && !machine.said("env").contains("s3cret"));
    let left = std::fs::read_dir(machine.at("mesh")).unwrap();
    for entry in left.map(|entry| entry.unwrap().path()) {
        assert!(
            !std::fs::read_to_string(&entry).unwrap().contains("s3cret"),
            "{}",
            entry.display()
        );
    }
}

#[tokio::test]
async fn its_environment_is_clean() {
    let machine = Machine::new("NeedsLogin");
    machine.join(&[key("a")]).await.unwrap();
    let env = machine.said("env");
    let seen: Vec<&str> = env.lines().filter_map(|line| line.split('=').next()).collect();
    // A shell adds these three by itself.
    let ours = seen.iter().filter(|name| !["PWD", "_", "SHLVL"].contains(name));
    assert!(ours.clone().all(|name| *name == "PATH"), "{env}");
    assert!(std::env::vars_os().count() > 3, "this process has more to hand on");
}

#[tokio::test]
async fn a7_whoever_is_in_does_not_join_again() {
    let machine = Machine::new("NeedsLogin");
    machine.join(&[key("a")]).await.unwrap();
    assert_eq!(machine.joins(), 1);
    machine.join(&[]).await.unwrap();
    machine.join(&[key("a")]).await.unwrap();
    assert_eq!(machine.joins(), 1, "a restart, and one whose key a crash left behind");

    let by_hand = Machine::new("Running");
    by_hand.join(&[key("a")]).await.unwrap();
    assert_eq!(by_hand.joins(), 0, "somebody else brought it in");
}

#[tokio::test]
async fn a_new_enrollment_joins_anew() {
    let machine = Machine::new("NeedsLogin");
    machine.join(&[key("a")]).await.unwrap();
    machine.join(&[key("b")]).await.unwrap();
    assert_eq!((machine.joins(), machine.said("keys").as_str()), (2, "hskey-auth-ahskey-auth-b"));
    let calls = machine.said("calls");
    let ups: Vec<bool> = calls
        .lines()
        .filter(|call| call.contains("--auth-key"))
        .map(|call| call.contains("--force-reauth"))
        .collect();
    assert_eq!(ups, [false, true]);
}

#[tokio::test]
async fn trouble_is_told_and_no_key_stays() {
    let machine = Machine::new("NeedsLogin");
    std::fs::write(machine.at("refuses"), "").unwrap();
    let why = machine.join(&[key("s3cret")]).await.unwrap_err();
    assert!(why.to_string().contains("authkey expired"), "{why}");
    assert!(!format!("{why:?}").contains("s3cret"));
    assert!(!machine.at("mesh/authkey").exists() && !machine.at("mesh/joined").exists());
    let why = machine.join(&[]).await.unwrap_err();
    assert!(why.to_string().contains("enroll it again"), "{why}");
    machine.be("Stopped");
    assert!(machine.join(&[]).await.unwrap_err().to_string().contains("tailscale up"));
    let missing = Tailscale::new(machine.at("mesh")).with_program(machine.at("nothing"));
    let node_name = NodeName::new("worker-1").unwrap();
    let why = missing.join(&Joining { node_name: &node_name, keys: &[] }).await.unwrap_err();
    assert!(why.to_string().contains("nothing cannot be run"), "{why}");
}
