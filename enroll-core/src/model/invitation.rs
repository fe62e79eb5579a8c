//! One string to paste: all a worker needs to start but the cluster secret.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::token::{JoinToken, TokenError, TokenPrefix};
use super::{Fingerprint, NodeName};

/// `enroll:` and the base64url (no padding) of `{"v":1,"url":…,"ca":[…],"token":…,"node_name":…}`.
///
/// It carries a token, so it is as secret as one.
#[expect(clippy::exhaustive_structs, reason = "its four parts are the whole of version 1")]
pub struct Invitation {
    /// Where to enroll.
    pub url: String,
    /// The roots the worker may trust; at least one.
    pub ca: Vec<Fingerprint>,
    /// The token to redeem.
    pub token: JoinToken,
    /// The name the token is bound to.
    pub node_name: Option<NodeName>,
}

/// Why a text is no invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvitationError {
    /// It does not begin with [`Invitation::SCHEME`].
    #[error("an invitation begins with `enroll:`")]
    Scheme,
    /// What follows is cut short or changed.
    #[error("the invitation is incomplete or was changed: copy all of it again")]
    Damaged,
    /// Its version is one this release does not know.
    #[error("the invitation has a version this release does not know: update the worker")]
    Version,
    /// It holds no CA fingerprint, so there would be nothing to trust.
    #[error("the invitation holds no CA fingerprint")]
    NoFingerprint,
    /// Its token is malformed.
    #[error("the invitation's token: {0}")]
    Token(TokenError),
}

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    v: u32,
    url: std::borrow::Cow<'a, str>,
    ca: Vec<Fingerprint>,
    token: std::borrow::Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node_name: Option<NodeName>,
}

impl Invitation {
    /// What every invitation begins with.
    pub const SCHEME: &'static str = "enroll:";

    /// The text to paste.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let wire = Wire {
            v: 1,
            url: self.url.as_str().into(),
            ca: self.ca.clone(),
            token: self.token.expose().into(),
            node_name: self.node_name.clone(),
        };
        // A struct of strings always serialises.
        let json = Zeroizing::new(serde_json::to_vec(&wire).unwrap_or_default());
        let mut text = String::with_capacity(Self::SCHEME.len() + json.len() * 4 / 3 + 4);
        text.push_str(Self::SCHEME);
        BASE64URL_NOPAD.encode_append(&json, &mut text);
        Zeroizing::new(text)
    }

    /// Reads an invitation whose token has `prefix`.
    ///
    /// # Errors
    /// [`InvitationError`] says what is wrong, never what the text was.
    pub fn parse(prefix: &TokenPrefix, text: &str) -> Result<Self, InvitationError> {
        let body = text.strip_prefix(Self::SCHEME).ok_or(InvitationError::Scheme)?;
        let json = BASE64URL_NOPAD.decode(body.as_bytes()).map_err(|_| InvitationError::Damaged)?;
        let json = Zeroizing::new(json);
        let version: Versioned =
            serde_json::from_slice(&json).map_err(|_| InvitationError::Damaged)?;
        if version.v != 1 {
            return Err(InvitationError::Version);
        }
        let wire: Wire<'_> = serde_json::from_slice(&json).map_err(|_| InvitationError::Damaged)?;
        if wire.ca.is_empty() {
            return Err(InvitationError::NoFingerprint);
        }
        let token = JoinToken::parse(prefix, &wire.token).map_err(InvitationError::Token)?;
        Ok(Self { url: wire.url.into_owned(), ca: wire.ca, token, node_name: wire.node_name })
    }
}

#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation")
            .field("url", &self.url)
            .field("ca", &self.ca)
            .field("token", &self.token)
            .field("node_name", &self.node_name)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SystemEntropy, Timestamp};

    fn invitation() -> Invitation {
        let at = Timestamp::from_unix_secs(1_795_000_000);
        Invitation {
            url: "https://master:7480".into(),
            ca: vec![Fingerprint::of_der(b"root")],
            token: JoinToken::generate(&TokenPrefix::default(), at, &SystemEntropy).unwrap(),
            node_name: Some(NodeName::new("worker-1").unwrap()),
        }
    }

    #[test]
    fn an_invitation_reads_back() {
        let one = invitation();
        let again = Invitation::parse(&TokenPrefix::default(), &one.to_text()).unwrap();
        assert_eq!(again.url, one.url);
        assert_eq!(again.ca, one.ca);
        assert_eq!(again.token.expose(), one.token.expose());
        assert_eq!(again.node_name, one.node_name);
    }

    #[test]
    fn what_is_wrong_is_named_and_nothing_is_echoed() {
        let prefix = TokenPrefix::default();
        let why = |text: &str| Invitation::parse(&prefix, text).map(|_| ()).unwrap_err();
        let of = |json: &str| format!("enroll:{}", BASE64URL_NOPAD.encode(json.as_bytes()));
        let text = invitation().to_text();
        assert_eq!(why("https://master"), InvitationError::Scheme);
        assert_eq!(why(&text[..text.len() - 9]), InvitationError::Damaged);
        assert_eq!(why(&of(r#"{"v":2}"#)), InvitationError::Version);
        let empty = r#"{"v":1,"url":"u","ca":[],"token":"x"}"#;
        assert_eq!(why(&of(empty)), InvitationError::NoFingerprint);
        let fp = Fingerprint::of_der(b"root");
        let bad = format!(r#"{{"v":1,"url":"u","ca":["{fp}"],"token":"x"}}"#);
        assert_eq!(why(&of(&bad)), InvitationError::Token(TokenError::ForeignPrefix));
    }

    #[test]
    fn no_debug_shows_the_token() {
        let one = invitation();
        let secret = &one.token.expose()[20..];
        assert!(!format!("{one:?}").contains(secret));
    }
}
