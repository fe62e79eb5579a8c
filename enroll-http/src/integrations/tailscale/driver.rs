//! The driver.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use enroll_core::model::{MeshCredential, NodeName};
use enroll_core::worker::{Joined, Joining, MeshJoin, MeshJoinError};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::command::{Status, Variables};
use super::daemon::Daemon;
use super::files::Files;

/// Joins a mesh by the command line of tailscale.
///
/// # Defaults
/// `tailscale` and `tailscaled` are looked for in the `PATH` given by
/// [`with_env`](Self::with_env); the daemon is the machine's own, at its usual socket; a call ends
/// after [`DEADLINE`](Self::DEADLINE).
pub struct Tailscale {
    pub(super) program: PathBuf,
    pub(super) socket: Option<PathBuf>,
    pub(super) env: Variables,
    pub(super) deadline: Duration,
    files: Files,
    /// A daemon of our own, once it runs.
    own: Option<Mutex<Daemon>>,
}

impl Tailscale {
    /// 60 s: the time a machine takes to find its way to a control plane that is far.
    pub const DEADLINE: Duration = Duration::from_secs(60);

    /// A driver that keeps what it has to remember in `dir`, a directory of its own that is made if
    /// need be.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            program: "tailscale".into(),
            socket: None,
            env: Variables::default(),
            deadline: Self::DEADLINE,
            files: Files::new(dir.into()),
            own: None,
        }
    }

    /// Runs this `tailscale`.
    #[must_use]
    pub fn with_program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// Speaks to the daemon at this socket.
    #[must_use]
    pub fn with_socket(mut self, socket: impl Into<PathBuf>) -> Self {
        self.socket = Some(socket.into());
        self
    }

    /// Runs a daemon of its own in userspace, that keeps the machine's place in the mesh in the
    /// directory, and lets connections into the mesh through an HTTP proxy at `proxy`, which ought to
    /// be an address of the loopback. Connections from the mesh reach the same port of the loopback.
    /// The daemon ends with this value.
    #[must_use]
    pub fn with_own_daemon(mut self, program: impl Into<PathBuf>, proxy: SocketAddr) -> Self {
        let daemon = Daemon::new(program.into(), proxy, &self.files);
        self.socket = Some(daemon.socket());
        self.own = Some(Mutex::new(daemon));
        self
    }

    /// Gives the programs a variable: `PATH`, `SSL_CERT_FILE`.
    #[must_use]
    pub fn with_env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push(name.into(), value.into());
        self
    }

    /// When a call is given up.
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Joins with `key`, unless that is what brought the machine to where it is.
    async fn join_with(&self, key: &MeshCredential, name: &NodeName) -> Result<(), MeshJoinError> {
        let status = self.status().await?;
        let before = self.files.joined_with()?;
        let same = before.as_deref() == Some(&*Files::digest(key));
        if status.is_running() && same {
            return Ok(());
        }
        if status.is_running() && before.is_none() {
            // Into a daemon of our own nobody else brought it: a crash came before it was noted.
            // Elsewhere, whoever brought it in keeps it.
            return if self.runs_own() { self.files.remember(key) } else { Ok(()) };
        }
        let file = self.files.key_file(key)?;
        self.up(key, file.path(), name, status.is_running()).await?;
        self.files.remember(key)
    }

    /// Waits until the machine is connected.
    async fn connected(&self) -> Result<Joined, MeshJoinError> {
        let deadline = Instant::now() + self.deadline;
        loop {
            let status = self.status().await?;
            if status.is_running() {
                return Ok(Joined { addresses: status.addresses() });
            }
            if let Some(why) = status.needs_help() {
                return Err(MeshJoinError::new(why));
            }
            if Instant::now() >= deadline {
                let state = &status.backend_state;
                return Err(MeshJoinError::new(format!("the mesh is not there yet: {state}")));
            }
            sleep(LOOK).await;
        }
    }

    pub(super) const fn runs_own(&self) -> bool {
        self.own.is_some()
    }

    async fn daemon(&self) -> Result<(), MeshJoinError> {
        self.files.prepare()?;
        let Some(own) = &self.own else { return Ok(()) };
        let mut daemon = own.lock().await;
        if daemon.runs() || self.status().await.is_ok() {
            return Ok(());
        }
        daemon.start(&self.env)?;
        let deadline = Instant::now() + self.deadline;
        loop {
            match self.status().await {
                Ok(_) => return Ok(()),
                Err(why) if Instant::now() >= deadline || !daemon.runs() => return Err(why),
                Err(_) => sleep(LOOK).await,
            }
        }
    }
}

#[async_trait]
impl MeshJoin for Tailscale {
    async fn join(&self, joining: &Joining<'_>) -> Result<Joined, MeshJoinError> {
        self.daemon().await?;
        // The newest, where an answer was given twice.
        if let Some(key) = joining.keys.last() {
            self.join_with(key, joining.node_name).await?;
        }
        self.connected().await
    }
}

impl fmt::Debug for Tailscale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tailscale")
            .field("program", &self.program)
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

impl Status {
    /// Why waiting does not help; `None` while it may.
    fn needs_help(&self) -> Option<&'static str> {
        match self.backend_state.as_str() {
            "NeedsLogin" => Some(
                "this machine is not in the mesh, or was taken out of it, and has no key to join: enroll it again with a new token and force",
            ),
            "NeedsMachineAuth" => Some("the mesh's control plane has yet to approve this machine"),
            "Stopped" => Some("the mesh is switched off on this machine: `tailscale up`"),
            _ => None,
        }
    }
}

/// How often the daemon is looked at.
const LOOK: Duration = Duration::from_millis(250);
