//! The way into the mesh that the master is reached over.

use std::sync::Arc;

use enroll_core::worker::{MeshJoin, Noop, StateDir};
use enroll_http::integrations::tailscale::Tailscale;

use super::args::Mesh;
use super::config::Config;

/// The driver, where the settings name one.
pub(super) fn driver(config: &Config, dir: &StateDir) -> Option<Arc<dyn MeshJoin>> {
    let how = config.mesh?;
    if how == Mesh::None {
        return Some(Arc::new(Noop::new()));
    }
    let mut driver = Tailscale::new(dir.path().join("mesh"));
    for name in HANDED_ON {
        if let Some(value) = std::env::var_os(name) {
            driver = driver.with_env(name, value);
        }
    }
    if let Some(socket) = &config.mesh_socket {
        driver = driver.with_socket(socket);
    }
    if let (Mesh::Tailscaled, Some(proxy)) = (how, config.steady_proxy) {
        driver = driver.with_own_daemon("tailscaled", proxy);
    }
    Some(Arc::new(driver))
}

/// Says so where the master gave a key of its mesh and nothing says what to do with it.
pub(super) fn warn_of_unused_keys(config: &Config, dir: &StateDir) {
    if config.mesh.is_none() && dir.mesh().is_ok_and(|keys| !keys.is_empty()) {
        tracing::warn!(
            "the master gave a key of its mesh, and nothing says how to join: give --mesh tailscale or --mesh tailscaled, or --mesh none where the master is reached without it"
        );
    }
}

/// What the programs of the mesh see of this process's environment.
const HANDED_ON: [&str; 4] = ["HOME", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE"];
