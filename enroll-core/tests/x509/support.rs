//! Requests, an authority, and the tool everybody checks certificates with.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use enroll_core::issue::x509::{Authority, Csr, Leaf, LeafRequest, ProvenKey};
use enroll_core::model::{NodeName, SystemEntropy, Timestamp, TrustDomain};
use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};
use tempfile::TempDir;

/// 2026-11-20T12:00:00Z and a bit.
pub(crate) const AT: Timestamp = Timestamp::from_unix_millis(1_795_176_000_123);

pub(crate) fn authority() -> Authority {
    Authority::in_memory(&TrustDomain::default(), AT, &SystemEntropy::new()).unwrap()
}

pub(crate) fn name() -> NodeName {
    NodeName::new("worker-1").unwrap()
}

pub(crate) fn key_pair(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

/// A request with nothing but a key, as an honest worker makes it.
pub(crate) fn request(key: &KeyPair) -> String {
    CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()
}

pub(crate) fn proven(pem: &str) -> ProvenKey {
    Csr::parse(pem).unwrap().verify().unwrap()
}

pub(crate) fn p384() -> ProvenKey {
    proven(&request(&key_pair(&rcgen::PKCS_ECDSA_P384_SHA384)))
}

pub(crate) fn leaf(authority: &Authority, key: &ProvenKey) -> Leaf {
    let entropy = SystemEntropy::new();
    authority.issue_leaf(&LeafRequest::new(&name(), key, AT), &entropy).unwrap()
}

/// A directory to call `openssl` in.
pub(crate) struct OpenSsl {
    dir: TempDir,
}

impl OpenSsl {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// What a call that has to succeed prints.
    pub(crate) fn run(&self, line: &str) -> String {
        let out = self.call(line);
        let (stdout, stderr) = (lossy(&out.stdout), lossy(&out.stderr));
        assert!(out.status.success(), "openssl {line}: {stdout}{stderr}");
        stdout
    }

    fn call(&self, line: &str) -> Output {
        command(self.dir.path(), line)
            .output()
            .expect("the `openssl` program is needed to run these tests")
    }
}

/// Nothing of the machine's own configuration may change what is tested.
fn command(dir: &Path, line: &str) -> Command {
    let mut command = Command::new("openssl");
    command.args(line.split_whitespace()).current_dir(dir).env("OPENSSL_CONF", "/dev/null");
    command
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
