//! Who calls, and whether their role allows it.

use std::marker::PhantomData;

use axum::extract::{FromRef, FromRequestParts};
use enroll_core::model::{AdminToken, Role};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::App;
use crate::server::answer::trouble;
use crate::wire::{ErrorCode, Problem};

/// An operator whose role is `R` or above. As the first argument of a handler it is the proof that
/// the call is allowed, made before anything else of the request is looked at.
pub(super) struct As<R> {
    /// Their name.
    pub(super) name: String,
    /// Their own role.
    pub(super) role: Role,
    at_least: PhantomData<R>,
}

/// The least role of a call.
pub(super) trait AtLeast: Send {
    const ROLE: Role;
}

macro_rules! roles {
    ($($name:ident)*) => {$(
        pub(super) struct $name;

        impl AtLeast for $name {
            const ROLE: Role = Role::$name;
        }
    )*};
}

roles! { Admin Operator Viewer }

impl<R: AtLeast, S: Sync> FromRequestParts<S> for As<R>
where
    App: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let token = bearer(&parts.headers).ok_or_else(|| {
            let detail = "This call needs `Authorization: Bearer <admin token>`.";
            Problem::error(ErrorCode::Unauthorized, detail)
        })?;
        let app = App::from_ref(state);
        let admin = app.enroller.admin(&token).await.map_err(|error| trouble(&error))?;
        let admin = admin.ok_or_else(|| {
            let detail = "The admin token is not known here: its operator was removed, or it belongs to another master.";
            Problem::error(ErrorCode::Unauthorized, detail)
        })?;
        if admin.role < R::ROLE {
            let detail = format!(
                "This call needs the role {}; {} has the role {}.",
                R::ROLE,
                admin.name,
                admin.role
            );
            return Err(Problem::error(ErrorCode::Forbidden, detail));
        }
        Ok(Self { name: admin.name, role: admin.role, at_least: PhantomData })
    }
}

/// The token of the one `Authorization` field (RFC 6750, 2.1); the scheme is in any case.
fn bearer(headers: &HeaderMap) -> Option<AdminToken> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let (field, None) = (fields.next()?, fields.next()) else { return None };
    let (scheme, token) = field.to_str().ok()?.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
        .then(|| AdminToken::presented(token.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn token(fields: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(AUTHORIZATION, HeaderValue::from_str(field).unwrap());
        }
        bearer(&headers).map(|token| token.expose().to_owned())
    }

    #[test]
    fn one_bearer_token_is_read_and_nothing_else() {
        assert_eq!(token(&["Bearer t0k"]).as_deref(), Some("t0k"));
        assert_eq!(token(&["bearer  t0k "]).as_deref(), Some("t0k"));
        let none: [&[&str]; 6] =
            [&[], &["t0k"], &["Basic t0k"], &["Bearer"], &["Bearer "], &["Bearer a", "Bearer b"]];
        for fields in none {
            assert_eq!(token(fields), None, "{fields:?}");
        }
    }
}
