//! `enroll.v1.Fleet`: what members and their master say over gRPC (feature `grpc`).
//!
//! [`v1`] is generated from `proto/enroll/v1/fleet.proto`, which is where the contract stands, and
//! checked in, so that nobody who uses this crate needs a compiler for it.

mod codec;
mod messages;
mod status;

/// The messages, and the stubs of both ends, as they are generated.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::clone_on_ref_ptr,
    clippy::exhaustive_enums,
    clippy::exhaustive_structs,
    clippy::missing_errors_doc,
    clippy::too_many_lines,
    clippy::use_self,
    reason = "the generator's own habits, which change with its release; the contract is what it reads"
)]
pub mod v1 {
    include!("enroll.v1.rs");
}

pub(crate) use messages::Pinned;
pub(crate) use status::refusal;
pub use status::{PROBLEM, REASON, status};

/// The most bytes of a message: 256 KiB.
pub const MAX_MESSAGE: usize = 256 * 1024;
