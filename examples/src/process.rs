//! What every process here needs: a log, a way to be stopped, spans of time on a command line.

use std::time::Duration;

use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Writes the log to standard error, as `RUST_LOG` says, else warnings and what matters.
pub fn log_to_stderr() {
    if log(asked_in_environment().as_deref().unwrap_or("info")).is_err() {
        let _readable = log("info");
    }
}

/// What `RUST_LOG` says, if it says anything.
pub(crate) fn asked_in_environment() -> Option<String> {
    std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty())
}

/// Writes the log to standard error: of each module as much as `filter` says, a level or pairs of
/// module and level.
///
/// # Errors
/// The filter cannot be read.
pub(crate) fn log(filter: &str) -> Result<(), ParseError> {
    // Levels by module alone: what else a filter could say takes two engines of regular expressions.
    let filter: Targets = filter.parse()?;
    let written = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .finish()
        .with(filter);
    // Only a second call could fail, and then the first one's log stands.
    let _first = written.try_init();
    Ok(())
}

/// Lets a test make this process die at the point that `ENROLL_FAILPOINT` names. There is no such
/// thing without the feature `failpoints`.
///
/// # Panics
/// When there is no point of that name: a test that never dies would prove nothing.
#[cfg(feature = "failpoints")]
pub fn arm_failpoint() {
    if let Ok(point) = std::env::var("ENROLL_FAILPOINT") {
        enroll_core::failpoint::arm(&point).expect("ENROLL_FAILPOINT names a point of the tables");
    }
}

/// Lets this process open as many files as it may: a connection is one, and what a shell grants by
/// default is a thousand.
pub(crate) fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(cause) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%cause, ?current, "the limit of open files cannot be raised");
    }
}

/// Resolves when the process is asked to end, by SIGTERM or SIGINT.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without handlers the signals end the process by themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// Reads a span of time: a number and one of `ms`, `s`, `m`, `h`, `d`; a bare number is seconds.
///
/// # Errors
/// A sentence for the command line.
pub fn span(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 =
        number.parse().map_err(|_| "expected a span such as 90s, 10m, 24h".to_owned())?;
    let millis = match unit {
        "ms" => Some(1),
        "" | "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    millis
        .and_then(|unit| number.checked_mul(unit))
        .map(Duration::from_millis)
        .ok_or_else(|| "expected a span such as 90s, 10m, 24h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_may_be_open_as_the_system_grants() {
        raise_descriptors();
        let granted = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        assert_eq!(granted.current, granted.maximum);
    }

    #[test]
    fn spans_are_read_with_their_units() {
        assert_eq!(span("90"), Ok(Duration::from_secs(90)));
        assert_eq!(span("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(span("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(span("24h"), Ok(Duration::from_secs(86_400)));
        for bad in ["", "m", "1w", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615d"]
        {
            assert!(span(bad).is_err(), "{bad}");
        }
    }
}
