//! The worker's own mTLS listener, for calls from the master and nobody else.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use enroll_core::issue::x509::RootCertificate;
use enroll_core::model::Facts;
use enroll_core::worker::{Credentials, StateDir, WorkerEvent, WorkerObserver};
use enroll_http::server::Listener;
use enroll_http::tls::{CertSlot, ClientAuth, RootVerifier, ServerTls, TlsIdentity};
use serde_json::json;

use super::exit::{Exit, chain};

/// The listener, and who puts the renewed certificate in place.
pub(super) struct OwnListener {
    pub(super) listener: Listener,
    pub(super) renewer: Renewer,
}

/// Takes over a renewed certificate.
#[derive(Debug)]
pub(super) struct Renewer {
    dir: StateDir,
    slot: Arc<CertSlot>,
}

impl WorkerObserver for Renewer {
    fn note(&self, event: &WorkerEvent<'_>) {
        let WorkerEvent::Renewed { .. } = event else { return };
        let renewed = self.dir.credentials().map_err(|why| chain(&why));
        match renewed.and_then(|me| identity(&me).map_err(|why| why.text)) {
            Ok(identity) => self.slot.replace(identity),
            Err(why) => tracing::warn!(why, "the listener keeps the certificate it has"),
        }
    }
}

/// Opens it. A worker without a certificate has nothing to listen with.
pub(super) async fn open(
    address: SocketAddr,
    dir: &StateDir,
    facts: Facts,
) -> Result<OwnListener, Exit> {
    let me = dir.credentials().map_err(|why| Exit::state(chain(&why)))?;
    let slot = Arc::new(CertSlot::new(identity(&me)?));
    let root = RootCertificate::from_pem(me.ca_pem().unwrap_or_default())
        .map_err(|why| Exit::state(format!("ca.crt cannot be used: {why}.")))?;
    let fail = |why: enroll_http::tls::TlsError| Exit::state(chain(&why));
    let master = Arc::new(RootVerifier::master(&root).map_err(fail)?);
    let tls = ServerTls::new(Arc::clone(&slot)).with_client_auth(ClientAuth::Only(master));
    let tcp = tokio::net::TcpListener::bind(address).await.map_err(|why| {
        Exit::usage(format!(
            "--listen {address} cannot be opened: {why}. Choose another with --listen."
        ))
    })?;
    let view = json!({
        "node_id": me.identity().node_id().to_string(),
        "node_name": me.identity().node_name(),
        "facts": facts,
    });
    let own = move || async move { Json(view) };
    let router = Router::new().route("/v1/self", get(own));
    Ok(OwnListener {
        listener: Listener::new(tcp, router).with_tls(tls.config().map_err(fail)?),
        renewer: Renewer { dir: dir.clone(), slot },
    })
}

fn identity(me: &Credentials) -> Result<TlsIdentity, Exit> {
    let own = me.certificate().ok_or_else(|| {
        Exit::usage("--listen needs a certificate, and this worker enrolled without one.")
    })?;
    TlsIdentity::from_pem(own.chain_pem().as_bytes(), own.expose_key_pem().as_bytes())
        .map_err(|why| Exit::state(chain(&why)))
}
