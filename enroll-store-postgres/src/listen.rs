//! Word of what other masters changed: one connection that does nothing but listen.
//!
//! It is made anew for as long as the store is there. What is sent while it is away is lost, so a
//! new one counts as a change; and whoever waits also looks now and then.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Config, Connection, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::Failure;
use crate::masters::CHANNEL;

/// How a server is listened to: beside the pool, whose connections hand no word on.
#[derive(Clone)]
pub(crate) struct Ear {
    pub(crate) config: Config,
    pub(crate) tls: Option<MakeRustlsConnect>,
}

/// Listens until it is dropped.
pub(crate) struct Listening(JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Ear {
    /// Counts in `changes` what is heard.
    pub(crate) fn listen(self, changes: watch::Sender<u64>) -> Listening {
        Listening(tokio::spawn(async move {
            loop {
                let heard = match self.tls.clone() {
                    Some(tls) => self.once(tls, &changes).await,
                    None => self.once(NoTls, &changes).await,
                };
                if let Err(failure) = heard {
                    tracing::debug!(%failure, "not listening for the changes of other masters");
                }
                sleep(AGAIN).await;
            }
        }))
    }

    /// Listens over one connection until that breaks.
    async fn once<T>(&self, tls: T, changes: &watch::Sender<u64>) -> Result<(), Failure>
    where
        T: MakeTlsConnect<Socket> + Send,
        T::Stream: Send + Unpin,
        T::TlsConnect: Send,
        <T::TlsConnect as tokio_postgres::tls::TlsConnect<Socket>>::Future: Send,
    {
        let (client, mut connection) = self.config.connect(tls).await?;
        let begin = format!("LISTEN {CHANNEL}");
        {
            let mut begun = pin!(client.batch_execute(&begin));
            let begun = poll_fn(|context| {
                // The connection is what carries the request and its answer.
                if let Poll::Ready(end) = next(&mut connection, context, changes) {
                    return Poll::Ready(Err(end));
                }
                begun.as_mut().poll(context).map_err(Failure::from)
            });
            timeout(PATIENCE, begun).await.map_err(|_| Failure::TimedOut)??;
        }
        changes.send_modify(|count| *count += 1);
        let end = poll_fn(|context| next(&mut connection, context, changes)).await;
        drop(client);
        Err(end)
    }
}

/// Counts what comes in, until the connection ends: with why.
fn next<S, T>(
    connection: &mut Connection<S, T>,
    context: &mut std::task::Context<'_>,
    changes: &watch::Sender<u64>,
) -> Poll<Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match ready!(connection.poll_message(context)) {
            Some(Ok(AsyncMessage::Notification(_))) => changes.send_modify(|count| *count += 1),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(error.into()),
            None => return Poll::Ready(Failure::Missing("the connection that listens")),
        }
    }
}

/// When a connection that broke is made anew.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the server may take to say that it is listened to.
const PATIENCE: Duration = Duration::from_secs(10);
