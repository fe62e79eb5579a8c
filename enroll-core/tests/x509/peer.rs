//! Certificates somebody presents.

use std::time::Duration;

use enroll_core::issue::x509::{
    Authority, LeafRequest, PeerError, PeerLeaf, PublicKey, RootCertificate, RootError,
};
use enroll_core::model::{Sha256, Subject, SystemEntropy, TrustDomain};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData as _,
    SanType, SigningKey as _,
};

use crate::support::{AT, authority, key_pair, leaf, name, p384, proven, request};

type Change = fn(&mut CertificateParams);

/// A certificate of nobody's authority that differs from a leaf's by `change`.
fn self_made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = leaf_params();
    change(&mut params);
    params.self_signed(&key_pair(&rcgen::PKCS_ECDSA_P256_SHA256)).unwrap().der().to_vec()
}

fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.subject_alt_names = vec![uri("spiffe://enroll.internal/node/worker-1")];
    params
}

/// Parameters of an authority called `name`.
fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn root_of(key: &KeyPair, name: &str) -> Vec<u8> {
    named(name).self_signed(key).unwrap().der().to_vec()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn why(der: &[u8]) -> PeerError {
    PeerLeaf::parse(der).map(|_| ()).unwrap_err()
}

#[test]
fn a_leaf_tells_what_it_was_issued_with() {
    let (authority, key) = (authority(), p384());
    let leaf = leaf(&authority, &key);
    let peer = PeerLeaf::parse(&leaf.der).unwrap();
    assert_eq!(peer.serial(), leaf.serial);
    assert_eq!(peer.id().subject(), &Subject::Node(name()));
    assert_eq!(peer.id().trust_domain(), authority.trust_domain());
    assert_eq!((peer.not_before(), peer.not_after()), (leaf.not_before, leaf.not_after));
    assert_eq!((peer.key_digest(), peer.der()), (key.digest(), &*leaf.der));
    assert_eq!(peer.public_key(), key.public_key());
    assert_eq!(peer.verify_issued_by(authority.root()), Ok(()));
}

#[test]
fn an_expired_leaf_is_still_known_as_issued_and_another_fleets_is_not() {
    let (ours, name, key) = (authority(), name(), p384());
    let short = LeafRequest::new(&name, &key, AT).with_lifetime(Duration::from_secs(1));
    let leaf = ours.issue_leaf(&short, &SystemEntropy::new()).unwrap();
    let peer = PeerLeaf::parse(&leaf.der).unwrap();
    assert_eq!(peer.verify_issued_by(ours.root()), Ok(()));
    assert_eq!(peer.verify_issued_by(authority().root()), Err(PeerError::Foreign));
    let other = TrustDomain::new("other.example").unwrap();
    let other = Authority::in_memory(&other, AT, &SystemEntropy::new()).unwrap();
    assert_eq!(peer.verify_issued_by(other.root()), Err(PeerError::Foreign));
}

/// The same key under another name is another authority.
#[test]
fn an_issuer_of_another_name_is_foreign() {
    let key = key_pair(&rcgen::PKCS_ECDSA_P256_SHA256);
    let root = root_of(&key, "enroll.internal");
    let issue = |issuer: &str| {
        let params = leaf_params();
        let issuer = rcgen::Issuer::new(named(issuer), &key);
        PeerLeaf::parse(params.signed_by(&key, &issuer).unwrap().der()).unwrap()
    };
    let root = RootCertificate::from_der(&root).unwrap();
    assert_eq!(issue("enroll.internal").verify_issued_by(&root), Ok(()));
    assert_eq!(issue("other.internal").verify_issued_by(&root), Err(PeerError::Foreign));
}

#[test]
fn a_negative_serial_is_refused() {
    let serial = [0x41; 20];
    let der = self_made(|p| p.serial_number = Some(serial.to_vec().into()));
    let at = der.windows(20).position(|w| w == serial).unwrap();
    assert!(PeerLeaf::parse(&der).is_ok());
    let mut negative = der;
    negative[at] = 0xc1;
    assert_eq!(why(&negative), PeerError::Malformed);
}

#[test]
fn what_is_no_members_certificate_is_refused() {
    assert!(PeerLeaf::parse(&self_made(|_| {})).is_ok());
    assert_eq!(why(b""), PeerError::Malformed);
    assert_eq!(why(authority().root_der()), PeerError::Authority);
    let changes: [(Change, PeerError); 9] = [
        (|p| p.is_ca = IsCa::NoCa, PeerError::Authority),
        (|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)), PeerError::Authority),
        (|p| p.key_usages = vec![KeyUsagePurpose::KeyCertSign], PeerError::Authority),
        (|p| p.subject_alt_names.clear(), PeerError::Identity),
        (|p| p.subject_alt_names = vec![uri("https://a.example/")], PeerError::Identity),
        (|p| p.subject_alt_names = vec![uri("spiffe://a/node/B")], PeerError::Identity),
        (|p| p.subject_alt_names.push(uri("spiffe://a/master")), PeerError::Identity),
        (|p| p.serial_number = Some(vec![0].into()), PeerError::Malformed),
        (|p| p.serial_number = Some(vec![1; 21].into()), PeerError::Malformed),
    ];
    for (change, expected) in changes {
        assert_eq!(why(&self_made(change)), expected);
    }
    let mut trailing = self_made(|_| {});
    trailing.push(0);
    assert_eq!(why(&trailing), PeerError::Malformed);
    let params = CertificateParams::default();
    let odd = params.self_signed(&key_pair(&rcgen::PKCS_ECDSA_P521_SHA512)).unwrap();
    assert_eq!(why(odd.der()), PeerError::Authority, "no constraints at all");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::ExplicitNoCa;
    params.subject_alt_names = vec![uri("spiffe://enroll.internal/master")];
    let odd = params.self_signed(&key_pair(&rcgen::PKCS_ECDSA_P521_SHA512)).unwrap();
    assert_eq!(why(odd.der()), PeerError::Key);
}

#[test]
fn no_single_bit_of_a_leaf_can_be_changed() {
    let authority = authority();
    let der = leaf(&authority, &p384()).der;
    for at in 0..der.len() * 8 {
        let mut changed = der.clone();
        changed[at / 8] ^= 1 << (at % 8);
        let believed = PeerLeaf::parse(&changed)
            .is_ok_and(|peer| peer.verify_issued_by(authority.root()).is_ok());
        assert!(!believed, "bit {at}");
    }
}

/// What a worker signs to recover: with the old key, over a text that is of no use elsewhere.
#[test]
fn a_detached_signature_is_verified_by_the_key_of_a_leaf() {
    let authority = authority();
    for algorithm in
        [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519]
    {
        let old = key_pair(algorithm);
        let leaf = leaf(&authority, &proven(&request(&old)));
        let digest = Sha256::of(&leaf.der);
        let message = [b"enroll-recover-v1\0".as_slice(), digest.as_bytes(), b"csr"].concat();
        let signature = old.sign(&message).unwrap();
        let peer = PeerLeaf::parse(&leaf.der).unwrap();
        assert_eq!(peer.public_key().verify(&message, &signature), Ok(()));
        assert!(peer.public_key().verify(&message[1..], &signature).is_err());
        let another = key_pair(algorithm).sign(&message).unwrap();
        assert!(peer.public_key().verify(&message, &another).is_err());
        let named = PublicKey::from_spki(&old.subject_public_key_info()).unwrap();
        assert_eq!(&named, peer.public_key());
    }
}

#[test]
fn a_root_is_read_for_what_it_is() {
    let authority = authority();
    let root = RootCertificate::from_pem(authority.root_pem()).unwrap();
    assert_eq!(root.fingerprint(), authority.fingerprint());
    assert_eq!(root.trust_domain(), authority.trust_domain());
    assert_eq!(root.der(), authority.root_der());
    let why = |der: &[u8]| RootCertificate::from_der(der).map(|_| ()).unwrap_err();
    assert_eq!(why(b"x"), RootError::Malformed);
    assert_eq!(why(&leaf(&authority, &p384()).der), RootError::NotAuthority);
    let mut broken = authority.root_der().to_vec();
    *broken.last_mut().unwrap() ^= 1;
    assert_eq!(why(&broken), RootError::Signature);
    let key = key_pair(&rcgen::PKCS_ECDSA_P256_SHA256);
    assert!(RootCertificate::from_der(&root_of(&key, "a.example")).is_ok());
    assert_eq!(why(&root_of(&key, "A root of ours")), RootError::TrustDomain);
    let other = rcgen::Issuer::new(named("b.example"), &key);
    let handed = named("a.example").signed_by(&key, &other).unwrap();
    assert_eq!(why(handed.der()), RootError::Signature);
    let rsa = key_pair(&rcgen::PKCS_RSA_SHA256);
    assert_eq!(why(&root_of(&rsa, "a.example")), RootError::Key);
}

proptest! {
    #[test]
    fn nothing_makes_the_readers_panic(der in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(PeerLeaf::parse(&der).is_err());
        prop_assert!(RootCertificate::from_der(&der).is_err());
    }

    #[test]
    fn no_damage_makes_them_panic(
        at in 0_usize..700,
        with in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut der = self_made(|_| {});
        let from = at.min(der.len());
        let to = (from + with.len()).min(der.len());
        der.splice(from..to, with);
        let _seen = (PeerLeaf::parse(&der).is_ok(), RootCertificate::from_der(&der).is_ok());
    }
}
