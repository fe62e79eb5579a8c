//! The other ends of HTTP: a master as its workers reach it, and as its operators do.

mod answer;
#[cfg(feature = "grpc")]
mod fleet;
mod master;
mod operator;
#[cfg(feature = "grpc")]
mod proxy;
mod steady;

#[cfg(feature = "grpc")]
pub(crate) use answer::refusal as refusal_of;
#[cfg(feature = "grpc")]
pub use fleet::GrpcMaster;
#[cfg(feature = "portainer")]
pub(crate) use master::base;
pub use master::{ClientError, HttpMaster};
pub use operator::{ApiError, NodeQuery, OperatorClient, PageQuery, all_pages};
