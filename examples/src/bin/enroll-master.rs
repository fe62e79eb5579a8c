//! The reference master and its operators' command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    enroll_examples::master::main()
}
