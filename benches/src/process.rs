//! Another process, and what it costs.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::plan::Failure;
use crate::server::What;

/// A server of [`crate::server`]; it ends with this handle.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts one and waits until it answers.
    pub(crate) fn start(what: What, authority: &Path, more: &[String]) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", &what.word()])
            .arg(authority)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().ok_or("the server has no output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let address = line.trim().parse().map_err(|_| "the server did not start")?;
        Ok(Self { child, address })
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; either way there is nothing left to wait for.
        let _ended = (self.child.kill(), self.child.wait());
    }
}

/// What the process of this number uses, as the kernel tells it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage(pub(crate) u32);

impl Usage {
    /// Time on the processors so far, all threads together, to a hundredth of a second.
    pub(crate) fn cpu(self) -> Result<Duration, Failure> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        // The second field, a name in parentheses, may hold anything.
        let (_, fields) = stat.rsplit_once(')').ok_or("an unreadable /proc/…/stat")?;
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(str::parse::<u64>)
            .sum::<Result<_, _>>()?;
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Resident memory now, in MiB.
    pub(crate) fn resident(self) -> Result<f64, Failure> {
        self.status("VmRSS:")
    }

    /// The most memory that was resident so far, in MiB.
    pub(crate) fn peak(self) -> Result<f64, Failure> {
        self.status("VmHWM:")
    }

    fn status(self, field: &str) -> Result<f64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("no such field")?;
        Ok(kib.parse::<f64>()? / 1024.0)
    }
}
