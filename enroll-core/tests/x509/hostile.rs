//! Requests that ask for more than a key deserves, or are no requests: each gets a certificate
//! exactly on the profile, or a refusal.

use enroll_core::issue::x509::{BadCsr, Csr, LeafRequest};
use enroll_core::model::SystemEntropy;
use rcgen::{
    Attribute, BasicConstraints, CertificateParams, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
};

use crate::support::{AT, OpenSsl, authority, key_pair, name, request};

/// The extensions every leaf of `worker-1` has, as `openssl` prints them without the key ids.
const EXTENSIONS: [&str; 5] = [
    "X509v3 Subject Alternative Name: | \
     URI:spiffe://enroll.internal/node/worker-1, DNS:worker-1",
    "X509v3 Key Usage: critical | Digital Signature",
    "X509v3 Extended Key Usage: | TLS Web Server Authentication, TLS Web Client Authentication",
    "X509v3 Basic Constraints: critical | CA:FALSE",
    "X509v3 Subject Key Identifier:",
];

/// As [`leaf_on_profile`], and `openssl` reads the same key from the request and the leaf.
fn issued_on_profile(pem: &str, curve: &str) {
    let ssl = leaf_on_profile(pem, curve);
    ssl.write("request.csr", pem);
    let public = ssl.run("x509 -in leaf.crt -noout -pubkey");
    assert_eq!(public, ssl.run("req -in request.csr -noout -pubkey"));
}

/// Issues for `pem`, lets `openssl` verify the leaf and compares all of it with the profile.
/// `curve` is the line that names the key's kind.
fn leaf_on_profile(pem: &str, curve: &str) -> OpenSsl {
    let (ssl, authority) = (OpenSsl::new(), authority());
    let key = Csr::parse(pem).unwrap().verify().unwrap();
    let name = name();
    let request = LeafRequest::new(&name, &key, AT);
    let leaf = authority.issue_leaf(&request, &SystemEntropy::new()).unwrap();
    ssl.write("ca.crt", authority.root_pem());
    ssl.write("leaf.crt", &leaf.chain_pem);
    let at = AT.unix_secs();
    ssl.run(&format!("verify -x509_strict -attime {at} -CAfile ca.crt leaf.crt"));
    let text = ssl.run("x509 -in leaf.crt -noout -text");
    assert!(text.contains(curve), "{curve:?} is not in\n{text}");
    assert!(text.contains("Subject: CN = worker-1\n"), "{text}");
    let extensions = extensions(&text);
    assert_eq!(extensions.len(), 6, "{extensions:#?}");
    for wanted in EXTENSIONS {
        let found = extensions.iter().any(|have| have.starts_with(wanted));
        assert!(found, "{wanted:?} is not among {extensions:#?}");
    }
    ssl
}

/// Each extension with its content on one line.
fn extensions(text: &str) -> Vec<String> {
    let (_, text) = text.split_once("X509v3 extensions:\n").unwrap();
    let (text, _) = text.split_once("    Signature Algorithm:").unwrap();
    let mut found: Vec<String> = Vec::new();
    for line in text.lines() {
        match (line.starts_with("                "), found.last_mut()) {
            (true, Some(last)) => last.extend(["| ", line.trim()]),
            _ => found.push(format!("{} ", line.trim())),
        }
    }
    found.into_iter().map(|extension| extension.trim().to_owned()).collect()
}

fn refused(pem: &str) -> BadCsr {
    Csr::parse(pem).and_then(|csr| csr.verify()).map(|_| ()).unwrap_err()
}

/// What rcgen makes of parameters that ask for the moon.
fn asking(change: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = CertificateParams::default();
    change(&mut params);
    let key = key_pair(&rcgen::PKCS_ECDSA_P384_SHA384);
    params.serialize_request(&key).unwrap().pem().unwrap()
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

const P384: &str = "ASN1 OID: secp384r1";
const P256: &str = "ASN1 OID: prime256v1";

#[test]
fn nothing_a_request_asks_for_is_granted() {
    let uri = SanType::URI("spiffe://enroll.internal/master".try_into().unwrap());
    let unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    let requests = [
        asking(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        asking(|p| p.subject_alt_names = vec![dns("*.cluster.local"), dns("master.example"), uri]),
        asking(|p| p.distinguished_name.push(DnType::CommonName, "master")),
        asking(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]),
        asking(|p| p.key_usages = vec![KeyUsagePurpose::KeyCertSign]),
        asking(|p| p.custom_extensions = vec![unknown]),
    ];
    for pem in &requests {
        issued_on_profile(pem, P384);
    }
}

/// Even where `openssl` no longer reads the request: they decide nothing.
#[test]
fn attributes_are_not_even_looked_at() {
    let key = key_pair(&rcgen::PKCS_ECDSA_P384_SHA384);
    let challenge_password = &[1, 2, 840, 113_549, 1, 9, 7][..];
    let empty_set = vec![0x31, 0];
    let no_set = vec![2, 1, 7];
    for (oid, values) in [(challenge_password, empty_set), (&[1, 3, 9], no_set)] {
        let attributes = vec![Attribute { oid, values }];
        let params = CertificateParams::default();
        let made = params.serialize_request_with_attributes(&key, attributes).unwrap();
        leaf_on_profile(&made.pem().unwrap(), P384);
    }
}

/// The curve of a certificate comes from the key, not from the digest it signed with.
#[test]
fn every_digest_goes_with_every_curve() {
    let ssl = OpenSsl::new();
    for (curve, line) in [("P-384", P384), ("P-256", P256)] {
        for digest in ["sha256", "sha384", "sha512"] {
            ssl.run(&format!(
                "req -new -newkey ec -pkeyopt ec_paramgen_curve:{curve} -{digest} -nodes \
                 -keyout k.pem -subj /CN=x -out r.csr"
            ));
            issued_on_profile(&ssl.read("r.csr"), line);
        }
    }
    ssl.run("req -new -newkey ed25519 -nodes -keyout k.pem -subj /CN=x -out r.csr");
    issued_on_profile(&ssl.read("r.csr"), "Public Key Algorithm: ED25519");
}

#[test]
fn weak_and_unknown_keys_are_refused() {
    let ssl = OpenSsl::new();
    for newkey in [
        "rsa:2048",
        "rsa:1024",
        "ec -pkeyopt ec_paramgen_curve:secp256k1",
        "ec -pkeyopt ec_paramgen_curve:P-521",
        "ec -pkeyopt ec_paramgen_curve:P-224",
        "ec -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit",
        "ed448",
    ] {
        ssl.run(&format!("req -new -newkey {newkey} -nodes -keyout k.pem -subj /CN=x -out r.csr"));
        assert_eq!(refused(&ssl.read("r.csr")), BadCsr::Key, "{newkey}");
    }
}

#[test]
fn a_digest_that_has_been_broken_is_refused() {
    let ssl = OpenSsl::new();
    ssl.run(
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -sha1 -nodes -keyout k.pem \
         -subj /CN=x -out r.csr",
    );
    assert_eq!(refused(&ssl.read("r.csr")), BadCsr::Algorithm);
}

#[test]
fn a_request_for_somebody_elses_key_is_refused() {
    let (ours, theirs) =
        (key_pair(&rcgen::PKCS_ECDSA_P384_SHA384), key_pair(&rcgen::PKCS_ECDSA_P384_SHA384));
    let pem = request(&ours);
    let swapped = with_der(&pem, |der| {
        let at = der.windows(97).position(|w| w == ours.public_key_raw()).unwrap();
        der[at..at + 97].copy_from_slice(theirs.public_key_raw());
    });
    assert_eq!(refused(&swapped), BadCsr::Signature);
}

#[test]
fn what_is_no_request_is_refused() {
    let pem = request(&key_pair(&rcgen::PKCS_ECDSA_P384_SHA384));
    let garbage = "-----BEGIN CERTIFICATE REQUEST-----\nZ2FyYmFnZQ==\n\
                   -----END CERTIFICATE REQUEST-----\n";
    for (text, why) in [
        (String::new(), BadCsr::Pem),
        ("garbage".into(), BadCsr::Pem),
        (format!("{pem}{pem}"), BadCsr::Pem),
        (format!("{pem}junk"), BadCsr::Pem),
        (format!("Certificate Request:\n{pem}"), BadCsr::Pem),
        (pem.replace(" REQUEST", ""), BadCsr::Pem),
        (garbage.into(), BadCsr::Der),
        (with_der(&pem, |der| der.push(0)), BadCsr::Der),
        (with_der(&pem, |der| der.truncate(der.len() - 1)), BadCsr::Der),
        (with_der(&pem, |der| der[0] = 0x31), BadCsr::Der),
        (with_der(&pem, |der| *der.last_mut().unwrap() ^= 1), BadCsr::Signature),
        ("x".repeat(Csr::MAX_LEN + 1), BadCsr::TooLarge),
    ] {
        assert_eq!(refused(&text), why, "{text}");
    }
}

#[test]
fn ten_thousand_names_are_too_much_and_a_hundred_change_nothing() {
    let many = |count: usize| {
        asking(|p| {
            p.subject_alt_names = (0..count).map(|n| dns(&format!("n{n}.example"))).collect()
        })
    };
    assert_eq!(refused(&many(10_000)), BadCsr::TooLarge);
    issued_on_profile(&many(100), P384);
}

/// What a person sees names the rule, and nothing of what was sent.
#[test]
fn refusals_are_sentences() {
    use BadCsr::{Algorithm, Der, Key, Pem, Signature, TooLarge};
    for why in [TooLarge, Pem, Der, Key, Algorithm, Signature] {
        let text = why.to_string();
        assert!(text.contains(' ') && text.len() > 30 && !text.ends_with('.'), "{text}");
    }
}

fn with_der(pem: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let ssl = OpenSsl::new();
    ssl.write("r.csr", pem);
    ssl.run("req -in r.csr -outform der -out r.der");
    let mut der = std::fs::read(ssl.path("r.der")).unwrap();
    change(&mut der);
    let body = data_encoding::BASE64.encode(&der);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n")
}
