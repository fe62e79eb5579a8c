//! A node's certificate on its profile.

use enroll_core::issue::x509::LeafRequest;
use enroll_core::model::{Host, SystemEntropy};

use crate::support::{AT, OpenSsl, authority, name, p384};

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
