//! The root certificate, for anyone.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use enroll_core::master::Enroller;
use http::header::CONTENT_TYPE;

use crate::wire::{ErrorCode, Problem};

/// `/v1/ca`.
pub(super) fn routes(enroller: Arc<Enroller>) -> Router {
    Router::new().route(PATH, get(ca)).with_state(enroller)
}

/// The header that says the fingerprint of the root: `sha256:<hex>` of its DER.
pub const CA_FINGERPRINT: &str = "x-enroll-ca-fingerprint";

pub(super) const PATH: &str = "/v1/ca";

/// The root that members trust. It proves nothing to who does not know its fingerprint already.
#[utoipa::path(get, path = "/v1/ca", tag = "ca", responses(
    (status = 200, description = "The root, PEM.", body = String,
        content_type = "application/pem-certificate-chain",
        headers(("X-Enroll-CA-Fingerprint" = String,
            description = "`sha256:` and the SHA-256 of the root's DER, lower-case hexadecimal."))),
    (status = 404, description = "This master issues no certificates.", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn ca(State(enroller): State<Arc<Enroller>>) -> Result<Response, Problem> {
    let (pem, fingerprint) = enroller.ca().ok_or_else(|| {
        Problem::error(ErrorCode::NotFound, "This master issues no certificates.")
    })?;
    let headers = [
        (CONTENT_TYPE.as_str(), "application/pem-certificate-chain".to_owned()),
        (CA_FINGERPRINT, fingerprint.to_string()),
    ];
    Ok((headers, pem.to_owned()).into_response())
}
