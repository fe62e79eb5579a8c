//! A daemon of our own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use enroll_core::worker::MeshJoinError;
use tokio::process::Child;

use super::command::Variables;
use super::files::Files;

/// `tailscaled` in userspace: no device, no privileges, all of it in one directory.
pub(super) struct Daemon {
    program: PathBuf,
    proxy: SocketAddr,
    files: Files,
    child: Option<Child>,
}

impl Daemon {
    pub(super) fn new(program: PathBuf, proxy: SocketAddr, files: &Files) -> Self {
        Self { program, proxy, files: files.clone(), child: None }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.files.at("tailscaled.sock")
    }

    /// Whether the one that was started still runs.
    pub(super) fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Starts it. It ends when this value is dropped.
    pub(super) fn start(&mut self, env: &Variables) -> Result<(), MeshJoinError> {
        let program = self.program.display().to_string();
        let failed = |why| MeshJoinError::new(format!("{program} cannot be run")).because(why);
        let log = self.files.fresh("tailscaled.log")?;
        let mut state = std::ffi::OsString::from("--statedir=");
        state.push(self.files.at("state"));
        let mut socket = std::ffi::OsString::from("--socket=");
        socket.push(self.socket());
        let mut command = env.command(&self.program);
        command.args([state, socket]).args([
            "--tun=userspace-networking".to_owned(),
            "--port=0".to_owned(),
            format!("--outbound-http-proxy-listen={}", self.proxy),
            "--no-logs-no-support".to_owned(),
        ]);
        command.stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().map_err(failed)?);
        Ok(())
    }
}
