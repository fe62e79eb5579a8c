//! A guard over what the hot path costs, in instructions: the same however busy the machine is.
//!
//! Each case is repeated a few and many times under callgrind; the difference, divided by how many
//! more there were, is free of everything that happens once. The figures on file are those of one
//! compiler and one profile; of others they are printed and not compared.
//!
//! On file is a debug build: the checks of a change have one anyway, where an optimised one would take
//! them many more minutes, and what is done twice, copied or parsed again shows in either.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::ValueEnum;
use enroll_core::issue::ApiKeyIssuer;
use enroll_core::master::{Enroller, Verdict};
use enroll_core::model::{Origin, TokenPrefix};
use enroll_core::store::MemoryStore;
use enroll_core::testing::{CountingEntropy, FixedClock, Fixtures, TestToken};
use enroll_http::wire::{EnrollAnswer, EnrollBody};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::plan::Failure;
use crate::redemptions;
use crate::tokens;

/// How the guard is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write what was counted to the file instead of comparing.
    #[arg(long)]
    accept: bool,
    /// The figures on file.
    #[arg(long, value_name = "FILE", default_value = "benches/instructions.toml")]
    file: PathBuf,
}

/// One case, so many times.
#[derive(Debug, clap::Args)]
pub(crate) struct Repeat {
    #[arg(value_enum)]
    case: Case,
    times: u32,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Case {
    /// Bytes to answer with a store in memory and an API key: decode, decide, redeem, render.
    Enroll,
    /// A redemption through the SQLite store.
    Redeem,
    /// A token that is not known: decode, look up, refuse.
    Refuse,
}

/// How much more or less passes.
const TOLERANCE: f64 = 0.03;
const FEW: u32 = 50;
pub(crate) const MANY: u32 = 300;

/// The figures on file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Known {
    #[serde(default)]
    rustc: String,
    #[serde(default)]
    profile: String,
    #[serde(default)]
    instructions: BTreeMap<String, u64>,
}

/// Counts every case and compares it with what is on file.
pub(crate) fn guard(args: &Args) -> Result<(), Failure> {
    let text = std::fs::read_to_string(&args.file)
        .map_err(|why| format!("{}: {why}", args.file.display()))?;
    let known: Known = toml::from_str(&text)?;
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned();
    let now = Known { rustc: rustc()?, profile, instructions: counted()? };
    if args.accept {
        let comment: String =
            text.lines().filter(|l| l.starts_with('#')).map(|l| format!("{l}\n")).collect();
        std::fs::write(&args.file, format!("{comment}\n{}", toml::to_string(&now)?))?;
    }
    let comparable = known.rustc == now.rustc && known.profile == now.profile;
    let mut worse = Vec::new();
    for (case, count) in &now.instructions {
        let Some(before) = known.instructions.get(case) else {
            println!("{case:8} {count:>9} instructions, none on file");
            worse.push(case.as_str());
            continue;
        };
        let change = *count as f64 / *before as f64 - 1.0;
        println!("{case:8} {count:>9} instructions, {before:>9} on file, {:+.1} %", change * 100.0);
        if change.abs() > TOLERANCE {
            worse.push(case.as_str());
        }
    }
    if args.accept {
        println!("written to {}", args.file.display());
    } else if !comparable {
        println!(
            "NOT COMPARED: the figures are those of a {} build by {}, this is a {} build by {}",
            known.profile, known.rustc, now.profile, now.rustc
        );
    } else if !worse.is_empty() {
        return Err(format!(
            "more than {} % off: {}. If that is meant: enroll-bench instructions --accept",
            TOLERANCE * 100.0,
            worse.join(", "),
        )
        .into());
    }
    Ok(())
}

fn rustc() -> Result<String, Failure> {
    let said = Command::new("rustc").arg("--version").output()?;
    Ok(String::from_utf8(said.stdout)?.trim().to_owned())
}

fn counted() -> Result<BTreeMap<String, u64>, Failure> {
    let one = |case: &Case| {
        let word = case.to_possible_value().ok_or("a case without a name")?.get_name().to_owned();
        let (few, many) = (callgrind(&word, FEW)?, callgrind(&word, MANY)?);
        Ok((word, many.saturating_sub(few) / u64::from(MANY - FEW)))
    };
    Case::value_variants().iter().map(one).collect()
}

/// All instructions of a run of this program that does `case` so many times.
fn callgrind(case: &str, times: u32) -> Result<u64, Failure> {
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["repeat", case, &times.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|why| format!("valgrind does not start: {why}"))?;
    let said = String::from_utf8_lossy(&ran.stderr);
    let total = said.lines().find_map(|line| line.split_once("Collected : "));
    match total {
        Some((_, count)) if ran.status.success() => Ok(count.trim().parse()?),
        _ => Err(format!("valgrind counted nothing: {said}").into()),
    }
}

/// Does one case so many times, on one thread.
pub(crate) fn repeat(repeat: &Repeat) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match repeat.case {
            Case::Enroll => enroll(repeat.times, true).await,
            Case::Refuse => enroll(repeat.times, false).await,
            Case::Redeem => redemptions::repeat(repeat.times).await,
        }
    })
}

async fn enroll(times: u32, known: bool) -> Result<(), Failure> {
    let (fixtures, store) = (Fixtures::new(), MemoryStore::new());
    // As many tokens however many are used, so that the table is the same.
    let made = tokens::make(&fixtures, Fixtures::START, MANY);
    if known {
        tokens::keep(&fixtures, &made, &store).await?;
    }
    let issuer = ApiKeyIssuer::new(TokenPrefix::default());
    let enroller =
        Enroller::with_issuers(std::sync::Arc::new(store), vec![std::sync::Arc::new(issuer)])
            .with_clock(std::sync::Arc::new(FixedClock::at(Fixtures::at(60))))
            .with_entropy(std::sync::Arc::new(CountingEntropy::new()));
    let bodies: Vec<Vec<u8>> = made.iter().map(body).collect();
    for body in bodies.iter().take(times as usize) {
        let body: EnrollBody = serde_json::from_slice(body)?;
        let Ok(request) = body.into_request() else { return Err("not a request".into()) };
        let rendered = match enroller.enroll(request, Origin::default()).await? {
            Verdict::Admitted(admission) if known => {
                let now = enroller.clock().now();
                serde_json::to_vec(&EnrollAnswer::of(&admission, enroller.config(), now))?
            }
            Verdict::Refused(rejection) if !known => {
                serde_json::to_vec(&enroll_http::wire::Problem::from(rejection))?
            }
            other => return Err(format!("not the verdict that is counted: {other:?}").into()),
        };
        std::hint::black_box(rendered);
    }
    Ok(())
}

fn body(token: &TestToken) -> Vec<u8> {
    let body = json!({
        "token": token.token.expose(),
        "node_name": tokens::name(token),
        "attempt_key": "AAECAwQFBgcICQoLDA0ODw",
        "facts": { "arch": "x86_64", "os": "linux", "hostname": "bench", "version": "1" },
    });
    body.to_string().into_bytes()
}
