//! Rows as records: the columns of each record in one order, how they are read in it, and how values
//! are written.

use std::borrow::Cow;
use std::str::FromStr;

use enroll_core::model::{
    AdminRecord, AttemptId, AttemptOutcome, AttemptRecord, BearerDigest, ClaimKey, CommandId,
    CommandRecord, CredentialKind, CredentialRecord, IdentityId, IdentityRecord, JournalledEvent,
    NodeId, NodeRecord, Reason, RedemptionId, RedemptionRecord, Serial, Sha256, Timestamp,
    TokenDigest, TokenRecord,
};
use enroll_core::store::Setting;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use crate::error::Failure;

/// The columns of a [`TokenRecord`], in the order [`token`] reads them; of the view, which knows all
/// uses and what the fence made void.
macro_rules! token_columns {
    () => {
        "id, digest, bound_to, created_at, expires_at, max_uses, uses, created_by, description, \
         revoked_at, replaced_at"
    };
}

/// The columns of a [`NodeRecord`], in the order [`node`] reads them.
macro_rules! node_columns {
    () => {
        "id, name, state, cordoned, labels, facts, method, created_at, enrolled_at, last_seen_at, fuse"
    };
}

/// The columns of a [`RedemptionRecord`], in the order [`redemption`] reads them.
macro_rules! redemption_columns {
    () => {
        "id, token_id, method, node_id, node_name, at, source_ip, claim, closed_at"
    };
}

/// The columns of an [`IdentityRecord`], in the order [`identity`] reads them.
macro_rules! identity_columns {
    () => {
        "id, node_id, node_name, redemption_id, predecessor, kind, serial, key_digest, \
         certificate, api_key_digest, external_id, issued_at, expires_at, first_used_at, revoked_at"
    };
}

/// The columns of an [`AttemptRecord`] but `proven`, in the order [`attempt`] reads them.
macro_rules! attempt_columns {
    () => {
        "id, at, node_name, outcome, source_ip, token_id"
    };
}

/// The columns of a [`CommandRecord`], in the order [`command`] reads them.
macro_rules! command_columns {
    () => {
        "id, node_id, node_name, kind, payload, class, status, queued_by, queued_at, \
         delivered_at, finished_at, output"
    };
}

pub(crate) use {
    attempt_columns, command_columns, identity_columns, node_columns, redemption_columns,
    token_columns,
};

/// How many columns each record of a look-up has.
pub(crate) const TOKEN_WIDTH: usize = 11;
pub(crate) const NODE_WIDTH: usize = 11;
pub(crate) const REDEMPTION_WIDTH: usize = 9;

/// The columns of one row, read from left to right.
pub(crate) struct Columns<'r> {
    row: &'r Row,
    next: usize,
}

impl<'r> Columns<'r> {
    pub(crate) const fn of(row: &'r Row) -> Self {
        Self { row, next: 0 }
    }

    /// The columns from the one of this place on.
    pub(crate) const fn from(row: &'r Row, next: usize) -> Self {
        Self { row, next }
    }

    /// The next column, as it is stored.
    pub(crate) fn get<T: FromSql<'r>>(&mut self) -> Result<T, Failure> {
        let at = self.next;
        self.next += 1;
        Ok(self.row.try_get(at)?)
    }

    /// The next column, read by `read`, which gives `None` for what it does not know.
    fn read<S: FromSql<'r>, T>(&mut self, read: impl FnOnce(S) -> Option<T>) -> Result<T, Failure> {
        let stored = self.get()?;
        read(stored).ok_or_else(|| self.unreadable())
    }

    /// The next column, absent or read by `read`.
    fn maybe<S: FromSql<'r>, T>(
        &mut self,
        read: impl FnOnce(S) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        match self.get::<Option<S>>()? {
            None => Ok(None),
            Some(stored) => read(stored).map(Some).ok_or_else(|| self.unreadable()),
        }
    }

    pub(crate) fn word<T: FromStr>(&mut self) -> Result<T, Failure> {
        self.read(|word: &str| word.parse().ok())
    }

    fn maybe_word<T: FromStr>(&mut self) -> Result<Option<T>, Failure> {
        self.maybe(|word: &str| word.parse().ok())
    }

    /// Text that somebody wrote.
    fn text(&mut self) -> Result<String, Failure> {
        self.read(unescaped)
    }

    fn maybe_text(&mut self) -> Result<Option<String>, Failure> {
        self.maybe(unescaped)
    }

    pub(crate) fn count<T: TryFrom<i64>>(&mut self) -> Result<T, Failure> {
        self.read(|number: i64| number.try_into().ok())
    }

    pub(crate) fn instant(&mut self) -> Result<Timestamp, Failure> {
        self.get().map(Timestamp::from_unix_millis)
    }

    pub(crate) fn maybe_instant(&mut self) -> Result<Option<Timestamp>, Failure> {
        Ok(self.get::<Option<i64>>()?.map(Timestamp::from_unix_millis))
    }

    fn id<T>(&mut self, of: impl FnOnce([u8; 16]) -> T) -> Result<T, Failure> {
        self.get::<Uuid>().map(|id| of(id.into_bytes()))
    }

    fn maybe_id<T>(&mut self, of: impl FnOnce([u8; 16]) -> T) -> Result<Option<T>, Failure> {
        Ok(self.get::<Option<Uuid>>()?.map(|id| of(id.into_bytes())))
    }

    fn digest<T>(&mut self, of: impl FnOnce([u8; 32]) -> T) -> Result<T, Failure> {
        self.read(|bytes: &[u8]| bytes.try_into().ok()).map(of)
    }

    fn maybe_digest<T>(&mut self, of: impl FnOnce([u8; 32]) -> T) -> Result<Option<T>, Failure> {
        Ok(self.maybe(|bytes: &[u8]| bytes.try_into().ok())?.map(of))
    }

    fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, Failure> {
        self.read(|text: &str| serde_json::from_str(text).ok())
    }

    /// Says which column was read last, never what is in it.
    fn unreadable(&self) -> Failure {
        let name = self.row.columns().get(self.next.saturating_sub(1)).map(|column| column.name());
        Failure::Unreadable(name.unwrap_or("?").to_owned())
    }
}

pub(crate) fn token(row: &mut Columns<'_>) -> Result<TokenRecord, Failure> {
    Ok(TokenRecord {
        id: row.word()?,
        digest: row.digest(TokenDigest::from_bytes)?,
        bound_to: row.maybe_word()?,
        created_at: row.instant()?,
        expires_at: row.instant()?,
        max_uses: row.count()?,
        uses: row.count()?,
        created_by: row.text()?,
        description: row.maybe_text()?,
        revoked_at: row.maybe_instant()?,
        replaced_at: row.maybe_instant()?,
    })
}

pub(crate) fn node(row: &mut Columns<'_>) -> Result<NodeRecord, Failure> {
    Ok(NodeRecord {
        id: row.id(NodeId::from_bytes)?,
        name: row.word()?,
        state: row.word()?,
        cordoned: row.get()?,
        labels: row.json()?,
        facts: row.json()?,
        method: row.maybe_word()?,
        created_at: row.instant()?,
        enrolled_at: row.maybe_instant()?,
        last_seen_at: row.maybe_instant()?,
        fuse: row.maybe(|text: &str| serde_json::from_str(text).ok())?,
    })
}

pub(crate) fn redemption(row: &mut Columns<'_>) -> Result<RedemptionRecord, Failure> {
    Ok(RedemptionRecord {
        id: row.id(RedemptionId::from_bytes)?,
        token_id: row.maybe_word()?,
        method: row.word()?,
        node_id: row.id(NodeId::from_bytes)?,
        node_name: row.word()?,
        at: row.instant()?,
        source_ip: row.maybe_word()?,
        claim: row.maybe_digest(|bytes| ClaimKey::from_digest(Sha256::from_bytes(bytes)))?,
        closed_at: row.maybe_instant()?,
    })
}

pub(crate) fn identity(row: &mut Columns<'_>) -> Result<IdentityRecord, Failure> {
    Ok(IdentityRecord {
        id: row.id(IdentityId::from_bytes)?,
        node_id: row.id(NodeId::from_bytes)?,
        node_name: row.word()?,
        redemption_id: row.id(RedemptionId::from_bytes)?,
        predecessor: row.maybe_id(IdentityId::from_bytes)?,
        credential: credential(row)?,
        issued_at: row.instant()?,
        expires_at: row.maybe_instant()?,
        first_used_at: row.maybe_instant()?,
        revoked_at: row.maybe_instant()?,
    })
}

fn credential(row: &mut Columns<'_>) -> Result<CredentialRecord, Failure> {
    let kind: String = row.get()?;
    let serial = row.maybe(|bytes: &[u8]| Serial::from_bytes(bytes).ok())?;
    let key_digest = row.maybe_digest(Sha256::from_bytes)?;
    let certificate: Option<Vec<u8>> = row.get()?;
    let api_key = row.maybe_digest(BearerDigest::from_bytes)?;
    let external_id = row.maybe_text()?;
    match (serial, key_digest, certificate, api_key, external_id) {
        (Some(serial), Some(key_digest), Some(certificate), None, None) => {
            Ok(CredentialRecord::X509 { serial, key_digest, certificate })
        }
        (None, None, None, Some(digest), None) => Ok(CredentialRecord::ApiKey { digest }),
        (None, None, None, None, Some(external_id)) => {
            let kind = CredentialKind::from_stored(kind);
            Ok(CredentialRecord::External { kind, external_id })
        }
        _ => Err(Failure::Unreadable("kind".to_owned())),
    }
}

/// An attempt; whether it was proven stands in the last column.
pub(crate) fn attempt(row: &mut Columns<'_>) -> Result<AttemptRecord, Failure> {
    Ok(AttemptRecord {
        id: row.id(AttemptId::from_bytes)?,
        at: row.instant()?,
        node_name: row.maybe_word()?,
        outcome: row.read(outcome_of)?,
        source_ip: row.maybe_word()?,
        token_id: row.maybe_word()?,
        proven: row.get()?,
    })
}

fn outcome_of(word: &str) -> Option<AttemptOutcome> {
    match word {
        ACCEPTED => Some(AttemptOutcome::Accepted),
        REDELIVERED => Some(AttemptOutcome::Redelivered),
        code => Reason::from_code(code).map(AttemptOutcome::Refused),
    }
}

/// The word an outcome is kept as: the stable code of a refusal, or one of two that are none.
pub(crate) fn outcome_word(outcome: AttemptOutcome) -> Result<&'static str, Failure> {
    match outcome {
        AttemptOutcome::Accepted => Ok(ACCEPTED),
        AttemptOutcome::Redelivered => Ok(REDELIVERED),
        AttemptOutcome::Refused(reason) => Ok(reason.code()),
        _ => Err(Failure::Unsupported("the outcome of an attempt")),
    }
}

pub(crate) fn command(row: &mut Columns<'_>) -> Result<CommandRecord, Failure> {
    Ok(CommandRecord {
        id: row.id(CommandId::from_bytes)?,
        node_id: row.id(NodeId::from_bytes)?,
        node_name: row.word()?,
        kind: row.text()?,
        payload: row.json()?,
        class: row.word()?,
        status: row.word()?,
        queued_by: row.text()?,
        queued_at: row.instant()?,
        delivered_at: row.maybe_instant()?,
        finished_at: row.maybe_instant()?,
        output: row.maybe_text()?,
    })
}

pub(crate) fn admin(row: &mut Columns<'_>) -> Result<AdminRecord, Failure> {
    Ok(AdminRecord {
        name: row.text()?,
        role: row.word()?,
        digest: row.digest(BearerDigest::from_bytes)?,
        created_at: row.instant()?,
    })
}

pub(crate) fn setting(row: &mut Columns<'_>) -> Result<Setting, Failure> {
    Ok(Setting { value: row.text()?, version: row.count()? })
}

pub(crate) fn event(row: &mut Columns<'_>) -> Result<JournalledEvent, Failure> {
    Ok(JournalledEvent { seq: row.count()?, event: row.json()? })
}

/// Facts, labels or an event as the JSON they are kept as. It has no NUL: JSON escapes it.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|_| Failure::Unsupported("a fact"))
}

/// A count as the signed integer it is kept as.
pub(crate) fn integer(count: u64) -> Result<i64, Failure> {
    i64::try_from(count).map_err(|_| Failure::Unsupported("a count above 2^63"))
}

/// An id as the type `uuid`, which sorts by the same bytes.
pub(crate) const fn uuid(bytes: &[u8; 16]) -> Uuid {
    Uuid::from_bytes(*bytes)
}

/// The key before which a page of ids begins, when they are listed newest first: the last one seen,
/// or one that sorts after all of them.
pub(crate) fn before(seen: Option<&[u8; 16]>) -> Uuid {
    seen.map_or(Uuid::max(), uuid)
}

/// Text that somebody wrote, as it is kept: `\` as `\\`, and NUL, which no column can hold, as `\0`.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if text.contains(['\\', '\0']) {
        text.replace('\\', "\\\\").replace('\0', "\\0").into()
    } else {
        text.into()
    }
}

/// Text as it was written; `None` for what [`escaped`] never makes.
fn unescaped(kept: &str) -> Option<String> {
    if !kept.contains('\\') {
        return Some(kept.to_owned());
    }
    let (mut text, mut rest) = (String::with_capacity(kept.len()), kept.chars());
    while let Some(next) = rest.next() {
        text.push(match next {
            '\\' => match rest.next()? {
                '\\' => '\\',
                '0' => '\0',
                _ => return None,
            },
            other => other,
        });
    }
    Some(text)
}

const ACCEPTED: &str = "accepted";
const REDELIVERED: &str = "redelivered";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_comes_back_and_none_is_kept_with_nul() {
        for text in ["", "plain", "\\", "\0", "\\0", "a\\\0b\\\\0", "C:\\new\0", "zażółć"] {
            let kept = escaped(text);
            assert!(!kept.contains('\0'));
            assert_eq!(unescaped(&kept).as_deref(), Some(text));
        }
        assert_eq!(escaped("plain"), "plain");
        assert_eq!((unescaped("\\"), unescaped("\\x")), (None, None));
    }
}
