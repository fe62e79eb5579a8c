//! The master's side of HTTP.

mod address;
mod answer;
mod backlog;
mod body;
mod ca;
mod detached;
mod enroll;
#[cfg(feature = "grpc")]
mod fleet;
mod gate;
mod health;
mod limit;
mod listen;
mod member;
mod openapi;
mod operator;
mod proxies;
mod steady;

pub use body::{BODY_DEADLINE, BodyDeadline, BodyDeadlineService, BodyError, MAX_BODY, read_body};
pub use ca::CA_FINGERPRINT;
pub use enroll::{EnrollOptions, PathError, enroll_router, router};
pub use limit::AddressLimiter;
pub use listen::{
    Drained, Exchange, Limits, Listener, PeerAddr, PeerCertificate, bind, long_lived,
};
pub use member::Member;
pub use openapi::{OPENAPI, openapi};
pub use operator::{InstallOptions, InvalidInstall, OperatorOptions, operator_router};
pub use proxies::{Proxies, ProxyError};
pub use steady::{SteadyOptions, steady_router};
