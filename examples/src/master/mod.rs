//! The reference master, and the command line its operators use.
//!
//! Configuration, wiring and presentation: whatever else a master needs is in the libraries.

mod cli;
mod failure;
mod layers;
mod log;
mod operator;
mod serve;

use std::process::ExitCode;

use cli::Command;
use failure::Failure;

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    crate::arm_failpoint();
    let cli = match layers::parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[tokio::main]
async fn run(cli: cli::Cli) -> Result<(), Failure> {
    let serves = matches!(cli.command, Command::Serve(_));
    log::start(cli.common.log.as_deref(), if serves { "info" } else { "warn" })?;
    match cli.command {
        Command::Serve(args) => serve::serve(&cli.common.data_dir, *args).await,
        Command::Operator(call) => operator::run(&cli.common.data_dir, call).await,
    }
}
