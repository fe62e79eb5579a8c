//! What a user would measure, beside its limit, in one run.

mod bare;
mod measure;
mod redemptions;
mod report;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

/// Measures durable redemptions per second through the SQLite store, beside the same statements run
/// bare in one transaction per as many: the limit.
///
/// Both are measured in turn, round by round, so that a machine whose speed drifts moves both; quote
/// the ratio, not the rates. Build with --release.
#[derive(Debug, Parser)]
#[command(name = "enroll-bench", version, about, long_about)]
struct Cli {
    /// Rounds; each figure is the median of them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Redemptions per round by one caller; 64 callers make ten times as many.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(64..=1_000_000))]
    redemptions: u32,
    /// Tokens that stand in the table besides.
    #[arg(long, default_value_t = 10_000)]
    tokens: u32,
    /// The directory to measure in; its disk is what is measured.
    #[arg(long, value_name = "DIR")]
    dir: Option<std::path::PathBuf>,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
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
    let plan = redemptions::Plan {
        rounds: cli.rounds,
        redemptions: cli.redemptions,
        tokens: cli.tokens,
        dir: cli.dir.unwrap_or_else(std::env::temp_dir),
    };
    let figures = match redemptions::run(&plan) {
        Ok(figures) => figures,
        Err(why) => {
            eprintln!("enroll-bench: {why}");
            return ExitCode::FAILURE;
        }
    };
    match cli.output {
        Output::Text => println!("{}", report::table(&plan, &figures)),
        Output::Json => println!("{}", report::json(&plan, &figures)),
    }
    ExitCode::SUCCESS
}
