//! An example of what a product plugs into commands: `logs`, which only looks and so is declared
//! `monitor`, and `exec`, which may change something and so is declared `control`: the master hands it
//! to a fused node alone, and judges that again at the moment it does.
//!
//! What a command may reach is settled on the worker, by whoever runs it: the one log file, and the
//! programs that were named. The master chooses among them and can add none.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use enroll_core::worker::{Command, CommandHandler, CommandOutcome, Credentials};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Shows the log of this machine's workload and runs programs beside it.
#[derive(Debug)]
pub(super) struct Workload<H> {
    pub(super) log: Option<PathBuf>,
    pub(super) programs: Vec<String>,
    pub(super) others: H,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Logs {
    lines: usize,
}

impl Default for Logs {
    fn default() -> Self {
        Self { lines: 100 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exec {
    argv: Vec<String>,
}

#[async_trait]
impl<H: CommandHandler> CommandHandler for Workload<H> {
    async fn execute(&self, me: &Credentials, command: &Command) -> CommandOutcome {
        let answered = match command.kind.as_str() {
            "logs" => self.logs(command).await,
            "exec" => self.exec(command).await,
            _ => return self.others.execute(me, command).await,
        };
        match answered {
            Ok(text) => CommandOutcome::Done(Some(text)),
            Err(why) => CommandOutcome::Failed(why),
        }
    }
}

impl<H: Sync> Workload<H> {
    /// The last lines of the log, `{"lines": 100}`.
    async fn logs(&self, command: &Command) -> Result<String, String> {
        let path = self.log.as_deref().ok_or("start this worker with --workload-log")?;
        let Logs { lines } = match &command.payload {
            serde_json::Value::Null => Logs::default(),
            payload => read(payload)?,
        };
        let path = path.to_owned();
        let reading = tokio::task::spawn_blocking(move || end_of(&path)).await;
        let text = reading.map_err(|_| "the log was not read")?;
        let text = text.map_err(|why| format!("the log cannot be read: {why}"))?;
        let all: Vec<&str> = text.lines().collect();
        Ok(all[all.len().saturating_sub(lines)..].join("\n"))
    }

    /// What a program prints, `{"argv": ["uptime", "-p"]}`. No shell reads the arguments.
    async fn exec(&self, command: &Command) -> Result<String, String> {
        let Exec { argv } = read(&command.payload)?;
        let (program, args) = argv.split_first().ok_or("`argv` is empty")?;
        if !self.programs.contains(program) {
            return Err("this worker was not started with --workload-exec for it".to_owned());
        }
        let mut running = tokio::process::Command::new(program);
        running
            .args(args)
            // Of this worker's environment, which may hold proofs, no more than finds programs.
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, output_of(running))
            .await
            .map_err(|_| "it took longer than 30 s and was ended".to_owned())?
            .map_err(|why| format!("it cannot be run: {why}"))?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(said(&output.stdout)),
            false => Err(format!("{}: {}", output.status, said(&output.stderr))),
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(payload: &serde_json::Value) -> Result<T, String> {
    T::deserialize(payload).map_err(|why| format!("the payload is not what it should be: {why}"))
}

/// Runs a program to its end, and gives as much of what it says as an output may hold.
async fn output_of(mut command: tokio::process::Command) -> std::io::Result<Output> {
    let mut child = command.spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (status, stdout, stderr) =
        tokio::try_join!(child.wait(), beginning_of(stdout), beginning_of(stderr))?;
    Ok(Output { status, stdout, stderr })
}

async fn beginning_of(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let Some(mut pipe) = pipe else { return Ok(bytes) };
    (&mut pipe).take(MOST).read_to_end(&mut bytes).await?;
    // The rest is read all the same: a program whose pipe is full would never end.
    tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    Ok(bytes)
}

/// The end of a file, whole lines, as much of it as an output may hold.
fn end_of(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let cut = file.metadata()?.len().saturating_sub(MOST);
    file.seek(SeekFrom::Start(cut))?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(match text.split_once('\n') {
        Some((_torn, whole)) if cut > 0 => whole.to_owned(),
        _ => text,
    })
}

/// What the master keeps of an output: [`CommandRecord::MAX_OUTPUT`](enroll_core::model::CommandRecord::MAX_OUTPUT).
const MOST: u64 = 16 * 1024;
const PATIENCE: Duration = Duration::from_secs(30);
