//! What runs the containers: Docker's API over a Unix socket.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// A runtime behind a socket.
#[derive(Debug)]
pub(super) struct Runtime {
    socket: PathBuf,
}

/// Why the runtime told nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum RuntimeError {
    #[error("the socket of the container runtime cannot be opened")]
    Socket(#[source] std::io::Error),
    #[error("the connection to the container runtime was lost")]
    Http(#[from] hyper::Error),
    #[error("the container runtime answered {0}")]
    Status(StatusCode),
    #[error("the container runtime answered something else than was expected")]
    Answer,
    #[error("the container runtime took too long")]
    TooLong,
}

impl Runtime {
    pub(super) const fn at(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Asks for a JSON document.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, RuntimeError> {
        let asking = async {
            let body = Limited::new(self.send(path).await?.into_body(), MAX_ANSWER);
            let body = body.collect().await.map_err(|_| RuntimeError::Answer)?.to_bytes();
            serde_json::from_slice(&body).map_err(|_| RuntimeError::Answer)
        };
        tokio::time::timeout(PATIENCE, asking).await.map_err(|_| RuntimeError::TooLong)?
    }

    /// Asks for an answer that goes on.
    pub(super) async fn stream(&self, path: &str) -> Result<Incoming, RuntimeError> {
        let answer = tokio::time::timeout(PATIENCE, self.send(path)).await;
        Ok(answer.map_err(|_| RuntimeError::TooLong)??.into_body())
    }

    async fn send(&self, path: &str) -> Result<Response<Incoming>, RuntimeError> {
        let socket = UnixStream::connect(&self.socket).await.map_err(RuntimeError::Socket)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        // It ends with the answer, or when nobody waits for that any more.
        tokio::spawn(async move {
            if let Err(cause) = connection.await {
                tracing::debug!(%cause, "a connection to the container runtime ended");
            }
        });
        let request = Request::get(path).header("host", "localhost").body(Empty::<Bytes>::new());
        let answer = sender.send_request(request.map_err(|_| RuntimeError::Answer)?).await?;
        match answer.status() {
            StatusCode::OK => Ok(answer),
            status => Err(RuntimeError::Status(status)),
        }
    }
}

/// Hundreds of containers with all their labels.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);
