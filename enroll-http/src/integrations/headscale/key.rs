//! What goes on record of a key.

use std::fmt;
use std::str::FromStr;

use super::error::HeadscaleError;

/// A pre-auth key by what identifies it: Headscale's id, and the second in which it was made.
///
/// The id alone would not do: a Headscale that was set up anew counts from one again, and a key made
/// then is another key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyName {
    pub(super) id: String,
    pub(super) made: i64,
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.made)
    }
}

impl FromStr for KeyName {
    type Err = HeadscaleError;

    fn from_str(text: &str) -> Result<Self, HeadscaleError> {
        let (id, made) = text.split_once('@').ok_or(HeadscaleError::ForeignKey)?;
        let made = made.parse().map_err(|_| HeadscaleError::ForeignKey)?;
        Ok(Self { id: id.to_owned(), made })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back() {
        let name = KeyName { id: "7".into(), made: 1_795_176_000 };
        assert_eq!(name.to_string(), "7@1795176000");
        assert_eq!(name.to_string().parse::<KeyName>().unwrap(), name);
        for bad in ["", "7", "7@", "7@x"] {
            assert!(bad.parse::<KeyName>().is_err(), "{bad}");
        }
    }
}
