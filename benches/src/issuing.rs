//! Enrollments in process, beside their cryptography alone: one signature verified, one made.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use enroll_core::issue::x509::{Authority, AuthorityOptions, Csr, LeafRequest};
use enroll_core::master::{Enroller, Verdict};
use enroll_core::model::{
    Clock as _, EnrollRequest, NodeName, Origin, Presented, SystemClock, SystemEntropy,
};
use enroll_core::store::{MemoryStore, Store};
use enroll_core::testing::{Fixtures, TestToken};
use enroll_store_sqlite::SqliteStore;
use rcgen::{
    CertificateParams, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    SignatureAlgorithm,
};

use crate::cpu;
use crate::measure::{Figure, Section, Unit, per_second};
use crate::plan::{Failure, Plan};
use crate::report::cores;
use crate::tokens;

/// Callers at once.
const CALLERS: usize = 64;
/// Times that a thing done by one thread is repeated in a round.
const REPEATS: u32 = 2_000;

/// What the rounds of one shape came to.
#[derive(Default)]
struct Rounds {
    rate: Vec<f64>,
    cpu: Vec<f64>,
}

/// Measures every round in turn: the raw operations, issuing alone, enrolling with either store.
pub(crate) async fn measure(plan: &Plan) -> Result<Section, Failure> {
    let dir = tempfile::Builder::new().prefix("enroll-bench-").tempdir_in(&plan.dir)?;
    let (clock, entropy) = (SystemClock::new(), SystemEntropy::new());
    let authority =
        AuthorityOptions::new().open_or_create(&dir.path().join("ca"), clock.now(), &entropy)?;
    let authority = Arc::new(authority);
    let raw = Raw::new()?;
    let csr = csr(&PKCS_ECDSA_P384_SHA384)?;
    let (mut bare, mut issue) = (Rounds::default(), Rounds::default());
    let (mut memory, mut sqlite) = (Rounds::default(), Rounds::default());
    for round in 1..=plan.rounds {
        eprintln!("issuing: round {round} of {}", plan.rounds);
        bare.add(REPEATS, || raw.verify_and_sign())?;
        issue.add(REPEATS, || issue_one(&authority, &csr))?;
        let fresh = Arc::new(MemoryStore::new());
        memory.enroll(plan, &authority, fresh, &csr).await?;
        let fresh = SqliteStore::open(dir.path().join(format!("{round}.db"))).await?;
        sqlite.enroll(plan, &authority, Arc::new(fresh), &csr).await?;
    }
    let limit: Vec<f64> = bare.rate.iter().map(|rate| rate * cores() as f64).collect();
    let raw = "verifying and signing bare";
    let all = format!("the same on {} cores", cores());
    let rate = |what, rounds: &Rounds| {
        Figure::beside(what, Unit::PerSecond, &rounds.rate, all.as_str(), &limit)
    };
    let cpu =
        |what, rounds: &Rounds| Figure::beside(what, Unit::Micros, &rounds.cpu, raw, &bare.cpu);
    Ok(Section {
        title: "enrollments in process, P-384 request".into(),
        notes: vec!["CPU is that of the whole process, its callers included".into()],
        figures: vec![
            Figure::beside(
                "issuing alone, 1 thread",
                Unit::PerSecond,
                &issue.rate,
                raw,
                &bare.rate,
            ),
            cpu("  CPU each", &issue),
            rate("64 callers, store in memory", &memory),
            cpu("  CPU each", &memory),
            rate("64 callers, SQLite", &sqlite),
            cpu("  CPU each", &sqlite),
        ],
    })
}

impl Rounds {
    /// Does one thing `times` times on this thread.
    fn add(
        &mut self,
        times: u32,
        mut one: impl FnMut() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (began, cpu) = (Instant::now(), cpu::of_thread());
        for _ in 0..times {
            one()?;
        }
        self.note(times, began.elapsed(), cpu::of_thread() - cpu);
        Ok(())
    }

    fn note(&mut self, times: u32, took: Duration, cpu: Duration) {
        self.rate.push(per_second(times, took));
        self.cpu.push(cpu.as_secs_f64() * 1e6 / f64::from(times));
    }

    /// Enrolls ten times as many machines as one caller redeems tokens, 64 at once.
    async fn enroll(
        &mut self,
        plan: &Plan,
        authority: &Arc<Authority>,
        store: Arc<dyn Store>,
        csr: &str,
    ) -> Result<(), Failure> {
        let fixtures = Fixtures::new();
        let count = plan.redemptions * 5;
        let tokens = tokens::make(&fixtures, SystemClock::new().now(), count);
        tokens::keep(&fixtures, &tokens, &*store).await?;
        let enroller = Arc::new(Enroller::new(store, Arc::clone(authority)));
        let mut shares: Vec<Vec<EnrollRequest>> = (0..CALLERS).map(|_| Vec::new()).collect();
        for (place, token) in tokens.iter().enumerate() {
            shares[place % CALLERS].push(request(token, csr)?);
        }
        let (began, cpu) = (Instant::now(), cpu::of_process());
        let mut callers = tokio::task::JoinSet::new();
        for share in shares {
            callers.spawn(enroll_each(Arc::clone(&enroller), share));
        }
        while let Some(ended) = callers.join_next().await {
            ended??;
        }
        self.note(count, began.elapsed(), cpu::of_process() - cpu);
        Ok(())
    }
}

async fn enroll_each(enroller: Arc<Enroller>, share: Vec<EnrollRequest>) -> Result<(), Failure> {
    for request in share {
        match enroller.enroll(request, Origin::default()).await? {
            Verdict::Admitted(_) => {}
            other => return Err(format!("an enrollment was refused: {other:?}").into()),
        }
    }
    Ok(())
}

fn request(token: &TestToken, csr: &str) -> Result<EnrollRequest, Failure> {
    let presented = Presented::from_parts(Some(token.token.expose().to_owned()), None);
    let mut request = EnrollRequest::new(presented.ok_or("nothing to present")?)
        .with_node_name(NodeName::new(&tokens::name(token))?);
    request.csr = Some(csr.to_owned());
    Ok(request)
}

/// Everything between a request's text and a certificate.
fn issue_one(authority: &Authority, csr: &str) -> Result<(), Failure> {
    let key = Csr::parse(csr)?.verify()?;
    let name = NodeName::new("w-0123456789abcdef")?;
    let request = LeafRequest::new(&name, &key, SystemClock::new().now());
    authority.issue_leaf(&request, &SystemEntropy::new())?;
    Ok(())
}

/// A certificate request for a key of that kind, as a worker makes it.
pub(crate) fn csr(kind: &'static SignatureAlgorithm) -> Result<String, Failure> {
    let key = KeyPair::generate_for(kind)?;
    Ok(CertificateParams::default().serialize_request(&key)?.pem()?)
}

/// The two operations by the libraries that carry them out, with all they need prepared.
struct Raw {
    public: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
    subject: KeyPair,
    params: CertificateParams,
}

impl Raw {
    fn new() -> Result<Self, Failure> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING)?;
        // As long as the signed part of a request.
        let message = vec![7; 150];
        let signature = pair.sign(&aws_lc_rs::rand::SystemRandom::new(), &message)?;
        let ca = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        Ok(Self {
            public: pair.public_key().as_ref().to_vec(),
            message,
            signature: signature.as_ref().to_vec(),
            issuer: Issuer::new(CertificateParams::default(), ca),
            subject: KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?,
            params: CertificateParams::new(["w-0123456789abcdef".to_owned()])?,
        })
    }

    fn verify_and_sign(&self) -> Result<(), Failure> {
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, &self.public)
            .verify(&self.message, &self.signature)?;
        self.params.signed_by(&self.subject, &self.issuer)?;
        Ok(())
    }
}
