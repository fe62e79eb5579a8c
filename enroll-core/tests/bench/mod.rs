//! A master in memory with a clock that can be set, and machines that ask it.
#![expect(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use enroll_core::issue::Issuer;
use enroll_core::issue::x509::{Authority, PeerLeaf, X509Issuer};
use enroll_core::master::{Caller, Enroller, MintRequest, Unauthorized, Verdict};
use enroll_core::model::{
    Clock, Credential, EnrollRequest, JoinToken, NodeName, NodeRecord, Origin, Presented, Reason,
    Subject, SystemEntropy, Timestamp, TrustDomain,
};
use enroll_core::store::{MemoryStore, Store};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384};

pub struct Settable(pub AtomicI64);

impl Clock for Settable {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.0.load(Ordering::SeqCst))
    }
}

pub struct Bench {
    pub clock: Arc<Settable>,
    pub store: Arc<MemoryStore>,
    pub enroller: Enroller,
}

pub const START: i64 = 1_800_000_000_000;

pub fn bench() -> Bench {
    bench_with(|authority| vec![Arc::new(X509Issuer::new(authority))])
}

pub fn bench_with(issuers: impl FnOnce(Arc<Authority>) -> Vec<Arc<dyn Issuer>>) -> Bench {
    let clock = Arc::new(Settable(AtomicI64::new(START)));
    let authority =
        Authority::in_memory(&TrustDomain::default(), clock.now(), &SystemEntropy::new()).unwrap();
    let authority = Arc::new(authority);
    let store = Arc::new(MemoryStore::new());
    let enroller = Enroller::new(Arc::clone(&store) as Arc<dyn Store>, Arc::clone(&authority))
        .issuing(issuers(authority))
        .with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
    Bench { clock, store, enroller }
}

impl Bench {
    pub fn pass(&self, span: Duration) {
        self.clock.0.fetch_add(i64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }

    pub async fn mint(&self, max_uses: u32) -> JoinToken {
        let wish = MintRequest::new().with_max_uses(max_uses);
        self.enroller.mint(wish, "admin").await.unwrap().token
    }

    pub async fn ask(&self, token: &JoinToken, name: &str, key: &KeyPair) -> Verdict {
        self.enroller.enroll(request(token, name, key), Origin::default()).await.unwrap()
    }

    pub async fn caller(&self, pem: &str) -> Result<(), Unauthorized> {
        self.enroller.authenticate(&certificate(pem)).await.unwrap().map(|_| ())
    }
}

pub fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap()
}

pub fn csr(key: &KeyPair) -> String {
    CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()
}

pub fn request(token: &JoinToken, name: &str, key: &KeyPair) -> EnrollRequest {
    EnrollRequest::new(Presented::from_parts(Some(token.expose().into()), None).unwrap())
        .with_node_name(NodeName::new(name).unwrap())
        .with_csr(csr(key))
}

pub fn certificate(pem: &str) -> Caller {
    let leaf = PeerLeaf::from_pem(pem).unwrap();
    let Subject::Node(name) = leaf.id().subject() else { panic!("a master") };
    Caller::Certificate { serial: leaf.serial(), node_name: name.clone() }
}

#[track_caller]
pub fn refused(verdict: Verdict) -> Reason {
    match verdict {
        Verdict::Refused(rejection) => rejection.reason(),
        other => panic!("not refused: {other:?}"),
    }
}

#[track_caller]
pub fn admitted(verdict: Verdict) -> (String, bool, NodeRecord) {
    let Verdict::Admitted(admission) = verdict else { panic!("refused: {verdict:?}") };
    let Credential::X509(x509) = &admission.credentials[0] else { panic!("no certificate") };
    (x509.certificate.clone(), admission.redelivered, admission.node)
}
