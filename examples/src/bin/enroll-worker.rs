//! The reference worker: makes this machine a member of a fleet and keeps it one.

use std::process::ExitCode;

fn main() -> ExitCode {
    enroll_examples::worker::main()
}
