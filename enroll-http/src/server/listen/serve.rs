//! The accept loop and its end.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::Limits;
use super::caps::Caps;
use super::connection::{Connection, Served};
use super::turns::Turns;

/// Serves a router on a TCP socket, with TLS or without.
///
/// Without more said: plain, HTTP/1.1 only, [`Limits::new`].
///
/// ```no_run
/// # async fn example(config: std::sync::Arc<rustls::ServerConfig>) -> std::io::Result<()> {
/// use enroll_http::server::{Limits, Listener};
///
/// let tcp = enroll_http::server::bind("0.0.0.0:7480").await?;
/// let router = axum::Router::new();
/// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
/// Listener::new(tcp, router)
///     .with_tls(config)
///     .with_limits(Limits::new().with_connections(1000))
///     .serve(async { drop(stopped.await) })
///     .await;
/// # drop(stop); Ok(())
/// # }
/// ```
#[must_use = "a listener does nothing until it is served"]
pub struct Listener {
    tcp: TcpListener,
    router: Router,
    tls: Option<Arc<ServerConfig>>,
    http2: bool,
    limits: Limits,
    exempt: Exempt,
}

type Exempt = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// How a listener ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Drained {
    /// Every exchange in flight was finished.
    Clean,
    /// So many connections were cut when [`Limits::with_drain`] had passed.
    Cut(usize),
}

impl Listener {
    /// A listener on `tcp` that serves `router`.
    pub fn new(tcp: TcpListener, router: Router) -> Self {
        // Now, and not when it is served: a connection has it from the instant that it is made.
        keep_alive(&tcp);
        let exempt: Exempt = Arc::new(|_| false);
        Self { tcp, router, tls: None, http2: false, limits: Limits::new(), exempt }
    }

    /// Speaks TLS. The listener sets the configuration's ALPN by what it serves.
    pub fn with_tls(mut self, config: Arc<ServerConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Serves HTTP/2 beside HTTP/1.1: by ALPN over TLS, by prior knowledge without.
    pub const fn with_http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// Other limits than the defaults.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Addresses for which the cap per address does not hold, only the one in all: those of a proxy
    /// that stands before this listener and speaks for many.
    pub fn with_exempt(mut self, exempt: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        self.exempt = Arc::new(exempt);
        self
    }

    /// The address the listener is bound to.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until `shutdown` resolves; then closes the socket, lets exchanges in flight finish for
    /// as long as [`Limits::with_drain`] allows, and cuts the rest.
    ///
    /// Dropping the future ends everything at once.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Drained {
        let (stop, stopping) = watch::channel(false);
        let Self { tcp, router, tls, http2, limits, exempt } = self;
        let caps = Caps::new(&limits);
        let tls = tls.map(|config| acceptor(&config, http2));
        let drain = limits.drain;
        let turns = Turns::new(limits.at_once);
        let served = Arc::new(Served { router, tls, http2, limits, turns, stopping });
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(ended) = connections.join_next() => note(ended),
                accepted = accept(&tcp) => {
                    for (stream, from) in accepted {
                        let ip = from.ip();
                        let Some(place) = caps.admit(ip, exempt(ip)) else {
                            tracing::debug!(%ip, "a connection over the cap was closed");
                            continue;
                        };
                        let connection = Connection::new(stream, from, place, Arc::clone(&served));
                        connections.spawn(connection.run());
                    }
                    // However many come, each of those that are here is served in between.
                    tokio::task::yield_now().await;
                }
            }
        }
        drop(tcp);
        stop.send_replace(true);
        finish(connections, drain).await
    }
}

/// Lets the system ask each peer now and then whether it is there: connections have it from the socket
/// that accepts them, at no cost. HTTP/2 asks by itself; an exchange over HTTP/1.1 that is kept open would
/// outlive a peer that vanished for ever.
fn keep_alive(tcp: &TcpListener) {
    let wanted = TcpKeepalive::new().with_time(KEEP_ALIVE);
    #[cfg(any(target_os = "linux", target_os = "macos", windows))]
    let wanted = wanted.with_interval(KEEP_ALIVE_AGAIN);
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    let wanted = wanted.with_retries(KEEP_ALIVE_TRIES);
    if let Err(error) = SockRef::from(tcp).set_tcp_keepalive(&wanted) {
        tracing::warn!(%error, "peers that vanish are not noticed");
    }
}

/// How long a connection rests before its peer is asked, how long until it is asked again, and how often.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const KEEP_ALIVE_AGAIN: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TRIES: u32 = 3;

/// Waits for `connections`, and cuts what is left after `drain`.
async fn finish(mut connections: JoinSet<()>, drain: Duration) -> Drained {
    let all = async {
        while let Some(ended) = connections.join_next().await {
            note(ended);
        }
    };
    if tokio::time::timeout(drain, all).await.is_ok() {
        return Drained::Clean;
    }
    let left = connections.len();
    connections.shutdown().await;
    Drained::Cut(left)
}

fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("the task of a connection panicked");
    }
}

fn acceptor(config: &ServerConfig, http2: bool) -> TlsAcceptor {
    let mut config = config.clone();
    config.alpn_protocols = crate::tls::alpn(http2);
    TlsAcceptor::from(Arc::new(config))
}

/// The connections that wait, at most [`ACCEPTED`] of them. Dropping the future loses none.
///
/// A herd fills the kernel's queue within milliseconds, and whom it does not hold comes again seconds
/// later. So it is emptied each time, before any of those that came is served.
async fn accept(tcp: &TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    loop {
        let mut accepted = Vec::new();
        let failed = std::future::poll_fn(|cx| {
            for _ in 0..ACCEPTED {
                match tcp.poll_accept(cx) {
                    Poll::Ready(Ok(connection)) => accepted.push(connection),
                    Poll::Ready(Err(error)) if is_of_one_connection(&error) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Some(error)),
                    Poll::Pending if accepted.is_empty() => return Poll::Pending,
                    Poll::Pending => break,
                }
            }
            Poll::Ready(None)
        });
        // Else the runtime would go on with something else after a fraction of them.
        match tokio::task::unconstrained(failed).await {
            Some(error) if accepted.is_empty() => {
                // Out of file descriptors or memory: the backlog stays readable, so that trying at
                // once would spin. Any connection that ends wakes the loop earlier.
                tracing::warn!(%error, "no connection can be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            _ => return accepted,
        }
    }
}

/// Whether an error of `accept` tells of the connection that came, not of the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// How many connections are accepted before something else is done: some milliseconds' work.
const ACCEPTED: usize = 512;

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
