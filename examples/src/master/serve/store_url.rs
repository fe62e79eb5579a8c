//! Which store, told by a text that may hold a password.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use zeroize::Zeroizing;

/// Which store.
///
/// Any text is one, if only an unknown one: whoever parses a setting shows the text that it cannot
/// read, and a password may stand in this one.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum StoreUrl {
    /// The embedded one, in this file.
    Sqlite(PathBuf),
    /// The one on a server, at this address.
    Postgres(Zeroizing<String>),
    /// None that is known here.
    Unknown,
}

impl FromStr for StoreUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(Zeroizing::new(text.to_owned())));
        }
        let Some(path) = text.strip_prefix("sqlite:") else { return Ok(Self::Unknown) };
        Ok(match path.strip_prefix("//").unwrap_or(path) {
            "" => Self::Unknown,
            path => Self::Sqlite(path.into()),
        })
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(_) => f.write_str("postgres"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_told_by_its_scheme_and_a_password_is_never_shown() {
        let store = |text: &str| text.parse::<StoreUrl>().unwrap_or(StoreUrl::Unknown);
        assert_eq!(store("sqlite:a/b.db"), StoreUrl::Sqlite("a/b.db".into()));
        assert_eq!(store("sqlite:///a/b.db"), StoreUrl::Sqlite("/a/b.db".into()));
        for unknown in ["", "sqlite:", "mysql://h", "postgre://u:s3cret@h/db", "host=h user=u"] {
            assert_eq!(store(unknown), StoreUrl::Unknown, "{unknown}");
        }
        for known in ["postgres://u:s3cret@h/db", "postgresql://u:s3cret@h/db"] {
            assert_eq!(format!("{:?}", store(known)), "postgres");
        }
    }
}
