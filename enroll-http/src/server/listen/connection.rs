//! One connection: handshake, exchanges, end.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::ConnectInfo;
use bytes::Bytes;
use enroll_core::issue::x509::{PeerError, PeerLeaf};
use http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::Service as _;

use super::activity::{Activity, InFlight, Overdue};
use super::caps::Place;
use super::farewell::Socket;
use super::turns::{Turn, Turns};
use super::{Limits, PeerAddr, PeerCertificate};

/// What all connections of a listener share.
pub(super) struct Served {
    pub(super) router: Router,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) http2: bool,
    pub(super) limits: Limits,
    pub(super) turns: Turns,
    pub(super) stopping: watch::Receiver<bool>,
}

/// An accepted connection. It holds its place until it ends.
pub(super) struct Connection {
    stream: TcpStream,
    from: SocketAddr,
    place: Place,
    served: Arc<Served>,
}

impl Connection {
    pub(super) const fn new(
        stream: TcpStream,
        from: SocketAddr,
        place: Place,
        served: Arc<Served>,
    ) -> Self {
        Self { stream, from, place, served }
    }

    pub(super) async fn run(self) {
        let Self { stream, from, place, served } = self;
        // Without it the answer waits for the peer's delayed acknowledgement; nothing else fails.
        drop(stream.set_nodelay(true));
        let Some(turn) = served.turn(&stream).await else { return };
        // Boxed, so that who waits for its turn does not hold the room for all that comes after.
        let mut work = Box::pin(work(stream, from, place, &turn, &served));
        tokio::select! {
            () = work.as_mut() => return,
            () = tokio::time::sleep(Turn::LONGEST) => turn.end(),
        }
        work.await;
    }
}

impl Served {
    /// Waits until the peer has said something, and then for its turn. `None` when it says nothing, or
    /// the listener is shutting down.
    async fn turn(&self, stream: &TcpStream) -> Option<Arc<Turn>> {
        let mut stopping = self.stopping.clone();
        let silence = if self.tls.is_some() { self.limits.handshake } else { self.limits.header };
        let turn = async {
            let spoken = tokio::time::timeout(silence, stream.readable()).await;
            spoken.ok()?.ok()?;
            Some(self.turns.next().await)
        };
        tokio::select! {
            turn = turn => turn,
            _ = stopping.wait_for(|stop| *stop) => None,
        }
    }
}

async fn work(
    stream: TcpStream,
    from: SocketAddr,
    place: Place,
    turn: &Arc<Turn>,
    served: &Served,
) {
    let stream = Socket::new(stream);
    let Some(acceptor) = &served.tls else {
        return exchange(stream, Peer { from, certificate: None }, place, turn, served).await;
    };
    let Some(stream) = handshake(acceptor, stream, served).await else {
        tracing::debug!(%from, "no TLS session came about");
        return;
    };
    match client_certificate(&stream) {
        Ok(certificate) => exchange(stream, Peer { from, certificate }, place, turn, served).await,
        Err(error) => tracing::debug!(%from, %error, "the client is no member"),
    }
}

/// The TLS session, or `None` when it failed, took too long, or the listener is shutting down.
async fn handshake(
    acceptor: &TlsAcceptor,
    socket: Socket,
    served: &Served,
) -> Option<TlsStream<Socket>> {
    let mut stopping = served.stopping.clone();
    let session = async {
        match acceptor.accept(socket).into_fallible().await {
            Ok(session) => Some(session),
            Err((_, mut socket)) => {
                // The alert is sent; the peer, who may be sending already, is to receive it.
                drop(socket.shutdown().await);
                None
            }
        }
    };
    tokio::select! {
        session = session => session,
        () = tokio::time::sleep(served.limits.handshake) => None,
        _ = stopping.wait_for(|stop| *stop) => None,
    }
}

/// The certificate the client proved to hold; `None` for one that presented nothing.
fn client_certificate(stream: &TlsStream<Socket>) -> Result<Option<PeerCertificate>, PeerError> {
    let presented = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    presented.map(|leaf| PeerLeaf::parse(leaf).map(PeerCertificate::new)).transpose()
}

/// Serves the exchanges of one connection until it ends or is out of time.
async fn exchange<I>(io: I, peer: Peer, place: Place, turn: &Arc<Turn>, served: &Served)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let activity = Activity::new(&served.limits, place, Arc::clone(turn), served.stopping.clone());
    let activity = Ending(activity);
    let service =
        Exchanges { router: served.router.clone(), peer, activity: Arc::clone(&activity.0) };
    let builder = http(&served.limits, served.http2);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let mut stopping = served.stopping.clone();
    let mut closing = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection failed");
                }
                return;
            }
            why = activity.0.overdue() => match why {
                Overdue::Stuck => return,
                Overdue::Idle => {}
            },
            _ = stopping.wait_for(|stop| *stop), if !closing => closing = true,
        }
        activity.0.close();
        connection.as_mut().graceful_shutdown();
    }
}

fn http(limits: &Limits, http2: bool) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams::default());
    // The deadlines of `Activity` stand for hyper's own, which end with the head of a request.
    builder.http1().header_read_timeout(None).max_buf_size(limits.header_bytes);
    if !http2 {
        return builder.http1_only();
    }
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_ANSWER)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    builder
}

/// How often an HTTP/2 peer is asked whether it is there, and how long it has to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(10);
/// What an HTTP/2 peer may send ahead of its being read, in bytes.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// Ends the record of a connection when that ends, in whatever way.
struct Ending(Arc<Activity>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[derive(Clone)]
struct Peer {
    from: SocketAddr,
    certificate: Option<PeerCertificate>,
}

/// The router as hyper calls it, with each exchange on record.
struct Exchanges {
    router: Router,
    peer: Peer,
    activity: Arc<Activity>,
}

impl hyper::service::Service<Request<Incoming>> for Exchanges {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let in_flight = self.activity.begin();
        let mut request = request.map(Body::new);
        let extensions = request.extensions_mut();
        extensions.insert(PeerAddr(self.peer.from));
        // What `axum::serve` would insert, so that handlers written for it work here.
        extensions.insert(ConnectInfo(self.peer.from));
        extensions.insert(in_flight.exchange());
        if let Some(certificate) = &self.peer.certificate {
            extensions.insert(certificate.clone());
        }
        let answer = self.router.clone().call(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| Answer { body, rest: Bytes::new(), _in_flight: in_flight }))
        })
    }
}

/// The body of an answer. Its exchange is in flight until it is dropped.
///
/// hyper drops a body once it has taken the last of it, sent or not. Handed out in small pieces, at
/// most one piece and hyper's own bounded buffer are unsent by then, so that a peer which does not
/// read stays within the deadline of the exchange.
struct Answer {
    body: Body,
    rest: Bytes,
    _in_flight: InFlight,
}

/// The most that is handed out at once, in bytes.
const PIECE: usize = 16 * 1024;

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let piece = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(piece);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let body = self.body.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(body.lower().saturating_add(rest));
        hint
    }
}

/// The tasks of one HTTP/2 connection's streams; they end with the connection.
#[derive(Clone, Default)]
struct Streams(Arc<Mutex<JoinSet<()>>>);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        // A stream that panicked is gone from the set like any other.
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while streams.try_join_next().is_some() {}
        streams.spawn(stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::listen::caps::Caps;

    #[tokio::test]
    async fn who_waits_for_its_turn_costs_little() {
        let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, accepted) =
            tokio::join!(TcpStream::connect(tcp.local_addr().unwrap()), tcp.accept());
        let (_client, (stream, from)) = (client.unwrap(), accepted.unwrap());
        let (_stop, stopping) = watch::channel(false);
        let limits = Limits::new();
        let place = Caps::new(&limits).admit(from.ip(), false).unwrap();
        let turns = Turns::new(1);
        let served =
            Served { router: Router::new(), tls: None, http2: false, limits, turns, stopping };
        let waiting = Connection::new(stream, from, place, Arc::new(served)).run();
        assert!(size_of_val(&waiting) <= 1024, "{} bytes", size_of_val(&waiting));
    }
}
