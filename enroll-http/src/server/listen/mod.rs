//! The listener: an accept loop with deadlines, caps and a bounded drain.
//!
//! `axum::serve` waits for ever on a socket that says nothing. This loop does not: each connection
//! has a place it gives back, a deadline in every state, and ends when [`Listener::serve`] ends.
//!
//! - **Accepting never waits for a peer**: the handshake runs in the connection's own task.
//! - **A connection over a cap is closed at once**: before a byte of it is read. One that a member was
//!   authorised over counts as the member's from then on.
//! - **A herd is served one after the other**: so many new connections are worked on at once, and who
//!   waits for its turn costs a socket, no buffers.
//! - **Nothing outlives `serve`**: dropping the future aborts every connection and every stream.

mod activity;
mod bind;
mod caps;
mod connection;
mod farewell;
mod limits;
mod peer;
mod serve;
mod turns;

pub use activity::Exchange;
pub use bind::bind;
pub use limits::Limits;
pub use peer::{PeerAddr, PeerCertificate};
pub use serve::{Drained, Listener};

/// Marks each request that passes as one that may last: the paved path to
/// [`Exchange::keep_open`] for a router of streams.
///
/// Put it *inside* authentication, so that only a known caller gets there:
/// ```
/// use axum::{Router, middleware::map_request, routing::post};
/// use enroll_http::server::long_lived;
///
/// let streams: Router = Router::new()
///     .route("/stream", post(async || "…"))
///     .layer(map_request(long_lived));
///     // .layer(authentication)
/// ```
pub async fn long_lived(request: axum::extract::Request) -> axum::extract::Request {
    if let Some(exchange) = request.extensions().get::<Exchange>() {
        exchange.keep_open();
    }
    request
}
