//! What a command prints on standard output.

use std::io::{ErrorKind, Write as _};

use clap::ValueEnum;
use serde::Serialize;
use zeroize::Zeroizing;

use super::super::failure::Failure;
use super::Master;

/// For whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::master) enum Output {
    /// For people
    Text,
    /// For programs: the answer of the operator API as it is
    Json,
}

impl Output {
    /// Prints a value: as JSON, or as `text` has it.
    pub(super) fn print<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let text = Zeroizing::new(match self {
            Self::Text => text(value),
            Self::Json => serde_json::to_string(value).map_err(|cause| {
                Failure::new("the answer cannot be written as JSON").because(cause)
            })?,
        });
        print(&text)
    }
}

impl Master {
    /// Whether it answers programs.
    pub(super) fn shows_json(&self) -> bool {
        self.output == Output::Json
    }

    /// Prints an answer: as the master gave it, or as `text` has it.
    pub(super) fn show<T: Serialize>(
        &self,
        answer: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        self.output.print(answer, text)
    }

    /// Says what was done, where the answer has no body.
    pub(super) fn done(&self, text: &str) -> Result<(), Failure> {
        if self.output == Output::Text { print(text) } else { Ok(()) }
    }
}

/// Prints a text and ends its last line. Nobody has to read it to its end.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    match write!(out, "{text}{end}").and_then(|()| out.flush()) {
        Err(cause) if cause.kind() != ErrorKind::BrokenPipe => Err(Failure::new(
            "it is done, but the answer cannot be written",
        )
        .because(cause)
        .next(
            "Make room for standard output. What is shown only once is made anew: `node token`, \
                `token mint`, or `admin remove` and `admin add`.",
        )),
        _ => Ok(()),
    }
}

/// A text from elsewhere as it can be shown on a terminal: nothing in it moves the cursor.
pub(super) fn plain(text: &str) -> String {
    let shown = |c: char| -> Vec<char> {
        if c.is_control() || is_invisible(c) { c.escape_unicode().collect() } else { vec![c] }
    };
    text.chars().flat_map(shown).collect()
}

/// Characters that reorder or hide what stands beside them.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_says_of_itself_cannot_write_over_the_terminal() {
        assert_eq!(plain("x86_64"), "x86_64");
        assert_eq!(plain("a\u{1b}[2Jb\u{9b}c\n"), "a\\u{1b}[2Jb\\u{9b}c\\u{a}");
        assert_eq!(plain("ab\u{202e}c"), "ab\\u{202e}c");
    }
}
