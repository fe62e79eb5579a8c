//! Requests for a certificate (PKCS #10, RFC 2986), of which only the key is of interest.

use crate::model::Sha256;

use super::key::PublicKey;
use super::signed::{SEQUENCE, Signed, element};
use crate::pem;

/// A request for a certificate, read but not yet believed.
///
/// Reading costs no public-key operation; whether the sender holds the key is for
/// [`Csr::verify`] to say. Subject, attributes and extensions are not even looked at.
#[derive(Debug, Clone)]
pub struct Csr {
    der: Box<[u8]>,
    signed: Signed,
    key: PublicKey,
    key_digest: Sha256,
}

/// A public key whose holder signed a request with it. Only [`Csr::verify`] makes one.
#[derive(Debug, Clone)]
pub struct ProvenKey {
    key: PublicKey,
    digest: Sha256,
}

/// Why a text is no request that can be granted. Its words may be shown to who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadCsr {
    /// The text is longer than [`Csr::MAX_LEN`].
    #[error("the certificate request is larger than 16 KiB; it needs to hold no more than a key")]
    TooLarge,
    /// The text is not exactly one PEM block of a certificate request.
    #[error("not exactly one PEM block `CERTIFICATE REQUEST` with nothing around it")]
    Pem,
    /// The content is not the DER of a request, or something follows it.
    #[error("the certificate request is damaged: it is not the DER of PKCS #10")]
    Der,
    /// The key is none this fleet accepts.
    #[error("the key must be ECDSA P-384, ECDSA P-256 or Ed25519, and not a weak one")]
    Key,
    /// The signature is of a kind this fleet does not accept.
    #[error("the request must be signed with ECDSA and SHA-256, -384 or -512, or with Ed25519")]
    Algorithm,
    /// The signature does not verify.
    #[error("the certificate request is not signed by the key it holds")]
    Signature,
}

impl Csr {
    /// The longest accepted PEM text, in bytes. A request with nothing but a key has some 500.
    pub const MAX_LEN: usize = 16 * 1024;

    /// Reads a PEM text that holds one request and nothing else.
    ///
    /// # Errors
    /// [`BadCsr`], all but [`BadCsr::Signature`].
    pub fn parse(text: &str) -> Result<Self, BadCsr> {
        if text.len() > Self::MAX_LEN {
            return Err(BadCsr::TooLarge);
        }
        let der = LABELS.iter().find_map(|label| pem::decode(label, text)).ok_or(BadCsr::Pem)?;
        let signed = Signed::parse(&der).ok_or(BadCsr::Der)?;
        let spki = spki(signed.body(&der)).ok_or(BadCsr::Der)?;
        let key = PublicKey::from_spki(spki).map_err(|_| BadCsr::Key)?;
        if !signed.is_accepted() {
            return Err(BadCsr::Algorithm);
        }
        let key_digest = key.digest();
        Ok(Self { der: der.as_slice().into(), signed, key, key_digest })
    }

    /// The request's DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The DER `SubjectPublicKeyInfo` of the key, unproven.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.key.as_spki()
    }

    /// The SHA-256 of [`Self::public_key`]: what a redemption is claimed by.
    #[must_use]
    pub const fn key_digest(&self) -> Sha256 {
        self.key_digest
    }

    /// Proves that the sender held the private key.
    ///
    /// # Errors
    /// [`BadCsr::Signature`].
    pub fn verify(&self) -> Result<ProvenKey, BadCsr> {
        self.signed.verify(&self.der, &self.key).map_err(|_| BadCsr::Signature)?;
        Ok(ProvenKey { key: self.key.clone(), digest: self.key_digest })
    }
}

impl ProvenKey {
    /// The key.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// The SHA-256 of the key's DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub const fn digest(&self) -> Sha256 {
        self.digest
    }
}

/// The key in `SEQUENCE { version, subject, SubjectPublicKeyInfo, [0] attributes }`. The last
/// is there even when it is empty, but not every tool writes it then.
fn spki(info: &[u8]) -> Option<&[u8]> {
    let (info, _) = element(SEQUENCE, info)?;
    let rest = info.content.strip_prefix(&VERSION_1)?;
    let (_subject, rest) = element(SEQUENCE, rest)?;
    let (spki, rest) = element(SEQUENCE, rest)?;
    let after = if rest.is_empty() { rest } else { element(ATTRIBUTES, rest)?.1 };
    after.is_empty().then_some(spki.raw)
}

/// The second is what some older tools write.
const LABELS: [&str; 2] = ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"];
/// INTEGER 0.
const VERSION_1: [u8; 3] = [0x02, 0x01, 0x00];
const ATTRIBUTES: u8 = 0xa0;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, PublicKeyData as _, SigningKey as _};

    fn request() -> Vec<u8> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        CertificateParams::default().serialize_request(&key).unwrap().der().to_vec()
    }

    fn proves(der: &[u8]) -> bool {
        Csr::parse(&pem::encode(LABELS[0], der)).and_then(|csr| csr.verify()).is_ok()
    }

    #[test]
    fn both_labels_are_read_and_no_other() {
        let der = request();
        for label in LABELS {
            assert_eq!(Csr::parse(&pem::encode(label, &der)).unwrap().der(), der);
        }
        let other = pem::encode("CERTIFICATE", &der);
        assert_eq!(Csr::parse(&other).map(|_| ()), Err(BadCsr::Pem));
    }

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let len = content.len();
        match len {
            0..0x80 => [&[tag, len as u8], content].concat(),
            0x80..0x100 => [&[tag, 0x81, len as u8], content].concat(),
            _ => [&[tag, 0x82, (len >> 8) as u8, len as u8], content].concat(),
        }
    }

    /// What becomes of a request whose parts are `info`, each whole in itself and all of them
    /// truly signed, with `algorithm` as the algorithm's content and `tail` after the signature.
    fn read(info: &[&[u8]], algorithm: &[u8], tail: &[u8]) -> Result<(), BadCsr> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let spki = key.subject_public_key_info();
        let with_key = |part: &[u8]| if part == KEY { spki.clone() } else { part.to_vec() };
        let info: Vec<u8> = info.iter().flat_map(|part| with_key(part)).collect();
        let info = tlv(SEQUENCE, &info);
        let signature = [&[0][..], &key.sign(&info).unwrap()].concat();
        let all = [&*info, &tlv(SEQUENCE, algorithm), &tlv(0x03, &signature), tail].concat();
        let csr = Csr::parse(&pem::encode(LABELS[0], &tlv(SEQUENCE, &all)))?;
        csr.verify().map(|_| ())
    }

    /// Stands for the key's own encoding.
    const KEY: &[u8] = b"key";
    const WITH_SHA384: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];

    #[test]
    fn the_parts_of_a_request_are_these_and_no_more() {
        let (version, subject, attributes) = (&VERSION_1[..], &[0x30, 0][..], &[0xa0, 0][..]);
        for (info, whole) in [
            (&[version, subject, KEY, attributes][..], true),
            (&[version, subject, KEY], true),
            (&[version, subject, KEY, attributes, attributes], false),
            (&[version, subject, KEY, subject], false),
            (&[version, subject, attributes], false),
            (&[version, KEY, attributes], false),
            (&[subject, KEY, attributes], false),
            (&[&[2, 1, 1], subject, KEY, attributes], false),
        ] {
            let expected = if whole { Ok(()) } else { Err(BadCsr::Der) };
            assert_eq!(read(info, WITH_SHA384, &[]), expected, "{info:x?}");
        }
        let info = [version, subject, KEY, attributes];
        assert_eq!(read(&info, WITH_SHA384, &[5, 0]), Err(BadCsr::Der));
        let with_null = [WITH_SHA384, &[5, 0]].concat();
        assert_eq!(read(&info, &with_null, &[]), Err(BadCsr::Algorithm));
        let with_sha256 = [&WITH_SHA384[..9], &[2]].concat();
        assert_eq!(read(&info, &with_sha256, &[]), Err(BadCsr::Signature));
        let ed25519 = [0x06, 3, 0x2b, 0x65, 0x70];
        assert_eq!(read(&info, &ed25519, &[]), Err(BadCsr::Signature));
    }

    #[test]
    fn no_single_bit_of_a_request_can_be_changed() {
        let der = request();
        assert!(proves(&der));
        for at in 0..der.len() * 8 {
            let mut changed = der.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert!(!proves(&changed), "bit {at}");
        }
        for len in 0..der.len() {
            assert!(!proves(&der[..len]), "cut to {len}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_the_reader_panic(der in proptest::collection::vec(any::<u8>(), 1..400)) {
            prop_assert!(!proves(&der));
            let whole = [&[SEQUENCE, 0x82, 1, 0][..], &der].concat();
            prop_assert!(!proves(&whole));
        }

        #[test]
        fn neither_does_any_text(text in "\\PC*") {
            prop_assert!(Csr::parse(&text).is_err());
        }

        #[test]
        fn no_damage_to_a_request_makes_it_panic(
            at in 0_usize..300,
            with in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut der = request();
            let from = at.min(der.len());
            let to = (from + with.len()).min(der.len());
            let same = der[from..to] == with[..];
            der.splice(from..to, with);
            prop_assert_eq!(proves(&der), same);
        }
    }
}
