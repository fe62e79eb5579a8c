//! What makes credentials.

#[cfg(feature = "x509")]
pub mod x509;
