//! Other systems that a master or a worker works with.

#[cfg(feature = "headscale")]
pub mod headscale;
#[cfg(feature = "portainer")]
pub mod portainer;
#[cfg(feature = "tailscale")]
pub mod tailscale;
