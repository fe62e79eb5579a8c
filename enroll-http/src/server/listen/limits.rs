//! What one listener grants to the network.

use std::time::Duration;

/// What one listener grants to all connections together, to one address, and to one connection.
///
/// # Defaults
/// | what | default | because |
/// |---|---|---|
/// | connections of strangers | [`Self::CONNECTIONS`] | memory and file descriptors stay under a bound |
/// | connections per address | [`Self::PER_ADDRESS`] | one address cannot take them all; many workers may share one NAT |
/// | connections of members | [`Self::MEMBERS`] | a fleet is connected all the time, through one address perhaps |
/// | connections per member | [`Self::PER_MEMBER`] | one machine cannot take them all |
/// | new connections worked on at once | [`Self::AT_ONCE`] | a herd that is served together is served late, and takes its memory at once |
/// | TLS handshake | [`Self::HANDSHAKE`] | a slow link needs three round trips, not more |
/// | first request head | [`Self::HEADER`] | a socket that never speaks costs the same as one that works |
/// | whole exchange | [`Self::EXCHANGE`] | from the head of a request to the last byte of its answer |
/// | idle keep-alive | [`Self::IDLE`] | longer than a client's own pool keeps it, so that the client closes first |
/// | that of a member | [`Self::MEMBER_IDLE`] | longer than the time between two heartbeats: a handshake costs as much as ten of them |
/// | drain at shutdown | [`Self::DRAIN`] | a service manager kills after some thirty seconds |
/// | head of a request | [`Self::HEADER_BYTES`] | 431 (RFC 6585 §5) beyond it |
/// | streams per HTTP/2 connection | [`Self::STREAMS`] | a member opens a handful |
///
/// A connection is a member's once a request of it was authorised by its certificate
/// ([`Member`](crate::server::Member), [`Exchange::count_as_member`](super::Exchange::count_as_member)): it
/// counts by the name, and no more by the address. One over those caps stays a stranger's. While more than
/// half of the places of members are taken, a new connection of one is kept idle no longer than a
/// stranger's.
///
/// One `/64` counts as one address in IPv6, and an IPv4-mapped address counts as the IPv4 one.
#[derive(Debug, Clone)]
pub struct Limits {
    pub(super) connections: usize,
    pub(super) per_address: usize,
    pub(super) members: usize,
    pub(super) per_member: usize,
    pub(super) at_once: usize,
    pub(super) handshake: Duration,
    pub(super) header: Duration,
    pub(super) exchange: Duration,
    pub(super) idle: Duration,
    pub(super) member_idle: Duration,
    pub(super) drain: Duration,
    pub(super) header_bytes: usize,
    pub(super) streams: u32,
}

impl Limits {
    /// Open connections of strangers in all.
    pub const CONNECTIONS: usize = 4096;
    /// Open connections of members in all; some 50 KiB each, with a stream open.
    pub const MEMBERS: usize = 65_536;
    /// Open connections of one member.
    pub const PER_MEMBER: usize = 32;
    /// Open connections of strangers from one IPv4 address or one IPv6 `/64`.
    pub const PER_ADDRESS: usize = 512;
    /// New connections that are worked on at once, each from its first byte until it has its first
    /// answer or a stream that is [kept open](super::Exchange::keep_open), or for two seconds.
    pub const AT_ONCE: usize = 512;
    /// Time until the first byte of a connection, and again for the rest of its TLS handshake from the
    /// moment it is its turn.
    pub const HANDSHAKE: Duration = Duration::from_secs(10);
    /// Time for the first head of a request, from the end of the handshake.
    pub const HEADER: Duration = Duration::from_secs(10);
    /// Time from the head of a request to the last byte of its answer.
    pub const EXCHANGE: Duration = Duration::from_secs(60);
    /// Time from the end of one exchange to the head of the next request.
    pub const IDLE: Duration = Duration::from_secs(15);
    /// The same on a connection of a member, while no more than half of their places are taken.
    pub const MEMBER_IDLE: Duration = Duration::from_secs(75);
    /// Time that exchanges in flight are given at shutdown.
    pub const DRAIN: Duration = Duration::from_secs(10);
    /// Bytes of the head of a request: its line and all its fields.
    pub const HEADER_BYTES: usize = 16 * 1024;
    /// Concurrent streams of one HTTP/2 connection.
    pub const STREAMS: u32 = 64;
    /// The least that [`Self::with_header_bytes`] can be set to.
    pub const MIN_HEADER_BYTES: usize = 8 * 1024;

    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            connections: Self::CONNECTIONS,
            per_address: Self::PER_ADDRESS,
            members: Self::MEMBERS,
            per_member: Self::PER_MEMBER,
            at_once: Self::AT_ONCE,
            handshake: Self::HANDSHAKE,
            header: Self::HEADER,
            exchange: Self::EXCHANGE,
            idle: Self::IDLE,
            member_idle: Self::MEMBER_IDLE,
            drain: Self::DRAIN,
            header_bytes: Self::HEADER_BYTES,
            streams: Self::STREAMS,
        }
    }

    /// Open connections of strangers in all. One more is closed as soon as it is accepted.
    #[must_use]
    pub const fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Open connections of strangers from one IPv4 address or one IPv6 `/64`.
    #[must_use]
    pub const fn with_per_address(mut self, per_address: usize) -> Self {
        self.per_address = per_address;
        self
    }

    /// Open connections of members in all. One more counts as a stranger's.
    #[must_use]
    pub const fn with_members(mut self, connections: usize) -> Self {
        self.members = connections;
        self
    }

    /// Open connections of one member. One more counts as a stranger's.
    #[must_use]
    pub const fn with_per_member(mut self, connections: usize) -> Self {
        self.per_member = connections;
        self
    }

    /// New connections that are worked on at once, at least one. The others wait for their turn.
    #[must_use]
    pub const fn with_at_once(mut self, connections: usize) -> Self {
        self.at_once = connections;
        self
    }

    /// Time for the TLS handshake.
    #[must_use]
    pub const fn with_handshake(mut self, handshake: Duration) -> Self {
        self.handshake = handshake;
        self
    }

    /// Time for the first head of a request.
    #[must_use]
    pub const fn with_header(mut self, header: Duration) -> Self {
        self.header = header;
        self
    }

    /// Time from the head of a request to the last byte of its answer.
    ///
    /// An exchange that [`Exchange::keep_open`](super::Exchange::keep_open) was called for is exempt.
    #[must_use]
    pub const fn with_exchange(mut self, exchange: Duration) -> Self {
        self.exchange = exchange;
        self
    }

    /// Time from the end of one exchange to the head of the next request.
    #[must_use]
    pub const fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// The same on a connection of a member, while no more than half of their places are taken.
    #[must_use]
    pub const fn with_member_idle(mut self, idle: Duration) -> Self {
        self.member_idle = idle;
        self
    }

    /// Time that exchanges in flight are given at shutdown.
    #[must_use]
    pub const fn with_drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Bytes of the head of a request, at least [`Self::MIN_HEADER_BYTES`].
    #[must_use]
    pub const fn with_header_bytes(mut self, bytes: usize) -> Self {
        self.header_bytes =
            if bytes < Self::MIN_HEADER_BYTES { Self::MIN_HEADER_BYTES } else { bytes };
        self
    }

    /// Concurrent streams of one HTTP/2 connection.
    #[must_use]
    pub const fn with_streams(mut self, streams: u32) -> Self {
        self.streams = streams;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use enroll_core::master::MasterConfig;

    use crate::tls::HttpOptions;

    #[test]
    fn a_member_reports_over_the_connection_that_it_reported_over_before() {
        assert!(MasterConfig::HEARTBEAT_INTERVAL < HttpOptions::MEMBER_IDLE);
        assert!(HttpOptions::MEMBER_IDLE < Limits::MEMBER_IDLE, "the client closes first");
        assert!(HttpOptions::IDLE < Limits::IDLE, "the client closes first");
    }
}
