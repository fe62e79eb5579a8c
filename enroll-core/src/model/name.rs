//! Names of nodes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a node: unique in the cluster, safe in a certificate, a path, a shell line.
///
/// RFC 1123 labels of 1 to 63 of `[a-z0-9-]` with no hyphen first or last, dots between them, 253
/// bytes in all; no `xn--` label, not shaped like a UUID, last label not all digits. Anything else
/// is refused, never folded: two spellings of one name would be two keys to one door.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(Box<str>);

/// Why a text is no node name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It has no character.
    #[error("a node name cannot be empty")]
    Empty,
    /// It is longer than [`NodeName::MAX_LEN`] bytes.
    #[error("a node name has at most 253 characters")]
    TooLong,
    /// A label is empty, longer than 63 bytes, or begins or ends with a hyphen.
    #[error("each part of a node name has 1 to 63 characters and no hyphen first or last")]
    Label,
    /// A character is not in `[a-z0-9.-]`.
    #[error("a node name has only lower-case letters, digits, hyphens and dots")]
    Character,
    /// A label begins with `xn--`.
    #[error("a node name cannot hold an internationalised label (xn--)")]
    Internationalised,
    /// The text has the shape of a UUID, which elsewhere means an id.
    #[error("a node name cannot have the shape of a UUID")]
    Uuid,
    /// The last label is all digits, as in an IPv4 address.
    #[error("the last part of a node name cannot be all digits")]
    Numeric,
}

impl NodeName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 253;

    /// Validates `text`.
    ///
    /// # Errors
    /// [`NameError`] says which rule `text` breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check(text).map(|()| Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(text: &str) -> Result<(), NameError> {
    match text.len() {
        0 => return Err(NameError::Empty),
        n if n > NodeName::MAX_LEN => return Err(NameError::TooLong),
        _ => {}
    }
    if uuid::Uuid::try_parse(text).is_ok() {
        return Err(NameError::Uuid);
    }
    for label in text.split('.') {
        check_label(label)?;
    }
    let last = text.rsplit('.').next().unwrap_or(text);
    if last.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NameError::Numeric);
    }
    Ok(())
}

fn check_label(label: &str) -> Result<(), NameError> {
    let bytes = label.as_bytes();
    if !bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-')) {
        return Err(NameError::Character);
    }
    if bytes.is_empty() || bytes.len() > 63 || label.starts_with('-') || label.ends_with('-') {
        return Err(NameError::Label);
    }
    if label.starts_with("xn--") {
        return Err(NameError::Internationalised);
    }
    Ok(())
}

impl FromStr for NodeName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl TryFrom<String> for NodeName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0.into()
    }
}

impl AsRef<str> for NodeName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_field_uses_are_names() {
        for good in ["a", "worker-1", "ingest-us-east-01", "db.rack-7.example", "1a", "0.a"] {
            assert_eq!(NodeName::new(good).map(String::from).as_deref(), Ok(good));
        }
        assert!(NodeName::new(&"a".repeat(63)).is_ok());
        assert!(NodeName::new(&format!("{}b", "a.".repeat(126))).is_ok());
    }

    #[test]
    fn everything_else_is_refused_with_its_rule() {
        use NameError::{Character, Empty, Internationalised, Label, Numeric, TooLong, Uuid};
        for (bad, why) in [
            ("", Empty),
            (&*"a".repeat(254), TooLong),
            (&*"a".repeat(64), Label),
            ("-a", Label),
            ("a-", Label),
            ("a..b", Label),
            (".a", Label),
            ("a.", Label),
            ("Worker", Character),
            ("a_b", Character),
            ("a b", Character),
            ("a\n", Character),
            ("é", Character),
            ("*.a", Character),
            ("xn--a", Internationalised),
            ("b.xn--a", Internationalised),
            ("01890a5d-ac96-774b-bcce-b302099a8057", Uuid),
            ("01890a5dac96774bbcceb302099a8057", Uuid),
            ("10.0.0.1", Numeric),
            ("42", Numeric),
        ] {
            assert_eq!(NodeName::new(bad).unwrap_err(), why, "{bad}");
        }
    }
}
