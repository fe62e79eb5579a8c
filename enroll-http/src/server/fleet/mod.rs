//! The service `enroll.v1.Fleet`, beside REST on the steady listener.
//!
//! - **Who calls is authorised from the store** when a call begins; a stream that stays open is
//!   watched from then on, and ends within a second of its identity.
//! - **Every message is pinned** to the name of that identity.
//! - **Nothing is gathered for a peer that does not read**: a command is fetched when there is room
//!   for it, and a message is read when the one before has been dealt with.

mod incoming;
mod outgoing;

use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use enroll_core::master::{AuthenticatedNode, Enroller, RenewVerdict};
use enroll_core::model::{HostEvent, NodeName, Reason, Rejection, Sample};
use futures_util::Stream;
use http::Extensions;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming, async_trait};

use self::incoming::Incoming;
use self::outgoing::Outgoing;
use super::answer::trouble;
use super::detached::detached;
use super::member::{authenticate, unauthorized};
use super::steady::another_name;
use crate::fleet::v1::fleet_server::{Fleet, FleetServer};
use crate::fleet::{MAX_MESSAGE, Pinned, status, v1};
use crate::wire::{ErrorCode, Problem, node_name};

/// The route of the service.
pub(super) fn routes(enroller: Arc<Enroller>) -> Router {
    let service = FleetServer::new(Service { enroller })
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    Router::new().route_service("/enroll.v1.Fleet/{call}", service)
}

struct Service {
    enroller: Arc<Enroller>,
}

/// Who called, and with what, so that it can be asked again.
struct Caller {
    enroller: Arc<Enroller>,
    metadata: MetadataMap,
    extensions: Extensions,
}

impl Caller {
    /// The member that calls, from the store as it stands now.
    async fn member(&self) -> Result<AuthenticatedNode, Status> {
        let headers = self.metadata.clone().into_headers();
        let member = authenticate(&self.enroller, &self.extensions, &headers).await;
        member.map_err(|problem| status(&problem))
    }

    /// Holds the name a message gave to that of the identity. It has to be there in the first one.
    fn pin(&self, member: &AuthenticatedNode, name: &str, first: bool) -> Result<(), Status> {
        if name.is_empty() && !first {
            return Ok(());
        }
        let name: NodeName = node_name(name).map_err(refused)?;
        if self.enroller.is_pinned(member, &name) {
            return Ok(());
        }
        Err(refused(another_name()))
    }
}

impl Service {
    /// Takes a unary call apart, once it is known to be a member's and to say so.
    async fn unary<M: Pinned>(
        &self,
        request: Request<M>,
    ) -> Result<(Caller, AuthenticatedNode, M), Status> {
        let (metadata, extensions, message) = request.into_parts();
        let caller = Caller { enroller: Arc::clone(&self.enroller), metadata, extensions };
        let member = caller.member().await?;
        caller.pin(&member, message.node_name(), true)?;
        Ok((caller, member, message))
    }

    async fn stream<M: Pinned>(
        &self,
        request: Request<Streaming<M>>,
    ) -> Result<Incoming<M>, Status> {
        let (metadata, extensions, messages) = request.into_parts();
        let caller = Caller { enroller: Arc::clone(&self.enroller), metadata, extensions };
        Incoming::open(caller, messages).await
    }
}

type Reply<T> = Result<Response<T>, Status>;

#[async_trait]
impl Fleet for Service {
    async fn heartbeat(
        &self,
        request: Request<Streaming<v1::HeartbeatRequest>>,
    ) -> Reply<v1::HeartbeatReply> {
        let mut beats = self.stream(request).await?;
        let mut heard = 0;
        while let Some(beat) = beats.next().await? {
            beats.hear(beat.facts().map_err(refused)?).await?;
            heard += 1;
        }
        Ok(Response::new(v1::HeartbeatReply { heard }))
    }

    async fn report_metrics(
        &self,
        request: Request<Streaming<v1::ReportMetricsRequest>>,
    ) -> Reply<v1::ReportMetricsReply> {
        let mut reports = self.stream(request).await?;
        let mut reply = v1::ReportMetricsReply::default();
        while let Some(report) = reports.next().await? {
            let samples = report.samples.into_iter().map(Sample::from).collect();
            let taken = self.enroller.report_metrics(reports.member(), samples);
            reply.kept += taken.kept as u64;
            reply.left_out += taken.left_out as u64;
        }
        Ok(Response::new(reply))
    }

    async fn report_events(
        &self,
        request: Request<Streaming<v1::ReportEventsRequest>>,
    ) -> Reply<v1::ReportEventsReply> {
        let mut reports = self.stream(request).await?;
        let mut reply = v1::ReportEventsReply::default();
        while let Some(report) = reports.next().await? {
            let events = report.events.into_iter().map(HostEvent::from).collect();
            let taken = self.enroller.report_events(reports.member(), events);
            reply.kept += taken.kept as u64;
            reply.left_out += taken.left_out as u64;
        }
        Ok(Response::new(reply))
    }

    type CommandsStream = Pin<Box<dyn Stream<Item = Result<v1::Instruction, Status>> + Send>>;

    async fn commands(&self, request: Request<v1::CommandsRequest>) -> Reply<Self::CommandsStream> {
        let (caller, member, _) = self.unary(request).await?;
        let outgoing = Outgoing::open(caller, &member)?;
        Ok(Response::new(Box::pin(outgoing.instructions())))
    }

    async fn acknowledge(
        &self,
        request: Request<v1::AcknowledgeRequest>,
    ) -> Reply<v1::AcknowledgeReply> {
        let (_, member, report) = self.unary(request).await?;
        let unknown =
            || status(&Problem::error(ErrorCode::NotFound, "This node has no such command."));
        let id = report.command_id.parse().map_err(|_| unknown())?;
        let enroller = Arc::clone(&self.enroller);
        let acknowledged =
            detached(
                async move { enroller.acknowledge(&member, id, report.done, report.output).await },
            );
        match acknowledged.await.map_err(|problem| status(&problem))? {
            Ok(true) => Ok(Response::new(v1::AcknowledgeReply {})),
            Ok(false) => Err(unknown()),
            Err(error) => Err(status(&trouble(&error))),
        }
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Reply<v1::RenewReply> {
        let (_, member, wish) = self.unary(request).await?;
        let enroller = Arc::clone(&self.enroller);
        let renewed = detached(async move { enroller.renew(&member, wish.csr.as_deref()).await });
        match renewed.await.map_err(|problem| status(&problem))? {
            Ok(RenewVerdict::Renewed(made)) => {
                let credentials = made.iter().filter_map(v1::Credential::of).collect();
                Ok(Response::new(v1::RenewReply { credentials }))
            }
            Ok(RenewVerdict::Refused(rejection)) => Err(refused(rejection)),
            Ok(RenewVerdict::Unauthorized(why)) => {
                tracing::debug!(%why, "an identity is not renewed");
                Err(status(&unauthorized()))
            }
            Ok(_) => Err(refused(Rejection::new(Reason::Unavailable))),
            Err(error) => Err(status(&trouble(&error))),
        }
    }
}

fn refused(rejection: Rejection) -> Status {
    status(&rejection.into())
}
