//! The master's side of HTTP.

mod body;
mod listen;

pub use body::{BODY_DEADLINE, BodyDeadline, BodyDeadlineService, BodyError, MAX_BODY, read_body};
pub use listen::{Drained, Exchange, Limits, Listener, PeerAddr, PeerCertificate, long_lived};
