//! Heartbeats over open streams, as a worker sends them by default.

use std::net::SocketAddr;

use enroll_core::issue::x509::RootCertificate;
use enroll_http::fleet::v1::fleet_client::FleetClient;
use enroll_http::fleet::v1::{HeartbeatReply, HeartbeatRequest};
use futures_util::stream;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, JoinSet};
use tonic::{Response, Status};

use crate::client::Target;
use crate::members::Machine;
use crate::plan::Failure;
use crate::process::Server;

/// Streams of one machine, all over one connection: one fewer than a master lets it have open.
const STREAMS: usize = 15;

/// The stub over a connection to a target. A macro, because the type of its wire has no name.
macro_rules! stub {
    ($target:expr) => {{
        let io = TokioIo::new($target.dial().await?);
        let (send, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        let wire = tower::service_fn(move |request| {
            let mut send = send.clone();
            async move { send.send_request(request).await }
        });
        // The scheme is what tonic sees; TLS is spoken below it.
        FleetClient::with_origin(wire, "http://localhost".parse()?)
    }};
}

/// Lets each machine send `beats` over each of its streams, which a master reads no faster than 20 a
/// second, and says how many it heard.
pub(crate) async fn beat(
    server: &Server,
    root: &RootCertificate,
    machines: &[Machine],
    beats: usize,
) -> Result<u64, Failure> {
    let mut running = JoinSet::new();
    for machine in machines {
        let identity = Some(machine.identity.clone());
        let target = Target::over_http2(server.address, root, identity)?;
        running.spawn(one_machine(target, machine.name.clone(), beats));
    }
    let mut heard = 0;
    while let Some(ended) = running.join_next().await {
        heard += ended??;
    }
    let sent = (machines.len() * STREAMS * beats) as u64;
    if heard == sent { Ok(heard) } else { Err(format!("{heard} of {sent} were heard").into()) }
}

async fn one_machine(target: Target, name: String, beats: usize) -> Result<u64, Failure> {
    let stub = stub!(target);
    let mut running = JoinSet::new();
    for _ in 0..STREAMS {
        let mut stub = stub.clone();
        let all = stream::iter(std::iter::repeat_n(message(&name), beats));
        running.spawn(async move { stub.heartbeat(all).await });
    }
    let mut heard = 0;
    while let Some(ended) = running.join_next().await {
        heard += ended??.into_inner().heard;
    }
    Ok(heard)
}

fn message(name: &str) -> HeartbeatRequest {
    HeartbeatRequest { node_name: name.to_owned(), facts_json: None }
}

/// A machine's open stream.
pub(crate) struct Line {
    name: String,
    beats: UnboundedSender<HeartbeatRequest>,
    ended: JoinHandle<Result<Response<HeartbeatReply>, Status>>,
}

impl Line {
    /// Connects, and has the first beat heard.
    pub(crate) async fn open(
        address: SocketAddr,
        root: &RootCertificate,
        machine: Machine,
    ) -> Result<Self, Failure> {
        let target = Target::over_http2(address, root, Some(machine.identity))?;
        let mut stub = stub!(target);
        // A stream of its own is the quickest proof that this machine is let in.
        let first = stream::iter([message(&machine.name)]);
        stub.heartbeat(first).await?;
        let (beats, outgoing) = unbounded_channel();
        let outgoing = stream::unfold(outgoing, async |mut outgoing: UnboundedReceiver<_>| {
            Some((outgoing.recv().await?, outgoing))
        });
        let ended = tokio::spawn(async move { stub.heartbeat(outgoing).await });
        let line = Self { name: machine.name, beats, ended };
        line.beat();
        Ok(line)
    }

    /// Sends one heartbeat.
    pub(crate) fn beat(&self) {
        // Were the stream over, its end would say so.
        let _over = self.beats.send(message(&self.name));
    }

    /// Ends the stream; how many beats were heard over it.
    pub(crate) async fn end(self) -> Result<u64, Failure> {
        drop(self.beats);
        Ok(self.ended.await??.into_inner().heard)
    }
}
