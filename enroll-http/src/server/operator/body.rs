//! What an operator sends.

use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use super::invalid;
use crate::server::gate::unread;
use crate::server::{BODY_DEADLINE, BodyError, MAX_BODY, read_body};
use crate::wire::{
    AutoEnrollmentWish, FenceWish, NewAdmin, NewCommand, NewNode, NewToken, Problem, Unreadable,
    read_json,
};

/// A JSON object; an empty body is one without members.
///
/// It is the last argument of a handler: who may not make the call at all is told so before a byte
/// of the body is read.
pub(super) struct Body<T>(pub(super) T);

/// What can be asked for in a body, and the rule of each member that is more than a text.
pub(super) trait Wish: DeserializeOwned {
    /// Ends the sentence "`<member>` must be …".
    fn rule(member: &str) -> Option<&'static str>;
}

impl<T: Wish, S: Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let body = read_body(request.into_body(), MAX_BODY, BODY_DEADLINE).await.map_err(
            |why| match why {
                BodyError::TooSlow(_) => Problem::from(&unread(why)),
                _ => invalid(format!("It cannot be read: {why}.")),
            },
        )?;
        let body = if body.is_empty() { b"{}" } else { &*body };
        read_json(body).map(Self).map_err(|why| match &why {
            Unreadable::Type(member) => {
                let rule = T::rule(member).unwrap_or("a text");
                invalid(format!("`{member}` must be {rule}."))
            }
            _ => invalid(why.to_string()),
        })
    }
}

impl Wish for NewToken {
    fn rule(member: &str) -> Option<&'static str> {
        match member {
            "ttl_secs" => Some(SECONDS),
            "max_uses" => Some("a whole number from 0, which is any number, to 4294967295"),
            _ => None,
        }
    }
}

impl Wish for FenceWish {
    fn rule(member: &str) -> Option<&'static str> {
        (member == "epoch").then_some("a whole number")
    }
}

impl Wish for NewNode {
    fn rule(member: &str) -> Option<&'static str> {
        match member {
            "token_ttl_secs" => Some(SECONDS),
            "labels" => Some("an object whose values are texts"),
            _ => None,
        }
    }
}

impl Wish for NewAdmin {
    fn rule(_: &str) -> Option<&'static str> {
        None
    }
}

impl Wish for NewCommand {
    fn rule(_: &str) -> Option<&'static str> {
        None
    }
}

impl Wish for AutoEnrollmentWish {
    fn rule(member: &str) -> Option<&'static str> {
        match member {
            "enabled" | "replace" => Some("`true` or `false`"),
            "previous_valid_secs" => Some("a whole number of seconds from 0 to 2592000"),
            "name_patterns" => Some("a list of texts"),
            _ => None,
        }
    }
}

const SECONDS: &str = "a whole number of seconds from 0; what is outside 60 to 86400 is clamped";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::body::Stalled;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_too_slowly_is_refused_for_now() {
        let request = Request::new(axum::body::Body::new(Stalled));
        let read = Body::<NewToken>::from_request(request, &()).await;
        let problem = read.map(|_| ()).unwrap_err();
        assert_eq!(problem.status(), http::StatusCode::SERVICE_UNAVAILABLE);
    }
}
