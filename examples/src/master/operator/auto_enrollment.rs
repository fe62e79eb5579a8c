//! Enrollment by a shared secret alone.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use enroll_http::wire::{AutoEnrollment, AutoEnrollmentWish, SecretText};
use zeroize::Zeroizing;

use super::super::failure::Failure;
use super::Master;
use super::table::at;
use crate::process;

/// What is done with auto-enrollment.
#[derive(Debug, Subcommand)]
pub(in crate::master) enum AutoEnrollmentCall {
    /// How it stands; never its secret
    #[command(after_help = "Example:\n  enroll-master auto-enrollment show")]
    Show,
    /// Switch it on
    #[command(
        after_help = "Example:\n  openssl rand -hex 32 >secret && enroll-master auto-enrollment enable --secret-path secret"
    )]
    Enable(EnableArgs),
    /// Switch it off; the secret stays known
    #[command(after_help = "Example:\n  enroll-master auto-enrollment disable")]
    Disable,
    /// Put another secret in force
    #[command(
        after_help = "Example:\n  enroll-master auto-enrollment rotate --secret-path new --previous-valid 24h"
    )]
    Rotate(RotateArgs),
}

/// How it is switched on.
#[derive(Debug, Args)]
pub(in crate::master) struct EnableArgs {
    /// A file with the secret, at least 32 characters; `-` is standard input. Needed the first time
    #[arg(long, value_name = "FILE")]
    secret_path: Option<PathBuf>,
    /// Whether a machine with a fresh directory may take the place of what it was before
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    replace: Option<bool>,
    /// A name it may give, `*` for any run of characters; repeatable, an empty one is any name
    #[arg(long = "name-pattern", value_name = "PATTERN")]
    name_patterns: Vec<String>,
}

/// How the secret is replaced.
#[derive(Debug, Args)]
pub(in crate::master) struct RotateArgs {
    /// A file with the new secret, at least 32 characters; `-` is standard input
    #[arg(long, value_name = "FILE")]
    secret_path: PathBuf,
    /// How long the present one is accepted beside it, e.g. 24h [default: not at all]
    #[arg(long, value_name = "SPAN", value_parser = process::span)]
    previous_valid: Option<Duration>,
}

pub(super) async fn run(call: AutoEnrollmentCall, master: &Master) -> Result<(), Failure> {
    let setting = match wish(call)? {
        Some(wish) => master.client.change_auto_enrollment(&wish).await?,
        None => master.client.auto_enrollment().await?,
    };
    master.show(&setting, text)
}

/// What is to change; `None` where nothing is.
fn wish(call: AutoEnrollmentCall) -> Result<Option<AutoEnrollmentWish>, Failure> {
    Ok(match call {
        AutoEnrollmentCall::Show => None,
        AutoEnrollmentCall::Enable(args) => {
            let patterns: Vec<String> =
                args.name_patterns.iter().filter(|pattern| !pattern.is_empty()).cloned().collect();
            Some(AutoEnrollmentWish {
                enabled: Some(true),
                secret: args.secret_path.map(secret).transpose()?,
                replace: args.replace,
                name_patterns: (!args.name_patterns.is_empty()).then_some(patterns),
                ..AutoEnrollmentWish::default()
            })
        }
        AutoEnrollmentCall::Disable => {
            Some(AutoEnrollmentWish { enabled: Some(false), ..AutoEnrollmentWish::default() })
        }
        AutoEnrollmentCall::Rotate(args) => Some(AutoEnrollmentWish {
            secret: Some(secret(args.secret_path)?),
            previous_valid_secs: args.previous_valid.map(|span| span.as_secs()),
            ..AutoEnrollmentWish::default()
        }),
    })
}

fn secret(path: PathBuf) -> Result<SecretText, Failure> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_SECRET as usize + 1));
    let read = if path.as_os_str() == "-" {
        std::io::stdin().take(MAX_SECRET).read_to_string(&mut text)
    } else {
        std::fs::File::open(&path).and_then(|file| file.take(MAX_SECRET).read_to_string(&mut text))
    };
    read.map_err(|cause| {
        Failure::usage(format!("cannot read a secret from {}", path.display())).because(cause)
    })?;
    Ok(SecretText::new(text.trim_end_matches(['\r', '\n'])))
}

fn text(setting: &AutoEnrollment) -> String {
    let patterns = match setting.name_patterns.as_slice() {
        [] => "any".to_owned(),
        patterns => patterns.join(", "),
    };
    format!(
        "Auto-enrollment is {}.\n  secret set at         {}\n  previous valid until  {}\n  \
         replaces identities   {}\n  names                 {patterns}\n",
        if setting.enabled { "on" } else { "off" },
        at(setting.secret_set_at),
        at(setting.previous_valid_until),
        if setting.replace { "yes" } else { "no" },
    )
}

const MAX_SECRET: u64 = 4096;
