//! Time as a capability: read once per request, never from the environment behind one's back.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// An instant, in whole milliseconds since the Unix epoch.
///
/// Serialised as that integer in stores and state files; on the wire it is RFC 3339
/// ([`Timestamp::to_rfc3339`]).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// A text that is no RFC 3339 instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 date and time")]
#[non_exhaustive]
pub struct TimestampError;

impl Timestamp {
    /// The instant `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_unix_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The instant `secs` seconds after the Unix epoch; saturates at the ends of the range.
    #[must_use]
    pub const fn from_unix_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn unix_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn unix_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The instant `span` later; saturates.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// The instant `span` earlier; saturates.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The instant as RFC 3339 in UTC, e.g. `2026-11-20T18:00:00Z`.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        let nanos = i128::from(self.0).saturating_mul(1_000_000);
        let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok();
        // A value outside the years that RFC 3339 can show (0 to 9999) is shown as their end.
        let end = if self.0 < 0 { FIRST } else { LAST };
        at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| end.to_owned())
    }

    /// Reads RFC 3339.
    ///
    /// # Errors
    /// [`TimestampError`] when `text` is anything else.
    pub fn parse_rfc3339(text: &str) -> Result<Self, TimestampError> {
        let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| TimestampError)?;
        i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000))
            .map(Self)
            .map_err(|_| TimestampError)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

const FIRST: &str = "0000-01-01T00:00:00Z";
const LAST: &str = "9999-12-31T23:59:59Z";

/// Where the time comes from. A master reads it once per request and hands it on.
#[cfg_attr(feature = "mock", mockall::automock)]
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct SystemClock;

impl SystemClock {
    /// The operating system's clock.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        // A clock before 1970 is a broken clock; the epoch makes every certificate "not yet valid",
        // which is what its operator has to be told.
        Timestamp(since.map_or(0, millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_round_trips() {
        let at = Timestamp::parse_rfc3339("2026-11-20T18:00:00.250Z").unwrap();
        assert_eq!(at.to_rfc3339(), "2026-11-20T18:00:00.25Z");
        assert_eq!(Timestamp::parse_rfc3339(&at.to_rfc3339()), Ok(at));
    }

    #[test]
    fn whatever_is_written_can_be_read_again() {
        let year = 366 * 24 * 60 * 60 * 1000_i64;
        let zero = Timestamp::parse_rfc3339(FIRST).unwrap().unix_millis();
        let last = Timestamp::parse_rfc3339(LAST).unwrap().unix_millis();
        for millis in
            [i64::MIN, -20_000 * year, zero - year, zero - 1, zero, -1, 0, last, last + 1000]
        {
            let text = Timestamp::from_unix_millis(millis).to_rfc3339();
            let read = Timestamp::parse_rfc3339(&text).unwrap().unix_millis();
            assert_eq!(read, millis.clamp(zero, last), "{millis}: {text}");
        }
    }

    #[test]
    fn extremes_neither_panic_nor_wrap() {
        let end = Timestamp::from_unix_millis(i64::MAX);
        assert_eq!(end.after(Duration::MAX), end);
        assert_eq!(end.to_rfc3339(), "9999-12-31T23:59:59Z");
        let start = Timestamp::from_unix_millis(i64::MIN);
        assert_eq!(start.before(Duration::MAX), start);
        assert_eq!(start.since(end), Duration::ZERO);
        assert_eq!(start.to_rfc3339(), FIRST);
    }
}
