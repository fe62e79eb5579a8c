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

/// The extension `id-ce <last>` in place of what rcgen would write.
fn extension(last: u64, critical: bool, content: &[u8]) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, last], content.to_vec());
    extension.set_criticality(critical);
    extension
}

/// The same content, but critical where it has to be plain, or the other way round.
#[test]
fn wrong_criticality_is_caught() {
    let digital_signature = [0x03, 0x02, 0x07, 0x80];
    assert_eq!(
        caught(|p| {
            p.is_ca = IsCa::NoCa;
            p.custom_extensions = vec![extension(19, false, &[0x30, 0])];
        }),
        Some("basic constraints")
    );
    assert_eq!(
        caught(|p| {
            p.key_usages.clear();
            p.custom_extensions = vec![extension(15, false, &digital_signature)];
        }),
        Some("key usage")
    );
    let server = [6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1];
    let client = [6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2];
    let both = [&[0x30, 20][..], &server, &client].concat();
    for critical in [true, false] {
        assert_eq!(
            caught(|p| {
                p.extended_key_usages.clear();
                p.custom_extensions = vec![extension(37, critical, &both)];
            }),
            critical.then_some("extended key usage")
        );
    }
    let names = [
        &[0x30, 42, 0x86, 31][..],
        b"spiffe://enroll.internal/node/a",
        &[0x82, 1, b'a', 0x87, 4, 10, 0, 0, 1],
    ]
    .concat();
    for critical in [true, false] {
        assert_eq!(
            caught(|p| {
                p.subject_alt_names.clear();
                p.custom_extensions = vec![extension(17, critical, &names)];
            }),
            critical.then_some("subject alternative names")
        );
    }
}

#[test]
fn key_identifiers_of_another_form_are_caught() {
    let (authority, key) = (authority(), key());
    let profile = profile(&authority, &key);
    let part = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = params(&profile).unwrap();
        change(&mut params);
        let made = params.signed_by(&key, authority.issuer()).unwrap();
        check(made.der(), &profile).err().map(|off| off.part())
    };
    let id = |tag: u8, id: &[u8]| [&[tag, id.len() as u8], id].concat();
    for critical in [true, false] {
        let own = extension(14, critical, &id(0x04, &key_id(&key)));
        let constraints = extension(19, true, &[0x30, 0]);
        let replaced = part(&|p| {
            p.is_ca = IsCa::NoCa;
            p.custom_extensions = vec![constraints.clone(), own.clone()];
        });
        assert_eq!(replaced, critical.then_some("subject key id"));
    }
    let root = id(0x80, authority.root().key_id());
    let issuer = id(0xa1, &[0x82, 1, b'a']);
    let serial = id(0x82, &[1]);
    for (critical, content, caught) in [
        (false, root.clone(), false),
        (true, root.clone(), true),
        (false, [root.clone(), issuer.clone()].concat(), true),
        (false, [root.clone(), issuer, serial.clone()].concat(), true),
        (false, [root, serial].concat(), true),
        (false, Vec::new(), true),
    ] {
        let replaced = part(&|p| {
            p.use_authority_key_identifier_extension = false;
            p.custom_extensions = vec![extension(35, critical, &id(0x30, &content))];
        });
        assert_eq!(replaced, caught.then_some("authority key id"), "{content:x?}");
    }
}

/// The algorithm stands in a certificate twice; either place could be rewritten after signing.
#[test]
fn another_algorithm_is_caught() {
    let (authority, key) = (authority(), key());
    let profile = profile(&authority, &key);
    let der = authority.sign(&profile).unwrap();
    let with_sha256 = [0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let places: Vec<_> = (0..der.len()).filter(|&at| der[at..].starts_with(&with_sha256)).collect();
    let [inner, outer] = places[..] else { panic!("{places:?}") };
    for changed in [&[inner][..], &[outer], &[inner, outer]] {
        let mut der = der.clone();
        changed.iter().for_each(|at| der[at + with_sha256.len() - 1] = 3);
        assert_eq!(check(&der, &profile), Err(OffProfile { part: "signature algorithm" }));
    }
}

#[test]
fn a_serial_of_too_few_bits_is_caught() {
    let (authority, key) = (authority(), key());
    for (bytes, fits) in [(vec![0x41; 16], true), (vec![0x41; 15], false), (vec![0xc1; 16], false)]
    {
        let serial = Serial::from_bytes(&bytes).unwrap();
        let profile = Profile { serial, ..profile(&authority, &key) };
        assert_eq!(authority.sign(&profile).is_ok(), fits, "{serial}");
    }
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
