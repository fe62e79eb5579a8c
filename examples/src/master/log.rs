//! What the program tells about itself while it runs: on standard error.

use crate::process::{asked_in_environment, log};

use super::failure::Failure;

/// Starts the log. `filter` comes before the variable `RUST_LOG`, and that before `default`.
pub(super) fn start(filter: Option<&str>, default: &str) -> Result<(), Failure> {
    let filter = filter.map(str::to_owned).or_else(asked_in_environment);
    log(filter.as_deref().unwrap_or(default)).map_err(|cause| {
        Failure::usage("the filter of the log cannot be read")
            .because(cause)
            .next("Give a level such as info or debug, or module=level pairs, with --log.")
    })
}
