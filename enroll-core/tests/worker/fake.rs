//! A master in memory, or in a file, so that it outlives a worker that dies. It signs with a real
//! authority, spends a token once, and knows a claim again.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use enroll_core::issue::x509::{Authority, Csr, LeafRequest, PeerLeaf};
use enroll_core::model::{
    ApiKey, Clock as _, Credential, CredentialKind, Handover, HostEvent, MeshCredential, NodeId,
    NodeName, Reason, Sample, Sha256, SystemEntropy, Timestamp, TokenPrefix, TrustDomain,
    X509Credential, recovery_message,
};
use enroll_core::testing::FixedClock;
use enroll_core::worker::{
    Answer, Beat, BeatAnswer, CallError, Command, CommandReport, Credentials, EnrollCall, FuseTask,
    Master, RecoverCall, Refusal, RenewCall,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::support::{NOW, clock};

/// What the master has on record.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// One row per redemption.
    pub(crate) redemptions: Vec<Redemption>,
    /// The chain last issued for each request.
    pub(crate) issued: BTreeMap<String, String>,
    /// The chain of the node's present identity, and of its unused successor.
    pub(crate) current: Option<String>,
    pub(crate) successor: Option<String>,
    pub(crate) api_key: Option<String>,
    pub(crate) calls: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Redemption {
    pub(crate) proof: String,
    pub(crate) claim: String,
    pub(crate) name: String,
    node_id: NodeId,
    csr: String,
}

/// What the master issues, and how it behaves.
#[derive(Debug, Clone)]
pub(crate) struct Nature {
    pub(crate) x509: bool,
    pub(crate) api_key: bool,
    pub(crate) mesh: bool,
    pub(crate) bound_to: String,
    pub(crate) lifetime: Duration,
    pub(crate) interval: Duration,
}

impl Default for Nature {
    fn default() -> Self {
        Self {
            x509: true,
            api_key: false,
            mesh: false,
            bound_to: "worker-1".into(),
            lifetime: Duration::from_secs(3000),
            interval: Duration::from_secs(30),
        }
    }
}

/// What becomes of one call, instead of the usual.
pub(crate) enum Fate {
    /// The usual.
    Pass,
    /// It fails before the master sees it.
    Fail(CallError),
    /// The master acts and the answer is lost.
    Lose,
    /// The answer is changed on its way.
    Twist(Box<dyn Fn(&mut Answer) + Send>),
}

pub(crate) struct FakeMaster {
    pub(crate) authority: Authority,
    pub(crate) nature: Mutex<Nature>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) fates: Mutex<VecDeque<Fate>>,
    pub(crate) commands: Mutex<Vec<(String, String)>>,
    pub(crate) reports: Mutex<Vec<CommandReport>>,
    pub(crate) beats: Mutex<Vec<tokio::time::Instant>>,
    pub(crate) facts: Mutex<Vec<bool>>,
    pub(crate) renew: Mutex<bool>,
    pub(crate) revoked: Mutex<bool>,
    /// What is told between two heartbeats.
    pub(crate) news: Mutex<VecDeque<Result<Vec<Command>, CallError>>>,
    pub(crate) told: Notify,
    pub(crate) samples: Mutex<Vec<Vec<Sample>>>,
    pub(crate) events: Mutex<Vec<HostEvent>>,
    record: Mutex<Record>,
    file: Option<PathBuf>,
}

pub(crate) fn refused(reason: Reason) -> CallError {
    CallError::Refused(Refusal::new(reason.code(), reason.status()))
}

pub(crate) fn unreachable_master() -> CallError {
    CallError::Unreachable("nobody listens".into())
}

impl FakeMaster {
    pub(crate) fn new(nature: Nature) -> Arc<Self> {
        let authority =
            Authority::in_memory(&TrustDomain::default(), NOW, &SystemEntropy::new()).unwrap();
        Arc::new(Self::with(authority, nature, None))
    }

    /// A master that is the same one in every process.
    pub(crate) fn in_dir(dir: &Path, nature: Nature) -> Self {
        let authority = Authority::open(&dir.join("ca"), NOW).unwrap_or_else(|_| {
            let domain = TrustDomain::default();
            Authority::create(&dir.join("ca"), &domain, NOW, &SystemEntropy::new()).unwrap()
        });
        let master = Self::with(authority, nature, Some(dir.join("record.json")));
        if let Ok(text) = std::fs::read(dir.join("record.json")) {
            *master.record.lock().unwrap() = serde_json::from_slice(&text).unwrap();
        }
        master
    }

    fn with(authority: Authority, nature: Nature, file: Option<PathBuf>) -> Self {
        Self {
            authority,
            nature: Mutex::new(nature),
            clock: clock(NOW),
            fates: Mutex::default(),
            commands: Mutex::default(),
            reports: Mutex::default(),
            beats: Mutex::default(),
            facts: Mutex::default(),
            renew: Mutex::default(),
            revoked: Mutex::default(),
            news: Mutex::default(),
            told: Notify::new(),
            samples: Mutex::default(),
            events: Mutex::default(),
            record: Mutex::default(),
            file,
        }
    }

    pub(crate) fn record(&self) -> Record {
        self.record.lock().unwrap().clone()
    }

    pub(crate) fn will(&self, fates: impl IntoIterator<Item = Fate>) {
        self.fates.lock().unwrap().extend(fates);
    }

    /// Tells the worker something before its next heartbeat.
    pub(crate) fn tell(&self, news: Result<Vec<Command>, CallError>) {
        self.news.lock().unwrap().push_back(news);
        self.told.notify_one();
    }

    pub(crate) fn calls(&self, verb: &str) -> usize {
        self.record().calls.iter().filter(|call| *call == verb).count()
    }

    fn nature(&self) -> Nature {
        self.nature.lock().unwrap().clone()
    }

    /// Acts on the record, which is on disk before the answer is given.
    fn act<T>(
        &self,
        verb: &str,
        act: impl FnOnce(&mut Record) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let mut record = self.record.lock().unwrap();
        record.calls.push(verb.into());
        let result = act(&mut record);
        if let Some(file) = &self.file {
            std::fs::write(file, serde_json::to_vec(&*record).unwrap()).unwrap();
        }
        result
    }

    fn fate(&self) -> Option<Fate> {
        self.fates.lock().unwrap().pop_front()
    }

    fn fate_of_steady(&self) -> Result<(), CallError> {
        match self.fate() {
            Some(Fate::Fail(error)) => Err(error),
            _ => Ok(()),
        }
    }

    fn sign(&self, record: &mut Record, csr: &str, name: &NodeName) -> Result<String, CallError> {
        if let Some(chain) = record.issued.get(csr) {
            return Ok(chain.clone());
        }
        let proven =
            Csr::parse(csr).and_then(|csr| csr.verify()).map_err(|_| refused(Reason::BadCsr))?;
        let request =
            LeafRequest::new(name, &proven, self.clock.now()).with_lifetime(self.nature().lifetime);
        let leaf = self.authority.issue_leaf(&request, &SystemEntropy::new()).unwrap();
        record.issued.insert(csr.into(), leaf.chain_pem.clone());
        Ok(leaf.chain_pem)
    }

    fn x509(&self, chain: String) -> Credential {
        let lifetime = self.nature().lifetime;
        let not_after = PeerLeaf::from_pem(&chain).unwrap().not_after();
        Credential::X509(X509Credential {
            certificate: chain,
            ca_bundle: self.authority.root_pem().into(),
            not_after,
            renew_after: not_after.before(lifetime / 3),
        })
    }

    fn api_key(&self, record: &mut Record) -> Credential {
        let key = ApiKey::generate(&TokenPrefix::default(), &SystemEntropy::new()).unwrap();
        record.api_key = Some(key.expose().into());
        Credential::ApiKey(key)
    }

    fn mesh() -> Credential {
        Credential::Mesh(MeshCredential {
            kind: CredentialKind::from_static("headscale"),
            authkey: Zeroizing::new("hskey-auth-s3cret".into()),
            control_url: "https://mesh".into(),
            expires_at: NOW,
        })
    }

    fn redeem(&self, record: &mut Record, call: &EnrollCall) -> Result<Answer, CallError> {
        let (nature, proof) = (self.nature(), proof(call));
        let claim = match call.csr() {
            Some(csr) if nature.x509 => Csr::parse(csr).unwrap().key_digest(),
            _ => Sha256::of(call.expose_attempt_key().as_bytes()),
        };
        let name = call.node_name().cloned();
        let name = name.unwrap_or_else(|| NodeName::new(&nature.bound_to).unwrap());
        let earlier = record.redemptions.iter().find(|it| it.proof == proof).cloned();
        let redelivered = earlier.is_some();
        if let Some(earlier) = &earlier
            && (earlier.claim != claim.to_hex() || earlier.name != name.as_str())
        {
            return Err(refused(Reason::AlreadyConsumed));
        }
        let node_id = match &earlier {
            Some(earlier) => earlier.node_id,
            None => NodeId::generate(self.clock.now(), &SystemEntropy::new()).unwrap(),
        };
        // The request that was redeemed decides, as a retry may come with another text of it.
        let csr = earlier.map(|it| it.csr).or_else(|| call.csr().map(Into::into));
        let csr = csr.unwrap_or_default();
        let mut credentials = Vec::new();
        if nature.x509 {
            let chain = self.sign(record, &csr, &name)?;
            record.current = Some(chain.clone());
            record.successor = None;
            credentials.push(self.x509(chain));
        }
        if nature.api_key {
            credentials.push(self.api_key(record));
        }
        credentials.extend(nature.mesh.then(Self::mesh));
        if !redelivered {
            let (claim, name) = (claim.to_hex(), name.to_string());
            record.redemptions.push(Redemption { proof, claim, name, node_id, csr });
        }
        Ok(Answer {
            node_id,
            node_name: name,
            credentials,
            master_addr: Some("master:7481".into()),
            heartbeat_interval: nature.interval,
            redelivered,
            ca: Some(self.authority.root_der().to_vec()),
        })
    }

    /// Who calls, by the record; the first use of a successor retires what it follows.
    fn member(&self, record: &mut Record, me: &Credentials) -> Result<(), CallError> {
        let stranger = || CallError::Refused(Refusal::new(Refusal::UNAUTHORIZED, 401));
        if *self.revoked.lock().unwrap() {
            return Err(stranger());
        }
        let Some(held) = me.certificate() else {
            let key = me.api_key().map(|key| key.expose().to_owned());
            return if key.is_some() && key == record.api_key { Ok(()) } else { Err(stranger()) };
        };
        let presented = Some(held.chain_pem().to_owned());
        if PeerLeaf::from_pem(held.chain_pem()).unwrap().not_after() < self.clock.now() {
            return Err(CallError::IdentityRefused("certificate expired".into()));
        }
        if presented == record.successor {
            record.current = record.successor.take();
        }
        if presented == record.current { Ok(()) } else { Err(stranger()) }
    }
}

fn proof(call: &EnrollCall) -> String {
    match call.token() {
        Some(token) => token.id().to_string(),
        None => format!("secret {:?}", call.node_name()),
    }
}

#[async_trait]
impl Master for FakeMaster {
    async fn enroll(&self, call: &EnrollCall) -> Result<Answer, CallError> {
        let secrets =
            [call.token().map(|it| it.expose()), call.shared_secret().map(|it| it.expose())];
        for secret in secrets.into_iter().flatten().chain([call.expose_attempt_key()]) {
            assert!(!format!("{call:?}").contains(secret));
        }
        let fate = self.fate();
        if let Some(Fate::Fail(error)) = fate {
            self.record.lock().unwrap().calls.push("enroll".into());
            return Err(error);
        }
        let mut answer = self.act("enroll", |record| self.redeem(record, call))?;
        match fate {
            Some(Fate::Lose) => Err(unreachable_master()),
            Some(Fate::Twist(twist)) => {
                twist(&mut answer);
                Ok(answer)
            }
            _ => Ok(answer),
        }
    }

    async fn heartbeat(&self, me: &Credentials, beat: &Beat) -> Result<BeatAnswer, CallError> {
        self.beats.lock().unwrap().push(tokio::time::Instant::now());
        self.facts.lock().unwrap().push(beat.facts.is_some());
        self.fate_of_steady()?;
        self.act("heartbeat", |record| self.member(record, me))?;
        let commands = self.commands.lock().unwrap().clone();
        Ok(BeatAnswer {
            server_time: Some(self.clock.now()),
            heartbeat_interval: self.nature().interval,
            renew: std::mem::take(&mut *self.renew.lock().unwrap()),
            commands: commands
                .into_iter()
                .map(|(id, kind)| Command { id, kind, payload: serde_json::Value::Null })
                .collect(),
        })
    }

    async fn renew(
        &self,
        me: &Credentials,
        call: &RenewCall,
    ) -> Result<Vec<Credential>, CallError> {
        self.fate_of_steady()?;
        self.act("renew", |record| {
            self.member(record, me)?;
            let Some(csr) = &call.csr else { return Ok(vec![self.api_key(record)]) };
            let chain = self.sign(record, csr, me.identity().node_name())?;
            record.successor = Some(chain.clone());
            Ok(vec![self.x509(chain)])
        })
    }

    async fn recover(
        &self,
        me: &Credentials,
        call: &RecoverCall,
    ) -> Result<Vec<Credential>, CallError> {
        self.fate_of_steady()?;
        self.act("recover", |record| {
            let stranger = || CallError::Refused(Refusal::new(Refusal::UNAUTHORIZED, 401));
            let presented = Some(call.certificate.clone());
            let known = presented == record.current || presented == record.successor;
            if !known || *self.revoked.lock().unwrap() {
                return Err(stranger());
            }
            let csr = Csr::parse(&call.csr).map_err(|_| refused(Reason::BadCsr))?;
            let old = PeerLeaf::from_pem(&call.certificate).map_err(|_| stranger())?;
            let message = recovery_message(old.der(), csr.der());
            old.public_key().verify(&message, &call.signature).map_err(|_| stranger())?;
            let chain = self.sign(record, &call.csr, me.identity().node_name())?;
            record.successor = Some(chain.clone());
            Ok(vec![self.x509(chain)])
        })
    }

    async fn acknowledge(&self, me: &Credentials, report: &CommandReport) -> Result<(), CallError> {
        self.fate_of_steady()?;
        self.act("acknowledge", |record| self.member(record, me))?;
        self.commands.lock().unwrap().retain(|(id, _)| *id != report.id);
        self.reports.lock().unwrap().push(report.clone());
        Ok(())
    }

    async fn fuse_task(&self, me: &Credentials) -> Result<FuseTask, CallError> {
        self.fate_of_steady()?;
        self.act("fuse_task", |record| self.member(record, me))?;
        let handover = Handover::from_fuser("fake").with("key", "s3cret".to_owned());
        let (attempt, ticket) = ("attempt-1".to_owned(), "7".to_owned());
        Ok(FuseTask { attempt, deadline: NOW.after(Duration::from_secs(300)), ticket, handover })
    }

    async fn listen(&self) -> Result<Vec<Command>, CallError> {
        loop {
            if let Some(news) = self.news.lock().unwrap().pop_front() {
                return news;
            }
            self.told.notified().await;
        }
    }

    async fn report_metrics(&self, me: &Credentials, samples: &[Sample]) -> Result<(), CallError> {
        self.fate_of_steady()?;
        self.act("report_metrics", |record| self.member(record, me))?;
        self.samples.lock().unwrap().push(samples.to_vec());
        Ok(())
    }

    async fn report_events(&self, me: &Credentials, events: &[HostEvent]) -> Result<(), CallError> {
        self.fate_of_steady()?;
        self.act("report_events", |record| self.member(record, me))?;
        self.events.lock().unwrap().extend_from_slice(events);
        Ok(())
    }
}

/// A time as the record's certificates know it.
pub(crate) fn not_after(chain: &str) -> Timestamp {
    PeerLeaf::from_pem(chain).unwrap().not_after()
}
