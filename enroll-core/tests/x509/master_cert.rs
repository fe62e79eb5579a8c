//! What a master's listeners present.

use enroll_core::issue::x509::PeerLeaf;
use enroll_core::model::{Host, Subject, SystemEntropy};

use crate::support::{AT, OpenSsl, authority};

fn hosts(texts: &[&str]) -> Vec<Host> {
    texts.iter().map(|text| Host::new(text).unwrap()).collect()
}

#[test]
fn openssl_verifies_and_reads_the_profile() {
    let (ssl, authority) = (OpenSsl::new(), authority());
    let hosts = hosts(&["master.example", "10.0.0.1", "::1", "10.0.0.1"]);
    let made = authority.issue_master(&hosts, AT, &SystemEntropy::new()).unwrap();
    let [leaf, root] = made.chain();
    assert_eq!(root, authority.root_der());
    ssl.write("ca.crt", authority.root_pem());
    ssl.write("leaf.der", leaf);
    ssl.write("leaf.key", made.expose_key());
    ssl.run("x509 -inform der -in leaf.der -out leaf.crt");
    ssl.run(&format!(
        "verify -x509_strict -purpose sslserver -verify_hostname master.example -attime {} \
         -CAfile ca.crt leaf.crt",
        AT.unix_secs()
    ));
    let text = ssl.run("x509 -in leaf.crt -noout -text");
    for line in [
        "Not Before: Nov 19 12:00:00 2026 GMT",
        "Not After : Feb 18 12:00:00 2027 GMT",
        "ASN1 OID: prime256v1",
        "TLS Web Server Authentication, TLS Web Client Authentication\n",
        "URI:spiffe://enroll.internal/master, DNS:master.example, IP Address:10.0.0.1, \
         IP Address:0:0:0:0:0:0:0:1\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    ssl.run("pkey -inform der -in leaf.key -pubout -out of-key.pem");
    assert_eq!(ssl.run("x509 -in leaf.crt -noout -pubkey"), ssl.read("of-key.pem"));
    let peer = PeerLeaf::parse(leaf).unwrap();
    assert_eq!(peer.id().subject(), &Subject::Master);
}

#[test]
fn it_carries_the_masters_uri_and_needs_no_host() {
    let authority = authority();
    let made = authority.issue_master(&[], AT, &SystemEntropy::new()).unwrap();
    let peer = PeerLeaf::parse(&made.chain()[0]).unwrap();
    assert_eq!(peer.id().to_string(), "spiffe://enroll.internal/master");
    assert_eq!(peer.verify_issued_by(authority.root()), Ok(()));
    assert_eq!((peer.not_before(), peer.not_after()), (made.not_before(), made.not_after()));
    let again = authority.issue_master(&[], AT, &SystemEntropy::new()).unwrap();
    assert_ne!(PeerLeaf::parse(&again.chain()[0]).unwrap().key_digest(), peer.key_digest());
}

#[test]
fn it_stays_within_its_root() {
    let authority = authority();
    let near = authority.not_after().before(std::time::Duration::from_secs(60));
    let made = authority.issue_master(&[], near, &SystemEntropy::new()).unwrap();
    assert_eq!(made.not_after(), authority.not_after());
    let early = authority.root().not_before();
    let made = authority.issue_master(&[], early, &SystemEntropy::new()).unwrap();
    assert_eq!(made.not_before(), early);
}

#[test]
fn no_debug_shows_a_key() {
    let authority = authority();
    let made = authority.issue_master(&[], AT, &SystemEntropy::new()).unwrap();
    assert_eq!(
        format!("{made:?}"),
        "MasterCertificate { key: \"[redacted]\", not_after: 2027-02-18T12:00:00Z, .. }"
    );
}
