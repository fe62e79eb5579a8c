//! Closing a socket so that the last answer arrives.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// A socket whose shutdown waits for the peer's, as RFC 9112 §9.6 advises.
///
/// Closing a socket with unread bytes resets the connection, and a reset can destroy an answer or a
/// TLS alert on its way: a client that is still sending would read "connection reset" where it was
/// told why. So the write half is shut down first, and what comes meanwhile is read and forgotten,
/// for at most [`FAREWELL`] and [`FORGOTTEN`] bytes.
#[derive(Debug)]
pub(super) struct Socket {
    tcp: TcpStream,
    closing: Option<Closing>,
}

#[derive(Debug)]
struct Closing {
    timer: Pin<Box<Sleep>>,
    left: usize,
}

/// How long the end of a connection may take.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

/// How many bytes are read and forgotten at the end of a connection.
const FORGOTTEN: usize = 256 * 1024;

impl Socket {
    pub(super) const fn new(tcp: TcpStream) -> Self {
        Self { tcp, closing: None }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { tcp, closing } = &mut *self;
        if closing.is_none() {
            ready!(Pin::new(&mut *tcp).poll_shutdown(cx))?;
        }
        let closing = closing
            .get_or_insert_with(|| Closing { timer: Box::pin(sleep(FAREWELL)), left: FORGOTTEN });
        closing.poll(tcp, cx).map(Ok)
    }
}

impl Closing {
    /// Ready when the peer has closed too, or has been waited for long enough.
    fn poll(&mut self, tcp: &mut TcpStream, cx: &mut Context<'_>) -> Poll<()> {
        let mut forgotten = [0; 4096];
        loop {
            if self.timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut forgotten);
            let read = ready!(Pin::new(&mut *tcp).poll_read(cx, &mut buffer));
            let len = buffer.filled().len();
            if read.is_err() || len == 0 || len >= self.left {
                return Poll::Ready(());
            }
            self.left -= len;
        }
    }
}
