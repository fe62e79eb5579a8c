//! The master's side of HTTP.

mod address;
mod body;
mod limit;
mod listen;
mod proxies;

pub use body::{BODY_DEADLINE, BodyDeadline, BodyDeadlineService, BodyError, MAX_BODY, read_body};
pub use limit::AddressLimiter;
pub use listen::{Drained, Exchange, Limits, Listener, PeerAddr, PeerCertificate, long_lived};
pub use proxies::{Proxies, ProxyError};
