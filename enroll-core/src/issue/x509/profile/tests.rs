//! Certificates that differ from the profile in one thing each.

use super::*;
use crate::issue::x509::sign::params;
use crate::issue::x509::{Authority, IssueError};
use crate::model::{SystemEntropy, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData as _,
    SanType,
};
use std::time::Duration;

const AT: Timestamp = Timestamp::from_unix_secs(1_795_176_000);

fn authority() -> Authority {
    Authority::in_memory(&TrustDomain::default(), AT, &SystemEntropy).unwrap()
}

fn key() -> PublicKey {
    let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    PublicKey::from_spki(&pair.subject_public_key_info()).unwrap()
}

fn profile<'a>(authority: &'a Authority, key: &'a PublicKey) -> Profile<'a> {
    Profile {
        root: authority.root(),
        key,
        common_name: Some("a"),
        alt_names: vec![
            AltName::Uri("spiffe://enroll.internal/node/a".into()),
            AltName::Dns("a".into()),
            AltName::Ip([10, 0, 0, 1].into()),
        ],
        serial: Serial::from_bytes(&[0x41; 20]).unwrap(),
        not_before: AT,
        not_after: AT.after(Duration::from_secs(60)),
    }
}

/// What the check finds in a certificate that differs from the profile by `change` alone.
fn caught(change: impl FnOnce(&mut CertificateParams)) -> Option<&'static str> {
    let (authority, key) = (authority(), key());
    let profile = profile(&authority, &key);
    let mut params = params(&profile).unwrap();
    change(&mut params);
    let made = params.signed_by(&key, authority.issuer()).unwrap();
    check(made.der(), &profile).err().map(|off| off.part())
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

#[test]
fn what_is_on_the_profile_passes() {
    assert_eq!(caught(|_| {}), None);
}

#[test]
fn another_body_is_caught() {
    assert_eq!(caught(|p| p.serial_number = None), Some("serial"));
    assert_eq!(caught(|p| p.serial_number = Some(vec![0x41; 19].into())), Some("serial"));
    assert_eq!(caught(|p| p.serial_number = Some(vec![0xc1; 20].into())), Some("serial"));
    assert_eq!(caught(|p| p.not_before -= Duration::from_secs(1)), Some("validity"));
    assert_eq!(caught(|p| p.not_after += Duration::from_secs(1)), Some("validity"));
    assert_eq!(caught(|p| p.not_after = CertificateParams::default().not_after), Some("validity"));
    let named = |names: &[(DnType, &str)]| {
        let mut subject = DistinguishedName::new();
        names.iter().for_each(|(kind, name)| subject.push(kind.clone(), *name));
        caught(|p| p.distinguished_name = subject)
    };
    assert_eq!(named(&[(DnType::CommonName, "b")]), Some("subject"));
    assert_eq!(named(&[(DnType::OrganizationName, "a")]), Some("subject"));
    assert_eq!(
        named(&[(DnType::CommonName, "a"), (DnType::OrganizationName, "a")]),
        Some("subject")
    );
    assert_eq!(named(&[]), Some("subject"));
}

#[test]
fn another_key_and_another_issuer_are_caught() {
    let (ours, theirs) = (authority(), authority());
    let (key, other) = (key(), key());
    let profile = profile(&ours, &key);
    let params = params(&profile).unwrap();
    let part = |der: &[u8]| check(der, &profile).err().map(|off| off.part());
    let made = params.signed_by(&other, ours.issuer()).unwrap();
    assert_eq!(part(made.der()), Some("public key"));
    let made = params.signed_by(&key, theirs.issuer()).unwrap();
    assert_eq!(part(made.der()), Some("authority key id"));
    let elsewhere = TrustDomain::new("elsewhere").unwrap();
    let elsewhere = Authority::in_memory(&elsewhere, AT, &SystemEntropy).unwrap();
    let made = params.signed_by(&key, elsewhere.issuer()).unwrap();
    assert_eq!(part(made.der()), Some("issuer"));
    let made = params.signed_by(&key, ours.issuer()).unwrap();
    assert_eq!(part(&[made.der(), &[0][..]].concat()), Some("version or encoding"));
    assert_eq!(part(&made.der()[1..]), Some("version or encoding"));
}

#[test]
fn other_constraints_and_usages_are_caught() {
    for ca in [BasicConstraints::Unconstrained, BasicConstraints::Constrained(0)] {
        assert_eq!(caught(|p| p.is_ca = IsCa::Ca(ca)), Some("basic constraints"));
    }
    assert_eq!(caught(|p| p.is_ca = IsCa::NoCa), Some("a missing extension"));
    assert_eq!(caught(|p| p.key_usages.clear()), Some("a missing extension"));
    assert_eq!(caught(|p| p.key_usages.push(KeyUsagePurpose::KeyCertSign)), Some("key usage"));
    assert_eq!(
        caught(|p| p.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
        Some("key usage")
    );
    for more in [
        ExtendedKeyUsagePurpose::Any,
        ExtendedKeyUsagePurpose::CodeSigning,
        ExtendedKeyUsagePurpose::EmailProtection,
        ExtendedKeyUsagePurpose::TimeStamping,
        ExtendedKeyUsagePurpose::OcspSigning,
        ExtendedKeyUsagePurpose::Other(vec![1, 2, 3]),
    ] {
        assert_eq!(caught(|p| p.extended_key_usages.push(more)), Some("extended key usage"));
    }
    for at in [0, 1] {
        assert_eq!(caught(|p| drop(p.extended_key_usages.remove(at))), Some("extended key usage"));
    }
    assert_eq!(caught(|p| p.extended_key_usages.clear()), Some("a missing extension"));
}

#[test]
fn other_names_are_caught() {
    const NAMES: Option<&str> = Some("subject alternative names");
    let second = SanType::URI("spiffe://enroll.internal/master".try_into().unwrap());
    let mail = SanType::Rfc822Name("a@b.example".try_into().unwrap());
    for more in [second, mail, dns("*.cluster.local"), dns("master.example")] {
        assert_eq!(caught(|p| p.subject_alt_names.push(more)), NAMES);
    }
    for at in 0..3 {
        assert_eq!(caught(|p| drop(p.subject_alt_names.remove(at))), NAMES);
    }
    assert_eq!(caught(|p| p.subject_alt_names[1] = dns("b")), NAMES);
    assert_eq!(caught(|p| p.subject_alt_names.swap(0, 1)), NAMES);
    assert_eq!(
        caught(|p| p.subject_alt_names[2] = SanType::IpAddress([10, 0, 0, 2].into())),
        NAMES
    );
}

#[test]
fn other_extensions_are_caught() {
    let unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    assert_eq!(
        caught(|p| p.custom_extensions.push(unknown)),
        Some("an extension it should not have")
    );
    // id-ce-basicConstraints with an empty SEQUENCE, a second time.
    let mut twice = CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 0]);
    twice.set_criticality(true);
    assert_eq!(caught(|p| p.custom_extensions.push(twice)), Some("an extension twice"));
    assert_eq!(
        caught(|p| p.use_authority_key_identifier_extension = false),
        Some("a missing extension")
    );
    assert_eq!(
        caught(|p| p.key_identifier_method = KeyIdMethod::PreSpecified(vec![7; 20])),
        Some("subject key id")
    );
}

#[test]
fn names_without_a_subject_have_to_be_critical() {
    let (authority, key) = (authority(), key());
    let bare = Profile { common_name: None, ..profile(&authority, &key) };
    let empty = params(&bare).unwrap().signed_by(&key, authority.issuer()).unwrap();
    assert_eq!(check(empty.der(), &bare), Ok(()));
    let named = params(&profile(&authority, &key)).unwrap();
    let named = named.signed_by(&key, authority.issuer()).unwrap();
    assert_eq!(check(named.der(), &bare), Err(OffProfile { part: "subject" }));
}

#[test]
fn a_profile_that_outlives_its_root_is_caught() {
    let (authority, key) = (authority(), key());
    let long = Profile {
        not_after: authority.not_after().after(Duration::from_secs(1)),
        ..profile(&authority, &key)
    };
    let made = params(&long).unwrap().signed_by(&key, authority.issuer()).unwrap();
    assert_eq!(check(made.der(), &long), Err(OffProfile { part: "validity" }));
    let signed = authority.sign(&long);
    assert!(matches!(signed, Err(IssueError::OffProfile(_))), "nothing leaves unchecked");
}
