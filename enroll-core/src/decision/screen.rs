//! The checks that need nothing but the request and the master's rules.

use std::collections::BTreeSet;

use crate::model::{
    ClaimKey, EnrollRequest, JoinToken, Method, NamePattern, NodeName, Presented, PresentedToken,
    Reason, Rejection, SecretMatched, SharedSecret, SharedSecretDigest, Timestamp, TokenPrefix,
};

/// The master's rules, as they stand for one request.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rules<'a> {
    /// What a token of this product begins with.
    pub prefix: &'a TokenPrefix,
    /// Accepted cluster secrets, the newest first; none where none is configured.
    pub cluster_secrets: &'a [SharedSecretDigest],
    /// Auto-enrollment, as it stands.
    pub auto: &'a AutoEnrollment,
    /// Whether a certificate request is needed, because certificates are issued.
    pub csr_required: bool,
    /// Names no node may have: the hosts the master is reached at.
    pub reserved: &'a BTreeSet<String>,
}

impl<'a> Rules<'a> {
    /// Rules under which only a join token of `prefix` is accepted.
    #[must_use]
    pub const fn new(
        prefix: &'a TokenPrefix,
        auto: &'a AutoEnrollment,
        reserved: &'a BTreeSet<String>,
    ) -> Self {
        Self { prefix, cluster_secrets: &[], auto, csr_required: false, reserved }
    }
}

/// The setting behind the method `secret`.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct AutoEnrollment {
    /// Whether it is on.
    pub enabled: bool,
    /// Accepted enrollment secrets, the newest first.
    pub secrets: Vec<EnrollmentSecret>,
    /// Whether it may replace an identity that it made itself.
    pub replace: bool,
    /// Names it may give; empty is any.
    pub name_patterns: Vec<NamePattern>,
}

/// One accepted enrollment secret.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "three values that belong together")]
pub struct EnrollmentSecret {
    /// What is kept of it.
    pub digest: SharedSecretDigest,
    /// When it was first set; it counts as minted then.
    pub set_at: Timestamp,
    /// Until when it is accepted, where a newer one took its place.
    pub valid_until: Option<Timestamp>,
}

/// What was proven before the store was asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum Proven {
    /// A token of the right shape was presented; whether it is good only the store knows.
    Token(JoinToken),
    /// So was one beside a cluster secret that matched.
    TokenAndSecret(JoinToken, SecretMatched),
    /// An enrollment secret matched; it was set at this instant.
    Secret(SecretMatched, Timestamp),
}

/// A request that passed [`screen`], and is worth one read of the store.
#[derive(Debug)]
pub struct Screened {
    proven: Proven,
    node_name: Option<NodeName>,
    claim: Option<ClaimKey>,
    replace: bool,
    name_allowed: bool,
    accepted_secret: Option<usize>,
}

impl Screened {
    /// How the machine proves itself.
    #[must_use]
    pub const fn method(&self) -> Method {
        match self.proven {
            Proven::Token(_) => Method::Token,
            Proven::TokenAndSecret(..) => Method::TokenAndSecret,
            Proven::Secret(..) => Method::Secret,
        }
    }

    /// The token presented; `None` for the method `secret`.
    #[must_use]
    pub const fn token(&self) -> Option<&JoinToken> {
        match &self.proven {
            Proven::Token(token) | Proven::TokenAndSecret(token, _) => Some(token),
            Proven::Secret(..) => None,
        }
    }

    /// The name asked for.
    #[must_use]
    pub const fn node_name(&self) -> Option<&NodeName> {
        self.node_name.as_ref()
    }

    /// Who is asking, over retries.
    #[must_use]
    pub const fn claim(&self) -> Option<ClaimKey> {
        self.claim
    }

    /// Which of the accepted shared secrets was presented, 0 the newest; `None` without one.
    #[must_use]
    pub const fn accepted_secret(&self) -> Option<usize> {
        self.accepted_secret
    }

    pub(super) const fn proven(&self) -> &Proven {
        &self.proven
    }

    pub(super) const fn replace(&self) -> bool {
        self.replace
    }

    pub(super) const fn name_allowed(&self) -> bool {
        self.name_allowed
    }
}

/// Judges a request by itself: fields, configuration, the shared secret.
///
/// `claim` is what identifies the claimant, read from the request's key but not yet proven.
///
/// # Errors
/// The first of `bad_request`, `not_configured`, `enrollment_disabled`, `bad_secret`,
/// `invalid_token` (a malformed token is none) that holds.
pub fn screen(
    request: &EnrollRequest,
    claim: Option<ClaimKey>,
    rules: &Rules<'_>,
    at: Timestamp,
) -> Result<Screened, Rejection> {
    check_fields(request, rules)?;
    let (proven, accepted_secret) = match &request.presented {
        Presented::Token(token) => (Proven::Token(parse(token, rules)?), None),
        Presented::TokenAndSecret(token, secret) => {
            let (which, matched) = cluster_secret(secret, rules)?;
            (Proven::TokenAndSecret(parse(token, rules)?, matched), Some(which))
        }
        Presented::Secret(secret) => enrollment_secret(secret, rules.auto, at)?,
    };
    Ok(Screened {
        proven,
        node_name: request.node_name.clone(),
        claim,
        replace: rules.auto.replace,
        name_allowed: name_allowed(request, rules.auto),
        accepted_secret,
    })
}

fn check_fields(request: &EnrollRequest, rules: &Rules<'_>) -> Result<(), Rejection> {
    let bad = |detail: String| Err(Rejection::new(Reason::BadRequest).with_detail(detail));
    match &request.presented {
        Presented::Token(_) if !rules.cluster_secrets.is_empty() => {
            return bad(
                "`shared_secret` is missing: this cluster wants it beside the token.".into()
            );
        }
        Presented::Secret(_) if request.node_name.is_none() => {
            return bad("`node_name` is missing.".into());
        }
        _ => {}
    }
    if rules.csr_required && request.csr.is_none() {
        return bad("`csr` is missing: this master issues certificates.".into());
    }
    if let Err(field) = request.facts.check() {
        return bad(format!("`{field}` in `facts` is too large."));
    }
    if let Some(name) = &request.node_name
        && rules.reserved.contains(name.as_str())
    {
        return bad(format!("`node_name` {name} is an address of the master itself."));
    }
    Ok(())
}

fn cluster_secret(
    secret: &SharedSecret,
    rules: &Rules<'_>,
) -> Result<(usize, SecretMatched), Rejection> {
    if rules.cluster_secrets.is_empty() {
        return Err(Rejection::new(Reason::NotConfigured)
            .with_detail("A shared secret was presented, and this master has no cluster secret."));
    }
    SharedSecretDigest::verify_any(rules.cluster_secrets, secret)
        .ok_or_else(|| Reason::BadSecret.into())
}

fn enrollment_secret(
    secret: &SharedSecret,
    auto: &AutoEnrollment,
    at: Timestamp,
) -> Result<(Proven, Option<usize>), Rejection> {
    let accepted: Vec<&EnrollmentSecret> = auto
        .secrets
        .iter()
        .filter(|secret| secret.valid_until.is_none_or(|until| at < until))
        .collect();
    if !auto.enabled || accepted.is_empty() {
        return Err(Reason::EnrollmentDisabled.into());
    }
    let digests = accepted.iter().map(|secret| &secret.digest);
    let (which, matched) =
        SharedSecretDigest::verify_any(digests, secret).ok_or(Reason::BadSecret)?;
    // `which` is a position in `accepted`.
    let set_at = accepted.get(which).map_or(at, |secret| secret.set_at);
    Ok((Proven::Secret(matched, set_at), Some(which)))
}

/// Whether auto-enrollment may give the name asked for; every other method may give any.
fn name_allowed(request: &EnrollRequest, auto: &AutoEnrollment) -> bool {
    let (Presented::Secret(_), Some(name)) = (&request.presented, &request.node_name) else {
        return true;
    };
    auto.name_patterns.is_empty() || auto.name_patterns.iter().any(|pattern| pattern.fits(name))
}

fn parse(token: &PresentedToken, rules: &Rules<'_>) -> Result<JoinToken, Rejection> {
    JoinToken::parse(rules.prefix, token.expose())
        .map_err(|why| Rejection::new(Reason::InvalidToken).with_detail(format!("{why}.")))
}
