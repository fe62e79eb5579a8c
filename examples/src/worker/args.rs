//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use super::rollout::FuseWith;

/// Makes this machine a member of a fleet and keeps it one.
///
/// The first start redeems a join token at the master, exactly once, and keeps the identity in the
/// state directory; every later start uses that. A setting is taken from its flag, else from its variable
/// in the environment, else from the generated agent.toml, of those that it has; labels and facts add up.
///
/// Exit codes: 0 done or already done; 2 usage or malformed token; 3 refused by the master for good;
/// 4 the master is not the pinned one; 5 the master was not reached, or retrying was given up; 6 the
/// state directory cannot be used or holds a part of an identity; 7 the identity was rejected.
#[derive(Debug, Parser)]
#[command(name = "enroll-worker", version, about, long_about, after_long_help = ENVIRONMENT)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) options: Options,
}

const ENVIRONMENT: &str = "\
Environment (each also as …_FILE, which names a file that holds the value; setting both is an error):
  ENROLL_TOKEN, ENROLL_SHARED_SECRET, ENROLL_JOIN   proofs, for the first call only
  ENROLL_MASTER_URL       where to enroll, for the first call only
  ENROLL_CA_FINGERPRINT   the pin: sha256:<hex> of the root certificate
  ENROLL_MASTER_ADDR      steady-state address, host:port; the master's answer fills it where unset
  ENROLL_NODE_NAME        the name to enroll as
  ENROLL_STATE_DIR        default /var/lib/enroll
  ENROLL_METRICS_PORT     default 9100; 0 picks one
  ENROLL_MESH             none, tailscale or tailscaled, as --mesh
  ENROLL_MESH_SOCKET      as --mesh-socket
  ENROLL_STEADY_PROXY     as --steady-proxy
  ENROLL_TRANSPORT        grpc (default) or rest
  ENROLL_ALLOW_PLAINTEXT  1 allows http:// for the first call

Examples:
  enroll-worker bootstrap --join-path invitation.txt
  enroll-worker bootstrap --master-url https://master:7480 --ca-fingerprint sha256:… \\
      --token-path token.txt --node-name worker-1
  enroll-worker serve
  enroll-worker serve --mesh tailscaled
  enroll-worker serve --runtime-socket /var/run/docker.sock --fuse-with docker";

#[derive(Debug, Clone, Copy, Subcommand)]
pub(super) enum Command {
    /// Enrolls, then ends. Safe to run at every start.
    Bootstrap,
    /// Enrolls where proofs are there and no identity is, or waits for one; then lives as a member.
    /// This is the default.
    Serve,
}

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Where to enroll, e.g. https://master:7480.
    #[arg(long, global = true, value_name = "URL")]
    pub(super) master_url: Option<String>,
    /// Steady-state address of the master, whatever it named itself.
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub(super) master_addr: Option<String>,
    /// SHA-256 of the root certificate's DER: sha256:<hex> or the digits alone.
    #[arg(long, global = true, value_name = "FINGERPRINT")]
    pub(super) ca_fingerprint: Option<String>,
    /// The name to enroll as; a bound token knows it too.
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) node_name: Option<String>,
    /// The join token itself. Every local user can read it in the list of processes: prefer
    /// --token-path.
    #[arg(long, global = true, value_name = "TOKEN", conflicts_with_all = ["token_path", "token_env", "join", "join_path"])]
    pub(super) token: Option<String>,
    /// A file that holds the join token; - is standard input.
    #[arg(long, global = true, value_name = "FILE", conflicts_with_all = ["token_env", "join", "join_path"])]
    pub(super) token_path: Option<PathBuf>,
    /// The variable that holds the join token.
    #[arg(long, global = true, value_name = "NAME", conflicts_with_all = ["join", "join_path"])]
    pub(super) token_env: Option<String>,
    /// An invitation: URL, fingerprint, token and name in one. As readable as --token.
    #[arg(long, global = true, value_name = "INVITATION", conflicts_with_all = ["join_path"])]
    pub(super) join: Option<String>,
    /// A file that holds the invitation; - is standard input.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) join_path: Option<PathBuf>,
    /// A file that holds the shared secret; - is standard input.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) shared_secret_path: Option<PathBuf>,
    /// Where the master may call this worker, an https URL; opens the worker's own listener.
    #[arg(long, global = true, value_name = "URL")]
    pub(super) advertised_endpoint: Option<String>,
    /// Where the worker's own mTLS listener listens [default with --advertised-endpoint:
    /// 0.0.0.0:9443].
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    pub(super) listen: Option<String>,
    /// Port of /metrics; 0 picks one [default: 9100].
    #[arg(long, global = true, value_name = "PORT")]
    pub(super) metrics_port: Option<u16>,
    /// How often to report, e.g. 30s [default: what the master says].
    #[arg(long, global = true, value_name = "SPAN", value_parser = crate::span)]
    pub(super) heartbeat_interval: Option<Duration>,
    /// What is spoken with the master after enrollment [default: grpc, and rest where the master does
    /// not speak it].
    #[arg(long, global = true, value_enum, value_name = "TRANSPORT")]
    pub(super) transport: Option<Transport>,
    /// When a call to the master is given up [default: 30s].
    #[arg(long, global = true, value_name = "SPAN", value_parser = crate::span)]
    pub(super) request_timeout: Option<Duration>,
    /// How many seconds failures that may pass are retried [default: 60 for bootstrap, without end
    /// for serve].
    #[arg(long, global = true, value_name = "SECS")]
    pub(super) retry_secs: Option<u64>,
    /// Where the identity is kept [default: /var/lib/enroll].
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
    /// The generated configuration, written only if absent [default: agent.toml in the state
    /// directory].
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config_path: Option<PathBuf>,
    /// A label of this node; the operator's win. Repeatable.
    #[arg(long = "label", global = true, value_name = "KEY=VALUE", value_parser = pair)]
    pub(super) labels: Vec<(String, String)>,
    /// A fact a product adds, e.g. migration_host=10.0.0.21. Repeatable.
    #[arg(long = "fact", global = true, value_name = "KEY=VALUE", value_parser = pair)]
    pub(super) facts: Vec<(String, String)>,
    /// By what the agent is rolled out once an operator fuses this node [default: none].
    #[arg(long, global = true, value_enum, value_name = "WHAT")]
    pub(super) fuse_with: Option<FuseWith>,
    /// The agent's image [default: portainer/agent, of the version that Portainer has].
    #[arg(long, global = true, value_name = "IMAGE")]
    pub(super) fuse_image: Option<String>,
    /// The socket of what runs containers here, e.g. /var/run/docker.sock: they are reported too.
    #[arg(long, global = true, value_name = "SOCKET")]
    pub(super) runtime_socket: Option<PathBuf>,
    /// The log file whose end commands of kind logs may show.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) workload_log: Option<PathBuf>,
    /// A program that commands of kind exec may run, once this node is fused. Repeatable.
    #[arg(long, global = true, value_name = "PROGRAM")]
    pub(super) workload_exec: Vec<String>,
    /// How to come into the mesh that the master is reached over, with the key it gave.
    #[arg(long, global = true, value_enum, value_name = "HOW")]
    pub(super) mesh: Option<Mesh>,
    /// The socket of the machine's mesh daemon, with --mesh tailscale [default: the usual one].
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) mesh_socket: Option<PathBuf>,
    /// The HTTP proxy through which the steady-state address is reached [default with --mesh
    /// tailscaled: 127.0.0.1:1055, which the daemon opens].
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    pub(super) steady_proxy: Option<String>,
    /// Enrolls again with a new key, though there is an identity. Never touches the configuration.
    #[arg(long, global = true)]
    pub(super) force: bool,
    /// Allows http:// for the first call: the proofs then cross the network in clear.
    #[arg(long, global = true)]
    pub(super) allow_plaintext: bool,
    /// How bootstrap says what it did.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(super) output: Output,
}

/// How to come into the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mesh {
    /// Not at all: the master is reached without one, and its keys are thrown away.
    None,
    /// By `tailscale` and the daemon of this machine.
    Tailscale,
    /// By `tailscale` and a `tailscaled` of the worker's own, in userspace, without privileges; its
    /// state is kept in the state directory.
    Tailscaled,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// What is spoken with the master after enrollment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Transport {
    /// Heartbeats over an open stream; commands come at once.
    #[default]
    Grpc,
    /// One call per heartbeat; commands come with its answer.
    Rest,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound_and_takes_one_token_source() {
        Cli::command().debug_assert();
        let parse = |args: &[&str]| Cli::try_parse_from([&["enroll-worker"], args].concat());
        assert!(parse(&["bootstrap", "--token", "x", "--join", "y"]).is_err());
        assert!(parse(&["bootstrap", "--token-path", "x", "--label", "a=b"]).is_ok());
        assert!(parse(&["--label", "ab"]).is_err());
        assert!(parse(&["--heartbeat-interval", "1500ms", "serve"]).is_ok());
        assert!(parse(&["serve", "--transport", "rest"]).is_ok());
        assert!(parse(&["serve", "--transport", "soap"]).is_err());
    }
}
