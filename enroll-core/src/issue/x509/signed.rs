//! The shape requests and certificates share: what is signed, how, and the signature.

use std::ops::Range;

use super::key::PublicKey;

/// `SEQUENCE { what is signed, AlgorithmIdentifier, BIT STRING }` (RFC 5280, 4.1.1; RFC 2986).
///
/// Read by hand, because of both only this much is needed where a key is to be proven, and what
/// is not interpreted cannot be misread: no names, no attributes, no extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signed {
    /// `None` when the algorithm is none this fleet accepts.
    digest: Option<Digest>,
    body: Range<usize>,
    signature: Range<usize>,
}

/// What of the message goes into the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Digest {
    Sha256,
    Sha384,
    Sha512,
    /// All of it: Ed25519 digests by itself.
    Whole,
}

/// A signature that the key did not make over the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature was not made by this key over this message")]
#[non_exhaustive]
pub struct BadSignature;

impl Signed {
    /// Reads all of `der`: nothing may follow, inside or outside.
    pub(super) fn parse(der: &[u8]) -> Option<Self> {
        let (all, rest) = element(SEQUENCE, der)?;
        let (body, after) = element(SEQUENCE, all.content)?;
        let (algorithm, after) = element(SEQUENCE, after)?;
        let (bits, end) = element(BIT_STRING, after)?;
        let [0, signature @ ..] = bits.content else { return None };
        let start = der.len() - all.content.len();
        (rest.is_empty() && end.is_empty()).then(|| Self {
            digest: Digest::of(algorithm.content),
            body: start..start + body.raw.len(),
            signature: der.len() - signature.len()..der.len(),
        })
    }

    /// What is signed, header included, in the `der` this was parsed from.
    pub(super) fn body<'a>(&self, der: &'a [u8]) -> &'a [u8] {
        &der[self.body.clone()]
    }

    /// Whether the algorithm is one this fleet accepts.
    pub(super) const fn is_accepted(&self) -> bool {
        self.digest.is_some()
    }

    /// Verifies the signature in the `der` this was parsed from.
    pub(super) fn verify(&self, der: &[u8], key: &PublicKey) -> Result<(), BadSignature> {
        let digest = self.digest.ok_or(BadSignature)?;
        key.verify_with(digest, self.body(der), &der[self.signature.clone()])
    }
}

impl Digest {
    /// By the content of the AlgorithmIdentifier, which has no parameters (RFC 5758, RFC 8410).
    fn of(algorithm: &[u8]) -> Option<Self> {
        match algorithm {
            [0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2] => Some(Self::Sha256),
            [0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3] => Some(Self::Sha384),
            [0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4] => Some(Self::Sha512),
            [0x06, 3, 0x2b, 0x65, 0x70] => Some(Self::Whole),
            _ => None,
        }
    }
}

/// One DER element: with its header, and without.
#[derive(Debug)]
pub(super) struct Element<'a> {
    pub(super) raw: &'a [u8],
    pub(super) content: &'a [u8],
}

/// The element of `tag` at the start of `der`, and what follows it.
///
/// Lengths are definite and in their shortest form, as DER wants them (X.690, 10.1).
pub(super) fn element(tag: u8, der: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&first, after) = der.split_first()?;
    let (header, len) = match *after {
        [len @ 0..=0x7f, ..] => (2, usize::from(len)),
        [0x81, len @ 0x80..=0xff, ..] => (3, usize::from(len)),
        [0x82, high @ 1..=0xff, low, ..] => (4, usize::from(high) << 8 | usize::from(low)),
        _ => return None,
    };
    if first != tag {
        return None;
    }
    let (raw, rest) = der.split_at_checked(header + len)?;
    Some((Element { raw, content: &raw[header..] }, rest))
}

pub(super) const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_have_one_spelling() {
        let long = [&[SEQUENCE, 0x81, 0x80][..], &[7; 0x80]].concat();
        let longer = [&[SEQUENCE, 0x82, 0x01, 0x00][..], &[7; 0x100]].concat();
        for good in [&[SEQUENCE, 0][..], &[SEQUENCE, 1, 7], &long, &longer] {
            let (all, rest) = element(SEQUENCE, good).unwrap();
            assert_eq!((all.raw, rest.len()), (good, 0));
            assert!(element(SEQUENCE, &good[..good.len() - 1]).is_none());
            assert!(element(BIT_STRING, good).is_none());
        }
        for bad in [
            &[SEQUENCE, 0x80, 0, 0][..],
            &[SEQUENCE, 0x81, 0x01, 7],
            &[SEQUENCE, 0x82, 0x00, 0x01, 7],
            &[SEQUENCE, 0x83, 0, 0, 1, 7],
            &[SEQUENCE, 0xff],
        ] {
            assert!(element(SEQUENCE, bad).is_none(), "{bad:x?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_the_reader_panic(der in proptest::collection::vec(any::<u8>(), 0..99)) {
            let _seen = Signed::parse(&der).is_some();
            let framed = [&[SEQUENCE, der.len() as u8][..], &der].concat();
            let _seen = Signed::parse(&framed).is_some();
        }
    }
}
