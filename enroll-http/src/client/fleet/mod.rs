//! The master over gRPC, as a worker calls it.
//!
//! One connection per identity is held open: heartbeats go out over one stream of it, commands come in
//! over another. What has no place in the service, to enroll and to recover, goes over REST.

mod connection;
mod session;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use enroll_core::model::{Credential, Facts, HostEvent, Sample};
use enroll_core::worker::{
    Answer, Beat, BeatAnswer, CallError, Command, CommandReport, Credentials, EnrollCall, FuseTask,
    Master, RecoverCall, RenewCall,
};
use tokio::time::Instant;

use self::session::{NotOpen, Session};
use super::HttpMaster;

/// The master, called over gRPC where it speaks that, else over HTTP.
///
/// Whom to trust, who calls and where the master is are as for the [`HttpMaster`] it is made from.
///
/// # Defaults
/// A master that proved to be the master, and speaks no gRPC, is called over REST, and asked again
/// every [`ASK_AGAIN`](Self::ASK_AGAIN): it may be an older release, or behind a proxy without HTTP/2.
pub struct GrpcMaster {
    http: HttpMaster,
    fallback: bool,
    /// The open connection. Whoever makes one holds the lock meanwhile.
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
    /// Until when REST is spoken.
    without: Mutex<Option<Instant>>,
    /// What was said last, for the first heartbeat of another connection.
    facts: Mutex<Option<Facts>>,
}

/// How a call goes out.
enum Way {
    Grpc(Arc<Session>),
    Rest,
}

impl GrpcMaster {
    /// How often a master that spoke no gRPC is asked whether it does: every 10 minutes.
    pub const ASK_AGAIN: Duration = Duration::from_secs(600);

    /// The same master, over gRPC.
    #[must_use]
    pub fn new(http: HttpMaster) -> Self {
        Self {
            http,
            fallback: true,
            session: tokio::sync::Mutex::new(None),
            without: Mutex::new(None),
            facts: Mutex::new(None),
        }
    }

    /// Never falls back to REST: a master that speaks no gRPC is an error that may pass.
    #[must_use]
    pub const fn without_fallback(mut self) -> Self {
        self.fallback = false;
        self
    }

    /// Calls over the connection that is open, whoever it was opened by; opens one as `me` where there
    /// is none.
    async fn way(&self, me: &Credentials) -> Result<Way, CallError> {
        let mut open = self.session.lock().await;
        match &*open {
            Some(session) if !session.is_over() => Ok(Way::Grpc(Arc::clone(session))),
            _ => self.connect(&mut open, me).await,
        }
    }

    /// Calls over a connection of `me`, and tells why an earlier one has ended.
    async fn way_of(&self, me: &Credentials) -> Result<Way, CallError> {
        let mut open = self.session.lock().await;
        match &*open {
            Some(session) if session.is_over() => {
                let why = session.end().await;
                *open = None;
                Err(why)
            }
            Some(session) if session.is_of(me) => Ok(Way::Grpc(Arc::clone(session))),
            _ => self.connect(&mut open, me).await,
        }
    }

    async fn connect(
        &self,
        open: &mut Option<Arc<Session>>,
        me: &Credentials,
    ) -> Result<Way, CallError> {
        *open = None;
        if self.speaks_rest() {
            return Ok(Way::Rest);
        }
        match Session::open(&self.http, me).await {
            Ok(session) => {
                let session = Arc::new(session);
                *open = Some(Arc::clone(&session));
                Ok(Way::Grpc(session))
            }
            Err(NotOpen::NoGrpc(_)) if self.fallback => {
                tracing::warn!("the master speaks no gRPC: it is called over REST");
                *locked(&self.without) = Some(Instant::now() + Self::ASK_AGAIN);
                Ok(Way::Rest)
            }
            Err(NotOpen::NoGrpc(how)) => Err(CallError::Malformed(format!(
                "{how}: the master speaks no gRPC there; call it over REST"
            ))),
            Err(NotOpen::Call(error)) => Err(error),
        }
    }

    fn speaks_rest(&self) -> bool {
        locked(&self.without).is_some_and(|until| Instant::now() < until)
    }

    /// What to say of the machine: what is new, and all of it to who has not heard it yet.
    fn facts(&self, told: Option<&Facts>, fresh: bool) -> Option<Facts> {
        let mut facts = locked(&self.facts);
        match told {
            Some(told) => facts.insert(told.clone()).clone().into(),
            None if fresh => facts.clone(),
            None => None,
        }
    }
}

fn locked<T>(value: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // No code panics while it holds one of these locks.
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Master for GrpcMaster {
    async fn enroll(&self, call: &EnrollCall) -> Result<Answer, CallError> {
        self.http.enroll(call).await
    }

    async fn heartbeat(&self, me: &Credentials, beat: &Beat) -> Result<BeatAnswer, CallError> {
        match self.way_of(me).await? {
            Way::Grpc(session) => {
                let facts = self.facts(beat.facts.as_ref(), session.is_fresh());
                session.beat(me, facts.as_ref()).await
            }
            Way::Rest => self.http.heartbeat(me, beat).await,
        }
    }

    async fn renew(
        &self,
        me: &Credentials,
        call: &RenewCall,
    ) -> Result<Vec<Credential>, CallError> {
        match self.way(me).await? {
            Way::Grpc(session) => session.renew(me, call).await,
            Way::Rest => self.http.renew(me, call).await,
        }
    }

    async fn recover(
        &self,
        me: &Credentials,
        call: &RecoverCall,
    ) -> Result<Vec<Credential>, CallError> {
        self.http.recover(me, call).await
    }

    async fn acknowledge(&self, me: &Credentials, report: &CommandReport) -> Result<(), CallError> {
        match self.way(me).await? {
            Way::Grpc(session) => session.acknowledge(me, report).await,
            Way::Rest => self.http.acknowledge(me, report).await,
        }
    }

    /// What the fuser hands over is asked for over REST: it is secret, and asked for once.
    async fn fuse_task(&self, me: &Credentials) -> Result<FuseTask, CallError> {
        self.http.fuse_task(me).await
    }

    async fn listen(&self) -> Result<Vec<Command>, CallError> {
        let session = self.session.lock().await.clone();
        let Some(session) = session else { return std::future::pending().await };
        let news = session.news().await;
        if news.is_err() {
            let mut open = self.session.lock().await;
            if open.as_ref().is_some_and(|open| Arc::ptr_eq(open, &session)) {
                *open = None;
            }
        }
        news
    }

    async fn report_metrics(&self, me: &Credentials, samples: &[Sample]) -> Result<(), CallError> {
        match self.way(me).await? {
            Way::Grpc(session) => session.report_metrics(me, samples).await,
            Way::Rest => self.http.report_metrics(me, samples).await,
        }
    }

    async fn report_events(&self, me: &Credentials, events: &[HostEvent]) -> Result<(), CallError> {
        match self.way(me).await? {
            Way::Grpc(session) => session.report_events(me, events).await,
            Way::Rest => self.http.report_events(me, events).await,
        }
    }
}

impl fmt::Debug for GrpcMaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcMaster")
            .field("http", &self.http)
            .field("fallback", &self.fallback)
            .finish_non_exhaustive()
    }
}
