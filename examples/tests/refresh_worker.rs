//! The script that refreshes a worker, before a machine of its own: ssh and scp are stand-ins that act
//! on a directory, as are the service manager and the engine there.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/refresh_worker.sh");

/// A machine with a worker, as the script reaches it.
struct Remote(TempDir);

impl Remote {
    /// One on which these run the worker.
    fn with(modes: &[&str]) -> Self {
        let remote = Self(tempfile::tempdir().expect("a temporary directory"));
        let place = remote.0.path().display();
        let log = format!("echo \"$(basename \"$0\") $*\" >>'{place}/log'");
        // What the script says there is done here.
        remote.program("ssh", &format!("echo \"ssh $3 $4\" >>'{place}/log'; exec sh -c \"$5\""));
        remote.program("scp", &format!("{log}; shift 4; cp \"$1\" \"${{2#*:}}\""));
        remote.program("sudo", "shift; exec \"$@\"");
        let knows = |mode: &str| if modes.contains(&mode) { "exit 0" } else { "exit 1" };
        remote.program("systemctl", &format!("{log}; {}", knows("systemd")));
        let copy = "[ \"$1\" != cp ] || cp \"$2\" \"${3#*:}\"";
        remote.program("docker", &format!("{log}; {copy}; {}", knows("docker-image")));
        std::fs::write(remote.path("worker"), "old").expect("the disk is writable");
        remote
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn program(&self, name: &str, body: &str) {
        let path = self.path(name);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("the disk is writable");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, mode).expect("it is ours");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Runs the script against it.
    fn refresh(&self, variables: &[(&str, &str)]) -> (i32, String) {
        let usual = std::env::var("PATH").unwrap_or_default();
        let binary = self.path("built");
        std::fs::write(&binary, "new").expect("the disk is writable");
        let mut command = Command::new("bash");
        command.arg(SCRIPT).arg("ops@worker-1").env("BINARY", binary);
        command.env("PATH", format!("{}:{usual}", self.0.path().display()));
        command.env("PROGRAM", self.path("worker")).env_remove("MODE_OVERRIDE");
        let Output { status, stdout, stderr } =
            command.envs(variables.iter().copied()).output().expect("bash starts");
        let said = [stdout, stderr].concat();
        (status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
    }
}

#[test]
fn a19_what_runs_the_worker_is_found_and_restarted_after_the_copy() {
    for (mode, restart) in [
        ("systemd", "systemctl restart enroll-worker.service"),
        ("docker-image", "docker restart enroll-worker"),
    ] {
        let remote = Remote::with(&[mode]);
        let (code, said) = remote.refresh(&[]);
        assert_eq!(code, 0, "{mode}: {said}");
        assert_eq!(remote.read("worker"), "new", "{said}");
        let log = remote.read("log");
        let at = |what: &str| log.find(what).unwrap_or_else(|| panic!("{what} in {log}"));
        assert!(at("scp -q") < at(restart), "{log}");
        assert!(log.contains("ssh -- ops@worker-1"), "{log}");
        let other = if mode == "systemd" { "docker restart" } else { "systemctl restart" };
        assert!(!log.contains(other), "{log}");
        let left = log.lines().filter_map(|line| line.split("ops@worker-1:").nth(1));
        for staged in left {
            assert!(!PathBuf::from(staged).exists(), "{staged} is left behind");
        }
    }
}

#[test]
fn a19_both_is_refused_before_anything_is_copied_unless_one_is_named() {
    let both = Remote::with(&["systemd", "docker-image"]);
    let (code, said) = both.refresh(&[]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("MODE_OVERRIDE=systemd"), "{said}");
    assert_eq!(both.read("worker"), "old");
    assert!(!both.read("log").contains("scp"));

    let (code, said) = both.refresh(&[("MODE_OVERRIDE", "docker-image")]);
    assert_eq!((code, both.read("worker").as_str()), (0, "new"), "{said}");
    let log = both.read("log");
    assert!(log.contains("docker restart") && !log.contains("systemctl restart"), "{log}");
}

#[test]
fn a19_what_is_not_there_is_not_restarted() {
    for (modes, variables, word) in [
        (&[][..], &[][..], "neither a unit nor a container"),
        (&["systemd"], &[("MODE_OVERRIDE", "docker-image")], "there is no docker-image"),
        (&["systemd"], &[("MODE_OVERRIDE", "both")], "MODE_OVERRIDE is neither"),
        (&["systemd"], &[("BINARY", "/nowhere/enroll-worker")], "is not there"),
    ] {
        let remote = Remote::with(modes);
        let (code, said) = remote.refresh(variables);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(word), "{said}");
        assert_eq!(remote.read("worker"), "old");
    }
}

#[test]
fn a19_it_is_built_here_for_the_machine_it_goes_to() {
    let remote = Remote::with(&["systemd"]);
    let target = remote.path("target");
    let place = remote.0.path().display();
    let build = format!(
        "echo \"cargo $*\" >>'{place}/log'; mkdir -p '{place}/target/release'; \
         printf built >'{place}/target/release/enroll-worker'"
    );
    remote.program("cargo", &build);
    let target = target.to_str().expect("a path in UTF-8");
    let (code, said) = remote.refresh(&[("BINARY", ""), ("CARGO_TARGET_DIR", target)]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(remote.read("worker"), "built");
    assert!(remote.read("log").contains("--locked --package enroll-examples --bin enroll-worker"));

    let other = [("BINARY", ""), ("TARGET", "riscv64gc-unknown-linux-gnu")];
    let (code, said) = remote.refresh(&other);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("give TARGET"), "{said}");
}
