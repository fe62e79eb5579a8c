//! How many connections are open: of strangers in all and per address, of members in all and for each.
//!
//! Whoever connects is a stranger, and stays one until a request of theirs was authorised by the
//! certificate of the connection. From then on the connection counts as that member's and no more as its
//! address's, so that a fleet behind one address is not held to what one stranger may have. The
//! certificate alone is not enough: one that was revoked still chains, and whoever stole it would take
//! the places of the machine that it was of.

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
    /// Where it came from; `None` for an exempt address.
    group: Option<Group>,
    /// Whose it is; `None` is a stranger's.
    member: Option<NodeName>,
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
        let here = group.and_then(|group| open.by_group.get(&group).copied()).unwrap_or(0);
        if group.is_some() && here >= self.per_address {
            return None;
        }
        open.take(group, None);
        Some(Place { caps: Arc::clone(self), group, member: None })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Every change below leaves the counts consistent, so a poisoned lock is as good as another.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whose it is.
    pub(super) const fn member(&self) -> Option<&NodeName> {
        self.member.as_ref()
    }

    /// Makes it `member`'s; says whether there was a place for that. It stays whose it was where there
    /// was none.
    pub(super) fn give_to(&mut self, member: &NodeName) -> bool {
        let mut open = self.caps.open();
        let here = open.by_member.get(member).copied().unwrap_or(0);
        if open.members >= self.caps.members || here >= self.caps.per_member {
            return false;
        }
        open.give_back(self.group, self.member.as_ref());
        open.take(self.group, Some(member));
        drop(open);
        self.member = Some(member.clone());
        true
    }

    /// Makes it a stranger's again, even where they have as many as they may: it was one when it came.
    pub(super) fn take_back(&mut self) {
        let Some(member) = self.member.take() else { return };
        let mut open = self.caps.open();
        open.give_back(self.group, Some(&member));
        open.take(self.group, None);
    }

    /// Whether more than half of the places of members are taken.
    pub(super) fn is_crowded(&self) -> bool {
        self.caps.open().members > self.caps.members / 2
    }
}

impl Open {
    fn take(&mut self, group: Option<Group>, member: Option<&NodeName>) {
        if let Some(name) = member {
            self.members += 1;
            *self.by_member.entry(name.clone()).or_default() += 1;
            return;
        }
        self.strangers += 1;
        if let Some(group) = group {
            *self.by_group.entry(group).or_default() += 1;
        }
    }

    fn give_back(&mut self, group: Option<Group>, member: Option<&NodeName>) {
        if let Some(name) = member {
            self.members = self.members.saturating_sub(1);
            one_less(&mut self.by_member, name);
            return;
        }
        self.strangers = self.strangers.saturating_sub(1);
        if let Some(group) = group {
            one_less(&mut self.by_group, &group);
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
        self.caps.open().give_back(self.group, self.member.as_ref());
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
    fn who_is_a_member_is_no_stranger_until_it_is_one_again() {
        let caps = caps(1, 1);
        let mut one = caps.admit(ip("192.0.2.1"), false).unwrap();
        assert!(caps.admit(ip("192.0.2.2"), false).is_none());
        assert!(one.give_to(&name("a")));
        let mut other = caps.admit(ip("192.0.2.1"), false).expect("the place is free");
        assert!(other.give_to(&name("b")));
        let stranger = caps.admit(ip("192.0.2.1"), false);
        assert!(stranger.is_some() && caps.admit(ip("192.0.2.1"), false).is_none());
        one.take_back();
        one.take_back();
        drop(stranger);
        assert!(caps.admit(ip("192.0.2.1"), false).is_none(), "it has the place of the stranger");
        drop((one, other));
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
        assert!(first.give_to(&name("a")) && !first.is_crowded());
        assert!(second.give_to(&name("a")) && first.is_crowded());
        assert!(!third.give_to(&name("a")), "it has two");
        assert!(third.give_to(&name("b")));
        let mut fourth = place();
        assert!(!fourth.give_to(&name("c")), "there are three");
        drop(first);
        assert!(fourth.give_to(&name("c")));
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
