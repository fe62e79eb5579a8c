//! Who calls, from the store as it stands.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use enroll_core::master::{AuthenticatedNode, Caller, Enroller};
use enroll_core::model::{ApiKey, Subject};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{Extensions, HeaderMap};

use super::answer::trouble;
use super::{Exchange, PeerCertificate};
use crate::wire::{ErrorCode, Problem};

/// The member a request comes from, authorised from the store at this very request: an identity that
/// was revoked, replaced or has expired since its connection was made is nobody.
///
/// An extractor for every handler that only members may reach, an embedder's own too; its state has
/// to hold the master. Whoever is not one is answered 401, in the same words whatever the cause.
///
/// ```
/// use std::sync::Arc;
/// use axum::{Router, routing::get};
/// use enroll_core::master::Enroller;
/// use enroll_http::server::Member;
///
/// async fn whoami(Member(caller): Member) -> String {
///     caller.node.name.to_string()
/// }
///
/// fn own(enroller: Arc<Enroller>) -> Router {
///     Router::new().route("/own/whoami", get(whoami)).with_state(enroller)
/// }
/// ```
///
/// There is **one source of identity**: the certificate that the connection proved
/// ([`PeerCertificate`]); only where it proved none, the API key in `Authorization`. No other header
/// and no body names the caller.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "an extractor is taken apart by its pattern")]
pub struct Member(pub AuthenticatedNode);

impl<S> FromRequestParts<S> for Member
where
    S: Send + Sync,
    Arc<Enroller>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let enroller = Arc::<Enroller>::from_ref(state);
        authenticate(&enroller, &parts.extensions, &parts.headers).await.map(Self)
    }
}

/// The member that calls.
///
/// # Errors
/// `unauthorized`, or `unavailable` when the store cannot say.
pub(super) async fn authenticate(
    enroller: &Enroller,
    extensions: &Extensions,
    headers: &HeaderMap,
) -> Result<AuthenticatedNode, Problem> {
    let caller = caller(extensions, headers).ok_or_else(unauthorized)?;
    // Behind a listener of an embedder's own there is none, and a key says nothing of a connection.
    let exchange = match caller {
        Caller::Certificate { .. } => extensions.get::<Exchange>(),
        _ => None,
    };
    match enroller.authenticate(&caller).await {
        Ok(Ok(member)) => {
            if let Some(exchange) = exchange {
                exchange.count_as_member(&member.node.name);
            }
            Ok(member)
        }
        Ok(Err(why)) => {
            tracing::debug!(%why, "a caller is not authorised");
            if let Some(exchange) = exchange {
                exchange.count_as_stranger();
            }
            Err(unauthorized())
        }
        Err(error) => Err(trouble(&error)),
    }
}

/// The one answer to whoever is no member.
pub(super) fn unauthorized() -> Problem {
    let words = "Present the current certificate of a node, or its API key as a bearer token.";
    Problem::error(ErrorCode::Unauthorized, words)
}

fn caller(extensions: &Extensions, headers: &HeaderMap) -> Option<Caller> {
    match extensions.get::<PeerCertificate>() {
        Some(certificate) => {
            let leaf = certificate.leaf();
            let Subject::Node(name) = leaf.id().subject() else { return None };
            Some(Caller::Certificate { serial: leaf.serial(), node_name: name.clone() })
        }
        None => bearer(headers).map(Caller::ApiKey),
    }
}

/// The API key, if exactly one whole one is presented; a damaged one costs the store nothing.
fn bearer(headers: &HeaderMap) -> Option<ApiKey> {
    let mut presented = headers.get_all(AUTHORIZATION).iter();
    let only = presented.next().filter(|_| presented.next().is_none())?;
    let (scheme, key) = only.to_str().ok()?.split_once(' ')?;
    let key = ApiKey::presented(key.trim_matches(' ').to_owned());
    (scheme.eq_ignore_ascii_case("bearer") && key.is_intact()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use enroll_core::model::{SystemEntropy, TokenPrefix};

    fn presented(values: &[&str]) -> Option<String> {
        let headers = values.iter().map(|v| (AUTHORIZATION, v.parse().unwrap())).collect();
        bearer(&headers).map(|key| key.expose().to_owned())
    }

    #[test]
    fn one_whole_key_in_one_header_is_a_key() {
        let key = ApiKey::generate(&TokenPrefix::default(), &SystemEntropy::new()).unwrap();
        let key = key.expose();
        for good in [format!("Bearer {key}"), format!("bearer  {key} "), format!("BEARER {key}")] {
            assert_eq!(presented(&[&good]).as_deref(), Some(key), "{good}");
        }
        let whole = format!("Bearer {key}");
        let cut = whole[..whole.len() - 1].to_owned();
        for bad in
            ["", "Bearer", "Bearer ", key, &cut, &format!("Basic {key}"), &format!("{whole}x")]
        {
            assert_eq!(presented(&[bad]), None, "{bad}");
        }
        assert_eq!(presented(&[]), None);
        assert_eq!(presented(&[&whole, &whole]), None, "which of the two?");
    }
}
