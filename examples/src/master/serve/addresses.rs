//! Where the master is reached: what machines, members and operators are told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use enroll_core::model::Host;

use super::args::ServeArgs;
use super::machine;

/// Where the three listeners are bound.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    /// `None` where nobody enrolls any more.
    pub(super) enroll: Option<SocketAddr>,
    pub(super) steady: SocketAddr,
    pub(super) operator: SocketAddr,
}

/// Where the master is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Addresses {
    /// Its own hosts, which no node may be named.
    pub(super) hosts: Vec<Host>,
    /// All that its certificate names: its hosts, and those by which it is reached from itself.
    pub(super) certified: Vec<Host>,
    pub(super) enroll_url: Option<String>,
    pub(super) steady_addr: String,
    pub(super) operator_url: String,
}

impl Addresses {
    /// What follows from what was asked for and what was bound.
    pub(super) fn of(args: &ServeArgs, bound: Bound) -> Self {
        let told = args.advertise.first();
        let advertised =
            if args.advertise.is_empty() { machine::hosts() } else { args.advertise.clone() };
        // Who listens on one address alone is not reached at another, unless they say so.
        let reached = |at: SocketAddr| match told {
            Some(host) => host.clone(),
            None if !at.ip().is_unspecified() => at.ip().into(),
            None => advertised.first().cloned().unwrap_or_else(|| loopback().into()),
        };
        let scheme = if args.allow_plaintext { "http" } else { "https" };
        let enroll = bound.enroll.map(|at| (reached(at), at.port()));
        let (steady, port) = match &args.steady_addr {
            Some(addr) => (addr.host.clone(), addr.port.unwrap_or_else(|| bound.steady.port())),
            None => (reached(bound.steady), bound.steady.port()),
        };
        let operator = Some(bound.operator.ip()).filter(|ip| !ip.is_unspecified());
        let operator = Host::from(operator.unwrap_or_else(loopback));
        let enroll_url =
            enroll.as_ref().map(|(host, port)| format!("{scheme}://{}", authority(host, *port)));
        let operator_url = format!("https://{}", authority(&operator, bound.operator.port()));
        // Every machine has a loopback address: it is the master's alone only where that is said.
        let is_own = |host: &Host| {
            args.advertise.contains(host) || !host.as_ip().is_some_and(|ip| ip.is_loopback())
        };
        let hosts =
            advertised.into_iter().chain(enroll.map(|(host, _)| host)).chain([steady.clone()]);
        let hosts = hosts.filter(is_own);
        let hosts = distinct(hosts.chain(Host::new("localhost")));
        let certified = distinct(hosts.iter().cloned().chain(own(bound)));
        let steady_addr = authority(&steady, port);
        Self { hosts, certified, enroll_url, steady_addr, operator_url }
    }
}

/// The names by which this machine reaches itself.
fn own(bound: Bound) -> impl Iterator<Item = Host> {
    let bound = [bound.enroll, Some(bound.steady), Some(bound.operator)];
    let bound = bound.into_iter().flatten().map(|at| at.ip());
    let loopbacks = [loopback(), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    bound.filter(|ip| !ip.is_unspecified()).chain(loopbacks).map(Host::from)
}

const fn loopback() -> IpAddr {
    IpAddr::V4(Ipv4Addr::LOCALHOST)
}

fn distinct(hosts: impl Iterator<Item = Host>) -> Vec<Host> {
    let mut all = Vec::new();
    for host in hosts {
        if !all.contains(&host) {
            all.push(host);
        }
    }
    all
}

fn authority(host: &Host, port: u16) -> String {
    match host.as_ip() {
        Some(IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: ServeArgs,
    }

    fn addresses(flags: &[&str], bound: [&str; 3]) -> Addresses {
        let line = Line::parse_from([&["serve"], flags].concat());
        let [enroll, steady, operator] = bound.map(|at| at.parse::<SocketAddr>().unwrap());
        Addresses::of(&line.args, Bound { enroll: Some(enroll), steady, operator })
    }

    const ANY: [&str; 3] = ["0.0.0.0:1", "0.0.0.0:2", "127.0.0.1:3"];

    #[test]
    fn the_first_advertised_host_is_told_with_the_real_ports() {
        let told = addresses(&["--advertise", "fleet.example", "--advertise", "fd00::1"], ANY);
        assert_eq!(told.enroll_url.as_deref(), Some("https://fleet.example:1"));
        assert_eq!(told.steady_addr, "fleet.example:2");
        assert_eq!(told.operator_url, "https://127.0.0.1:3");
        let names = ["fleet.example", "fd00::1", "localhost", "127.0.0.1", "::1"];
        assert_eq!(told.certified, names.map(|name| Host::new(name).unwrap()));
        assert_eq!(
            told.hosts,
            names[..3].iter().map(|n| Host::new(n).unwrap()).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_listener_on_one_address_is_reached_there() {
        let told = addresses(&[], ["127.0.0.1:1", "[::1]:2", "0.0.0.0:3"]);
        assert_eq!(told.enroll_url.as_deref(), Some("https://127.0.0.1:1"));
        assert_eq!(told.steady_addr, "[::1]:2");
        assert_eq!(told.operator_url, "https://127.0.0.1:3");
        let loopback = |host: &&Host| host.as_ip().is_some_and(|ip| ip.is_loopback());
        assert_eq!(told.hosts.iter().find(loopback), None, "a node may advertise its own");
        assert!(told.certified.iter().any(|host| loopback(&host)));
    }

    #[test]
    fn the_steady_address_is_what_it_is_said_to_be() {
        let mesh = ["--advertise", "fleet.example", "--steady-addr", "100.64.0.1"];
        let told = addresses(&mesh, ANY);
        assert_eq!(told.steady_addr, "100.64.0.1:2");
        assert!(told.hosts.contains(&Host::new("100.64.0.1").unwrap()), "it is certified");
        let told = addresses(&["--steady-addr", "[fd00::1]:9"], ANY);
        assert_eq!(told.steady_addr, "[fd00::1]:9");
    }

    #[test]
    fn plaintext_shows_in_the_address() {
        let told = addresses(&["--allow-plaintext", "--advertise", "10.0.0.1"], ANY);
        assert_eq!(told.enroll_url.as_deref(), Some("http://10.0.0.1:1"));
        assert_eq!(told.operator_url, "https://127.0.0.1:3");
    }
}
