//! What a user would measure, beside its limit, in one run.

mod bare;
mod client;
mod connected;
mod cpu;
mod enrollments;
mod heartbeats;
mod herd;
mod instructions;
mod issuing;
mod measure;
mod members;
mod pgbench;
mod plan;
mod plot;
mod postgres;
mod process;
mod redemptions;
mod refusals;
mod report;
mod rest;
mod server;
mod streams;
mod tables;
mod tokens;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use plan::{Failure, Part, Plan};

/// Measures what enrolling costs, each figure beside its limit: the same work with nothing around
/// it.
///
/// Both are measured in turn, round by round, so that a machine whose speed drifts moves both; quote
/// the ratios, not the rates. Build with --release, and leave the machine alone meanwhile.
#[derive(Debug, Parser)]
#[command(
    name = "enroll-bench",
    version,
    about,
    long_about,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    helper: Option<Helper>,
    /// Measure this alone; repeat it for more.
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<Part>,
    /// Rounds; each figure is the median of them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Redemptions per round by one caller; many callers make ten times as many.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(64..=1_000_000))]
    redemptions: u32,
    /// Tokens that stand in the table besides.
    #[arg(long, default_value_t = 10_000)]
    tokens: u32,
    /// Machines in the herd; each needs two file descriptors.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    herd: u32,
    /// Nodes that a master at rest knows.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    nodes: u32,
    /// Machines that are connected at once; each needs two file descriptors.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connected: u32,
    /// The directory to measure in; its disk is what is measured.
    #[arg(long, value_name = "DIR")]
    dir: Option<std::path::PathBuf>,
    /// Draws the shares of the limits into this file as well, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<std::path::PathBuf>,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// What else this program does.
#[derive(Debug, Subcommand)]
enum Helper {
    /// Counts the instructions of the hot path without its cryptography, and holds them against the
    /// figures on file.
    ///
    /// Instructions, not seconds: the same on a busy machine. Needs valgrind.
    Instructions(instructions::Args),
    /// Does one of the things whose instructions are counted.
    #[command(hide = true)]
    Repeat(instructions::Repeat),
    /// Serves what is measured.
    #[command(hide = true)]
    Serve(server::ServeArgs),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A table for people.
    #[default]
    Text,
    /// One document for programs.
    Json,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.helper {
        Some(Helper::Serve(args)) => return ended(block_on(server::serve(args))),
        Some(Helper::Instructions(args)) => return ended(instructions::guard(&args)),
        Some(Helper::Repeat(repeat)) => return ended(instructions::repeat(&repeat)),
        None => {}
    }
    let plan = Plan {
        rounds: cli.rounds,
        redemptions: cli.redemptions,
        tokens: cli.tokens,
        herd: cli.herd,
        nodes: cli.nodes,
        connected: cli.connected,
        dir: cli.dir.unwrap_or_else(std::env::temp_dir),
    };
    let parts = if cli.only.is_empty() { Part::value_variants().to_vec() } else { cli.only };
    ended(block_on(run(&plan, &parts, cli.output)).and_then(|sections| {
        match cli.output {
            Output::Text => println!("{}", report::closing(&plan)),
            Output::Json => println!("{}", report::json(&plan, &sections)),
        }
        match cli.plot {
            Some(path) => Ok(std::fs::write(path, plot::svg(&sections))?),
            None => Ok(()),
        }
    }))
}

fn ended(how: Result<(), Failure>) -> ExitCode {
    match how {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("enroll-bench: {why}");
            ExitCode::FAILURE
        }
    }
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

/// Measures each part; what people read is printed as soon as it is there, lest a later part that fails
/// takes it along.
async fn run(
    plan: &Plan,
    parts: &[Part],
    output: Output,
) -> Result<Vec<measure::Section>, Failure> {
    let mut sections = Vec::new();
    for part in parts {
        let section = part.measure(plan).await?;
        if output == Output::Text {
            println!("{}", report::text(&section));
        }
        sections.push(section);
    }
    Ok(sections)
}
