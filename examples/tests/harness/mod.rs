//! Runs the real binaries for a test: started, awaited, stopped, and heard when something fails.

#![allow(dead_code, unused_imports, reason = "each test uses a part of it")]

mod api;
mod master;

pub(crate) use api::{Answer, Api};
pub(crate) use master::{Home, Master, Said, program, run};

use std::time::{Duration, Instant};

/// How long anything that has to happen may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Looks until there is something; the test fails where it does not come.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}
