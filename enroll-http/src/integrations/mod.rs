//! Other systems that a master works with.

#[cfg(feature = "portainer")]
pub mod portainer;
