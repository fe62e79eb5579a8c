//! The authority on disk: whole, its owner's alone, or refused with what to do about it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use enroll_core::issue::x509::{Authority, AuthorityError, AuthorityOptions};
use enroll_core::model::{SystemEntropy, TrustDomain};
use tempfile::TempDir;

use crate::support::{AT, OpenSsl};

/// A directory with a whole authority.
fn made() -> (TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("ca");
    create(&dir).unwrap();
    (temp, dir)
}

fn create(dir: &Path) -> Result<Authority, AuthorityError> {
    Authority::create(dir, &TrustDomain::default(), AT, &SystemEntropy::new())
}

fn open_or_create(dir: &Path) -> Result<Authority, AuthorityError> {
    AuthorityOptions::new().open_or_create(dir, AT, &SystemEntropy::new())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn what_was_created_opens_again_and_is_the_owners_alone() {
    let (_temp, dir) = made();
    let again = Authority::open(&dir, AT).unwrap();
    let once_more = open_or_create(&dir).unwrap();
    assert_eq!(again.fingerprint(), once_more.fingerprint());
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("ca.key")), 0o600);
    assert_eq!(mode(&dir.join("ca.crt")), 0o644);
    let names: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "two files and the lock: {names:?}");
    assert_eq!(fs::read_to_string(dir.join("ca.crt")).unwrap(), again.root_pem());
}

#[test]
fn openssl_reads_the_root_as_it_has_to_be() {
    let (_temp, dir) = made();
    let ssl = OpenSsl::new();
    ssl.write("ca.crt", fs::read(dir.join("ca.crt")).unwrap());
    ssl.write("ca.key", fs::read(dir.join("ca.key")).unwrap());
    let at = AT.unix_secs();
    ssl.run(&format!("verify -x509_strict -check_ss_sig -attime {at} -CAfile ca.crt ca.crt"));
    let text = ssl.run("x509 -in ca.crt -noout -text");
    for line in [
        "Issuer: CN = enroll.internal",
        "Subject: CN = enroll.internal",
        "Not Before: Nov 19 12:00:00 2026 GMT",
        "Not After : Nov 17 12:00:00 2036 GMT",
        "ASN1 OID: prime256v1",
        "X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0\n",
        "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign\n",
        "X509v3 Subject Key Identifier: \n",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    ssl.run("pkey -in ca.key -noout -check");
    assert!(ssl.read("ca.key").starts_with("-----BEGIN PRIVATE KEY-----\n"));
}
