//! Settings: from flags, else the environment, else the generated agent.toml.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum as _;
use enroll_core::model::Host;
use enroll_core::worker::Environment;
use serde::{Deserialize, Serialize};

use super::args::{Mesh, Options, Transport};
use super::exit::Exit;
use super::rollout::FuseWith;

/// What agent.toml may hold: nothing secret, nothing that belongs to the first call only.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AgentFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) master_addr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advertised_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) listen: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metrics_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) heartbeat_interval_secs: Option<Secs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) transport: Option<Transport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_timeout_secs: Option<Secs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fuse_with: Option<FuseWith>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fuse_image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) runtime_socket: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workload_log: Option<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) workload_exec: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mesh: Option<Mesh>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mesh_socket: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) steady_proxy: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) facts: BTreeMap<String, String>,
}

/// A span in seconds: a whole number where it is one.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Secs {
    Whole(u64),
    Parts(f64),
}

impl Secs {
    fn of(span: Duration) -> Self {
        match span.subsec_nanos() {
            0 => Self::Whole(span.as_secs()),
            _ => Self::Parts(span.as_secs_f64()),
        }
    }

    fn span(self) -> Option<Duration> {
        match self {
            Self::Whole(secs) => Some(Duration::from_secs(secs)),
            Self::Parts(secs) => Duration::try_from_secs_f64(secs).ok(),
        }
    }
}

/// Everything but the proofs.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) state_dir: PathBuf,
    pub(super) config_path: PathBuf,
    pub(super) master_addr: Option<String>,
    pub(super) advertised_endpoint: Option<String>,
    pub(super) listen: Option<SocketAddr>,
    pub(super) metrics_port: u16,
    pub(super) heartbeat_interval: Option<Duration>,
    pub(super) transport: Option<Transport>,
    pub(super) request_timeout: Option<Duration>,
    /// How to come into the mesh, where somebody said so.
    pub(super) mesh: Option<Mesh>,
    pub(super) mesh_socket: Option<PathBuf>,
    pub(super) steady_proxy: Option<SocketAddr>,
    pub(super) allow_plaintext: bool,
    pub(super) fuse_with: Option<FuseWith>,
    pub(super) fuse_image: Option<String>,
    pub(super) runtime_socket: Option<PathBuf>,
    pub(super) workload_log: Option<PathBuf>,
    pub(super) workload_exec: Vec<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) facts: BTreeMap<String, String>,
}

const STATE_DIR: &str = "/var/lib/enroll";
const METRICS_PORT: u16 = 9100;
const LISTEN: &str = "0.0.0.0:9443";
const PROXY: &str = "127.0.0.1:1055";

impl Config {
    pub(super) fn read(options: &Options, env: &Environment) -> Result<Self, Exit> {
        let state_dir = options.state_dir.clone().or_else(|| env.state_dir.clone());
        let state_dir = state_dir.unwrap_or_else(|| STATE_DIR.into());
        let config_path =
            options.config_path.clone().unwrap_or_else(|| state_dir.join("agent.toml"));
        let file = AgentFile::read(&config_path)?;
        let advertised_endpoint = options.advertised_endpoint.clone().or(file.advertised_endpoint);
        if advertised_endpoint.as_deref().is_some_and(|url| !url.starts_with("https://")) {
            return Err(Exit::usage("--advertised-endpoint is not an https URL."));
        }
        let listen = options.listen.clone().or(file.listen);
        let listen = listen.or_else(|| advertised_endpoint.is_some().then(|| LISTEN.to_owned()));
        let mesh = mesh(options, env, file.mesh)?;
        Ok(Self {
            master_addr: master_addr(options, env, file.master_addr)?,
            advertised_endpoint,
            listen: listen.map(|text| address(&text)).transpose()?,
            metrics_port: metrics_port(options, env, file.metrics_port)?,
            heartbeat_interval: span(
                "heartbeat-interval",
                options.heartbeat_interval,
                file.heartbeat_interval_secs,
            )?,
            transport: options.transport.or(transport(env)?).or(file.transport),
            request_timeout: span(
                "request-timeout",
                options.request_timeout,
                file.request_timeout_secs,
            )?,
            steady_proxy: steady_proxy(options, env, file.steady_proxy, mesh)?,
            mesh_socket: options
                .mesh_socket
                .clone()
                .or_else(|| env.mesh_socket.clone())
                .or(file.mesh_socket),
            mesh,
            allow_plaintext: options.allow_plaintext || allowed(env)?,
            fuse_with: options.fuse_with.or(file.fuse_with),
            fuse_image: options.fuse_image.clone().or(file.fuse_image),
            runtime_socket: options.runtime_socket.clone().or(file.runtime_socket),
            workload_log: options.workload_log.clone().or(file.workload_log),
            workload_exec: told_or(&options.workload_exec, file.workload_exec),
            labels: merged(file.labels, &options.labels),
            facts: merged(file.facts, &options.facts),
            state_dir,
            config_path,
        })
    }

    /// What the generated configuration says: the settings this worker was told.
    pub(super) fn to_file(&self) -> String {
        let file = AgentFile {
            master_addr: self.master_addr.clone(),
            advertised_endpoint: self.advertised_endpoint.clone(),
            listen: self.listen.map(|listen| listen.to_string()),
            metrics_port: Some(self.metrics_port),
            heartbeat_interval_secs: self.heartbeat_interval.map(Secs::of),
            transport: self.transport,
            request_timeout_secs: self.request_timeout.map(Secs::of),
            fuse_with: self.fuse_with,
            fuse_image: self.fuse_image.clone(),
            runtime_socket: self.runtime_socket.clone(),
            workload_log: self.workload_log.clone(),
            workload_exec: self.workload_exec.clone(),
            mesh: self.mesh,
            mesh_socket: self.mesh_socket.clone(),
            steady_proxy: self.steady_proxy.map(|proxy| proxy.to_string()),
            labels: self.labels.clone(),
            facts: self.facts.clone(),
        };
        // A struct of texts and numbers always serialises.
        let body = toml::to_string(&file).unwrap_or_default();
        format!(
            "# Made at the first enrollment and never overwritten: yours to change. Flags and the\n\
             # environment come before it.\n{body}"
        )
    }
}

impl AgentFile {
    fn read(path: &Path) -> Result<Self, Exit> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(why) => {
                return Err(Exit::state(format!("{} cannot be read: {why}.", path.display())));
            }
        };
        toml::from_str(&text).map_err(|why| {
            Exit::usage(format!("{} is not what it should be: {why}", path.display()))
        })
    }
}

/// Where the master is reached: a host and a port, which go into a URL as they stand.
fn master_addr(
    options: &Options,
    env: &Environment,
    file: Option<String>,
) -> Result<Option<String>, Exit> {
    let told = options.master_addr.clone().or_else(|| env.master_addr.clone()).or(file);
    if told.as_deref().is_some_and(|text| !is_host_and_port(text)) {
        return Err(Exit::usage(
            "The master's steady-state address (--master-addr, ENROLL_MASTER_ADDR) is not a host and a port and nothing else, e.g. 10.0.0.1:7481 or [fd00::1]:7481.",
        ));
    }
    Ok(told)
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    // A colon inside an IPv6 address parts no port from it.
    let bare = host.contains(':') && !host.starts_with('[');
    digits && !bare && Host::new(host).is_ok() && port.parse::<u16>().is_ok_and(|port| port != 0)
}

/// A span that is told or stands in the file, and is one.
fn span(name: &str, told: Option<Duration>, file: Option<Secs>) -> Result<Option<Duration>, Exit> {
    let span = told.or_else(|| file.map(|secs| secs.span().unwrap_or_default()));
    if span.is_some_and(|span| span.is_zero()) {
        return Err(Exit::usage(format!(
            "--{name}, or what the configuration says of it, is no time at all; give e.g. 30s."
        )));
    }
    Ok(span)
}

fn metrics_port(options: &Options, env: &Environment, file: Option<u16>) -> Result<u16, Exit> {
    let told = env.metrics_port.as_deref().map(|text| {
        text.parse().map_err(|_| {
            Exit::usage("ENROLL_METRICS_PORT is not a port: a number from 0 to 65535.")
        })
    });
    Ok(options.metrics_port.or(told.transpose()?).or(file).unwrap_or(METRICS_PORT))
}

fn mesh(options: &Options, env: &Environment, file: Option<Mesh>) -> Result<Option<Mesh>, Exit> {
    let told = env.mesh.as_deref().map(|text| {
        Mesh::from_str(text, false)
            .map_err(|_| Exit::usage("ENROLL_MESH is neither none, tailscale nor tailscaled."))
    });
    Ok(options.mesh.or(told.transpose()?).or(file))
}

fn steady_proxy(
    options: &Options,
    env: &Environment,
    file: Option<String>,
    mesh: Option<Mesh>,
) -> Result<Option<SocketAddr>, Exit> {
    let told = options.steady_proxy.clone().or_else(|| env.steady_proxy.clone()).or(file);
    let told = told.or_else(|| (mesh == Some(Mesh::Tailscaled)).then(|| PROXY.to_owned()));
    let read = |text: String| {
        text.parse().map_err(|_| {
            Exit::usage("--steady-proxy is not an address and a port, e.g. 127.0.0.1:1055.")
        })
    };
    told.map(read).transpose()
}

fn transport(env: &Environment) -> Result<Option<Transport>, Exit> {
    let told = env.transport.as_deref().map(|word| Transport::from_str(word, false));
    told.transpose().map_err(|_| Exit::usage("ENROLL_TRANSPORT is neither grpc nor rest."))
}

fn allowed(env: &Environment) -> Result<bool, Exit> {
    match env.allow_plaintext.as_deref() {
        None | Some("0" | "false") => Ok(false),
        Some("1" | "true") => Ok(true),
        Some(_) => Err(Exit::usage("ENROLL_ALLOW_PLAINTEXT is neither 1 nor 0.")),
    }
}

fn address(text: &str) -> Result<SocketAddr, Exit> {
    text.parse().map_err(|_| {
        Exit::usage("--listen is not an address and a port, e.g. 0.0.0.0:9443 or [::]:9443.")
    })
}

fn told_or(told: &[String], file: Vec<String>) -> Vec<String> {
    if told.is_empty() { file } else { told.to_vec() }
}

fn merged(
    mut file: BTreeMap<String, String>,
    told: &[(String, String)],
) -> BTreeMap<String, String> {
    file.extend(told.iter().cloned());
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::args::Cli;
    use clap::Parser as _;

    fn read(args: &[&str], path: &Path) -> Result<Config, Exit> {
        let path = path.to_str().unwrap();
        let cli = [&["enroll-worker", "--config-path", path], args].concat();
        Config::read(&Cli::parse_from(cli).options, &Environment::default())
    }

    #[test]
    fn a_span_is_kept_whole_and_none_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        for told in ["500ms", "5s", "1234567ms"] {
            let args = ["--request-timeout", told, "--heartbeat-interval", told];
            let config = read(&args, &dir.path().join("none")).unwrap();
            std::fs::write(&path, config.to_file()).unwrap();
            let again = read(&[], &path).unwrap();
            let span = Some(crate::span(told).unwrap());
            assert_eq!((again.request_timeout, again.heartbeat_interval), (span, span));
        }
        for flag in ["--request-timeout", "--heartbeat-interval"] {
            assert_eq!(read(&[flag, "0"], &path).unwrap_err().code, 2);
        }
        for text in ["request_timeout_secs = 0", "heartbeat_interval_secs = -0.5"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(&[], &path).unwrap_err().code, 2, "{text}");
        }
        std::fs::write(&path, "request_timeout_secs = 7").unwrap();
        let config = read(&[], &path).unwrap();
        assert_eq!(config.request_timeout, Some(Duration::from_secs(7)));
    }

    #[test]
    fn the_address_of_the_master_is_a_host_and_a_port() {
        for good in ["10.0.0.1:7481", "[fd00::1]:7481", "master:1", "fleet.example:65535"] {
            assert!(is_host_and_port(good), "{good}");
        }
        let bad = ["https://10.0.0.1:7481", "10.0.0.1", "10.0.0.1:0", "fd00::1:7481", "[fd00::1]"];
        for bad in bad.into_iter().chain(["a:+1", "a:1/", "u@a:1", ":1", "", "a:65536", "a b:1"]) {
            assert!(!is_host_and_port(bad), "{bad}");
        }
    }
}
