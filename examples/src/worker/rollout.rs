//! What takes control of this machine once an operator fuses it: Portainer's Edge agent, run by the
//! command line of Docker.

use std::future::Future;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use clap::ValueEnum;
use enroll_core::master::BuiltinFuser;
use enroll_core::model::{Clock as _, SystemClock, Timestamp};
use enroll_core::worker::{CommandOutcome, Credentials, FuseTask, Rollout};
use enroll_http::integrations::portainer::PortainerFuser;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// By what an agent is rolled out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FuseWith {
    /// None is: this machine is not to be fused by an agent
    #[default]
    None,
    /// The docker command, which has to be in PATH
    Docker,
}

/// The worker's part of a fuse.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) with: FuseWith,
    pub(super) image: Option<String>,
}

#[async_trait]
impl Rollout for Agent {
    async fn roll_out(&self, _me: &Credentials, task: &FuseTask) -> CommandOutcome {
        let rolled_out = match (task.handover.fuser(), self.with) {
            // A product takes control by itself; this worker has nothing to take control of.
            (BuiltinFuser::NAME, _) => return CommandOutcome::Done(None),
            (PortainerFuser::NAME, FuseWith::Docker) => {
                in_turn(task.deadline, self.run_edge_agent(task)).await
            }
            (PortainerFuser::NAME, FuseWith::None) => {
                Err("this worker rolls no agent out: start it with --fuse-with docker".to_owned())
            }
            _ => Err("this worker does not know the fuser of this master".to_owned()),
        };
        match rolled_out {
            Ok(container) => CommandOutcome::Done(Some(format!("container {container}"))),
            Err(why) => CommandOutcome::Failed(why),
        }
    }
}

impl Agent {
    /// Puts the agent of this attempt in the place of any earlier one.
    async fn run_edge_agent(&self, task: &FuseTask) -> Result<String, String> {
        let environment = environment(task)?;
        let image = self.image(task)?;
        // That there is none to remove is the usual.
        let _earlier = docker(&["rm", "--force", CONTAINER], "").await;
        let label = format!("enroll.fuse={}", task.attempt);
        let run =
            ["run", "--detach", "--name", CONTAINER, "--restart", "always", "--label", &label];
        let mounts = MOUNTS.iter().flat_map(|mount| ["--volume", mount]);
        // Read from the pipe, the secrets are in no argument, no variable of a process, no file.
        let rest = ["--env-file", "/dev/stdin", &image];
        let args: Vec<&str> = run.into_iter().chain(mounts).chain(rest).collect();
        let said = docker(&args, &environment).await.map_err(|why| {
            let secret = task.handover.expose("edge_key").is_some_and(|key| why.contains(key));
            if secret { "docker failed, and what it said holds a secret".to_owned() } else { why }
        })?;
        Ok(said.chars().filter(char::is_ascii_alphanumeric).take(64).collect())
    }

    fn image(&self, task: &FuseTask) -> Result<String, String> {
        if let Some(image) = &self.image {
            return Ok(image.clone());
        }
        let tag = task.handover.expose("agent_version").unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if tag.is_empty() || tag.len() > 128 || !tag.chars().all(plain) {
            return Err("the version of the agent is not one: give --fuse-image".to_owned());
        }
        Ok(format!("{IMAGE}:{tag}"))
    }
}

/// Does `work` after that of any earlier attempt, which is about the same container, and gives it up
/// when its own attempt ends: nobody waits for that agent any more, and it must not take the place of
/// the next one's.
async fn in_turn<T>(
    deadline: Timestamp,
    work: impl Future<Output = Result<T, String>> + Send,
) -> Result<T, String> {
    let in_turn = async {
        let _turn = TURN.lock().await;
        work.await
    };
    timeout(left_until(deadline, SystemClock::new().now()), in_turn)
        .await
        .unwrap_or_else(|_| Err("it was not done before the attempt ended".to_owned()))
}

/// The master hands over what still runs. A clock by which it is over already is wrong, and no reason
/// to give up.
fn left_until(deadline: Timestamp, now: Timestamp) -> Duration {
    let left = deadline.unix_millis().saturating_sub(now.unix_millis());
    match u64::try_from(left) {
        Ok(left @ 1..) => Duration::from_millis(left),
        _ => PATIENCE,
    }
}

/// The variables of the agent, as docker reads them from a file.
fn environment(task: &FuseTask) -> Result<Zeroizing<String>, String> {
    let mut text = Zeroizing::new(String::from("EDGE=1\n"));
    for (variable, name) in
        [("EDGE_ID", "edge_id"), ("EDGE_KEY", "edge_key"), ("EDGE_INSECURE_POLL", "insecure_poll")]
    {
        let value = task.handover.expose(name).unwrap_or_default();
        if value.is_empty() || value.chars().any(char::is_control) {
            return Err(format!("the master hands over no usable `{name}`"));
        }
        for part in [variable, "=", value, "\n"] {
            text.push_str(part);
        }
    }
    Ok(text)
}

/// Runs docker; what it printed, or the last line of its complaint.
async fn docker(args: &[&str], input: &str) -> Result<String, String> {
    let kept = KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let mut child = Command::new("docker")
        .args(args)
        .env_clear()
        .envs(kept)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|why| format!("docker cannot be run: {why}"))?;
    let stdin = child.stdin.take();
    let fed = async {
        if let Some(mut stdin) = stdin {
            // Who does not read it says below why not.
            let _read = stdin.write_all(input.as_bytes()).await;
        }
    };
    let both = async { tokio::join!(fed, child.wait_with_output()).1 };
    let output = timeout(PATIENCE, both)
        .await
        .map_err(|_| "docker took too long".to_owned())?
        .map_err(|why| format!("docker cannot be waited for: {why}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    let last: String = last.chars().filter(|c| !c.is_control()).take(300).collect();
    Err(format!("docker {}: {last}", args.first().unwrap_or(&"")))
}

const IMAGE: &str = "portainer/agent";
/// A name that no other container has, so that none but an earlier agent of ours is replaced.
const CONTAINER: &str = "enroll-portainer-agent";
/// What the agent's own documentation asks for.
const MOUNTS: [&str; 4] = [
    "/var/run/docker.sock:/var/run/docker.sock",
    "/var/lib/docker/volumes:/var/lib/docker/volumes",
    "/:/host",
    "enroll_portainer_agent_data:/data",
];
/// What docker needs to find its engine, and nothing of ours.
const KEPT: [&str; 8] = [
    "PATH",
    "HOME",
    "DOCKER_HOST",
    "DOCKER_CONFIG",
    "DOCKER_CONTEXT",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
    "XDG_RUNTIME_DIR",
];
/// An image may have to be fetched over a slow line.
const PATIENCE: Duration = Duration::from_secs(600);
/// Whoever holds it rolls an agent out.
static TURN: Mutex<()> = Mutex::const_new(());

#[cfg(test)]
mod tests {
    use super::*;
    use enroll_core::model::Handover;
    use std::future::pending;
    use tokio::time::Instant;

    fn task(values: &[(&str, &str)]) -> FuseTask {
        let empty = Handover::from_fuser(PortainerFuser::NAME);
        let handover =
            values.iter().fold(empty, |all, (name, value)| all.with(*name, (*value).to_owned()));
        let deadline = Timestamp::from_unix_secs(1_800_000_000);
        FuseTask { attempt: "a".into(), deadline, ticket: "5".into(), handover }
    }

    #[test]
    fn what_would_break_out_of_its_line_is_refused_and_not_repeated() {
        let good = [("edge_id", "i"), ("edge_key", "k"), ("insecure_poll", "0")];
        let text = environment(&task(&good)).unwrap();
        assert_eq!(&**text, "EDGE=1\nEDGE_ID=i\nEDGE_KEY=k\nEDGE_INSECURE_POLL=0\n");
        let why = environment(&task(&[good[0], ("edge_key", "k\nLD_PRELOAD=x"), good[2]]));
        assert_eq!(why.unwrap_err(), "the master hands over no usable `edge_key`");
        assert!(environment(&task(&good[..1])).is_err());
    }

    #[tokio::test]
    async fn one_agent_is_rolled_out_at_a_time_and_given_up_with_its_attempt() {
        let began = Instant::now();
        let until = |span| SystemClock::new().now().after(span);
        let stuck = in_turn(until(Duration::from_millis(300)), pending::<Result<(), String>>());
        let next = in_turn(until(PATIENCE), async { Ok(began.elapsed()) });
        let (stuck, waited) = tokio::join!(stuck, next);
        assert_eq!(stuck.unwrap_err(), "it was not done before the attempt ended");
        assert!(waited.unwrap() >= Duration::from_millis(250), "it waited for its turn");
    }

    #[test]
    fn a_clock_that_is_ahead_of_the_master_s_gives_nothing_up() {
        let deadline = Timestamp::from_unix_secs(1_800_000_000);
        let left = |now: i64| left_until(deadline, Timestamp::from_unix_secs(now));
        assert_eq!(left(1_799_999_990), Duration::from_secs(10));
        assert_eq!(left(1_800_000_000), PATIENCE);
        assert_eq!(left(1_800_003_600), PATIENCE);
    }

    #[test]
    fn the_image_is_the_operator_s_or_of_portainer_s_version() {
        let own =
            |image: Option<&str>| Agent { with: FuseWith::Docker, image: image.map(str::to_owned) };
        let of = |version: &str| own(None).image(&task(&[("agent_version", version)]));
        assert_eq!(of("2.33.0").as_deref(), Ok("portainer/agent:2.33.0"));
        for bad in ["", "2.33 --privileged", "2/3", "v\n"] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
        let pinned = own(Some("registry.example/agent@sha256:00")).image(&task(&[]));
        assert_eq!(pinned.as_deref(), Ok("registry.example/agent@sha256:00"));
    }
}
