//! Where settings come from: flags, then the environment, then a file.
//!
//! Flags and plain variables are clap's. The value of a variable `…_FILE`, and what the configuration
//! file says, become the default of the flag, so that there is one parser for a value wherever it
//! comes from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, CommandFactory as _, FromArgMatches as _};

use super::cli::Cli;

/// What the command line, the environment and the configuration file say together; otherwise the
/// status to end with, after it was said why.
pub(super) fn parse(argv: Vec<OsString>) -> Result<Cli, ExitCode> {
    let mut command = Cli::command();
    let mut sources = BTreeMap::new();
    // What cannot be read so far is reported by the second reading.
    let first = Cli::command().ignore_errors(true).try_get_matches_from(&argv);
    if let Ok(matches) = first {
        let invoked = Invoked::of(&command, &matches);
        match invoked.defaults(&command, &matches) {
            Ok(found) => {
                for found in found {
                    sources.insert(found.flag.clone(), found.source.clone());
                    command = found.apply(command, &invoked.chain);
                }
            }
            Err(problem) => {
                return Err(end(&command.error(ErrorKind::ValueValidation, problem)));
            }
        }
    }
    let matches = command.try_get_matches_from(&argv);
    matches.and_then(|matches| Cli::from_arg_matches(&matches)).map_err(|error| {
        let code = end(&error);
        if let Some(source) = source_of(&error, &sources, &argv) {
            eprintln!("The value is that of {source}.");
        }
        code
    })
}

/// Prints what clap has to say: help on standard output, errors on standard error.
fn end(error: &clap::Error) -> ExitCode {
    // Nobody is left to be told when the stream is closed.
    drop(error.print());
    if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
}

/// Where the value that an error complains of comes from, unless it is from the command line.
fn source_of(
    error: &clap::Error,
    sources: &BTreeMap<String, String>,
    argv: &[OsString],
) -> Option<String> {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let flag = argument.split([' ', '=', '[']).next()?;
    let given =
        |arg: &OsString| arg.to_str().is_some_and(|arg| arg.split('=').next() == Some(flag));
    if argv.iter().any(given) {
        return None;
    }
    let variable = variable(flag.strip_prefix("--")?);
    match std::env::var_os(&variable) {
        Some(_) => Some(variable),
        None => sources.get(flag).cloned(),
    }
}

/// The command that was called: itself and those it stands in.
struct Invoked {
    chain: Vec<String>,
    settings: Vec<(usize, Arg)>,
}

/// A value for a setting that is neither a flag nor a plain variable.
struct Found {
    depth: usize,
    id: String,
    flag: String,
    values: Vec<String>,
    source: String,
}

impl Invoked {
    fn of(command: &clap::Command, matches: &ArgMatches) -> Self {
        let (mut chain, mut settings) = (Vec::new(), Vec::new());
        let (mut command, mut matches) = (command, matches);
        loop {
            let depth = chain.len();
            settings.extend(own_settings(command).map(|arg| (depth, arg.clone())));
            let Some((name, deeper)) = matches.subcommand() else { break };
            let Some(next) = command.find_subcommand(name) else { break };
            chain.push(name.to_owned());
            (command, matches) = (next, deeper);
        }
        Self { chain, settings }
    }

    fn defaults(
        &self,
        command: &clap::Command,
        matches: &ArgMatches,
    ) -> Result<Vec<Found>, String> {
        let file = match config_path(matches)? {
            Some(path) => Config::read(&path, command)?,
            None => Config::default(),
        };
        let mut found = Vec::new();
        for (depth, arg) in &self.settings {
            let Some(long) = arg.get_long() else { continue };
            if let Some((values, source)) = value_of(long, arg, &file)? {
                let (id, flag) = (arg.get_id().to_string(), format!("--{long}"));
                found.push(Found { depth: *depth, id, flag, values, source });
            }
        }
        Ok(found)
    }
}

impl Found {
    /// Makes the value the default of its flag.
    fn apply(self, command: clap::Command, chain: &[String]) -> clap::Command {
        let path = &chain[..self.depth];
        default_at(command, path, &self.id, self.values)
    }
}

fn default_at(
    command: clap::Command,
    path: &[String],
    id: &str,
    values: Vec<String>,
) -> clap::Command {
    match path {
        [] => command.mut_arg(id, |arg| arg.default_values(values)),
        [next, deeper @ ..] => {
            command.mut_subcommand(next, |command| default_at(command, deeper, id, values))
        }
    }
}

/// The arguments that are settings: those that have a variable.
fn own_settings(command: &clap::Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| arg.get_env().is_some())
}

/// What the environment's `…_FILE`, or else the configuration file, says of a setting.
fn value_of(long: &str, arg: &Arg, file: &Config) -> Result<Option<(Vec<String>, String)>, String> {
    let plain = variable(long);
    let set = std::env::var_os(&plain);
    if set.as_ref().is_some_and(|value| value.is_empty()) {
        return Err(format!("{plain} is set to nothing: give it a value, or unset it"));
    }
    if set.is_some() {
        let by_file = by_file(&plain);
        return match std::env::var_os(&by_file) {
            Some(_) => Err(format!("both {plain} and {by_file} are set: unset one of them")),
            None => Ok(None),
        };
    }
    if let Some((by_file, text)) = named_file(&plain)? {
        return Ok(Some((split(arg, &text), by_file)));
    }
    Ok(file.values(long).map(|values| {
        let values = values.iter().flat_map(|value| split(arg, value)).collect();
        (values, format!("`{}` in {}", key(long), file.path.display()))
    }))
}

fn by_file(plain: &str) -> String {
    format!("{plain}_FILE")
}

/// The name of the variable that names a file, and what the file holds.
fn named_file(plain: &str) -> Result<Option<(String, String)>, String> {
    let name = by_file(plain);
    let Some(path) = std::env::var_os(&name) else { return Ok(None) };
    let shown = PathBuf::from(path);
    let text = read(&shown).map_err(|why| format!("{name} names {}: {why}", shown.display()))?;
    match text.trim() {
        "" => Err(format!("{name} names {}, which is empty", shown.display())),
        text => Ok(Some((name, text.to_owned()))),
    }
}

fn config_path(matches: &ArgMatches) -> Result<Option<PathBuf>, String> {
    if let Some(path) = matches.try_get_one::<PathBuf>("config").ok().flatten() {
        return Ok(Some(path.clone()));
    }
    Ok(named_file("ENROLL_MASTER_CONFIG")?.map(|(_, text)| text.into()))
}

/// The parts of a value that stands in one text.
fn split(arg: &Arg, text: &str) -> Vec<String> {
    match arg.get_action() {
        ArgAction::Append => {
            let parts = text.split([',', '\n']).map(str::trim).filter(|part| !part.is_empty());
            parts.map(str::to_owned).collect()
        }
        _ => vec![text.to_owned()],
    }
}

fn variable(long: &str) -> String {
    format!("ENROLL_MASTER_{}", key(long).to_ascii_uppercase())
}

fn key(long: &str) -> String {
    long.replace('-', "_")
}

/// A file that is a setting or holds one: no larger than any of them has to be.
fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_LEN).read_to_string(&mut text)?;
    Ok(text)
}

/// What the configuration file says.
#[derive(Default)]
struct Config {
    path: PathBuf,
    values: BTreeMap<String, Vec<String>>,
}

impl Config {
    fn read(path: &Path, command: &clap::Command) -> Result<Self, String> {
        let shown = path.display();
        let text = read(path).map_err(|why| format!("the configuration file {shown}: {why}"))?;
        let table: toml::Table = toml::from_str(&text)
            .map_err(|why| format!("the configuration file {shown} is not TOML: {why}"))?;
        let mut values = BTreeMap::new();
        for (name, value) in table {
            let name = key(&name);
            if !is_setting(command, &name) {
                return Err(format!("the configuration file {shown} has no setting `{name}`"));
            }
            let texts = texts(&value).ok_or_else(|| {
                format!("`{name}` in {shown} has to be a text, a number, true or false, or a list")
            })?;
            values.insert(name, texts);
        }
        Ok(Self { path: path.to_owned(), values })
    }

    fn values(&self, long: &str) -> Option<&Vec<String>> {
        self.values.get(&key(long))
    }
}

/// Whether any command has the setting: one file serves them all.
fn is_setting(command: &clap::Command, name: &str) -> bool {
    let own = own_settings(command).any(|arg| arg.get_long().is_some_and(|long| key(long) == name));
    own || command.get_subcommands().any(|command| is_setting(command, name))
}

fn texts(value: &toml::Value) -> Option<Vec<String>> {
    use toml::Value::{Array, Boolean, Float, Integer, String};
    match value {
        String(text) => Some(vec![text.clone()]),
        Integer(number) => Some(vec![number.to_string()]),
        Float(number) => Some(vec![number.to_string()]),
        Boolean(yes) => Some(vec![yes.to_string()]),
        Array(items) => items.iter().map(texts).collect::<Option<Vec<_>>>().map(|all| all.concat()),
        _ => None,
    }
}

const MAX_LEN: u64 = 64 * 1024;
