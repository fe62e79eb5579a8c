//! A way through an HTTP proxy: `CONNECT`, RFC 9110, section 9.3.6.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection to `host`, through the proxy where there is one.
pub(super) async fn connect(
    proxy: Option<SocketAddr>,
    host: &str,
    port: u16,
) -> io::Result<TcpStream> {
    let Some(proxy) = proxy else { return TcpStream::connect((host, port)).await };
    let mut tcp = TcpStream::connect(proxy).await?;
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let ask = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
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

/// As much as a listener here takes.
const MAX_HEAD: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

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
    async fn a_proxy_that_refuses_is_no_way() {
        for refused in [&b"HTTP/1.1 502 Bad Gateway\r\n\r\n"[..], b"SSH-2.0\r\n\r\n", b"HTTP/1.1 2"]
        {
            assert!(through(refused).await.0.is_err());
        }
    }
}
