//! Cursors: where the next page of a list begins.

use std::fmt::Display;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;

/// The text of a cursor behind the row `key` of `list`.
///
/// It names its list, so that a cursor of one is not taken for a place in another, and its version,
/// so that one kept over an update is told apart and not misread.
pub(super) fn write(list: &str, key: &impl Display) -> String {
    BASE64URL_NOPAD.encode(format!("{VERSION}:{list}:{key}").as_bytes())
}

/// The row that a cursor of `list` stands behind; `None` where the text is no such cursor.
pub(super) fn read<K: FromStr>(list: &str, text: &str) -> Option<K> {
    let plain = String::from_utf8(BASE64URL_NOPAD.decode(text.as_bytes()).ok()?).ok()?;
    let key = plain.strip_prefix(VERSION)?.strip_prefix(':')?;
    key.strip_prefix(list)?.strip_prefix(':')?.parse().ok()
}

const VERSION: &str = "1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_in_its_own_list_only() {
        let text = write("tokens", &17);
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
        assert_eq!(read::<u64>("tokens", &text), Some(17));
        assert_eq!(read::<u64>("nodes", &text), None);
        assert_eq!(read::<u64>("token", &text), None);
    }

    #[test]
    fn what_is_not_ours_is_no_cursor() {
        let of = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        let ours = write("events", &17);
        let bad = ["", "17", "====", &format!("{ours}="), &ours[1..], "\u{e4}"];
        for text in bad {
            assert_eq!(read::<u64>("events", text), None, "{text}");
        }
        for plain in ["", "events:17", "2:events:17", "1:events:", "1:events:x", "1events17"] {
            assert_eq!(read::<u64>("events", &of(plain)), None, "{plain}");
        }
    }
}
