//! The closed taxonomy of rejections.

use std::fmt;
use std::time::Duration;

/// What a worker does when it meets a rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerAction {
    /// The refusal is final: nothing the worker can repeat changes it.
    Stop,
    /// The refusal is final unless it came with a time to retry after.
    StopUnlessRetryAfter,
    /// Back off with full jitter and retry.
    BackOff,
    /// Wait as long as the answer says, then retry.
    WaitRetryAfter,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident $code:literal $status:literal $action:ident $title:literal $hint:literal;)*) => {
        /// Why a request to become a member is refused.
        ///
        /// One table holds all there is to know of each: its code, HTTP status, what the worker
        /// does, what the operator does next. Codes are the `reason` label of
        /// `enroll_rejections_total` too, and are never renamed. The enum is closed on purpose: who
        /// matches on it must be told by the compiler when a reason is added.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(clippy::exhaustive_enums, reason = "a match must cover every reason")]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable code, on the wire and as a metric label.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The HTTP status code.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// What a worker does when it meets it.
            #[must_use]
            pub const fn worker_action(self) -> WorkerAction {
                match self { $(Self::$name => WorkerAction::$action,)* }
            }

            /// One short sentence for people: what happened.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// What the operator does next.
            #[must_use]
            pub const fn hint(self) -> &'static str {
                match self { $(Self::$name => $hint,)* }
            }
        }
    };
}

reasons! {
    /// Too many attempts from one address.
    RateLimited "rate_limited" 429 WaitRetryAfter
        "Too many attempts from this address"
        "Wait; the worker retries by itself. Raise --attempts-per-minute if many machines share one address.";
    /// The request itself is wrong: body, fields, a missing proof, a bad name.
    BadRequest "bad_request" 400 Stop
        "The request is incomplete or malformed"
        "Correct what the detail names and start the worker again. The token is unspent.";
    /// The certificate request is unusable.
    BadCsr "bad_csr" 400 Stop
        "The certificate request cannot be used"
        "Use an ECDSA P-384, P-256 or Ed25519 key and sign the request with it. The token is unspent.";
    /// The cluster or enrollment secret differs.
    BadSecret "bad_secret" 401 Stop
        "The shared secret does not match"
        "Compare the worker's shared secret with the master's; copy the install snippet again.";
    /// No such token: unknown, mistyped, replaced, or another cluster's.
    InvalidToken "invalid_token" 401 Stop
        "The join token is not known here"
        "Check that the token was copied whole, is the newest of its node, and belongs to this cluster; else mint another.";
    /// The token is bound to another node, or the identity is another node's.
    NameMismatch "name_mismatch" 403 Stop
        "The node name is not the one this token or identity is bound to"
        "Start the worker under the name its token or identity was made for, or use the token minted for this node.";
    /// The method is switched off.
    EnrollmentDisabled "enrollment_disabled" 403 Stop
        "This way of enrolling is switched off"
        "Switch auto-enrollment on for as long as new machines are expected, or mint a join token.";
    /// The embedder's own policy refused.
    Denied "denied" 403 StopUnlessRetryAfter
        "The master's policy refused this node"
        "The detail holds the policy's own words.";
    /// The name belongs to somebody else.
    NameTaken "name_taken" 409 Stop
        "The node name is taken"
        "Give the worker another name, or regenerate the token of the existing node to replace it.";
    /// The token's time has elapsed.
    Expired "expired" 410 Stop
        "The join token has expired"
        "Mint another token, or regenerate the node's.";
    /// An operator revoked the token.
    Revoked "revoked" 410 Stop
        "The join token was revoked"
        "Mint another token if the machine is still wanted.";
    /// A one-shot token is spent.
    AlreadyConsumed "already_consumed" 410 Stop
        "The join token has already been used"
        "A token works once. Regenerate the node's token and run the new snippet; if nobody used it knowingly, look at its redemptions.";
    /// A counted token has no use left.
    Exhausted "exhausted" 410 Stop
        "The join token has no use left"
        "Mint another token with as many uses as there are machines.";
    /// The token was good when looked up and was spent by another before the redemption.
    RaceConsumed "race_consumed" 410 Stop
        "Another machine used the join token at the same moment"
        "One call won, this one lost. If this machine should have won, look at the token's redemptions and mint another.";
    /// The mesh control plane refused a pre-auth key.
    MeshMintFailed "mesh_mint_failed" 502 BackOff
        "The mesh control plane gave no key"
        "Check the mesh control plane and its API key. The token is unspent; the worker retries by itself.";
    /// Another issuer failed.
    IssueFailed "issue_failed" 502 BackOff
        "The identity could not be issued"
        "Check the master's log for the issuer's trouble. The token is unspent; the worker retries by itself.";
    /// Something the method needs is not configured on the master.
    NotConfigured "not_configured" 503 BackOff
        "The master is not configured for this"
        "Configure the cluster secret, or the client of the issuer, on the master; or leave the shared secret off the worker.";
    /// The store is away or the master overloaded; nothing was spent.
    Unavailable "unavailable" 503 BackOff
        "The master cannot decide at the moment"
        "Check the master's store (/readyz). Nothing was spent; the worker retries by itself.";
}

impl Reason {
    /// The reason with this code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.code() == code)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A refusal: a reason, the words for this one case, and when to come back.
///
/// It is an answer, not an error: `?` cannot turn it into a failure of the master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    reason: Reason,
    detail: String,
    retry_after: Option<Duration>,
}

impl Rejection {
    /// When a worker that backs off is told to come back, unless something knows better: 5 s.
    pub const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(5);

    /// A refusal for `reason`, in its own words.
    #[must_use]
    pub fn new(reason: Reason) -> Self {
        let waits =
            matches!(reason.worker_action(), WorkerAction::BackOff | WorkerAction::WaitRetryAfter);
        Self {
            reason,
            detail: format!("{}.", reason.title()),
            retry_after: waits.then_some(Self::DEFAULT_RETRY_AFTER),
        }
    }

    /// Says what it was in this case. Never hold a secret, or text from the network, in it.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Says when to come back.
    #[must_use]
    pub const fn with_retry_after(mut self, span: Duration) -> Self {
        self.retry_after = Some(span);
        self
    }

    /// The reason.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// What it was in this case.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// When to come back, where waiting helps.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The contract, written a second time on purpose: a change of the table must be a change here.
    const CONTRACT: &str = "rate_limited 429 WaitRetryAfter
        bad_request 400 Stop
        bad_csr 400 Stop
        bad_secret 401 Stop
        invalid_token 401 Stop
        name_mismatch 403 Stop
        enrollment_disabled 403 Stop
        denied 403 StopUnlessRetryAfter
        name_taken 409 Stop
        expired 410 Stop
        revoked 410 Stop
        already_consumed 410 Stop
        exhausted 410 Stop
        race_consumed 410 Stop
        mesh_mint_failed 502 BackOff
        issue_failed 502 BackOff
        not_configured 503 BackOff
        unavailable 503 BackOff";

    #[test]
    fn the_table_is_the_contract() {
        let ours: Vec<String> = Reason::ALL
            .iter()
            .map(|r| format!("{} {} {:?}", r.code(), r.status(), r.worker_action()))
            .collect();
        let theirs: Vec<&str> = CONTRACT.lines().map(str::trim).collect();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn codes_are_distinct_and_read_back() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|r| r.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(*reason));
            assert!(!reason.hint().is_empty() && !reason.title().is_empty());
        }
        assert_eq!(Reason::from_code("other"), None);
    }

    #[test]
    fn only_what_waiting_helps_says_when_to_come_back() {
        for reason in Reason::ALL {
            let waits = !matches!(
                reason.worker_action(),
                WorkerAction::Stop | WorkerAction::StopUnlessRetryAfter
            );
            assert_eq!(Rejection::new(*reason).retry_after().is_some(), waits, "{reason}");
        }
    }
}
