//! The socket to listen on.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, ToSocketAddrs, lookup_host};

/// How many connections the kernel keeps until they are accepted, if it allows as many (on Linux,
/// `net.core.somaxconn`). Whoever comes when they are as many gets no answer, and tries again after
/// one second, then three, then seven.
const QUEUE: u32 = 4096;

/// A socket for a [`Listener`](super::Listener), on the first of the addresses that can be bound, with
/// a queue in which a herd has room: 4,096 connections, where tokio's own has 1,024.
///
/// # Errors
/// What the operating system says of the last address, or that there is none.
pub async fn bind(address: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "no address to listen on");
    for address in lookup_host(address).await? {
        match listen(address) {
            Ok(tcp) => return Ok(tcp),
            Err(why) => failed = why,
        }
    }
    Err(failed)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // As tokio's own does it: a restart is not to wait for the connections of the last run. On Windows
    // the same option would let others take the port away.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(QUEUE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_taken_is_said_so() {
        let tcp = bind("127.0.0.1:0").await.unwrap();
        let again = bind(tcp.local_addr().unwrap()).await.unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
    }
}
