//! Shows on this machine how a new machine becomes a trusted member of a fleet.

use std::process::ExitCode;

fn main() -> ExitCode {
    enroll_examples::demo::main()
}
