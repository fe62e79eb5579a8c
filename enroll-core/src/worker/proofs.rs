//! What a worker shows to become a member.

use crate::model::{JoinToken, Method, SharedSecret, TokenId};

/// The proofs of a first call, read and checked for typing errors before any connection is opened.
///
/// They are needed once. A worker that holds an identity starts without them.
#[derive(Debug)]
#[non_exhaustive]
pub enum Proofs {
    /// A join token.
    Token(JoinToken),
    /// A join token and the cluster secret.
    TokenAndSecret(JoinToken, SharedSecret),
    /// The enrollment secret alone.
    Secret(SharedSecret),
}

impl Proofs {
    /// A join token.
    #[must_use]
    pub const fn token(token: JoinToken) -> Self {
        Self::Token(token)
    }

    /// A join token and the cluster secret.
    #[must_use]
    pub const fn token_and_secret(token: JoinToken, secret: SharedSecret) -> Self {
        Self::TokenAndSecret(token, secret)
    }

    /// The enrollment secret alone.
    #[must_use]
    pub const fn secret(secret: SharedSecret) -> Self {
        Self::Secret(secret)
    }

    /// Which way in they are for.
    #[must_use]
    pub const fn method(&self) -> Method {
        match self {
            Self::Token(_) => Method::Token,
            Self::TokenAndSecret(..) => Method::TokenAndSecret,
            Self::Secret(_) => Method::Secret,
        }
    }

    /// The public half of the token, where there is one.
    #[must_use]
    pub fn token_id(&self) -> Option<TokenId> {
        self.join_token().map(JoinToken::id)
    }

    pub(crate) const fn join_token(&self) -> Option<&JoinToken> {
        match self {
            Self::Token(token) | Self::TokenAndSecret(token, _) => Some(token),
            Self::Secret(_) => None,
        }
    }

    pub(crate) const fn shared_secret(&self) -> Option<&SharedSecret> {
        match self {
            Self::Secret(secret) | Self::TokenAndSecret(_, secret) => Some(secret),
            Self::Token(_) => None,
        }
    }
}
