//! Under which hosts this machine is reached, as far as it knows itself.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use enroll_core::model::Host;

/// The address this machine speaks to others from, its name, its other addresses; at least one.
///
/// An address comes first, because machines are told the first, and no name service need know a
/// machine's own name.
pub(super) fn hosts() -> Vec<Host> {
    let name = rustix::system::uname().nodename().to_str().ok().and_then(|n| Host::new(n).ok());
    let addresses = if_addrs::get_if_addrs().unwrap_or_default();
    let others = addresses.into_iter().map(|interface| interface.ip()).filter(|ip| reaches(*ip));
    let mut hosts: Vec<Host> = Vec::new();
    let all = outgoing().map(Host::from).into_iter().chain(name).chain(others.map(Host::from));
    for host in all {
        if hosts.len() < MOST && !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    if hosts.first().is_none_or(|first| first.as_ip().is_none()) {
        // An address of its own, where it has one; a machine without a network reaches itself.
        let place = hosts.iter().position(|host| host.as_ip().is_some());
        let first =
            place.map_or_else(|| IpAddr::from(Ipv4Addr::LOCALHOST).into(), |at| hosts.remove(at));
        hosts.insert(0, first);
    }
    hosts
}

/// The address from which this machine would speak to another network. Nothing is sent: connecting a
/// datagram socket only picks a route.
fn outgoing() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((ELSEWHERE, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| reaches(*ip))
}

/// Whether others can have this address of ours: neither loopback nor bound to one link.
fn reaches(ip: IpAddr) -> bool {
    let of_link = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(ip.is_loopback() || ip.is_unspecified() || of_link)
}

/// An address of nobody's (RFC 5737), for which the default route is taken.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// More names than this make a certificate unwieldy: a host of many containers has an address per
/// bridge.
const MOST: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_knows_an_address_of_its_own_first() {
        let hosts = hosts();
        assert!(hosts[0].as_ip().is_some(), "{hosts:?}");
        assert!(hosts.len() <= MOST + 1);
    }
}
