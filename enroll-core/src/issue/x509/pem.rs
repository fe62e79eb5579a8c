//! PEM, strictly (RFC 7468): one block, nothing around it but white space.
//!
//! The lenient readers skip what they do not know, so that two of them can see two different
//! things in one text.

use data_encoding::BASE64;
use zeroize::Zeroizing;

/// What the block of `label` in `text` holds; `None` when `text` is anything but that one block.
///
/// Wiped on drop, because a private key is read this way too.
pub(super) fn decode(label: &str, text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let body = text
        .trim_ascii()
        .strip_prefix("-----BEGIN ")?
        .strip_prefix(label)?
        .strip_prefix("-----")?
        .strip_suffix("-----")?
        .strip_suffix(label)?
        .strip_suffix("-----END ")?;
    if !body.starts_with(['\r', '\n']) {
        return None;
    }
    let mut packed = Zeroizing::new(Vec::with_capacity(body.len()));
    packed.extend(body.bytes().filter(|b| !b.is_ascii_whitespace()));
    let der = Zeroizing::new(BASE64.decode(&packed).ok()?);
    (!der.is_empty()).then_some(der)
}

/// `der` as a block of `label`, lines of 64 characters, a line break at the end.
pub(super) fn encode(label: &str, der: &[u8]) -> String {
    let body = Zeroizing::new(BASE64.encode(der));
    // Reserved in full, so that growing leaves no copy of a private key behind.
    let mut text = String::with_capacity(body.len() + body.len() / 64 + 2 * label.len() + 34);
    text.extend(["-----BEGIN ", label, "-----\n"]);
    for line in body.as_bytes().chunks(64) {
        text.extend(line.iter().map(|&b| char::from(b)));
        text.push('\n');
    }
    text.extend(["-----END ", label, "-----\n"]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_one_whole_block_is_a_block() {
        let good = encode("X", b"hello");
        assert_eq!(good, "-----BEGIN X-----\naGVsbG8=\n-----END X-----\n");
        for same in [good.clone(), format!("\n  {good}\n\n"), good.replace('\n', "\r\n")] {
            assert_eq!(decode("X", &same).unwrap().as_slice(), b"hello", "{same:?}");
        }
        for bad in [
            String::new(),
            format!("{good}{good}"),
            format!("x{good}"),
            format!("{good}x"),
            good.replace('X', "Y"),
            good.replace('=', ""),
            good.replace("aG", "a-"),
            good.replace("bG8=", "bG9="),
            good.replacen("-----\n", "-----", 1),
            "-----BEGIN X-----\n-----END X-----\n".into(),
            "-----BEGIN X-----".into(),
        ] {
            assert!(decode("X", &bad).is_none(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_decodes(der in proptest::collection::vec(any::<u8>(), 1..300)) {
            let text = encode("CERTIFICATE", &der);
            let capacity = text.capacity();
            prop_assert!(text.lines().all(|line| line.len() <= 64));
            prop_assert!(capacity < text.len() + 8, "grown: {capacity} for {}", text.len());
            let read = decode("CERTIFICATE", &text).unwrap();
            prop_assert_eq!(read.as_slice(), der);
        }

        #[test]
        fn nothing_makes_the_reader_panic(text in "\\PC*") {
            let _seen = decode("X", &text).is_some();
            let _seen = decode("X", &format!("-----BEGIN X-----{text}-----END X-----")).is_some();
        }
    }
}
