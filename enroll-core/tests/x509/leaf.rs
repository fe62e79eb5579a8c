//! A node's certificate on its profile.

use std::time::Duration;

use enroll_core::issue::x509::{Authority, IssueError, Leaf, LeafRequest, PeerLeaf};
use enroll_core::model::{Entropy, Host, NodeName, Subject, SystemEntropy, Timestamp, TrustDomain};

use crate::support::{AT, OpenSsl, authority, leaf, name, p384};

const ENTROPY: fn() -> SystemEntropy = SystemEntropy::new;

#[test]
fn openssl_verifies_and_reads_the_profile() {
    let (ssl, authority) = (OpenSsl::new(), authority());
    let (name, key) = (name(), p384());
    let endpoint = Host::new("10.0.0.21").unwrap();
    let request = LeafRequest::new(&name, &key, AT).with_endpoint(&endpoint);
    let leaf = authority.issue_leaf(&request, &ENTROPY()).unwrap();
    ssl.write("ca.crt", authority.root_pem());
    ssl.write("leaf.crt", &leaf.chain_pem);
    let at = AT.unix_secs();
    for purpose in ["sslserver", "sslclient"] {
        ssl.run(&format!(
            "verify -x509_strict -purpose {purpose} -attime {at} -CAfile ca.crt leaf.crt"
        ));
    }
    let text = ssl.run("x509 -in leaf.crt -noout -text");
    for line in [
        "Issuer: CN = enroll.internal",
        "Subject: CN = worker-1",
        "Not Before: Nov 20 11:55:00 2026 GMT",
        "Not After : Dec 20 12:00:00 2026 GMT",
        "ASN1 OID: secp384r1",
        "X509v3 Basic Constraints: critical\n                CA:FALSE\n",
        "X509v3 Key Usage: critical\n                Digital Signature\n",
        "X509v3 Extended Key Usage: \n                \
         TLS Web Server Authentication, TLS Web Client Authentication\n",
        "X509v3 Subject Alternative Name: \n                \
         URI:spiffe://enroll.internal/node/worker-1, DNS:worker-1, IP Address:10.0.0.21\n",
        "X509v3 Subject Key Identifier: \n",
        "X509v3 Authority Key Identifier: \n",
        "Signature Algorithm: ecdsa-with-SHA256",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    assert_eq!(text.matches("X509v3 ").count(), 7, "six extensions and their title\n{text}");
    let serial = ssl.run("x509 -in leaf.crt -noout -serial");
    assert_eq!(serial.trim().to_lowercase(), format!("serial={}", leaf.serial));
}

#[test]
fn the_same_key_twice_gets_two_serials() {
    let (authority, key) = (authority(), p384());
    let (one, two) = (leaf(&authority, &key), leaf(&authority, &key));
    assert_ne!(one.serial, two.serial);
    assert_eq!(one.key_digest, two.key_digest);
    assert_eq!(one.key_digest, key.digest());
    for leaf in [one, two] {
        let bytes = leaf.serial.as_bytes();
        assert!(bytes.len() == 20 && bytes[0] < 0x80, "{}", leaf.serial);
        assert_eq!(PeerLeaf::parse(&leaf.der).unwrap().serial(), leaf.serial);
        assert_eq!(leaf.chain_pem.matches("-----BEGIN ").count(), 1);
    }
}

#[test]
fn a_name_too_long_for_a_common_name_stands_in_the_critical_names_alone() {
    let (ssl, authority, key) = (OpenSsl::new(), authority(), p384());
    ssl.write("ca.crt", authority.root_pem());
    let longest =
        [&["a"; 63].concat(), &["b"; 63].concat(), &["c"; 63].concat(), &["d"; 61].concat()]
            .map(String::as_str)
            .join(".");
    for (text, named) in [
        (format!("{}.b", "a".repeat(62)), true),
        (format!("{}.bc", "a".repeat(62)), false),
        (longest, false),
    ] {
        let name = NodeName::new(&text).unwrap();
        let leaf = authority.issue_leaf(&LeafRequest::new(&name, &key, AT), &ENTROPY()).unwrap();
        ssl.write("leaf.crt", &leaf.chain_pem);
        let at = AT.unix_secs();
        ssl.run(&format!("verify -x509_strict -attime {at} -CAfile ca.crt leaf.crt"));
        let shown = ssl.run("x509 -in leaf.crt -noout -text");
        assert_eq!(shown.contains(&format!("Subject: CN = {text}\n")), named, "{shown}");
        assert_eq!(
            shown.contains("X509v3 Subject Alternative Name: critical\n"),
            !named,
            "{shown}"
        );
        assert!(shown.contains(&format!("/node/{text}, DNS:{text}\n")), "{shown}");
        let peer = PeerLeaf::parse(&leaf.der).unwrap();
        assert_eq!(peer.id().subject(), &Subject::Node(name));
    }
}

#[test]
fn an_endpoint_is_a_name_unless_it_is_the_masters_or_there_already() {
    let (authority, name, key) = (authority(), name(), p384());
    let hosts = ["master.example", "10.0.0.1"].map(|text| Host::new(text).unwrap());
    for (endpoint, named) in [
        ("worker.example", "DNS:worker.example"),
        ("10.0.0.21", "IP Address:10.0.0.21"),
        ("2001:db8::21", "IP Address:2001:DB8:0:0:0:0:0:21"),
        ("MASTER.example.", ""),
        ("::ffff:10.0.0.1", ""),
        ("worker-1", ""),
    ] {
        let endpoint = Host::new(endpoint).unwrap();
        let request =
            LeafRequest::new(&name, &key, AT).with_endpoint(&endpoint).with_master_hosts(&hosts);
        let leaf = authority.issue_leaf(&request, &ENTROPY()).unwrap();
        let ssl = OpenSsl::new();
        ssl.write("leaf.crt", &leaf.chain_pem);
        let shown = ssl.run("x509 -in leaf.crt -noout -ext subjectAltName");
        let all = "URI:spiffe://enroll.internal/node/worker-1, DNS:worker-1";
        let separator = if named.is_empty() { "" } else { ", " };
        assert!(shown.ends_with(&format!("    {all}{separator}{named}\n")), "{shown}");
    }
}

#[test]
fn no_node_gets_a_certificate_with_the_masters_name() {
    let (authority, name, key) = (authority(), name(), p384());
    let hosts = [Host::new("Worker-1").unwrap()];
    let request = LeafRequest::new(&name, &key, AT).with_master_hosts(&hosts);
    let refused = authority.issue_leaf(&request, &ENTROPY()).unwrap_err();
    assert!(matches!(refused, IssueError::MasterHost { .. }), "{refused}");
}

#[test]
fn a_leaf_never_outlives_its_root_and_starts_five_minutes_back() {
    let (authority, name, key) = (authority(), name(), p384());
    let end = authority.not_after();
    let day = Duration::from_secs(86_400);
    for (at, lifetime, until) in [
        (AT, Duration::from_secs(1), Timestamp::from_unix_secs(AT.unix_secs() + 1)),
        (AT, Leaf::DEFAULT_LIFETIME, Timestamp::from_unix_secs(AT.unix_secs() + 30 * 86_400)),
        (AT, Duration::MAX, end),
        (end.before(day), day, end),
        (end.before(day), 2 * day, end),
        (end.before(Duration::from_millis(1)), day, end),
    ] {
        let request = LeafRequest::new(&name, &key, at).with_lifetime(lifetime);
        let leaf = authority.issue_leaf(&request, &ENTROPY()).unwrap();
        assert_eq!(leaf.not_after, until);
        assert_eq!(leaf.not_before.unix_secs(), at.unix_secs() - 300);
        let peer = PeerLeaf::parse(&leaf.der).unwrap();
        assert_eq!((peer.not_before(), peer.not_after()), (leaf.not_before, leaf.not_after));
    }
    let request = LeafRequest::new(&name, &key, AT).with_lifetime(Duration::from_millis(999));
    let refused = authority.issue_leaf(&request, &ENTROPY()).unwrap_err();
    assert!(matches!(refused, IssueError::Lifetime), "{refused}");
}

#[test]
fn nothing_is_issued_while_the_root_is_not_valid() {
    let (authority, name, key) = (authority(), name(), p384());
    let start = authority.root().not_before();
    for at in [
        start.before(Duration::from_millis(1)),
        authority.not_after(),
        Timestamp::from_unix_millis(i64::MIN),
        Timestamp::from_unix_millis(i64::MAX),
    ] {
        let refused = authority.issue_leaf(&LeafRequest::new(&name, &key, at), &ENTROPY());
        assert!(matches!(refused, Err(IssueError::AuthorityNotValid { .. })), "{refused:?}");
        let refused = authority.issue_master(&[], at, &ENTROPY());
        assert!(matches!(refused, Err(IssueError::AuthorityNotValid { .. })), "{refused:?}");
    }
}

#[test]
fn without_randomness_there_is_no_certificate() {
    struct Dry;
    impl Entropy for Dry {
        fn fill(&self, _buffer: &mut [u8]) -> std::io::Result<()> {
            Err(std::io::Error::other("dry"))
        }
    }
    let (authority, name, key) = (authority(), name(), p384());
    let refused = authority.issue_leaf(&LeafRequest::new(&name, &key, AT), &Dry).unwrap_err();
    assert!(matches!(refused, IssueError::Entropy(_)), "{refused}");
    assert!(Authority::in_memory(&TrustDomain::default(), AT, &Dry).is_err());
}

#[test]
fn the_trust_domain_of_the_authority_is_the_one_in_its_certificates() {
    let longest = "a".repeat(255);
    for text in ["acme.example", &longest] {
        let domain = TrustDomain::new(text).unwrap();
        let authority = Authority::in_memory(&domain, AT, &ENTROPY()).unwrap();
        assert_eq!(authority.trust_domain(), &domain);
        let leaf = leaf(&authority, &p384());
        let peer = PeerLeaf::parse(&leaf.der).unwrap();
        assert_eq!(peer.id().to_string(), format!("spiffe://{text}/node/worker-1"));
        let ssl = OpenSsl::new();
        ssl.write("ca.crt", authority.root_pem());
        ssl.write("leaf.crt", &leaf.chain_pem);
        ssl.run(&format!("verify -attime {} -CAfile ca.crt leaf.crt", AT.unix_secs()));
    }
}
