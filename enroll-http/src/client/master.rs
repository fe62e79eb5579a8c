//! The master over HTTP, as a worker calls it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use enroll_core::issue::x509::RootCertificate;
use enroll_core::master::RecoverRequest;
use enroll_core::model::{Clock, Credential, Fingerprint, HostEvent, Sample, SystemClock};
use enroll_core::worker::{
    Answer, Beat, BeatAnswer, CallError, Command, CommandReport, Credentials, EnrollCall, FuseTask,
    Master, RecoverCall, RenewCall,
};
use reqwest::{Client, Url};

use super::answer;
use super::steady::Steady;
use crate::tls::{ClientTls, HttpOptions, PinnedVerifier, TlsError, TlsRefusal, http_client};
use crate::wire::{
    self, CredentialBody, EnrollAnswer, EnrollBody, EventsReport, FuseTaskBody, HeartbeatAnswer,
    HeartbeatBody, MetricsReport, RecoverBody, RenewAnswer, RenewBody,
};

/// The master, called over HTTP.
///
/// At the first call it is known by a pinned fingerprint of its root, checked inside the handshake,
/// before any byte of HTTP; afterwards by the root that was kept. No redirect is followed and no
/// proxy of the environment is used.
///
/// # Defaults
/// A call ends after [`HttpOptions::REQUEST`]; plain HTTP is refused; the enroll call is
/// [`ENROLL_PATH`](Self::ENROLL_PATH) below the URL; the steady address is the one the master named.
pub struct HttpMaster {
    enroll: Option<Url>,
    path: String,
    pins: Vec<Fingerprint>,
    steady: Steady,
    options: HttpOptions,
    plaintext: bool,
    clock: Arc<dyn Clock>,
}

/// Why a client cannot be made. It says which value to correct.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The URL is not one.
    #[error("the master's URL cannot be read: {0}")]
    Url(String),
    /// The URL is not `https`, and plain HTTP was not allowed.
    #[error(
        "the master's URL is not https: over plain HTTP anyone on the way reads the token; allow it explicitly if the network is trusted"
    )]
    Plaintext,
    /// An admin token is empty, or holds a character that no token has.
    #[error("the admin token is incomplete or holds a character that no token has: copy it again")]
    Token,
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl HttpMaster {
    /// Where machines enroll, below the master's URL.
    pub const ENROLL_PATH: &'static str = "v1/enroll";

    /// A master at `url` that is known by `fingerprint`: for a worker that has yet to enroll.
    ///
    /// # Errors
    /// [`ClientError::Url`], [`ClientError::Plaintext`].
    pub fn pinned(url: &str, fingerprint: Fingerprint) -> Result<Self, ClientError> {
        Self::pinned_any(url, [fingerprint])
    }

    /// As [`pinned`](Self::pinned), with several fingerprints any of which may be the root's.
    ///
    /// # Errors
    /// [`ClientError::Url`], [`ClientError::Plaintext`].
    pub fn pinned_any(
        url: &str,
        fingerprints: impl IntoIterator<Item = Fingerprint>,
    ) -> Result<Self, ClientError> {
        let enroll = base(url)?;
        if enroll.scheme() != "https" {
            return Err(ClientError::Plaintext);
        }
        Ok(Self {
            enroll: Some(enroll),
            pins: fingerprints.into_iter().collect(),
            ..Self::enrolled()
        })
    }

    /// As [`pinned_any`](Self::pinned_any), where `http` is allowed too: the proofs then cross the
    /// network in clear, and only the root that comes back is held against the fingerprints.
    ///
    /// # Errors
    /// [`ClientError::Url`].
    pub fn danger_plaintext(
        url: &str,
        fingerprints: impl IntoIterator<Item = Fingerprint>,
    ) -> Result<Self, ClientError> {
        let (enroll, pins) = (Some(base(url)?), fingerprints.into_iter().collect());
        let options = HttpOptions::new().danger_allow_plaintext();
        Ok(Self { enroll, pins, options, plaintext: true, ..Self::enrolled() })
    }

    /// A master for a worker that has enrolled: who it is and where, the identity knows.
    #[must_use]
    pub fn enrolled() -> Self {
        Self {
            enroll: None,
            path: Self::ENROLL_PATH.to_owned(),
            pins: Vec::new(),
            steady: Steady::new(),
            options: HttpOptions::new(),
            plaintext: false,
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// Enrolls at another path below the URL, e.g. `api/enroll`.
    #[must_use]
    pub fn with_enroll_path(mut self, path: &str) -> Self {
        self.path = path.trim_start_matches('/').to_owned();
        self
    }

    /// Calls the master at `addr`, `host:port`, whatever address it named itself.
    #[must_use]
    pub fn with_steady_addr(mut self, addr: impl Into<String>) -> Self {
        self.steady = self.steady.at(addr.into());
        self
    }

    /// Calls the steady-state address through the HTTP proxy at `proxy`: that of a mesh's daemon that
    /// runs in userspace. The first call never goes there, and no proxy of the environment counts.
    #[must_use]
    pub fn with_steady_proxy(mut self, proxy: SocketAddr) -> Self {
        self.steady = self.steady.through(proxy);
        self
    }

    /// Ends every call after `timeout`.
    #[must_use]
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.options = self.options.with_request_timeout(timeout);
        self
    }

    /// Judges certificates by `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// A client that trusts what is pinned, and learns which root that is.
    fn first_contact(&self) -> Result<(Client, Arc<PinnedVerifier>), CallError> {
        let verifier = Arc::new(PinnedVerifier::new(self.pins.iter().copied()));
        let tls =
            ClientTls::new(Arc::clone(&verifier) as Arc<_>).with_clock(Arc::clone(&self.clock));
        let client = tls.config().and_then(|config| http_client(config, &self.options));
        Ok((client.map_err(setup)?, verifier))
    }

    /// Over plain HTTP nothing proves who answers, but a root that is not the pinned one proves that
    /// it is not the master: asked before any proof leaves the machine.
    async fn plaintext_root(&self, client: &Client, url: &Url) -> Result<Vec<u8>, CallError> {
        let body = answer::success(client.get(join(url, "v1/ca")?)).await?;
        let text = std::str::from_utf8(&body).unwrap_or_default();
        let root = RootCertificate::from_pem(text)
            .map_err(|why| CallError::Malformed(format!("no root certificate: {why}")))?;
        if !self.pins.contains(&root.fingerprint()) {
            return Err(CallError::Tls(Box::new(TlsRefusal::PinMismatch)));
        }
        Ok(root.der().to_vec())
    }
}

#[async_trait]
impl Master for HttpMaster {
    async fn enroll(&self, call: &EnrollCall) -> Result<Answer, CallError> {
        let url = self.enroll.as_ref().ok_or_else(|| unset("the master's URL is not known"))?;
        let (client, verifier) = self.first_contact()?;
        let mut ca = match self.plaintext && url.scheme() == "http" {
            true => Some(self.plaintext_root(&client, url).await?),
            false => None,
        };
        let request = client.post(join(url, &self.path)?).json(&enroll_body(call));
        let answer: EnrollAnswer = answer::json(request).await?;
        ca = ca.or_else(|| verifier.root().map(|root| root.der().to_vec()));
        Ok(Answer {
            node_id: answer.node_id,
            node_name: answer.node_name,
            credentials: credentials(answer.credentials)?,
            master_addr: answer.master_addr,
            heartbeat_interval: Duration::from_secs(answer.heartbeat_interval_secs),
            redelivered: answer.redelivered,
            ca,
        })
    }

    async fn heartbeat(&self, me: &Credentials, beat: &Beat) -> Result<BeatAnswer, CallError> {
        let body = HeartbeatBody::new(me.identity().node_name(), beat.facts.clone());
        let call = self.steady.post(self, me, "v1/self/heartbeat")?.json(&body);
        let answer: HeartbeatAnswer = answer::json(call).await?;
        let command = |body: wire::CommandBody| Command {
            id: body.id,
            kind: body.kind,
            payload: body.payload,
        };
        Ok(BeatAnswer {
            server_time: Some(answer.server_time.0),
            heartbeat_interval: Duration::from_secs(answer.heartbeat_interval_secs),
            renew: answer.renew,
            commands: answer.commands.into_iter().map(command).collect(),
        })
    }

    async fn renew(
        &self,
        me: &Credentials,
        call: &RenewCall,
    ) -> Result<Vec<Credential>, CallError> {
        let body = RenewBody::new(call.csr.clone());
        let answer: RenewAnswer =
            answer::json(self.steady.post(self, me, "v1/self/renew")?.json(&body)).await?;
        credentials(answer.credentials)
    }

    async fn recover(
        &self,
        me: &Credentials,
        call: &RecoverCall,
    ) -> Result<Vec<Credential>, CallError> {
        let body = RecoverBody::new(&RecoverRequest {
            certificate: call.certificate.clone(),
            csr: call.csr.clone(),
            signature: call.signature.clone(),
        });
        let request = self.steady.anonymous_post(self, me, "v1/recover")?.json(&body);
        let answer: RenewAnswer = answer::json(request).await?;
        credentials(answer.credentials)
    }

    async fn acknowledge(&self, me: &Credentials, report: &CommandReport) -> Result<(), CallError> {
        let path = format!("v1/self/commands/{}", report.id);
        let body = wire::CommandReport::new(report.done, report.output.clone());
        answer::success(self.steady.post(self, me, &path)?.json(&body)).await.map(drop)
    }

    async fn fuse_task(&self, me: &Credentials) -> Result<FuseTask, CallError> {
        let body: FuseTaskBody = answer::json(self.steady.get(self, me, "v1/self/fuse")?).await?;
        Ok(FuseTask {
            attempt: body.attempt.clone(),
            deadline: body.deadline.0,
            ticket: body.ticket.clone(),
            handover: body.into_handover(),
        })
    }

    /// Nothing comes between two calls: a master answers, and never begins.
    async fn listen(&self) -> Result<Vec<Command>, CallError> {
        std::future::pending().await
    }

    async fn report_metrics(&self, me: &Credentials, samples: &[Sample]) -> Result<(), CallError> {
        let body = MetricsReport::new(me.identity().node_name(), samples);
        let call = self.steady.post(self, me, "v1/self/metrics")?.json(&body);
        answer::success(call).await.map(drop)
    }

    async fn report_events(&self, me: &Credentials, events: &[HostEvent]) -> Result<(), CallError> {
        let body = EventsReport::new(me.identity().node_name(), events);
        let call = self.steady.post(self, me, "v1/self/events")?.json(&body);
        answer::success(call).await.map(drop)
    }
}

impl HttpMaster {
    pub(super) const fn options(&self) -> &HttpOptions {
        &self.options
    }

    /// Where the steady listener of `me` is, `host:port`.
    #[cfg(feature = "grpc")]
    pub(super) fn steady_addr<'a>(&'a self, me: &'a Credentials) -> Result<&'a str, CallError> {
        self.steady.addr(me)
    }

    /// TLS as `me` speaks it, with HTTP/2.
    #[cfg(feature = "grpc")]
    pub(super) fn steady_tls(&self, me: &Credentials) -> Result<rustls::ClientConfig, CallError> {
        super::steady::tls_of(self, me)?.with_http2().config().map_err(setup)
    }

    /// The proxy that leads to the steady-state address.
    #[cfg(feature = "grpc")]
    pub(super) const fn steady_proxy(&self) -> Option<SocketAddr> {
        self.steady.proxy()
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }
}

impl fmt::Debug for HttpMaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpMaster")
            .field("enroll", &self.enroll.as_ref().map(Url::as_str))
            .field("pins", &self.pins)
            .field("plaintext", &self.plaintext)
            .finish_non_exhaustive()
    }
}

fn enroll_body(call: &EnrollCall) -> EnrollBody {
    let secret = |text: &str| wire::SecretText::new(text.to_owned());
    EnrollBody {
        token: call.token().map(|token| secret(token.expose())),
        shared_secret: call.shared_secret().map(|shared| secret(shared.expose())),
        node_name: call.node_name().map(ToString::to_string),
        csr: call.csr().map(str::to_owned),
        attempt_key: Some(secret(call.expose_attempt_key())),
        facts: Some(wire::FactsBody(call.facts().clone())),
    }
}

/// Credentials of a kind this release does not know are left out.
fn credentials(bodies: Vec<CredentialBody>) -> Result<Vec<Credential>, CallError> {
    let read = |body: CredentialBody| {
        body.into_credential().map_err(|why| CallError::Malformed(why.to_string())).transpose()
    };
    bodies.into_iter().filter_map(read).collect()
}

pub(crate) fn base(url: &str) -> Result<Url, ClientError> {
    let text = format!("{}/", url.trim_end_matches('/'));
    let url = Url::parse(&text).map_err(|why| ClientError::Url(why.to_string()))?;
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    match url.scheme() {
        "http" | "https" if plain && url.has_host() => Ok(url),
        "http" | "https" => Err(ClientError::Url("it needs a host, and no user or query".into())),
        _ => Err(ClientError::Url("it begins with neither https:// nor http://".into())),
    }
}

pub(super) fn join(base: &Url, path: &str) -> Result<Url, CallError> {
    base.join(path).map_err(|why| unset(&format!("the master's URL cannot be completed: {why}")))
}

pub(super) fn setup(cause: TlsError) -> CallError {
    CallError::Tls(Box::new(cause))
}

pub(super) fn unset(what: &str) -> CallError {
    CallError::Unreachable(what.to_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_judged_before_anything_is_sent() {
        let pin = Fingerprint::of_der(b"root");
        let why = |url: &str| HttpMaster::pinned(url, pin).map(|_| ()).unwrap_err();
        assert!(matches!(why("http://master:7480"), ClientError::Plaintext));
        assert!(matches!(why("master:7480"), ClientError::Url(_)));
        assert!(matches!(why("https://"), ClientError::Url(_)));
        assert!(matches!(why("https://user@master"), ClientError::Url(_)));
        assert!(matches!(why("https://master/?token=x"), ClientError::Url(_)));
        let url = base("https://master:7480/fleet/").unwrap();
        assert_eq!(
            join(&url, "v1/enroll").unwrap().as_str(),
            "https://master:7480/fleet/v1/enroll"
        );
        let url = base("https://[::1]:7480").unwrap();
        assert_eq!(join(&url, "v1/ca").unwrap().as_str(), "https://[::1]:7480/v1/ca");
    }
}
