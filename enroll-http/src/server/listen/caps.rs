//! How many connections are open: of strangers in all and per address, of members in all and for each.
//!
//! Whoever connects is a stranger, and stays one until the handshake proved a member's certificate. From
//! then on the connection counts as that member's and no more as its address's, so that a fleet behind
//! one address is not held to what one stranger may have.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use enroll_core::model::NodeName;

use super::super::address::Group;
use super::Limits;

/// Counts open connections. Holds at most one entry per open connection.
#[derive(Debug)]
pub(super) struct Caps {
    connections: usize,
    per_address: usize,
    members: usize,
    per_member: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    strangers: usize,
    by_group: HashMap<Group, usize>,
    members: usize,
    by_member: HashMap<NodeName, usize>,
}

/// The place of one open connection; dropping it frees the place.
#[derive(Debug)]
pub(super) struct Place {
    caps: Arc<Caps>,
    holder: Holder,
}

/// Whom a place counts for.
#[derive(Debug)]
enum Holder {
    Stranger(Option<Group>),
    Member(NodeName),
}

impl Caps {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        let &Limits { connections, per_address, members, per_member, .. } = limits;
        Arc::new(Self { connections, per_address, members, per_member, open: Mutex::default() })
    }

    /// A place for a connection from `ip`, if there is one. An exempt address counts only in all.
    pub(super) fn admit(self: &Arc<Self>, ip: IpAddr, exempt: bool) -> Option<Place> {
        let group = (!exempt).then(|| Group::of(ip));
        let mut open = self.open();
        if open.strangers >= self.connections {
            return None;
        }
        if let Some(group) = group {
            let here = open.by_group.get(&group).copied().unwrap_or(0);
            if here >= self.per_address {
                return None;
            }
            open.by_group.insert(group, here + 1);
        }
        open.strangers += 1;
        Some(Place { caps: Arc::clone(self), holder: Holder::Stranger(group) })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Every change below leaves the counts consistent, so a poisoned lock is as good as another.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Makes it `member`'s, who proved to be it; says whether there was a place for that. It stays a
    /// stranger's where there was none.
    pub(super) fn prove(&mut self, member: &NodeName) -> bool {
        let mut open = self.caps.open();
        let here = open.by_member.get(member).copied().unwrap_or(0);
        if open.members >= self.caps.members || here >= self.caps.per_member {
            return false;
        }
        open.give_back(&self.holder);
        open.members += 1;
        open.by_member.insert(member.clone(), here + 1);
        drop(open);
        self.holder = Holder::Member(member.clone());
        true
    }

    /// Whether more than half of the places of members are taken.
    pub(super) fn is_crowded(&self) -> bool {
        self.caps.open().members > self.caps.members / 2
    }
}

impl Open {
    fn give_back(&mut self, holder: &Holder) {
        match holder {
            Holder::Stranger(group) => {
                self.strangers = self.strangers.saturating_sub(1);
                group.iter().for_each(|group| one_less(&mut self.by_group, group));
            }
            Holder::Member(name) => {
                self.members = self.members.saturating_sub(1);
                one_less(&mut self.by_member, name);
            }
        }
    }
}

fn one_less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    match counts.get_mut(key) {
        Some(here) if *here > 1 => *here -= 1,
        _ => drop(counts.remove(key)),
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.caps.open().give_back(&self.holder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn caps(connections: usize, per_address: usize) -> Arc<Caps> {
        Caps::new(&Limits::new().with_connections(connections).with_per_address(per_address))
    }

    fn name(text: &str) -> NodeName {
        NodeName::new(text).unwrap()
    }

    #[test]
    fn who_proves_to_be_a_member_is_no_stranger_any_more() {
        let caps = caps(1, 1);
        let mut one = caps.admit(ip("192.0.2.1"), false).unwrap();
        assert!(caps.admit(ip("192.0.2.2"), false).is_none());
        assert!(one.prove(&name("a")));
        let mut other = caps.admit(ip("192.0.2.1"), false).expect("the place is free");
        assert!(other.prove(&name("b")));
        let stranger = caps.admit(ip("192.0.2.1"), false);
        assert!(stranger.is_some() && caps.admit(ip("192.0.2.1"), false).is_none());
        drop((one, other, stranger));
        let open = caps.open();
        assert_eq!((open.strangers, open.members), (0, 0));
        assert!(open.by_group.is_empty() && open.by_member.is_empty(), "who left is forgotten");
    }

    #[test]
    fn one_member_has_so_many_places_and_all_have_so_many() {
        let limits = Limits::new().with_members(3).with_per_member(2);
        let caps = Caps::new(&limits);
        let place = || caps.admit(ip("192.0.2.1"), false).unwrap();
        let [mut first, mut second, mut third] = [place(), place(), place()];
        assert!(first.prove(&name("a")) && !first.is_crowded());
        assert!(second.prove(&name("a")) && first.is_crowded());
        assert!(!third.prove(&name("a")), "it has two");
        assert!(third.prove(&name("b")));
        let mut fourth = place();
        assert!(!fourth.prove(&name("c")), "there are three");
        drop(first);
        assert!(fourth.prove(&name("c")));
    }

    #[test]
    fn a_place_is_free_again_when_it_is_dropped() {
        let caps = caps(10, 1);
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
        let caps = caps(10, 1);
        let _v6 = caps.admit(ip("2001:db8:0:1::1"), false).unwrap();
        assert!(caps.admit(ip("2001:db8:0:1:ffff::2"), false).is_none());
        assert!(caps.admit(ip("2001:db8:0:2::1"), false).is_some());
        let _v4 = caps.admit(ip("192.0.2.1"), false).unwrap();
        assert!(caps.admit(ip("::ffff:192.0.2.1"), false).is_none());
    }

    #[test]
    fn the_cap_in_all_holds_for_exempt_addresses_too() {
        let caps = caps(2, 1);
        let _one = caps.admit(ip("192.0.2.1"), true).unwrap();
        let _two = caps.admit(ip("192.0.2.1"), true).unwrap();
        assert!(caps.admit(ip("192.0.2.1"), true).is_none());
        assert!(caps.admit(ip("192.0.2.2"), false).is_none());
    }

    #[test]
    fn a_refused_connection_takes_no_place() {
        let caps = caps(2, 1);
        let _one = caps.admit(ip("192.0.2.1"), false).unwrap();
        for _ in 0..5 {
            assert!(caps.admit(ip("192.0.2.1"), false).is_none());
        }
        assert!(caps.admit(ip("192.0.2.2"), false).is_some());
    }
}
