//! What `serve` can be told.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, ValueEnum};
use enroll_core::model::{Host, TrustDomain};
use enroll_http::server::Proxies;

use super::headscale::HeadscaleArgs;
use super::portainer::PortainerArgs;
use super::store_url::StoreUrl;

/// Run a master
///
/// Needs no configuration: what is missing under --data-dir is made there.
#[derive(Debug, Args)]
#[command(max_term_width = 100, after_long_help = EXAMPLES)]
pub(in crate::master) struct ServeArgs {
    /// Where tokens, nodes and identities are kept: `sqlite:<file>`, or
    /// `postgres://user@host:port/database` for many masters. A password belongs into the file that
    /// ENROLL_MASTER_STORE_FILE names, because every user of this machine can read a command line
    /// [default: sqlite:<data-dir>/enroll.db]
    #[arg(
        long,
        value_name = "URL",
        env = "ENROLL_MASTER_STORE",
        hide_env_values = true,
        hide_default_value = true
    )]
    pub(super) store: Option<StoreUrl>,
    /// A file with the roots, PEM, that the certificate of a PostgreSQL server on another host has to
    /// chain to
    #[arg(long, value_name = "FILE", env = "ENROLL_MASTER_STORE_CA_PATH", hide_env_values = true)]
    pub(super) store_ca_path: Option<PathBuf>,
    /// Where new machines enroll; port 0 picks one, `none` lets nobody in any more
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = "0.0.0.0:7480",
        env = "ENROLL_MASTER_ENROLL_LISTEN",
        hide_env_values = true
    )]
    pub(super) enroll_listen: String,
    /// Enroll over http: only where the network itself is protected
    #[arg(
        long,
        action = ArgAction::SetTrue,
        value_parser = BoolishValueParser::new(),
        env = "ENROLL_MASTER_ALLOW_PLAINTEXT",
        hide_env_values = true
    )]
    pub(super) allow_plaintext: bool,
    /// Where members report; port 0 picks one
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = "0.0.0.0:7481",
        env = "ENROLL_MASTER_STEADY_LISTEN",
        hide_env_values = true
    )]
    pub(super) steady_listen: String,
    /// The address members are told to report to, e.g. the one in a mesh
    /// [default: the first of --advertise, with the port of --steady-listen]
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "ENROLL_MASTER_STEADY_ADDR",
        hide_env_values = true
    )]
    pub(super) steady_addr: Option<SteadyAddr>,
    /// Where operators call; port 0 picks one
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:7482",
        env = "ENROLL_MASTER_OPERATOR_LISTEN",
        hide_env_values = true
    )]
    pub(super) operator_listen: String,
    /// A host this master is reached at; repeatable, the first is the one machines are told
    /// [default: where it listens; this machine's addresses and its name, where that is everywhere]
    #[arg(
        long,
        value_name = "HOST",
        value_delimiter = ',',
        env = "ENROLL_MASTER_ADVERTISE",
        hide_env_values = true
    )]
    pub(super) advertise: Vec<Host>,
    /// What a new member gets; repeatable
    #[arg(
        long,
        value_name = "KIND",
        value_delimiter = ',',
        default_value = "x509",
        env = "ENROLL_MASTER_ISSUE",
        hide_env_values = true
    )]
    pub(super) issue: Vec<Issue>,
    /// A file with the cluster secret, wanted beside every token; a second line is accepted too
    #[arg(
        long,
        value_name = "FILE",
        env = "ENROLL_MASTER_CLUSTER_SECRET_PATH",
        hide_env_values = true
    )]
    pub(super) cluster_secret_path: Option<PathBuf>,
    /// Attempts to enroll that one address may make; 0 switches the limit off
    #[arg(
        long,
        value_name = "N",
        default_value_t = 10,
        env = "ENROLL_MASTER_ATTEMPTS_PER_MINUTE",
        hide_env_values = true
    )]
    pub(super) attempts_per_minute: u32,
    /// A proxy whose X-Forwarded-For is believed; repeatable
    #[arg(
        long,
        value_name = "CIDR",
        value_delimiter = ',',
        env = "ENROLL_MASTER_TRUSTED_PROXY",
        hide_env_values = true
    )]
    pub(super) trusted_proxy: Vec<Proxies>,
    /// Without a heartbeat for so long, a member is degraded
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "90",
        value_parser = seconds,
        env = "ENROLL_MASTER_STALE_THRESHOLD_SECS",
        hide_env_values = true
    )]
    pub(super) stale_threshold_secs: Duration,
    /// How often a member is to report
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "30",
        value_parser = seconds,
        env = "ENROLL_MASTER_HEARTBEAT_INTERVAL_SECS",
        hide_env_values = true
    )]
    pub(super) heartbeat_interval_secs: Duration,
    /// How long a member's certificate is valid
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "2592000",
        value_parser = seconds,
        env = "ENROLL_MASTER_LEAF_LIFETIME_SECS",
        hide_env_values = true
    )]
    pub(super) leaf_lifetime_secs: Duration,
    /// Who brings a member under full control
    #[arg(
        long,
        value_name = "WHO",
        default_value = "none",
        env = "ENROLL_MASTER_FUSER",
        hide_env_values = true
    )]
    pub(super) fuser: FuserKind,
    /// How long an attempt to fuse may take
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "300",
        value_parser = seconds,
        env = "ENROLL_MASTER_FUSE_DEADLINE_SECS",
        hide_env_values = true
    )]
    pub(super) fuse_deadline_secs: Duration,
    #[command(flatten)]
    pub(super) portainer: PortainerArgs,
    /// The name of the fleet, fixed with its authority [default: enroll.internal]
    #[arg(long, value_name = "NAME", env = "ENROLL_MASTER_TRUST_DOMAIN", hide_env_values = true)]
    pub(super) trust_domain: Option<TrustDomain>,
    #[command(flatten)]
    pub(super) headscale: HeadscaleArgs,
}

/// What a new member gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Issue {
    /// A certificate
    #[value(name = "x509")]
    X509,
    /// A bearer key
    #[value(name = "api_key", alias = "api-key")]
    ApiKey,
    /// A mesh pre-auth key
    #[value(name = "headscale")]
    Headscale,
}

/// Who brings a member under full control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FuserKind {
    /// Nobody
    None,
    /// The worker itself, told by a command of kind `fuse`: for trials and tests
    Builtin,
    /// An Edge agent of Portainer, which the worker rolls out: see --portainer-url
    Portainer,
}

/// A host with a port; without one, or with port 0, the one that is listened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SteadyAddr {
    pub(super) host: Host,
    pub(super) port: Option<u16>,
}

impl FromStr for SteadyAddr {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "an address is HOST or HOST:PORT, an IPv6 address in brackets";
        let (host, port) = match text.rsplit_once(':') {
            // A colon inside an IPv6 address parts no port from it.
            Some((host, _)) if host.contains(':') && !host.ends_with(']') => (text, None),
            Some((_, rest)) if rest.ends_with(']') => (text, None),
            Some((host, port)) => (host, Some(port.parse::<u16>().map_err(|_| wrong)?)),
            None => (text, None),
        };
        let host = Host::new(host).map_err(|_| wrong)?;
        Ok(Self { host, port: port.filter(|port| *port != 0) })
    }
}

/// At least one second, at most ten years.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(seconds) if (1..=MAX_SECONDS).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("a whole number of seconds, 1 to {MAX_SECONDS}")),
    }
}

const MAX_SECONDS: u64 = 315_360_000;

const EXAMPLES: &str = "\
Examples:
  enroll-master serve
  enroll-master serve --advertise fleet.example --issue x509 --issue api_key
  enroll-master serve --fuser portainer --portainer-url https://portainer.example:9443 \\
      --portainer-api-key-path portainer.key
  ENROLL_MASTER_STORE_FILE=store.url enroll-master serve --store-ca-path db-ca.pem
  enroll-master serve --issue x509 --issue headscale --headscale-url https://mesh.example \\
      --headscale-api-key-path hs.key --headscale-user fleet --steady-addr 100.64.0.1:7481
  enroll-master serve --enroll-listen 127.0.0.1:0 --steady-listen 127.0.0.1:0 --operator-listen 127.0.0.1:0

Another master on the same PostgreSQL starts with a copy of ca.key, ca.crt and admin.token in its
--data-dir.

Once it answers, <data-dir>/ready.json says where. SIGTERM lets requests in flight finish, then ends
with status 0.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_address_may_leave_the_port_to_the_listener() {
        let addr =
            |text: &str| text.parse::<SteadyAddr>().ok().map(|a| (a.host.to_string(), a.port));
        assert_eq!(addr("10.0.0.1:7481"), Some(("10.0.0.1".into(), Some(7481))));
        assert_eq!(addr("10.0.0.1"), Some(("10.0.0.1".into(), None)));
        assert_eq!(addr("fleet.example:0"), Some(("fleet.example".into(), None)));
        assert_eq!(addr("[fd00::1]:1"), Some(("fd00::1".into(), Some(1))));
        assert_eq!(addr("[fd00::1]"), Some(("fd00::1".into(), None)));
        assert_eq!(addr("fd00::1"), Some(("fd00::1".into(), None)));
        assert_eq!(addr("fleet.example:x"), None);
        assert_eq!(addr(""), None);
    }

    #[test]
    fn a_time_of_nothing_is_refused() {
        assert_eq!(seconds("1"), Ok(Duration::from_secs(1)));
        assert!(seconds("0").is_err() && seconds("-1").is_err() && seconds("315360001").is_err());
    }
}
