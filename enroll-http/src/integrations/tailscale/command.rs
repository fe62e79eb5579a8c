//! Runs `tailscale`.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;

use enroll_core::model::{MeshCredential, NodeName};
use enroll_core::worker::MeshJoinError;
use serde::Deserialize;
use tokio::process::Command;
use tokio::time::timeout;

use super::driver::Tailscale;

/// The whole environment of programs that are run.
#[derive(Default, Clone)]
pub(super) struct Variables(Vec<(OsString, OsString)>);

impl Variables {
    pub(super) fn push(&mut self, name: OsString, value: OsString) {
        self.0.push((name, value));
    }

    /// A command that sees these and nothing else, and does not outlive who waits for it.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(self.0.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

/// What `tailscale status --json` says, as far as it is of interest.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Status {
    #[serde(default)]
    pub(super) backend_state: String,
    #[serde(rename = "TailscaleIPs", default)]
    tailscale_ips: Option<Vec<IpAddr>>,
}

impl Status {
    pub(super) fn is_running(&self) -> bool {
        self.backend_state == "Running"
    }

    pub(super) fn addresses(self) -> Vec<IpAddr> {
        self.tailscale_ips.unwrap_or_default()
    }
}

impl Tailscale {
    /// How the daemon stands.
    pub(super) async fn status(&self) -> Result<Status, MeshJoinError> {
        let said =
            self.run(&["status".as_ref(), "--json".as_ref(), "--peers=false".as_ref()]).await?;
        serde_json::from_slice(&said)
            .map_err(|_| MeshJoinError::new("what `tailscale status` says cannot be understood"))
    }

    /// Joins with the key in `file`.
    pub(super) async fn up(
        &self,
        key: &MeshCredential,
        file: &Path,
        name: &NodeName,
        anew: bool,
    ) -> Result<(), MeshJoinError> {
        let mut from_file = OsString::from("--auth-key=file:");
        from_file.push(file);
        let told = [
            format!("--login-server={}", key.control_url),
            format!("--hostname={}", host_name(name)),
            format!("--timeout={}s", self.deadline.as_secs().max(1)),
        ];
        let mut args: Vec<&OsStr> = vec!["up".as_ref(), &from_file];
        args.extend(told.iter().map(OsStr::new));
        if self.runs_own() {
            // Nobody else has set anything about it, and nobody else's names are to be looked up in it.
            args.extend(["--reset", "--accept-dns=false"].map(OsStr::new));
        }
        if anew {
            args.push("--force-reauth".as_ref());
        }
        self.run(&args).await.map(drop)
    }

    async fn run(&self, args: &[&OsStr]) -> Result<Vec<u8>, MeshJoinError> {
        let mut command = self.env.command(&self.program);
        if let Some(socket) = &self.socket {
            command.arg("--socket").arg(socket);
        }
        command.args(args);
        let program = self.program.display();
        // `up` has a deadline of its own, which is to come first, since it can say why.
        let output = timeout(self.deadline + GRACE, command.output())
            .await
            .map_err(|_| MeshJoinError::new(format!("{program} did not end in time")))?
            .map_err(|why| MeshJoinError::new(format!("{program} cannot be run")).because(why))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let verb = args.first().map_or_else(String::new, |verb| verb.to_string_lossy().into());
        let said = String::from_utf8_lossy(&output.stderr);
        let said: String = said.trim().chars().take(MAX_SAID).collect();
        Err(MeshJoinError::new(format!("`tailscale {verb}` failed: {said:?}")))
    }
}

/// A host name has one label in a mesh: dots become hyphens, and what is longer is cut.
fn host_name(name: &NodeName) -> String {
    let label: String = name.as_str().replace('.', "-").chars().take(MAX_LABEL).collect();
    label.trim_end_matches('-').to_owned()
}

const GRACE: std::time::Duration = std::time::Duration::from_secs(5);
const MAX_SAID: usize = 300;
const MAX_LABEL: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_several_labels_becomes_one() {
        let host = |text: &str| host_name(&NodeName::new(text).unwrap());
        assert_eq!(host("worker-1"), "worker-1");
        assert_eq!(host("a.b.example"), "a-b-example");
        let long = format!("{}.b", "a".repeat(62));
        assert_eq!(host(&long), "a".repeat(62));
    }
}
