//! One identity's open connection: a stream of heartbeats, a stream of commands, calls beside them.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use enroll_core::model::{Credential, Facts, HostEvent, Sample, Sha256, Timestamp};
use enroll_core::worker::{BeatAnswer, CallError, Command, CommandReport, Credentials, RenewCall};
use futures_util::stream;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Code, Request, Status, Streaming};

use super::connection::{Connection, Wire};
use super::locked;
use crate::client::HttpMaster;
use crate::client::master::unset;
use crate::client::steady::mark;
use crate::fleet::v1::fleet_client::FleetClient;
use crate::fleet::{MAX_MESSAGE, refusal, v1};
use crate::wire::FactsBody;

/// An open connection. Dropping it ends every stream.
pub(super) struct Session {
    of: Sha256,
    calls: Calls,
    beats: Sender<v1::HeartbeatRequest>,
    news: tokio::sync::Mutex<Receiver<News>>,
    shared: Arc<Shared>,
    fresh: AtomicBool,
    _tasks: JoinSet<()>,
}

/// Word from the master: commands, or why there will be no more.
type News = Result<Vec<Command>, CallError>;

/// What the tasks of a session leave for those who call.
struct Shared {
    terms: Mutex<v1::Terms>,
    over: AtomicBool,
    tell: Sender<News>,
}

/// Why there is no session.
pub(super) enum NotOpen {
    /// Who answers is the master, and speaks no gRPC; how that showed.
    NoGrpc(String),
    /// The call failed.
    Call(CallError),
}

impl From<CallError> for NotOpen {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

/// News that wait to be heard; more wait at the master.
const WAITING: usize = 16;

impl Session {
    /// Connects, and waits until the master has accepted the identity.
    pub(super) async fn open(http: &HttpMaster, me: &Credentials) -> Result<Self, NotOpen> {
        let bound = http.options().request_timeout();
        let connection = within(bound, Connection::open(http, me)).await??;
        let client = FleetClient::with_origin(connection.wire(), connection.origin())
            .max_decoding_message_size(MAX_MESSAGE);
        let mut calls = Calls { client, key: bearer(me)?, connection, bound };
        let (terms, instructions) = calls.listen(me).await?;
        let (beats, outgoing) = channel(1);
        let (tell, news) = channel(WAITING);
        let shared =
            Arc::new(Shared { terms: Mutex::new(terms), over: AtomicBool::new(false), tell });
        let mut tasks = JoinSet::new();
        tasks.spawn(hear(Arc::clone(&shared), calls.clone(), instructions));
        tasks.spawn(send(Arc::clone(&shared), calls.clone(), outgoing));
        Ok(Self {
            of: mark(me),
            calls,
            beats,
            news: tokio::sync::Mutex::new(news),
            shared,
            fresh: AtomicBool::new(true),
            _tasks: tasks,
        })
    }

    pub(super) fn is_of(&self, me: &Credentials) -> bool {
        self.of == mark(me)
    }

    pub(super) fn is_over(&self) -> bool {
        self.shared.over.load(Ordering::Acquire)
    }

    /// Whether no heartbeat went out yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh.load(Ordering::Relaxed)
    }

    /// Why it is over.
    pub(super) async fn end(&self) -> CallError {
        let mut news = self.news.lock().await;
        while let Ok(word) = news.try_recv() {
            // Commands that are lost here come again.
            if let Err(why) = word {
                return why;
            }
        }
        CallError::Unreachable("the connection to the master has ended".into())
    }

    /// Waits for word from the master.
    pub(super) async fn news(&self) -> News {
        match self.news.lock().await.recv().await {
            Some(word) => word,
            None => Err(CallError::Unreachable("the connection to the master has ended".into())),
        }
    }

    /// Sends one heartbeat. What the master has to say against it comes as news.
    pub(super) async fn beat(
        &self,
        me: &Credentials,
        facts: Option<&Facts>,
    ) -> Result<BeatAnswer, CallError> {
        let facts = facts.map(|facts| serde_json::to_string(&FactsBody(facts.clone())));
        let facts_json = facts.transpose().map_err(|why| CallError::Malformed(why.to_string()))?;
        let beat = v1::HeartbeatRequest { node_name: name(me), facts_json };
        if within(self.calls.bound, self.beats.send(beat)).await?.is_err() {
            return Err(self.end().await);
        }
        self.fresh.store(false, Ordering::Relaxed);
        let terms = *locked(&self.shared.terms);
        Ok(BeatAnswer {
            server_time: Some(Timestamp::from_unix_millis(terms.server_time_unix_millis)),
            heartbeat_interval: Duration::from_secs(terms.heartbeat_interval_secs),
            renew: terms.renew,
            commands: Vec::new(),
        })
    }

    pub(super) async fn renew(
        &self,
        me: &Credentials,
        call: &RenewCall,
    ) -> Result<Vec<Credential>, CallError> {
        let wish = v1::RenewRequest { node_name: name(me), csr: call.csr.clone() };
        let mut calls = self.calls.clone();
        let request = calls.request(wish);
        let reply = calls.answer(calls.client.clone().renew(request)).await?;
        let credentials = reply.credentials.into_iter();
        Ok(credentials.filter_map(v1::Credential::into_credential).collect())
    }

    pub(super) async fn acknowledge(
        &self,
        me: &Credentials,
        report: &CommandReport,
    ) -> Result<(), CallError> {
        let report = v1::AcknowledgeRequest {
            node_name: name(me),
            command_id: report.id.clone(),
            done: report.done,
            output: report.output.clone(),
        };
        let mut calls = self.calls.clone();
        let request = calls.request(report);
        calls.answer(calls.client.clone().acknowledge(request)).await.map(drop)
    }

    pub(super) async fn report_metrics(
        &self,
        me: &Credentials,
        samples: &[Sample],
    ) -> Result<(), CallError> {
        let samples = samples.iter().map(v1::Sample::from).collect();
        let report = v1::ReportMetricsRequest { node_name: name(me), samples };
        let mut calls = self.calls.clone();
        let request = calls.request(stream::iter([report]));
        calls.answer(calls.client.clone().report_metrics(request)).await.map(drop)
    }

    pub(super) async fn report_events(
        &self,
        me: &Credentials,
        events: &[HostEvent],
    ) -> Result<(), CallError> {
        let events = events.iter().map(v1::HostEvent::from).collect();
        let report = v1::ReportEventsRequest { node_name: name(me), events };
        let mut calls = self.calls.clone();
        let request = calls.request(stream::iter([report]));
        calls.answer(calls.client.clone().report_events(request)).await.map(drop)
    }
}

/// Calls over one connection.
#[derive(Clone)]
struct Calls {
    client: FleetClient<Wire>,
    key: Option<MetadataValue<Ascii>>,
    connection: Connection,
    bound: Duration,
}

impl Calls {
    fn request<M>(&mut self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        if let Some(key) = &self.key {
            request.metadata_mut().insert("authorization", key.clone());
        }
        request
    }

    async fn answer<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, Status>> + Send,
    ) -> Result<T, CallError> {
        let answered = within(self.bound, call).await?;
        answered.map(tonic::Response::into_inner).map_err(|status| self.failure(status))
    }

    /// Opens the stream of commands. Its first message says that the identity is accepted.
    async fn listen(
        &mut self,
        me: &Credentials,
    ) -> Result<(v1::Terms, Streaming<v1::Instruction>), NotOpen> {
        let request = self.request(v1::CommandsRequest { node_name: name(me) });
        let opened = within(self.bound, self.client.commands(request)).await?;
        let mut instructions = opened.map_err(|status| self.not_open(status))?.into_inner();
        let first = within(self.bound, instructions.message()).await?;
        let first = first.map_err(|status| self.not_open(status))?;
        match first.and_then(|first| first.what) {
            Some(v1::instruction::What::Terms(terms)) => Ok((terms, instructions)),
            _ => Err(CallError::Malformed("the terms are missing".into()).into()),
        }
    }

    /// Why there is no stream of commands. What knows no such service says so with its status, with
    /// HTTP's or gRPC's.
    fn not_open(&self, status: Status) -> NotOpen {
        match status.code() {
            Code::Unimplemented => NotOpen::NoGrpc(format!("status {:?}", status.code())),
            _ => self.failure(status).into(),
        }
    }

    /// What a call that failed says: the master's refusal, a TLS failure, or that nobody answered.
    fn failure(&self, status: Status) -> CallError {
        if let Some(refusal) = refusal(&status) {
            return CallError::Refused(refusal);
        }
        if let Some(error) = self.connection.failure() {
            return error;
        }
        match status.code() {
            Code::Unimplemented | Code::InvalidArgument | Code::OutOfRange | Code::DataLoss => {
                CallError::Malformed(format!("gRPC status {:?}", status.code()))
            }
            _ => CallError::Unreachable(Box::new(status)),
        }
    }
}

impl Shared {
    async fn tell_commands(&self, commands: Vec<Command>) {
        // Nobody listens when the session is being dropped.
        drop(self.tell.send(Ok(commands)).await);
    }

    async fn tell_end(&self, why: CallError) {
        self.over.store(true, Ordering::Release);
        drop(self.tell.send(Err(why)).await);
    }
}

/// Hears what the master wants.
async fn hear(shared: Arc<Shared>, calls: Calls, mut from: Streaming<v1::Instruction>) {
    let why = loop {
        match from.message().await {
            Ok(Some(v1::Instruction { what: Some(v1::instruction::What::Terms(terms)) })) => {
                *locked(&shared.terms) = terms;
            }
            Ok(Some(v1::Instruction { what: Some(v1::instruction::What::Command(command)) })) => {
                match Command::try_from(command) {
                    Ok(command) => shared.tell_commands(vec![command]).await,
                    Err(why) => tracing::warn!(%why, "a command cannot be read"),
                }
            }
            // What a newer master says.
            Ok(Some(_)) => {}
            Ok(None) => break CallError::Unreachable("the master ended the commands".into()),
            Err(status) => break calls.failure(status),
        }
    };
    shared.tell_end(why).await;
}

/// Sends heartbeats until the master ends the stream.
async fn send(shared: Arc<Shared>, mut calls: Calls, beats: Receiver<v1::HeartbeatRequest>) {
    let beats = stream::unfold(beats, |mut beats| async {
        let next = beats.recv().await?;
        Some((next, beats))
    });
    let request = calls.request(beats);
    let ended = calls.client.heartbeat(request).await;
    let why = match ended {
        Ok(_) => CallError::Unreachable("the master ended the heartbeats".into()),
        Err(status) => calls.failure(status),
    };
    shared.tell_end(why).await;
}

fn name(me: &Credentials) -> String {
    me.identity().node_name().to_string()
}

/// The API key as the metadata carry it, where no certificate says who calls.
fn bearer(me: &Credentials) -> Result<Option<MetadataValue<Ascii>>, CallError> {
    let (None, Some(key)) = (me.certificate(), me.api_key()) else { return Ok(None) };
    let value = format!("Bearer {}", key.expose()).parse::<MetadataValue<Ascii>>();
    let mut value =
        value.map_err(|_| unset("the API key holds a character that cannot be sent"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// Ends what takes too long.
async fn within<T>(bound: Duration, call: impl Future<Output = T> + Send) -> Result<T, CallError> {
    tokio::time::timeout(bound, call)
        .await
        .map_err(|_| CallError::Unreachable("no answer came in time".into()))
}
