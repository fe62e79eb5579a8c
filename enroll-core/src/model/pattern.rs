//! Patterns of node names.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::NodeName;

/// A pattern of node names: the characters of a name, and `*` for any run of them, dots included.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamePattern(Box<str>);

/// A text that is no pattern of node names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name pattern is 1 to 253 of a-z, 0-9, hyphen, dot and *")]
#[non_exhaustive]
pub struct PatternError;

impl NamePattern {
    /// Validates `text`.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let fits = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'*');
        let good = (1..=NodeName::MAX_LEN).contains(&text.len()) && text.bytes().all(fits);
        if good { Ok(Self(text.into())) } else { Err(PatternError) }
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `name` fits. Takes time linear in the name for each `*`.
    #[must_use]
    pub fn fits(&self, name: &NodeName) -> bool {
        let mut parts = self.0.split('*');
        let Some(rest) = parts.next().and_then(|first| name.as_str().strip_prefix(first)) else {
            return false;
        };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        let Some(mut rest) = rest.strip_suffix(last) else { return false };
        for part in parts {
            // The leftmost place leaves the most for the parts that follow.
            let Some(at) = rest.find(part) else { return false };
            rest = rest.get(at + part.len()..).unwrap_or_default();
        }
        true
    }
}

impl TryFrom<String> for NamePattern {
    type Error = PatternError;
    fn try_from(text: String) -> Result<Self, PatternError> {
        Self::new(&text)
    }
}

impl From<NamePattern> for String {
    fn from(pattern: NamePattern) -> Self {
        pattern.0.into()
    }
}

impl fmt::Debug for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_people_expect() {
        let fits = |pattern: &str, name: &str| {
            NamePattern::new(pattern).unwrap().fits(&NodeName::new(name).unwrap())
        };
        for (pattern, name) in [
            ("*", "a"),
            ("a", "a"),
            ("ingest-*", "ingest-us-east-01"),
            ("*-db", "eu-db"),
            ("a*b*c", "abc"),
            ("a*b*c", "axxbbyc"),
            ("*.rack-*.example", "db.rack-7.example"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("a", "ab"), ("a*a", "a"), ("ingest-*", "ingest"), ("a*b*c", "acb"), ("*-db", "db")]
        {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
        assert!(NamePattern::new("").is_err());
        assert!(NamePattern::new("A*").is_err());
    }
}
