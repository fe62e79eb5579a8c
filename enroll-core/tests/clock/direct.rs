//! A worker and a master, each with a clock of its own that a test sets, and nothing between them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use enroll_core::issue::x509::{Authority, PeerLeaf};
use enroll_core::master::{
    AuthenticatedNode, BeatVerdict, Caller, Enroller, MintRequest, RecoverRequest, RenewVerdict,
    Verdict,
};
use enroll_core::model::{
    AttemptKey, Clock, Credential, EnrollRequest, HostEvent, JoinToken, NodeName, Origin,
    Presented, Sample, Subject, SystemEntropy, Timestamp, TokenPrefix, TrustDomain,
};
use enroll_core::store::{MemoryStore, Store};
use enroll_core::testing::FixedClock;
use enroll_core::worker::{
    Answer, Beat, BeatAnswer, CallError, Command, CommandReport, Credentials, EnrollCall, FuseTask,
    Master, Proofs, RecoverCall, Refusal, RenewCall, StateDir, Worker, WorkerError,
};
use tempfile::TempDir;

/// A fleet of one.
pub(crate) struct Pair {
    pub(crate) master: Arc<Direct>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) worker: Worker,
    pub(crate) dir: TempDir,
}

/// A master that is called without a network. Whether a certificate is valid is judged by its own
/// clock, as TLS would.
pub(crate) struct Direct {
    pub(crate) enroller: Enroller,
    pub(crate) clock: Arc<FixedClock>,
    authority: Arc<Authority>,
    calls: Mutex<BTreeMap<&'static str, usize>>,
}

impl Pair {
    /// Both know it is `at`; the worker is a member.
    pub(crate) async fn at(at: Timestamp) -> Self {
        let (master, clock) = (Direct::new(at), Arc::new(FixedClock::at(at)));
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path().join("state")).unwrap();
        let worker = Worker::new(state, Arc::clone(&master))
            .with_clock(Arc::clone(&clock) as Arc<dyn Clock>)
            .with_node_name(name());
        let token = master.mint().await;
        worker.bootstrap(Proofs::token(token)).await.unwrap();
        Self { master, clock, worker, dir }
    }

    /// Lives for `span`, in which both clocks go on; calls made meanwhile, by verb.
    pub(crate) async fn live_for(
        &self,
        span: Duration,
    ) -> (Result<(), WorkerError>, BTreeMap<&'static str, usize>) {
        self.master.calls.lock().unwrap().clear();
        let minutes = u32::try_from(span.as_secs() / 60).unwrap();
        let time_goes_on = async {
            for _ in 0..minutes {
                tokio::time::sleep(MINUTE).await;
                self.clock.advance(MINUTE);
                self.master.clock.advance(MINUTE);
            }
        };
        let lived = self.worker.run(time_goes_on).await;
        (lived, self.master.calls.lock().unwrap().clone())
    }

    pub(crate) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join("state").join(name)).unwrap()
    }
}

const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn name() -> NodeName {
    NodeName::new("worker-1").unwrap()
}

impl Direct {
    pub(crate) fn new(at: Timestamp) -> Arc<Self> {
        let clock = Arc::new(FixedClock::at(at));
        let authority =
            Authority::in_memory(&TrustDomain::default(), at, &SystemEntropy::new()).unwrap();
        let authority = Arc::new(authority);
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let enroller = Enroller::new(store, Arc::clone(&authority))
            .with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
        Arc::new(Self { enroller, clock, authority, calls: Mutex::default() })
    }

    pub(crate) async fn mint(&self) -> JoinToken {
        let wish = MintRequest::new().with_max_uses(1);
        self.enroller.mint(wish, "admin").await.unwrap().token
    }

    fn count(&self, verb: &'static str) {
        *self.calls.lock().unwrap().entry(verb).or_default() += 1;
    }

    async fn caller(&self, me: &Credentials) -> Result<AuthenticatedNode, CallError> {
        let leaf = PeerLeaf::from_pem(first(me.certificate().unwrap().chain_pem())).unwrap();
        let now = self.clock.now();
        if now < leaf.not_before() || now >= leaf.not_after() {
            return Err(CallError::IdentityRefused("the certificate is not valid now".into()));
        }
        let Subject::Node(node_name) = leaf.id().subject() else { panic!("a node's") };
        let (serial, node_name) = (leaf.serial(), node_name.clone());
        let caller = Caller::Certificate { serial, node_name };
        self.enroller.authenticate(&caller).await.unwrap().map_err(|_| unauthorized())
    }
}

/// The leaf of a chain.
fn first(chain: &str) -> &str {
    chain.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap()
}

fn unauthorized() -> CallError {
    CallError::Refused(Refusal::new(Refusal::UNAUTHORIZED, 401))
}

fn renewed(verdict: RenewVerdict) -> Result<Vec<Credential>, CallError> {
    match verdict {
        RenewVerdict::Renewed(credentials) => Ok(credentials),
        RenewVerdict::Refused(why) => {
            let (code, status) = (why.reason().code(), why.reason().status());
            Err(CallError::Refused(Refusal::new(code, status)))
        }
        _ => Err(unauthorized()),
    }
}

#[async_trait]
impl Master for Direct {
    async fn enroll(&self, call: &EnrollCall) -> Result<Answer, CallError> {
        self.count("enroll");
        let token = call.token().map(|token| token.expose().to_owned());
        let mut request = EnrollRequest::new(Presented::from_parts(token, None).unwrap());
        request.node_name = call.node_name().cloned();
        request.csr = call.csr().map(str::to_owned);
        request.attempt_key = AttemptKey::parse(call.expose_attempt_key());
        match self.enroller.enroll(request, Origin::default()).await.unwrap() {
            Verdict::Admitted(admission) => Ok(Answer {
                node_id: admission.node.id,
                node_name: admission.node.name.clone(),
                credentials: admission.credentials,
                master_addr: Some("master:7481".into()),
                heartbeat_interval: self.enroller.config().heartbeat_interval,
                redelivered: admission.redelivered,
                ca: Some(self.authority.root_der().to_vec()),
            }),
            Verdict::Refused(why) => {
                let (code, status) = (why.reason().code(), why.reason().status());
                Err(CallError::Refused(Refusal::new(code, status)))
            }
            other => panic!("{other:?}"),
        }
    }

    async fn heartbeat(&self, me: &Credentials, beat: &Beat) -> Result<BeatAnswer, CallError> {
        self.count("heartbeat");
        let caller = self.caller(me).await?;
        let name = me.identity().node_name();
        match self.enroller.heartbeat(&caller, name, beat.facts.clone()).await.unwrap() {
            BeatVerdict::Recorded(reply) => Ok(BeatAnswer {
                server_time: Some(reply.server_time),
                heartbeat_interval: reply.heartbeat_interval,
                renew: reply.renew,
                commands: Vec::new(),
            }),
            other => panic!("{other:?}"),
        }
    }

    async fn renew(
        &self,
        me: &Credentials,
        call: &RenewCall,
    ) -> Result<Vec<Credential>, CallError> {
        self.count("renew");
        let caller = self.caller(me).await?;
        renewed(self.enroller.renew(&caller, call.csr.as_deref()).await.unwrap())
    }

    async fn recover(
        &self,
        _: &Credentials,
        call: &RecoverCall,
    ) -> Result<Vec<Credential>, CallError> {
        self.count("recover");
        let request = RecoverRequest {
            certificate: call.certificate.clone(),
            csr: call.csr.clone(),
            signature: call.signature.clone(),
        };
        renewed(self.enroller.recover(&request).await.unwrap())
    }

    async fn fuse_task(&self, _: &Credentials) -> Result<FuseTask, CallError> {
        Err(CallError::Refused(Refusal::new("not_found", 404)))
    }

    async fn acknowledge(&self, _: &Credentials, _: &CommandReport) -> Result<(), CallError> {
        Ok(())
    }

    async fn listen(&self) -> Result<Vec<Command>, CallError> {
        std::future::pending().await
    }

    async fn report_metrics(&self, _: &Credentials, _: &[Sample]) -> Result<(), CallError> {
        Ok(())
    }

    async fn report_events(&self, _: &Credentials, _: &[HostEvent]) -> Result<(), CallError> {
        Ok(())
    }
}

/// A token once more, as another process reads it.
pub(crate) fn again(token: &JoinToken) -> Presented {
    let read = JoinToken::parse(&TokenPrefix::default(), token.expose()).unwrap();
    Presented::from_parts(Some(read.expose().to_owned()), None).unwrap()
}
