//! How many connections are open, in all and per address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::address::Group;

/// Counts open connections. Holds at most one entry per open connection.
#[derive(Debug)]
pub(super) struct Caps {
    connections: usize,
    per_address: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_group: HashMap<Group, usize>,
}

/// The place of one open connection; dropping it frees the place.
#[derive(Debug)]
pub(super) struct Place {
    caps: Arc<Caps>,
    group: Option<Group>,
}

impl Caps {
    pub(super) fn new(connections: usize, per_address: usize) -> Arc<Self> {
        Arc::new(Self { connections, per_address, open: Mutex::default() })
    }

    /// A place for a connection from `ip`, if there is one. An exempt address counts only in all.
    pub(super) fn admit(self: &Arc<Self>, ip: IpAddr, exempt: bool) -> Option<Place> {
        let group = (!exempt).then(|| Group::of(ip));
        let mut open = self.open();
        if open.all >= self.connections {
            return None;
        }
        if let Some(group) = group {
            let here = open.by_group.get(&group).copied().unwrap_or(0);
            if here >= self.per_address {
                return None;
            }
            open.by_group.insert(group, here + 1);
        }
        open.all += 1;
        Some(Place { caps: Arc::clone(self), group })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Every change below leaves the counts consistent, so a poisoned lock is as good as another.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.caps.open();
        open.all = open.all.saturating_sub(1);
        let Some(group) = self.group else { return };
        match open.by_group.get_mut(&group) {
            Some(here) if *here > 1 => *here -= 1,
            _ => drop(open.by_group.remove(&group)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_place_is_free_again_when_it_is_dropped() {
        let caps = Caps::new(10, 1);
        let place = caps.admit(ip("192.0.2.1"), false);
        assert!(place.is_some());
        assert!(caps.admit(ip("192.0.2.1"), false).is_none());
        assert!(caps.admit(ip("192.0.2.2"), false).is_some());
        drop(place);
        assert!(caps.open().by_group.is_empty(), "an address that left is forgotten");
        assert!(caps.admit(ip("192.0.2.1"), false).is_some());
    }

    #[test]
    fn a_sixty_four_and_a_mapped_address_are_one_address() {
        let caps = Caps::new(10, 1);
        let _v6 = caps.admit(ip("2001:db8:0:1::1"), false).unwrap();
        assert!(caps.admit(ip("2001:db8:0:1:ffff::2"), false).is_none());
        assert!(caps.admit(ip("2001:db8:0:2::1"), false).is_some());
        let _v4 = caps.admit(ip("192.0.2.1"), false).unwrap();
        assert!(caps.admit(ip("::ffff:192.0.2.1"), false).is_none());
    }

    #[test]
    fn the_cap_in_all_holds_for_exempt_addresses_too() {
        let caps = Caps::new(2, 1);
        let _one = caps.admit(ip("192.0.2.1"), true).unwrap();
        let _two = caps.admit(ip("192.0.2.1"), true).unwrap();
        assert!(caps.admit(ip("192.0.2.1"), true).is_none());
        assert!(caps.admit(ip("192.0.2.2"), false).is_none());
    }

    #[test]
    fn a_refused_connection_takes_no_place() {
        let caps = Caps::new(2, 1);
        let _one = caps.admit(ip("192.0.2.1"), false).unwrap();
        for _ in 0..5 {
            assert!(caps.admit(ip("192.0.2.1"), false).is_none());
        }
        assert!(caps.admit(ip("192.0.2.2"), false).is_some());
    }
}
