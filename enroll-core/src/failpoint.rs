//! Named points at which a test makes the process die, as a power cut would.
//!
//! Without the feature `failpoints` a point compiles to nothing. With it, a binary may `arm` one by
//! its name; the process then aborts there, with no unwinding, no flushing and no destructor. The
//! tables name every step, so that a test can walk them all and a new step cannot be forgotten.

/// Dies here if this point is the armed one.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) const fn hit(_name: &'static str) {}

#[cfg(feature = "failpoints")]
pub(crate) use armed::hit;
#[cfg(feature = "failpoints")]
pub use armed::{UnknownPoint, arm, reached};

/// The four moments of one atomic write of a file.
#[derive(Clone, Copy)]
pub(crate) struct WriteSteps {
    /// The temporary file exists and holds only a part.
    pub(crate) torn: &'static str,
    /// The temporary file is whole and on disk.
    pub(crate) synced: &'static str,
    /// The name points to it; the directory is not on disk yet.
    pub(crate) renamed: &'static str,
    /// The directory is on disk too.
    pub(crate) durable: &'static str,
}

macro_rules! worker_steps {
    (points { $($point:ident = $name:literal;)* } writes { $($write:ident = $prefix:literal;)* }) => {
        $(pub(crate) const $point: &str = $name;)*
        $(pub(crate) const $write: WriteSteps = WriteSteps {
            torn: concat!($prefix, ":torn"),
            synced: concat!($prefix, ":synced"),
            renamed: concat!($prefix, ":renamed"),
            durable: concat!($prefix, ":durable"),
        };)*

        /// Every step of the worker's journal: of a first enrolment, of one that replaces an
        /// identity, of a renewal and of a recovery.
        pub const WORKER_STEPS: &[&str] = &[
            $($name,)*
            $(
                concat!($prefix, ":torn"),
                concat!($prefix, ":synced"),
                concat!($prefix, ":renamed"),
                concat!($prefix, ":durable"),
            )*
        ];
    };
}

worker_steps! {
    points {
        BEFORE_CALL = "call:before";
        AFTER_CALL = "call:after";
        STALE_REMOVED = "stale:removed";
        DIRECTORY_SYNCED = "directory:synced";
        ATTEMPT_UNLINKED = "attempt:unlinked";
        ATTEMPT_REMOVED = "attempt:removed";
    }
    writes {
        ATTEMPT_BEGIN = "attempt-begin";
        ATTEMPT_REFUSED = "attempt-refused";
        ATTEMPT_ANSWER = "attempt-answer";
        AGENT_KEY = "agent.key";
        AGENT_CRT = "agent.crt";
        CA_CRT = "ca.crt";
        API_KEY = "api_key";
        MESH = "mesh.json";
        IDENTITY = "identity.json";
        AGENT_TOML = "agent.toml";
    }
}

/// Credentials are made; nothing is written.
pub(crate) const ISSUED: &str = "master:issued";
/// The redemption is committed; nobody has been told.
pub(crate) const REDEEMED: &str = "master:redeemed";

/// Every step of the master's redemption.
pub const MASTER_STEPS: &[&str] = &[ISSUED, REDEEMED];

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::{Mutex, OnceLock, PoisonError};

    use super::{MASTER_STEPS, WORKER_STEPS};

    static ARMED: OnceLock<&'static str> = OnceLock::new();
    static REACHED: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

    /// A name that stands in neither table.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
    #[error("there is no failpoint of this name")]
    #[non_exhaustive]
    pub struct UnknownPoint;

    /// Makes the process abort when it reaches the point `name`. The first call holds.
    ///
    /// # Errors
    /// [`UnknownPoint`]: a test that arms a point which is never reached would prove nothing.
    pub fn arm(name: &str) -> Result<(), UnknownPoint> {
        let mut known = WORKER_STEPS.iter().chain(MASTER_STEPS);
        let point = known.find(|step| **step == name).ok_or(UnknownPoint)?;
        ARMED.get_or_init(|| point);
        Ok(())
    }

    /// Every point this process has come by, in order: what was done, not only what it came to.
    #[must_use]
    pub fn reached() -> Vec<&'static str> {
        REACHED.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Dies here if this point is the armed one.
    pub(crate) fn hit(name: &'static str) {
        REACHED.lock().unwrap_or_else(PoisonError::into_inner).push(name);
        if ARMED.get().is_some_and(|armed| *armed == name) {
            std::process::abort();
        }
    }
}
