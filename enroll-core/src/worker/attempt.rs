//! The journal of an attempt to get credentials: what makes a crash at any point harmless.
//!
//! Invariants:
//! - **The key of an attempt is on disk before the call is made**, so a start after a crash repeats
//!   the call with the same key, and the master recognises it.
//! - **The answer is on disk before any identity file is touched**, so a start after a crash writes
//!   all of them again from it.
//! - **The journal is removed last**, once every identity file is on disk and reads back.
//! - **A refusal discards no key.** Another token, name or secret is tried with the key that is there;
//!   only an operator's force makes another.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::error::WorkerError;
use super::identity::Identity;
use super::mesh::MeshKeys;
use super::proofs::Proofs;
use super::secret_text::SecretText;
use crate::model::{Entropy, Method, NodeName, Timestamp, TokenId};

/// What an attempt is to bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Purpose {
    /// A first identity.
    Enroll,
    /// Another identity in place of the one that is there, because an operator said so.
    Replace,
    /// A successor of a certificate that is still good.
    Renew,
    /// A successor of a certificate that has run out.
    Recover,
}

/// One attempt, as `attempt.json` holds it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) purpose: Purpose,
    /// The way in; absent where an identity is the proof.
    pub(crate) method: Option<Method>,
    /// The public half of the token, never its text.
    pub(crate) token: Option<TokenId>,
    pub(crate) node_name: Option<NodeName>,
    pub(crate) began_at: Timestamp,
    /// The new private key, PKCS#8 in PEM.
    pub(crate) key: Option<SecretText>,
    /// The request for it, kept because signing it again would give another text.
    pub(crate) csr: Option<String>,
    /// What identifies a retry where no certificate is issued.
    pub(crate) attempt_key: SecretText,
    /// The code of the final refusal that ended it without an identity.
    pub(crate) refused: Option<String>,
    pub(crate) answer: Option<Accepted>,
}

/// An answer that was checked, as far as it becomes files.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Accepted {
    pub(crate) identity: Identity,
    pub(crate) redelivered: bool,
    /// The trusted root in PEM; absent where the file stays as it is.
    pub(crate) ca: Option<String>,
    /// The chain for the attempt's key; absent where none was issued.
    pub(crate) certificate: Option<String>,
    /// Absent where none was issued.
    pub(crate) api_key: Option<SecretText>,
    /// Absent where the file stays as it is.
    pub(crate) mesh: Option<MeshKeys>,
}

impl Attempt {
    /// An attempt for `purpose` with the key of an earlier one, where there is one, and without its
    /// refusal.
    pub(crate) fn begin(
        purpose: Purpose,
        node_name: Option<NodeName>,
        earlier: Option<Self>,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Self, WorkerError> {
        let attempt_key = match &earlier {
            Some(earlier) => earlier.attempt_key.clone(),
            None => new_attempt_key(entropy).map_err(|_| WorkerError::NoKey)?,
        };
        let (key, csr) = Self::key_and_request(earlier, node_name.as_ref())?;
        Ok(Self {
            purpose,
            method: None,
            token: None,
            node_name,
            began_at: now,
            key,
            csr,
            attempt_key,
            refused: None,
            answer: None,
        })
    }

    /// Whether it is the replacement that `proofs` are for, cut short and not refused.
    pub(crate) fn is_replacement_by(&self, proofs: Option<&Proofs>) -> bool {
        proofs.is_some_and(|proofs| OpenAttempt::of(self).is_replacement_by(proofs))
    }

    /// Whether a start with `proofs` goes on with it though there is a whole identity: to make files of
    /// an answer, or because it is the replacement that they are for.
    pub(crate) fn goes_on_with(&self, proofs: Option<&Proofs>) -> bool {
        self.answer.is_some() || self.is_replacement_by(proofs)
    }

    /// Keeps the key, and the request as long as it has the same name in it.
    #[cfg(feature = "x509")]
    fn key_and_request(
        earlier: Option<Self>,
        name: Option<&NodeName>,
    ) -> Result<(Option<SecretText>, Option<String>), WorkerError> {
        use super::key::WorkerKey;

        let (held, csr) = match earlier {
            Some(it) if it.node_name.as_ref() == name => (it.key, it.csr),
            Some(it) => (it.key, None),
            None => (None, None),
        };
        let key = match &held {
            Some(key) => WorkerKey::from_pem(key.expose().to_owned()),
            None => WorkerKey::generate(),
        };
        let key = key.map_err(|_| WorkerError::NoKey)?;
        let csr = match csr.filter(|_| held.is_some()) {
            Some(csr) => csr,
            None => key.request(name).map_err(|_| WorkerError::NoKey)?,
        };
        Ok((Some(SecretText::new(key.expose_pem().to_owned())), Some(csr)))
    }

    #[cfg(not(feature = "x509"))]
    fn key_and_request(
        earlier: Option<Self>,
        _name: Option<&NodeName>,
    ) -> Result<(Option<SecretText>, Option<String>), WorkerError> {
        // A key that another build made is kept, and not used.
        Ok((earlier.and_then(|it| it.key), None))
    }
}

/// 32 random bytes in base64url.
fn new_attempt_key(entropy: &dyn Entropy) -> std::io::Result<SecretText> {
    let mut bytes = Zeroizing::new([0; 32]);
    entropy.fill(&mut *bytes)?;
    Ok(SecretText::new(BASE64URL_NOPAD.encode(&*bytes)))
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("purpose", &self.purpose)
            .field("token", &self.token)
            .field("node_name", &self.node_name)
            .field("refused", &self.refused)
            .field("answered", &self.answer.is_some())
            .finish_non_exhaustive()
    }
}

/// What can be told of an open attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAttempt {
    purpose: Purpose,
    method: Option<Method>,
    token: Option<TokenId>,
    node_name: Option<NodeName>,
    began_at: Timestamp,
    refused: Option<String>,
    answered: bool,
}

impl OpenAttempt {
    pub(crate) fn of(attempt: &Attempt) -> Self {
        Self {
            purpose: attempt.purpose,
            method: attempt.method,
            token: attempt.token,
            node_name: attempt.node_name.clone(),
            began_at: attempt.began_at,
            refused: attempt.refused.clone(),
            answered: attempt.answer.is_some(),
        }
    }

    /// What it is to bring.
    #[must_use]
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The token it was made with.
    #[must_use]
    pub const fn token(&self) -> Option<TokenId> {
        self.token
    }

    /// The name it asked for.
    #[must_use]
    pub const fn node_name(&self) -> Option<&NodeName> {
        self.node_name.as_ref()
    }

    /// When it began, by the worker's clock.
    #[must_use]
    pub const fn began_at(&self) -> Timestamp {
        self.began_at
    }

    /// The code of the refusal that ended it.
    #[must_use]
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Whether it is the replacement that `proofs` are for, cut short and not refused.
    #[must_use]
    pub fn is_replacement_by(&self, proofs: &Proofs) -> bool {
        let same = self.method == Some(proofs.method()) && self.token == proofs.token_id();
        self.purpose == Purpose::Replace && self.refused.is_none() && same
    }

    /// Whether the answer is there and only the files are missing.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        self.answered
    }
}
