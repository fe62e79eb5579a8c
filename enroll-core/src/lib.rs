//! How does a brand-new machine become a trusted member of a fleet?
//!
//! An operator mints a token, the machine redeems it exactly once, receives an identity, keeps it
//! across restarts, proves it is alive, renews, and can be revoked. This crate holds the domain, the
//! one pure decision, and the traits for what stands around it. It knows no HTTP, no SQL, no sockets.
//!
//! Read the rooms in this order; each stands on those before it and on nothing after:
//! [`model`], [`decision`], [`store`], [`issue`], [`master`], [`worker`].
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod decision;
pub mod failpoint;
pub mod issue;
pub mod manual;
pub mod master;
pub mod model;
mod pem;
pub mod store;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
pub mod worker;
