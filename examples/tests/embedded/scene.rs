//! What has to be the case for a machine to be refused, reason by reason.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use async_trait::async_trait;
use enroll_core::issue::{Grant, IssueError, Issued, Issuer};
use enroll_core::master::{AutoEnrollmentChange, Candidate, Denial, Enroller, MintRequest, Policy};
use enroll_core::model::{
    Credential, CredentialKind, CredentialRecord, EnrollRequest, JoinToken, Origin, Reason,
    SharedSecret, WorkerAction,
};
use enroll_core::store::StoreErrorKind;
use enroll_core::testing::{Fault, Operation};

use crate::built::{Built, Plan, Proofs, name, presented};

pub(crate) const NODE: &str = "worker-1";
const SECRET: &str = "correct-horse-battery-staple-0123456789";
const OTHER: &str = "another-horse-battery-staple-9876543210";

/// A master that will refuse, and what to present to it.
pub(crate) struct Scene {
    pub(crate) master: Built,
    pub(crate) proofs: Proofs,
}

impl Scene {
    /// The next machine that calls itself [`NODE`] is refused for `reason`.
    pub(crate) async fn of(reason: Reason) -> Self {
        let rival = Arc::new(Rival::default());
        let master = Built::start(plan(reason, &rival)).await;
        rival.master.set(Arc::downgrade(&master.enroller)).expect("it is empty");
        let proofs = arrange(reason, &master, &rival).await;
        Self { master, proofs }
    }
}

/// How the master is built.
fn plan(reason: Reason, rival: &Arc<Rival>) -> Plan {
    let with = |with: Box<dyn FnOnce(Enroller) -> Enroller + Send>| with;
    let failing = |reason| vec![Arc::new(Failing(reason)) as Arc<dyn Issuer>];
    match reason {
        Reason::RateLimited => Plan { attempts_per_minute: 5, ..Plan::default() },
        Reason::BadRequest | Reason::BadSecret => {
            Plan { with: with(Box::new(|it| it.with_cluster_secret(&secret()))), ..Plan::default() }
        }
        Reason::Denied => {
            Plan { with: with(Box::new(|it| it.with_policy(Arc::new(Full)))), ..Plan::default() }
        }
        Reason::RaceConsumed => {
            let rival = Arc::clone(rival) as Arc<dyn Policy>;
            Plan { with: with(Box::new(|it| it.with_policy(rival))), ..Plan::default() }
        }
        Reason::BadCsr | Reason::MeshMintFailed | Reason::IssueFailed => {
            Plan { issuers: failing(reason), ..Plan::default() }
        }
        _ => Plan::default(),
    }
}

/// What happened before, and what is presented now.
async fn arrange(reason: Reason, master: &Built, rival: &Rival) -> Proofs {
    let one_shot = MintRequest::new().with_max_uses(1);
    let token = match reason {
        Reason::InvalidToken => Built::start(Plan::default()).await.mint(one_shot).await,
        Reason::NameMismatch => master.mint(MintRequest::new().with_node_name(name("other"))).await,
        Reason::NameTaken => used(master, MintRequest::new(), &[NODE]).await,
        Reason::Exhausted => used(master, MintRequest::new().with_max_uses(2), &["a", "b"]).await,
        Reason::AlreadyConsumed => used(master, one_shot, &["a"]).await,
        Reason::Expired => {
            master.clock.by(-7_200_000);
            let token = master.mint(one_shot).await;
            master.clock.by(0);
            token
        }
        _ => master.mint(one_shot).await,
    };
    let proofs = Proofs::from(&token);
    match reason {
        Reason::RateLimited => {
            let api = master.api();
            while api.post("/v1/enroll", &serde_json::json!({})).await.status != 429 {}
            proofs
        }
        Reason::Revoked => {
            let _verdict = master.enroller.revoke(token.id(), "admin").await.expect("revoked");
            proofs
        }
        Reason::RaceConsumed => {
            let request = EnrollRequest::new(presented(&token)).with_node_name(name("rival"));
            rival.comes_with(request);
            proofs
        }
        Reason::Unavailable => {
            let away = || Fault::Before(StoreErrorKind::Unavailable);
            let away = std::iter::repeat_with(away).take(100);
            master.store.script(Operation::LookUp, away);
            proofs
        }
        Reason::BadSecret => Proofs { secret: Some(OTHER.to_owned()), ..proofs },
        Reason::NotConfigured => Proofs { secret: Some(SECRET.to_owned()), ..proofs },
        Reason::EnrollmentDisabled => {
            let set = AutoEnrollmentChange { secret: Some(secret()), ..Default::default() };
            master.enroller.change_auto_enrollment(set, "admin").await.expect("it is set");
            Proofs { token: None, secret: Some(SECRET.to_owned()) }
        }
        _ => proofs,
    }
}

fn secret() -> SharedSecret {
    SharedSecret::configured(SECRET.to_owned()).expect("long enough")
}

/// A token that machines of these names have used.
async fn used(master: &Built, wish: MintRequest, names: &[&str]) -> JoinToken {
    let token = master.mint(wish).await;
    for name in names {
        let verdict = master.enroll(&token, name).await;
        assert!(matches!(verdict, enroll_core::master::Verdict::Admitted(_)), "{verdict:?}");
    }
    token
}

/// A policy without a free seat.
struct Full;

#[async_trait]
impl Policy for Full {
    async fn admit(&self, _: &Candidate<'_>) -> Result<(), Denial> {
        Err(Denial::new("All 5 seats are taken."))
    }
}

/// A machine that is always quicker by a moment.
#[derive(Default)]
struct Rival {
    master: OnceLock<Weak<Enroller>>,
    request: Mutex<Option<EnrollRequest>>,
}

impl Rival {
    fn comes_with(&self, request: EnrollRequest) {
        *self.request.lock().unwrap_or_else(PoisonError::into_inner) = Some(request);
    }
}

#[async_trait]
impl Policy for Rival {
    async fn admit(&self, _: &Candidate<'_>) -> Result<(), Denial> {
        let request = self.request.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(request) = request {
            let master = self.master.get().and_then(Weak::upgrade).expect("it is there");
            let won = Box::pin(master.enroll(request, Origin::default())).await;
            assert!(won.is_ok(), "{won:?}");
        }
        Ok(())
    }
}

/// An issuer that refuses every machine for one reason.
struct Failing(Reason);

#[async_trait]
impl Issuer for Failing {
    fn kind(&self) -> CredentialKind {
        CredentialKind::from_static("badge")
    }

    fn needs_key(&self) -> bool {
        self.0 == Reason::BadCsr
    }

    async fn issue(&self, _: &Grant<'_>) -> Result<Issued, IssueError> {
        Err(IssueError::new(self.kind(), "the printer is out of ink").with_reason(self.0))
    }

    fn again(&self, _: &CredentialRecord) -> Option<Credential> {
        None
    }

    async fn undo(&self, _: &CredentialRecord) -> Result<(), IssueError> {
        Ok(())
    }
}

/// What the answer for `reason` says of coming back, in seconds.
pub(crate) fn waits(reason: Reason) -> Option<RangeInclusive<u64>> {
    match reason.worker_action() {
        WorkerAction::Stop | WorkerAction::StopUnlessRetryAfter => None,
        WorkerAction::WaitRetryAfter => Some(1..=12),
        _ => Some(5..=5),
    }
}
