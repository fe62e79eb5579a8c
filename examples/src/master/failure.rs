//! Why the program ends without having done what it was asked.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// Why the program ends: what happened, why, and what to do next, in one paragraph.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    what: String,
    why: Option<String>,
    next: Option<String>,
}

impl Failure {
    /// The request was refused, or the master could not start.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self::with_code(FAILED, what)
    }

    /// The program was called wrongly.
    pub(super) fn usage(what: impl Into<String>) -> Self {
        Self::with_code(USAGE, what)
    }

    /// Whoever answered is not the master that was meant.
    pub(super) fn untrusted(what: impl Into<String>) -> Self {
        Self::with_code(UNTRUSTED, what)
    }

    /// Nobody answered.
    pub(super) fn unreachable(what: impl Into<String>) -> Self {
        Self::with_code(UNREACHABLE, what)
    }

    fn with_code(code: u8, what: impl Into<String>) -> Self {
        Self { code, what: what.into(), why: None, next: None }
    }

    /// The cause, with all that stands behind it.
    pub(super) fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.why = Some(chain(&*cause.into()));
        self
    }

    /// What to do about it, a sentence.
    pub(super) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Says it on standard error; the status the process ends with.
    pub(super) fn report(&self) -> ExitCode {
        eprintln!("error: {self}");
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what.trim_end_matches('.'))?;
        if let Some(why) = &self.why {
            write!(f, ": {}", why.trim_end_matches('.'))?;
        }
        f.write_str(".")?;
        if let Some(next) = &self.next {
            write!(f, " {next}")?;
        }
        Ok(())
    }
}

/// An error with all that stands behind it.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut deeper = error.source();
    while let Some(error) = deeper {
        let cause = error.to_string();
        // Some libraries repeat the cause in their own text.
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        deeper = error.source();
    }
    text
}

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const UNTRUSTED: u8 = 4;
const UNREACHABLE: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_paragraph_of_what_why_and_next() {
        let failure = Failure::new("cannot listen on 127.0.0.1:1")
            .because(std::io::Error::other("permission denied"))
            .next("Choose another port.");
        let text = "cannot listen on 127.0.0.1:1: permission denied. Choose another port.";
        assert_eq!(failure.to_string(), text);
    }
}
