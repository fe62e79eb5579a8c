//! The file of the cluster secret.

use std::path::Path;

use enroll_core::model::SharedSecret;

use super::super::failure::Failure;
use super::files;

/// The secrets in force, the one that is handed on first; two while rotating.
pub(super) fn read(path: &Path) -> Result<Vec<SharedSecret>, Failure> {
    let refused = |cause: Box<dyn std::error::Error + Send + Sync>| {
        Failure::new(format!("the cluster secret in {} cannot be used", path.display()))
            .because(cause)
            .next("Put one secret into the file, and while rotating the earlier one below it.")
    };
    let text = files::read_secret(path).map_err(|cause| refused(cause.into()))?;
    let mut lines: Vec<&str> = text.trim_end_matches(['\r', '\n']).lines().collect();
    if lines.is_empty() {
        lines.push("");
    }
    if lines.len() > MOST {
        return Err(refused("it has more than two lines".into()));
    }
    let secret = |line: &str| SharedSecret::configured(line.trim_end_matches('\r').to_owned());
    lines.into_iter().map(secret).collect::<Result<_, _>>().map_err(|cause| refused(cause.into()))
}

const MOST: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<String>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let secrets = read(file.path()).map_err(|failure| failure.to_string())?;
        Ok(secrets.iter().map(|secret| secret.expose().to_owned()).collect())
    }

    #[test]
    fn one_or_two_lines_are_taken_and_anything_weak_is_refused() {
        let (new, old) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
        assert_eq!(read_text(new), Ok(vec![new.into()]));
        assert_eq!(read_text(&format!("{new}\n")), Ok(vec![new.into()]));
        assert_eq!(read_text(&format!("{new}\r\n{old}\r\n")), Ok(vec![new.into(), old.into()]));
        for bad in ["", "\n", "short", &format!("{new}\nshort"), &"a".repeat(40)] {
            assert!(read_text(bad).is_err(), "{bad:?}");
        }
        assert!(read_text(&format!("{new}\n{old}\n{new}\n")).is_err());
        let told = read_text("not-long-enough").unwrap_err();
        assert!(!told.contains("not-long-enough"), "{told}");
    }
}
