//! A member that speaks the bare protocol, as a client in another language would.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use enroll_core::model::NodeName;
use enroll_core::store::Page;
use enroll_http::fleet::v1::fleet_client::FleetClient;
use enroll_http::fleet::{REASON, v1};
use enroll_http::metrics::Metrics;
use enroll_http::tls::TlsIdentity;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::common::fleet::{Fleet, Setup, name};
use crate::common::{dial, soon, within};

/// HTTP/2 over TLS, and nothing more.
#[derive(Clone)]
pub(crate) struct Wire(SendRequest<Body>);

impl Service<http::Request<Body>> for Wire {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

const WINDOW: u32 = 65_535;

pub(crate) struct Member {
    pub(crate) stub: FleetClient<Wire>,
    pub(crate) name: String,
    pub(crate) key: Option<String>,
}

impl Member {
    /// A connection to the steady listener, by this certificate if there is one.
    pub(crate) async fn connect(fleet: &Fleet, name: &str, identity: Option<TlsIdentity>) -> Self {
        let tls = fleet.tls(identity).with_http2().config().unwrap();
        let stream = soon(dial(fleet.steady.addr, tls)).await.unwrap();
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        // As HTTP/2 has it where nothing is said (RFC 9113, section 6.9.2).
        http2.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
        let (send, connection) = soon(http2.handshake(TokioIo::new(stream))).await.unwrap();
        drop(tokio::spawn(connection));
        let origin = format!("http://{}", fleet.steady.addr).parse().unwrap();
        Self { stub: FleetClient::with_origin(Wire(send), origin), name: name.into(), key: None }
    }

    /// A machine that has just enrolled, over a connection by its certificate.
    pub(crate) async fn enrolled(fleet: &Fleet, name: &str) -> Self {
        let (machine, certificate, _) = fleet.enrolled(name).await;
        Self::connect(fleet, name, Some(machine.identity(&certificate))).await
    }

    /// One that has no certificate to show, and this key.
    pub(crate) async fn with_key(fleet: &Fleet, name: &str, key: &str) -> Self {
        Self { key: Some(key.into()), ..Self::connect(fleet, name, None).await }
    }

    pub(crate) fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        if let Some(key) = &self.key {
            let key = format!("Bearer {key}").parse().unwrap();
            request.metadata_mut().insert("authorization", key);
        }
        request
    }

    /// A stream of heartbeats that is held open.
    pub(crate) fn beats(&self) -> Beats {
        let (send, beats) = channel(1);
        let beats = futures_util::stream::unfold(
            beats,
            async |mut beats: tokio::sync::mpsc::Receiver<_>| Some((beats.recv().await?, beats)),
        );
        let (mut stub, request) = (self.stub.clone(), self.request(beats));
        let ended = tokio::spawn(async move { stub.heartbeat(request).await });
        Beats { send, name: self.name.clone(), ended }
    }

    /// The stream of commands, once its first message has come.
    pub(crate) async fn listening(
        &self,
    ) -> Result<(v1::Terms, Streaming<v1::Instruction>), Status> {
        let request = self.request(v1::CommandsRequest { node_name: self.name.clone() });
        let mut stream = soon(self.stub.clone().commands(request)).await?.into_inner();
        let first = soon(stream.message()).await?.and_then(|first| first.what);
        let Some(v1::instruction::What::Terms(terms)) = first else { panic!("{first:?}") };
        Ok((terms, stream))
    }
}

pub(crate) struct Beats {
    send: Sender<v1::HeartbeatRequest>,
    pub(crate) name: String,
    ended: JoinHandle<Result<Response<v1::HeartbeatReply>, Status>>,
}

impl Beats {
    pub(crate) async fn beat(&self) {
        let beat = v1::HeartbeatRequest { node_name: self.name.clone(), facts_json: None };
        soon(self.send.send(beat)).await.unwrap();
    }

    pub(crate) async fn say(&self, beat: v1::HeartbeatRequest) {
        soon(self.send.send(beat)).await.unwrap();
    }

    /// Ends the stream as a client does.
    pub(crate) async fn finish(self) -> u64 {
        drop(self.send);
        soon(self.ended).await.unwrap().unwrap().into_inner().heard
    }

    /// Why the master ended it.
    pub(crate) async fn end(self) -> Status {
        soon(self.ended).await.unwrap().expect_err("the master ends it")
    }
}

/// The command that comes next, passing over the terms.
pub(crate) async fn next_command(stream: &mut Streaming<v1::Instruction>) -> v1::Command {
    loop {
        let next = soon(stream.message()).await.unwrap().expect("the stream goes on");
        if let Some(v1::instruction::What::Command(command)) = next.what {
            return command;
        }
    }
}

/// Why the stream of commands ended.
pub(crate) async fn end_of(stream: &mut Streaming<v1::Instruction>) -> Status {
    loop {
        match soon(stream.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a reason"),
            Err(status) => return status,
        }
    }
}

#[track_caller]
pub(crate) fn assert_refused(status: &Status, code: Code, reason: &str) {
    let told = status.metadata().get(REASON).map(|reason| reason.to_str().unwrap());
    assert_eq!((status.code(), told), (code, Some(reason)), "{status:?}");
}

/// A fleet whose master also issues API keys and counts what happens.
pub(crate) async fn counted() -> (Fleet, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new());
    let observer = Arc::clone(&metrics);
    let master = Box::new(move |enroller: enroll_core::master::Enroller| {
        enroller
            .with_observer(observer)
            .with_command("look", enroll_core::model::CommandClass::Monitor)
    });
    (Fleet::with(Setup { api_keys: true, master, ..Setup::default() }).await, metrics)
}

/// The value of a counter without labels.
pub(crate) fn count(metrics: &Metrics, name: &str) -> u64 {
    let text = metrics.render();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// Waits until what is asked for is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(20), wait).await.is_err() {
        panic!("it never came about: {what}");
    }
}

/// The types of all events on record, oldest first.
pub(crate) async fn journal(fleet: &Fleet) -> Vec<serde_json::Value> {
    fleet.enroller.flush().await;
    let events = fleet.enroller.events(Page::first(500)).await.unwrap();
    events.into_iter().map(|it| serde_json::to_value(it.event).unwrap()).collect()
}

pub(crate) async fn last_seen(fleet: &Fleet, node: &str) -> Option<enroll_core::model::Timestamp> {
    let name: NodeName = name(node);
    fleet.enroller.node(&name).await.unwrap().last_seen_at
}

/// What a test of speed grants a machine that is busy.
pub(crate) async fn promptly<T>(what: impl Future<Output = T>) -> T {
    within(Duration::from_secs(5), what).await
}
