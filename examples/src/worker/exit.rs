//! How the process ends.

use enroll_core::worker::{CallError, WorkerError};

/// Why the process ends otherwise than well: an exit code, and a paragraph for people.
#[derive(Debug)]
pub(super) struct Exit {
    pub(super) code: u8,
    pub(super) text: String,
}

impl Exit {
    /// The command line, the environment or the configuration is wrong.
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self { code: 2, text: text.into() }
    }

    /// The state directory cannot be used.
    pub(super) fn state(text: impl Into<String>) -> Self {
        Self { code: 6, text: text.into() }
    }
}

impl From<WorkerError> for Exit {
    fn from(error: WorkerError) -> Self {
        let next = match &error {
            WorkerError::GaveUp { last: CallError::Unreachable(_), .. } => {
                "; check that address, its name in the DNS, and the firewalls on the way"
            }
            _ => "",
        };
        Self { code: error.exit_code(), text: format!("{}{next}", chain(&error)) }
    }
}

/// An error and all its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}
