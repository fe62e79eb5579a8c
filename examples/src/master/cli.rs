//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::operator::OperatorCommand;
use super::serve::ServeArgs;

/// Lets new machines become trusted members of a fleet.
#[derive(Debug, Parser)]
#[command(
    name = "enroll-master",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    long_about = LONG_ABOUT,
    after_long_help = AFTER_HELP
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// Where the master keeps its authority, its database and the admin token
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "./enroll-data",
        env = "ENROLL_MASTER_DATA_DIR",
        hide_env_values = true
    )]
    pub(super) data_dir: PathBuf,
    /// A TOML file of settings; its keys are the names of the flags
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "ENROLL_MASTER_CONFIG",
        hide_env_values = true
    )]
    pub(super) config: Option<PathBuf>,
    /// What to log on standard error, e.g. `debug` or `enroll_http=debug,info`; else RUST_LOG
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        env = "ENROLL_MASTER_LOG",
        hide_env_values = true
    )]
    pub(super) log: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "a process has one")]
pub(super) enum Command {
    /// Run a master
    Serve(Box<ServeArgs>),
    #[command(flatten)]
    Operator(OperatorCommand),
}

const LONG_ABOUT: &str = "\
Lets new machines become trusted members of a fleet.

`serve` runs a master; it needs no configuration. Every other command is an operator's: it talks to a \
running master, which it finds through its data directory, or through --operator-url, \
--admin-token-path and --ca-path.";

const AFTER_HELP: &str = "\
Start here:
  enroll-master serve                                  a master, with all it keeps in ./enroll-data
  enroll-master token mint --ttl 10m --max-uses 1      a token for one new machine
  enroll-master node list                              who is a member

Settings:
  A flag counts before an environment variable, and that before the file named with --config. The
  variable of --store is ENROLL_MASTER_STORE. Each variable may be given as ENROLL_MASTER_STORE_FILE
  instead, the name of a file that holds the value; setting both is an error. In the file, the key
  is `store`. A setting that may be repeated is a list there, and parted by commas in a variable.

Exit status:
  0 done, 1 refused or failed, 2 called wrongly, 4 the master is not the one whose authority is
  known, 5 the master cannot be reached";
