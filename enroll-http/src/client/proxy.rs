//! The way to the master: straight, or through an HTTP proxy by `CONNECT`, RFC 9110, section 9.3.6.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::codegen::Service;

use crate::tls::HttpOptions;

/// A connection to `host`, through the proxy where there is one.
pub(super) async fn connect(
    proxy: Option<SocketAddr>,
    host: &str,
    port: u16,
) -> io::Result<TcpStream> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let at = format!("{host}:{port}");
    let Some(proxy) = proxy else {
        let connector = parting(HttpConnector::new(), HttpOptions::CONNECT);
        return straight(connector, &at).await;
    };
    let mut tcp = TcpStream::connect(proxy).await?;
    let ask = format!("CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n\r\n");
    tcp.write_all(ask.as_bytes()).await?;
    let mut head = Vec::new();
    // Byte by byte: what comes behind the head is the other end's.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_HEAD {
            return Err(io::Error::other("the proxy's answer has no end"));
        }
        head.push(tcp.read_u8().await?);
    }
    if head.starts_with(b"HTTP/1.1 2") || head.starts_with(b"HTTP/1.0 2") {
        return Ok(tcp);
    }
    Err(io::Error::other("the proxy opened no way to the address"))
}

/// A connector that gives each address of a name its part of `time`, so that one which swallows packets
/// does not keep the worker from the others.
fn parting<R>(mut connector: HttpConnector<R>, time: Duration) -> HttpConnector<R> {
    connector.set_connect_timeout(Some(time));
    connector
}

async fn straight<C>(mut connector: C, at: &str) -> io::Result<TcpStream>
where
    C: Service<Uri, Response = TokioIo<TcpStream>> + Send,
    C::Future: Send,
    C::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    // The scheme is what the connector sees; whatever is spoken is not its concern.
    let uri = Uri::try_from(format!("http://{at}/")).map_err(io::Error::other)?;
    let connected = connector.call(uri).await.map_err(io::Error::other)?;
    Ok(connected.into_inner())
}

/// As much as a listener here takes.
const MAX_HEAD: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use hyper_util::client::legacy::connect::dns::Name;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    async fn through(answer: &'static [u8]) -> (io::Result<TcpStream>, String) {
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = proxy.local_addr().unwrap();
        let asked = tokio::spawn(async move {
            let (mut tcp, _) = proxy.accept().await.unwrap();
            let mut head = [0; 1024];
            let read = tcp.read(&mut head).await.unwrap();
            tcp.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&head[..read]).into_owned()
        });
        (connect(Some(addr), "fd7a::1", 7481).await, asked.await.unwrap())
    }

    #[tokio::test]
    async fn what_comes_behind_the_proxys_answer_is_left_to_be_read() {
        let (tcp, asked) = through(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nhello").await;
        assert!(asked.starts_with("CONNECT [fd7a::1]:7481 HTTP/1.1\r\n"), "{asked}");
        let mut text = String::new();
        tcp.unwrap().read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello");
    }

    #[tokio::test]
    async fn an_address_that_swallows_packets_does_not_keep_from_the_next() {
        let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = good.local_addr().unwrap().port();
        // What does not fit into the backlog is not answered.
        let hole = tokio::net::TcpSocket::new_v4().unwrap();
        hole.bind(SocketAddr::from(([127, 0, 0, 2], port))).unwrap();
        let hole = hole.listen(1).unwrap();
        let swallowing = hole.local_addr().unwrap();
        let mut held = Vec::new();
        while let Ok(Ok(tcp)) =
            timeout(Duration::from_millis(300), TcpStream::connect(swallowing)).await
        {
            held.push(tcp);
        }
        let both = [swallowing, good.local_addr().unwrap()];
        let resolver =
            tower::service_fn(
                move |_name: Name| async move { Ok::<_, io::Error>(both.into_iter()) },
            );
        let connector = HttpConnector::new_with_resolver(resolver);
        let connector = parting(connector, Duration::from_secs(2));
        let tcp = straight(connector, &format!("master.example:{port}")).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), both[1]);
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_no_way() {
        for refused in [&b"HTTP/1.1 502 Bad Gateway\r\n\r\n"[..], b"SSH-2.0\r\n\r\n", b"HTTP/1.1 2"]
        {
            assert!(through(refused).await.0.is_err());
        }
    }
}
