//! A refusal as a worker meets it.

use std::fmt;
use std::time::Duration;

use crate::model::{Reason, WorkerAction};

/// A master's refusal, whose reason this release may not know.
///
/// Its texts came over the network: they are cut to a bound and freed of control characters, so that
/// they can be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    code: String,
    status: u16,
    detail: String,
    hint: String,
    retry_after: Option<Duration>,
}

impl Refusal {
    /// The code of an identity that the master does not accept any more.
    pub const UNAUTHORIZED: &'static str = "unauthorized";

    /// The most characters of a text that are kept.
    pub const MAX_TEXT: usize = 1000;

    /// A refusal with this reason code and HTTP status code, in the words of the taxonomy where it
    /// knows the reason.
    #[must_use]
    pub fn new(code: &str, status: u16) -> Self {
        let reason = Reason::from_code(code);
        Self {
            code: clean(code),
            status,
            detail: reason.map(|it| it.title().to_owned()).unwrap_or_default(),
            hint: reason.map(|it| it.hint().to_owned()).unwrap_or_default(),
            retry_after: None,
        }
    }

    /// The master's words for this case.
    #[must_use]
    pub fn with_detail(mut self, detail: &str) -> Self {
        self.detail = clean(detail);
        self
    }

    /// What the operator does next, in the master's words.
    #[must_use]
    pub fn with_hint(mut self, hint: &str) -> Self {
        self.hint = clean(hint);
        self
    }

    /// The longest wait a master can ask for; more is cut to it.
    pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

    /// When to come back.
    #[must_use]
    pub fn with_retry_after(mut self, span: Duration) -> Self {
        self.retry_after = Some(span.min(Self::MAX_RETRY_AFTER));
        self
    }

    /// The reason's code as it came.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The reason; `None` when this release does not know it.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        Reason::from_code(&self.code)
    }

    /// The HTTP status code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// What it was in this case; may be empty.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What the operator does next; may be empty.
    #[must_use]
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// When to come back, where the master said so.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether repeating the call cannot help.
    ///
    /// A reason that this release does not know is judged by what HTTP says of its status: 429 and
    /// 5xx pass, and so does what names a time to come back (RFC 9110).
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self.reason().map(Reason::worker_action) {
            Some(WorkerAction::Stop) => true,
            Some(WorkerAction::StopUnlessRetryAfter) => self.retry_after.is_none(),
            Some(WorkerAction::BackOff | WorkerAction::WaitRetryAfter) => false,
            None => self.retry_after.is_none() && self.status != 429 && self.status < 500,
        }
    }

    /// Whether it says that the identity itself is not, or no longer, the one it claims to be.
    #[must_use]
    pub fn rejects_identity(&self) -> bool {
        self.status == 401 || self.reason() == Some(Reason::NameMismatch)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        for (before, text) in [(": ", &self.detail), (" — ", &self.hint)] {
            if !text.is_empty() {
                write!(f, "{before}{text}")?;
            }
        }
        Ok(())
    }
}

fn clean(text: &str) -> String {
    let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().take(Refusal::MAX_TEXT).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(3);

    #[test]
    fn every_known_reason_stops_or_passes_as_the_taxonomy_says() {
        for reason in Reason::ALL {
            let refusal = Refusal::new(reason.code(), reason.status());
            let stops = matches!(
                reason.worker_action(),
                WorkerAction::Stop | WorkerAction::StopUnlessRetryAfter
            );
            assert_eq!(refusal.is_final(), stops, "{reason}");
            let later = refusal.with_retry_after(SOON).is_final();
            assert_eq!(later, reason.worker_action() == WorkerAction::Stop, "{reason}");
        }
    }

    #[test]
    fn an_unknown_reason_is_judged_by_its_status() {
        for (status, stops) in [(400, true), (403, true), (410, true), (429, false), (503, false)] {
            assert_eq!(Refusal::new("novel", status).is_final(), stops, "{status}");
        }
        assert!(!Refusal::new("novel", 403).with_retry_after(SOON).is_final());
    }

    #[test]
    fn an_identity_is_rejected_by_401_and_by_another_name() {
        assert!(Refusal::new(Refusal::UNAUTHORIZED, 401).rejects_identity());
        assert!(Refusal::new("name_mismatch", 403).rejects_identity());
        assert!(!Refusal::new("denied", 403).rejects_identity());
        assert!(!Refusal::new("unavailable", 503).rejects_identity());
    }

    #[test]
    fn what_came_over_the_network_can_be_shown() {
        let refusal = Refusal::new("denied", 403)
            .with_detail(&format!("\u{1b}[31mred\r\n{}", "x".repeat(5000)))
            .with_hint("ask");
        let shown = refusal.to_string();
        assert!(!shown.chars().any(char::is_control));
        assert!(shown.chars().count() < 1100);
        assert!(shown.starts_with("denied: "));
        assert!(shown.ends_with(" — ask"));
    }
}
