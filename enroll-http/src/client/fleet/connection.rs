//! The connection beneath: TCP, TLS as a member speaks it, HTTP/2.

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use enroll_core::worker::{CallError, Credentials};
use http::Uri;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::body::Body;
use tonic::codegen::Service;

use super::session::NotOpen;
use crate::client::HttpMaster;
use crate::client::answer::{of_tls, unanswered};
use crate::client::master::unset;
use crate::client::proxy;
use crate::tls::{TlsRefusal, tls_refusal};

/// A connection whose peer has proved to be the master, and speaks HTTP/2.
#[derive(Clone)]
pub(super) struct Connection {
    wire: Wire,
    origin: Uri,
    refusal: Arc<OnceLock<TlsRefusal>>,
}

/// How often the master is asked whether it is there, and how long it has to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(10);

impl Connection {
    pub(super) async fn open(http: &HttpMaster, me: &Credentials) -> Result<Self, NotOpen> {
        let addr = http.steady_addr(me)?;
        // The scheme is what the crates below see; TLS is spoken here, whatever it says.
        let origin = Uri::try_from(format!("http://{addr}"));
        let origin = origin.map_err(|why| unset(&format!("the address {addr} is none: {why}")))?;
        let host = origin.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = origin.port_u16().unwrap_or(443);
        let tcp = proxy::connect(http.steady_proxy(), &host, port).await;
        let tcp = tcp.map_err(|why| unanswered(addr, why))?;
        // Without it a heartbeat waits for the master's delayed acknowledgement; nothing else fails.
        drop(tcp.set_nodelay(true));
        // The verifier asks for the master's own URI name and compares no host.
        let name = ServerName::try_from(host).unwrap_or_else(|_| unnamed());
        let tls = http.steady_tls(me)?;
        let tls = TlsConnector::from(Arc::new(tls)).connect(name, tcp).await;
        let tls = tls.map_err(|why| failure(Box::new(why)))?;
        if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(NotOpen::NoGrpc("no HTTP/2 was agreed on".into()));
        }
        let refusal = Arc::new(OnceLock::new());
        let io = Remembering { inner: tls, refusal: Arc::clone(&refusal) };
        let (send, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_ANSWER)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|why| failure(Box::new(why)))?;
        // It ends when the last sender and the last stream do.
        drop(tokio::spawn(connection));
        Ok(Self { wire: Wire(send), origin, refusal })
    }

    pub(super) fn wire(&self) -> Wire {
        self.wire.clone()
    }

    pub(super) fn origin(&self) -> Uri {
        self.origin.clone()
    }

    /// Why the TLS session ended, if it failed: a certificate is refused after the handshake is done.
    pub(super) fn failure(&self) -> Option<CallError> {
        let refusal = *self.refusal.get()?;
        Some(of_tls(refusal, Box::new(refusal)))
    }
}

fn failure(cause: Box<dyn StdError + Send + Sync>) -> CallError {
    match tls_refusal(&*cause) {
        Some(refusal) => of_tls(refusal, cause),
        None => CallError::Unreachable(cause),
    }
}

/// What is asked for where the address holds no host name that TLS could ask for.
fn unnamed() -> ServerName<'static> {
    ServerName::from(std::net::IpAddr::from([0, 0, 0, 0]))
}

/// Sends requests over the connection, and makes none of its own.
#[derive(Clone)]
pub(super) struct Wire(SendRequest<Body>);

impl Service<http::Request<Body>> for Wire {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// A TLS session that remembers why it failed: HTTP/2 keeps only the kind of an error.
struct Remembering {
    inner: TlsStream<TcpStream>,
    refusal: Arc<OnceLock<TlsRefusal>>,
}

impl Remembering {
    fn note<T>(&self, result: &io::Result<T>) {
        if let Err(error) = result
            && let Some(refusal) = tls_refusal(error)
        {
            self.refusal.get_or_init(|| refusal);
        }
    }
}

impl AsyncRead for Remembering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buffer));
        self.note(&read);
        Poll::Ready(read)
    }
}

impl AsyncWrite for Remembering {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes));
        self.note(&written);
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, slices));
        self.note(&written);
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
