//! PEM, strictly (RFC 7468): one block, nothing around it but white space.
//!
//! The lenient readers skip what they do not know, so that two of them can see two different
//! things in one text.

use data_encoding::BASE64;
use zeroize::Zeroizing;

/// The label of a certificate.
pub(crate) const CERTIFICATE: &str = "CERTIFICATE";
/// The label of a private key in PKCS #8.
#[cfg(feature = "x509")]
pub(crate) const PRIVATE_KEY: &str = "PRIVATE KEY";
/// The label of a certificate request.
#[cfg(feature = "x509")]
pub(crate) const REQUEST: &str = "CERTIFICATE REQUEST";

/// What the block of `label` in `text` holds; `None` when `text` is anything but that one block.
///
/// Wiped on drop, because a private key is read this way too.
pub(crate) fn decode(label: &str, text: &str) -> Option<Zeroizing<Vec<u8>>> {
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

/// What the blocks of `label` in `text` hold, in order; `None` when `text` is anything but at least
/// one of them, one after the other.
#[cfg(feature = "x509")]
pub(crate) fn decode_all(label: &str, text: &str) -> Option<Vec<Zeroizing<Vec<u8>>>> {
    let end = format!("-----END {label}-----");
    let blocks = text.trim_ascii_end().split_inclusive(&end).map(|block| decode(label, block));
    blocks.collect::<Option<Vec<_>>>().filter(|all| !all.is_empty())
}

/// `der` as a block of `label`, lines of 64 characters, a line break at the end.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
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

    #[cfg(feature = "x509")]
    #[test]
    fn blocks_in_a_row_are_read_in_order_and_nothing_between_them() {
        let (one, two) = (encode("X", b"one"), encode("X", b"two"));
        let read = |text: &str| {
            decode_all("X", text).map(|all| all.iter().map(|it| it.to_vec()).collect::<Vec<_>>())
        };
        assert_eq!(read(&one), Some(vec![b"one".to_vec()]));
        assert_eq!(read(&format!("{one}\n{two}")), Some(vec![b"one".to_vec(), b"two".to_vec()]));
        let foreign = encode("Y", b"other");
        for bad in
            ["", "x", &format!("{one}x{two}"), &format!("{one}{foreign}"), &one[..one.len() - 3]]
        {
            assert_eq!(read(bad), None, "{bad:?}");
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
