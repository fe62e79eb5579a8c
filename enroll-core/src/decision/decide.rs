//! The decision: what the store holds against what was asked.

use std::cell::OnceCell;

use super::screen::{Proven, Screened};
use crate::model::{
    ClaimKey, FuseId, IdentityRecord, Method, NameState, NodeId, NodeName, NodeRecord, Reason,
    RedemptionRecord, Rejection, Snapshot, Timestamp, TokenId, TokenRecord,
};

/// The claimant's key, whose possession is proven only when that matters: verifying a signature is
/// the dearest check there is.
pub trait KeyProof: Send + Sync {
    /// Whether the claimant holds the key it claims by.
    ///
    /// # Errors
    /// What is wrong with the key or its signature, for `bad_csr`.
    fn prove(&self) -> Result<(), String>;
}

/// The proof of a claimant that brings no public key: nothing to prove.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct NoKey;

impl NoKey {
    /// The proof of a claimant that brings no public key.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl KeyProof for NoKey {
    fn prove(&self) -> Result<(), String> {
        Ok(())
    }
}

/// What the machine gets.
#[derive(Debug)]
#[non_exhaustive]
pub enum Decision {
    /// An identity of its own.
    Approved(Approval),
    /// The answer it was already given.
    Redeliver(Box<Redelivery>),
}

/// How a name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Take {
    /// Nobody has it, or its last holder was deleted before the proof was minted.
    Free,
    /// It was registered for this token.
    Pending(NodeId),
    /// It is held, and this proof may replace the holder's identities.
    Held(NodeId),
}

/// The right to one redemption. Only [`decide`] makes it; a store takes it by value.
#[derive(Debug)]
pub struct Approval {
    method: Method,
    token_id: Option<TokenId>,
    node_name: NodeName,
    take: Take,
    claim: Option<ClaimKey>,
    minted_at: Timestamp,
    fuse: Option<FuseId>,
}

impl Approval {
    /// How the machine proved itself.
    #[must_use]
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The token to spend a use of; `None` for the method `secret`.
    #[must_use]
    pub const fn token_id(&self) -> Option<TokenId> {
        self.token_id
    }

    /// The name to take.
    #[must_use]
    pub const fn node_name(&self) -> &NodeName {
        &self.node_name
    }

    /// How to take it.
    #[must_use]
    pub const fn take(&self) -> Take {
        self.take
    }

    /// Who may ask for the answer again.
    #[must_use]
    pub const fn claim(&self) -> Option<ClaimKey> {
        self.claim
    }

    /// When the proof was minted: it takes a deleted name only if that was after the deletion.
    #[must_use]
    pub const fn minted_at(&self) -> Timestamp {
        self.minted_at
    }

    /// The attempt to fuse that the holder of the name was seen with: it is taken only with that one,
    /// so that whoever takes it knows what there is to undo.
    #[must_use]
    pub const fn fuse(&self) -> Option<FuseId> {
        self.fuse
    }
}

/// The right to be given one answer again. Only [`decide`] makes it.
#[derive(Debug)]
pub struct Redelivery {
    node: NodeRecord,
    redemption: RedemptionRecord,
    identities: Vec<IdentityRecord>,
}

impl Redelivery {
    /// The node.
    #[must_use]
    pub const fn node(&self) -> &NodeRecord {
        &self.node
    }

    /// The redemption whose answer was lost.
    #[must_use]
    pub const fn redemption(&self) -> &RedemptionRecord {
        &self.redemption
    }

    /// The identities it made that are not revoked.
    #[must_use]
    pub fn identities(&self) -> &[IdentityRecord] {
        &self.identities
    }
}

/// Judges a screened request against what the store holds, at one instant.
///
/// # Errors
/// The first reason that holds, in the order of the [module](super).
pub fn decide(
    asked: &Screened,
    seen: &Snapshot,
    key: &dyn KeyProof,
    at: Timestamp,
) -> Result<Decision, Rejection> {
    let key = AskedOnce { key, answer: OnceCell::new() };
    let token = known_token(asked, seen)?;
    if let Some(redelivery) = redelivery(asked, seen, &key, at) {
        return Ok(Decision::Redeliver(Box::new(redelivery)));
    }
    let minted_at = match (token, asked.proven()) {
        (Some(token), _) => live(token, at)?.created_at,
        (None, Proven::Secret(_, set_at)) => *set_at,
        (None, _) => return Err(Reason::InvalidToken.into()),
    };
    let node_name = agreed_name(asked, token)?;
    key.prove().map_err(|why| Rejection::new(Reason::BadCsr).with_detail(why))?;
    let take = take(asked, seen, token, minted_at, node_name)?;
    if !asked.name_allowed() {
        return Err(Rejection::new(Reason::Denied)
            .with_detail("Auto-enrollment does not give this node name: see its name patterns."));
    }
    Ok(Decision::Approved(Approval {
        method: asked.method(),
        token_id: token.map(|token| token.id),
        node_name: node_name.clone(),
        take,
        claim: asked.claim(),
        minted_at,
        fuse: match &seen.name {
            NameState::Held(node) => node.fuse_attempt(),
            _ => None,
        },
    }))
}

/// What a lost redemption is answered with, judged again against what the store held when it lost.
///
/// A use that has gone since the look-up is `race_consumed`; the own claim key gets its answer
/// again; else the reason that holds now.
///
/// # Errors
/// The reason that holds.
pub fn lost(
    asked: &Screened,
    seen: &Snapshot,
    key: &dyn KeyProof,
    at: Timestamp,
) -> Result<Decision, Rejection> {
    decide(asked, seen, key, at).map_err(|rejection| match rejection.reason() {
        Reason::AlreadyConsumed | Reason::Exhausted => Reason::RaceConsumed.into(),
        _ => rejection,
    })
}

/// A key that is asked for its proof when it first matters and never again: a refusal must not cost
/// more than an acceptance.
struct AskedOnce<'a> {
    key: &'a dyn KeyProof,
    answer: OnceCell<Result<(), String>>,
}

impl AskedOnce<'_> {
    fn prove(&self) -> Result<(), &str> {
        self.answer.get_or_init(|| self.key.prove()).as_ref().copied().map_err(String::as_str)
    }
}

/// The token, if it is the one presented and was neither replaced nor revoked.
fn known_token<'a>(
    asked: &Screened,
    seen: &'a Snapshot,
) -> Result<Option<&'a TokenRecord>, Rejection> {
    let Some(presented) = asked.token() else { return Ok(None) };
    let token = seen.token.as_ref().ok_or(Reason::InvalidToken)?;
    let _matched = token.digest.verify(presented).ok_or(Reason::InvalidToken)?;
    if token.replaced_at.is_some() {
        return Err(Rejection::new(Reason::InvalidToken)
            .with_detail("The join token was replaced by a newer one of its node."));
    }
    if token.revoked_at.is_some() {
        return Err(Reason::Revoked.into());
    }
    Ok(Some(token))
}

/// The lost answer this request asks for again: same proof, same claim, same name, window open, and
/// the key proven.
fn redelivery(
    asked: &Screened,
    seen: &Snapshot,
    key: &AskedOnce<'_>,
    at: Timestamp,
) -> Option<Redelivery> {
    let prior = seen.prior.as_ref()?;
    let NameState::Held(node) = &seen.name else { return None };
    let same = prior.redemption.claim.is_some()
        && prior.redemption.claim == asked.claim()
        && prior.redemption.token_id == asked.token().map(|token| token.id())
        && prior.redemption.node_id == node.id
        && asked.node_name().is_none_or(|name| *name == node.name);
    if !same || !prior.redemption.is_open(at) || key.prove().is_err() {
        return None;
    }
    Some(Redelivery {
        node: node.clone(),
        redemption: prior.redemption.clone(),
        identities: prior.identities.clone(),
    })
}

/// The token, if its time has not elapsed and it has a use left.
fn live(token: &TokenRecord, at: Timestamp) -> Result<&TokenRecord, Rejection> {
    if token.is_out_of_time(at) {
        return Err(expired(token, at));
    }
    match token.max_uses {
        1 if token.is_spent() => Err(Reason::AlreadyConsumed.into()),
        _ if token.is_spent() => Err(Reason::Exhausted.into()),
        _ => Ok(token),
    }
}

fn expired(token: &TokenRecord, at: Timestamp) -> Rejection {
    let (minted, ended) = (token.created_at.to_rfc3339(), token.expires_at.to_rfc3339());
    Rejection::new(Reason::Expired).with_detail(if at < token.expires_at {
        format!("The join token was minted at {minted}, when the master's clock was ahead.")
    } else {
        format!("The join token expired at {ended}.")
    })
}

/// The name the node gets: the one the token is bound to, and the one asked for, where both are.
fn agreed_name<'a>(
    asked: &'a Screened,
    token: Option<&'a TokenRecord>,
) -> Result<&'a NodeName, Rejection> {
    match (token.and_then(|token| token.bound_to.as_ref()), asked.node_name()) {
        (Some(bound), None) => Ok(bound),
        (Some(bound), Some(name)) if bound == name => Ok(bound),
        (Some(_), Some(_)) => Err(Reason::NameMismatch.into()),
        (None, Some(name)) => Ok(name),
        (None, None) => Err(Rejection::new(Reason::BadRequest)
            .with_detail("`node_name` is missing, and the token is not bound to a node.")),
    }
}

/// Who may take a name.
fn take(
    asked: &Screened,
    seen: &Snapshot,
    token: Option<&TokenRecord>,
    minted_at: Timestamp,
    name: &NodeName,
) -> Result<Take, Rejection> {
    let bound = token.is_some_and(|token| token.bound_to.as_ref() == Some(name));
    match &seen.name {
        NameState::Unknown => Ok(Take::Free),
        NameState::Deleted { at } if minted_at > *at => Ok(Take::Free),
        NameState::Pending(node) if bound => Ok(Take::Pending(node.id)),
        NameState::Held(node) if bound => Ok(Take::Held(node.id)),
        NameState::Held(node)
            if asked.method() == Method::Secret
                && asked.replace()
                && node.method == Some(Method::Secret) =>
        {
            Ok(Take::Held(node.id))
        }
        NameState::Deleted { .. } => Err(taken(name, "was deleted after this proof was minted")),
        NameState::Pending(_) => Err(taken(name, "is registered for a token of its own")),
        NameState::Held(_) => Err(taken(name, "is held by another machine")),
    }
}

fn taken(name: &NodeName, why: &str) -> Rejection {
    Rejection::new(Reason::NameTaken).with_detail(format!("The node name {name} {why}."))
}
