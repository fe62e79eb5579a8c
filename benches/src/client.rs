//! A client that costs as little as one can, so that what is measured is the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use enroll_core::issue::x509::RootCertificate;
use enroll_http::tls::{CertSlot, ClientTls, RootVerifier, TlsIdentity};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::plan::Failure;

/// A server to call, and how.
#[derive(Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    tls: TlsConnector,
}

impl Target {
    /// The master under `root`, called with `identity` or with none.
    pub(crate) fn new(
        address: SocketAddr,
        root: &RootCertificate,
        identity: Option<TlsIdentity>,
    ) -> Result<Self, Failure> {
        Self::over(address, tls(root, identity)?)
    }

    /// The same, over HTTP/2.
    pub(crate) fn over_http2(
        address: SocketAddr,
        root: &RootCertificate,
        identity: Option<TlsIdentity>,
    ) -> Result<Self, Failure> {
        Self::over(address, tls(root, identity)?.with_http2())
    }

    fn over(address: SocketAddr, tls: ClientTls) -> Result<Self, Failure> {
        Ok(Self { address, tls: TlsConnector::from(Arc::new(tls.config()?)) })
    }

    /// A fresh connection, over which nothing was said yet.
    pub(crate) async fn dial(&self) -> Result<TlsStream<TcpStream>, Failure> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        Ok(self.tls.connect(name, tcp).await?)
    }

    /// A fresh connection to make requests over.
    pub(crate) async fn connect(&self) -> Result<Connection, Failure> {
        Ok(Connection { stream: self.dial().await?, received: Vec::with_capacity(8 * 1024) })
    }
}

fn tls(root: &RootCertificate, identity: Option<TlsIdentity>) -> Result<ClientTls, Failure> {
    let tls = ClientTls::new(Arc::new(RootVerifier::master(root)?));
    Ok(match identity {
        Some(identity) => tls.with_identity(Arc::new(CertSlot::new(identity))),
        None => tls,
    })
}

/// A connection over which one request after the other is made.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    received: Vec<u8>,
}

impl Connection {
    /// Sends a whole request, and reads the whole answer: its status and its body.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<(u16, &[u8]), Failure> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        self.received.clear();
        loop {
            if let Some((status, head, length)) = head(&self.received)
                && self.received.len() >= head + length
            {
                return Ok((status, &self.received[head..head + length]));
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err("the connection ended before the answer".into());
            }
        }
    }
}

/// The status, the length of the head and that of the body, once the head is there.
fn head(received: &[u8]) -> Option<(u16, usize, usize)> {
    let end = received.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&received[..end]).ok()?;
    let status = text.split(' ').nth(1)?.parse().ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    Some((status, end, length.unwrap_or(0)))
}

/// A request with a JSON body, ready to send.
pub(crate) fn post(path: &str, authorization: Option<&str>, body: &str) -> Vec<u8> {
    let authorization =
        authorization.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         {authorization}content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// What many clients, each with requests of its own, came to.
pub(crate) struct Crowd {
    /// From the first connection to the last answer.
    pub(crate) took: Duration,
    /// Of each request, its connection included where that was fresh.
    pub(crate) latencies: Vec<Duration>,
}

impl Crowd {
    /// Lets each client make its requests, one after the other; every answer has to be 200.
    pub(crate) async fn of(
        target: &Target,
        clients: Vec<Vec<Vec<u8>>>,
        fresh: bool,
    ) -> Result<Self, Failure> {
        let gate = Arc::new(tokio::sync::Barrier::new(clients.len() + 1));
        let mut running = tokio::task::JoinSet::new();
        for requests in clients {
            let (target, gate) = (target.clone(), Arc::clone(&gate));
            running.spawn(async move {
                gate.wait().await;
                one_client(&target, requests, fresh).await
            });
        }
        gate.wait().await;
        let began = Instant::now();
        let mut latencies = Vec::new();
        while let Some(ended) = running.join_next().await {
            latencies.extend(ended??);
        }
        Ok(Self { took: began.elapsed(), latencies })
    }

    /// The latency that so much of the requests stayed within, in milliseconds.
    pub(crate) fn percentile(&mut self, part: f64) -> f64 {
        self.latencies.sort_unstable();
        let place = (self.latencies.len() as f64 * part) as usize;
        let place = place.min(self.latencies.len().saturating_sub(1));
        self.latencies.get(place).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }
}

async fn one_client(
    target: &Target,
    requests: Vec<Vec<u8>>,
    fresh: bool,
) -> Result<Vec<Duration>, Failure> {
    let mut latencies = Vec::with_capacity(requests.len());
    let mut kept = None;
    for request in requests {
        let began = Instant::now();
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => target.connect().await?,
        };
        let (status, body) = connection.ask(&request).await?;
        if status != 200 {
            return Err(format!("{status}: {}", String::from_utf8_lossy(body)).into());
        }
        latencies.push(began.elapsed());
        kept = (!fresh).then_some(connection);
    }
    Ok(latencies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(head(&answer[..30]), None);
        assert_eq!(head(answer), Some((201, answer.len() - 2, 2)));
    }
}
