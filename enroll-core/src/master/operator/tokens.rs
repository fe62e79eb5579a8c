//! Minting, listing and revoking join tokens.

use std::time::Duration;

use super::OperatorError;
use crate::master::Enroller;
use crate::model::{
    Event, Invitation, JoinToken, NodeId, NodeName, NodeRecord, RedemptionId, RedemptionRecord,
    Timestamp, TokenId, TokenRecord, TokenStatus, What,
};
use crate::store::{Mint, MintOutcome, NameRule, Page};

/// A wish for a join token.
///
/// # Defaults
/// It lives for [`DEFAULT_TTL`](Self::DEFAULT_TTL), is good for any number of machines meanwhile,
/// and is bound to none.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct MintRequest {
    /// How long it lives; clamped to [[`MIN_TTL`](Self::MIN_TTL), [`MAX_TTL`](Self::MAX_TTL)].
    pub ttl: Option<Duration>,
    /// Uses in all, 0 is unlimited; forced to 1 where `node_name` is given.
    pub max_uses: u32,
    /// The one node it may serve.
    pub node_name: Option<NodeName>,
    /// A note for people, at most [`MAX_DESCRIPTION`](Self::MAX_DESCRIPTION) bytes.
    pub description: Option<String>,
}

impl MintRequest {
    /// 1 h.
    pub const DEFAULT_TTL: Duration = Duration::from_secs(60 * 60);
    /// 1 min.
    pub const MIN_TTL: Duration = Duration::from_secs(60);
    /// 24 h.
    pub const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);
    /// 1 KiB.
    pub const MAX_DESCRIPTION: usize = 1024;

    /// A wish for a token with every default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lives for `ttl`, clamped.
    #[must_use]
    pub const fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Is good for `max_uses` machines; 0 is any number.
    #[must_use]
    pub const fn with_max_uses(mut self, max_uses: u32) -> Self {
        self.max_uses = max_uses;
        self
    }

    /// Serves only `name`, once.
    #[must_use]
    pub fn with_node_name(mut self, name: NodeName) -> Self {
        self.node_name = Some(name);
        self
    }

    /// Carries a note for people.
    #[must_use]
    pub fn with_description(mut self, text: impl Into<String>) -> Self {
        self.description = Some(text.into());
        self
    }
}

/// A token just minted: the only time its text is seen.
#[derive(Debug)]
#[non_exhaustive]
pub struct Minted {
    /// The token itself.
    pub token: JoinToken,
    /// What is kept of it.
    pub record: TokenRecord,
    /// How long it lives, after clamping.
    pub ttl: Duration,
    /// The node it is bound to.
    pub node: Option<NodeRecord>,
    /// All a worker needs to start; `None` where the master does not know its own enroll URL or
    /// has no root.
    pub invitation: Option<Invitation>,
}

/// What became of a wish to revoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum RevokeVerdict {
    /// The token is of no use any more: now, or before already.
    Revoked,
    /// It was of no use already for another reason; an answer it was owed is no longer given.
    AlreadyOver(TokenStatus),
}

impl Enroller {
    /// Mints a join token.
    ///
    /// A bound one registers its node where the name is unknown or deleted, and takes the place of
    /// that name's unspent tokens.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn mint(&self, wish: MintRequest, actor: &str) -> Result<Minted, OperatorError> {
        self.mint_as(wish, NameRule::Any, None, actor).await
    }

    pub(super) async fn mint_as(
        &self,
        wish: MintRequest,
        rule: NameRule,
        labels: Option<std::collections::BTreeMap<String, String>>,
        actor: &str,
    ) -> Result<Minted, OperatorError> {
        self.check(&wish)?;
        let at = self.stamps.next(&*self.clock);
        let token = JoinToken::generate(&self.prefix, at, &*self.entropy)?;
        let ttl = wish
            .ttl
            .unwrap_or(MintRequest::DEFAULT_TTL)
            .clamp(MintRequest::MIN_TTL, MintRequest::MAX_TTL);
        let record = record(&token, wish, at, ttl, actor);
        let events = self.events_of(&record, rule == NameRule::NotHeld, at, actor);
        let mint = Mint {
            token: record.clone(),
            rule,
            new_node_id: NodeId::generate(at, &*self.entropy)?,
            labels,
            events: events.clone(),
        };
        let node = match self.store.mint(mint).await? {
            MintOutcome::Minted(node) => node.map(|node| *node),
            MintOutcome::NameHeld => {
                return Err(OperatorError::Conflict(
                    "A machine holds this name: regenerate its token to replace it, or delete the node first.".into(),
                ));
            }
            MintOutcome::NoSuchNode => return Err(OperatorError::NotFound("node")),
        };
        events.iter().for_each(|event| self.tell(event));
        let invitation = self.invitation(&token, record.bound_to.clone());
        Ok(Minted { token, record, ttl, node, invitation })
    }

    fn check(&self, wish: &MintRequest) -> Result<(), OperatorError> {
        let long = |text: &String| text.len() > MintRequest::MAX_DESCRIPTION;
        if wish.description.as_ref().is_some_and(long) {
            return Err(OperatorError::Invalid("`description` is longer than 1024 bytes.".into()));
        }
        if let Some(name) = &wish.node_name
            && self.reserved.contains(name.as_str())
        {
            return Err(OperatorError::Invalid(format!(
                "{name} is an address of the master itself and cannot be a node's name."
            )));
        }
        Ok(())
    }

    fn events_of(
        &self,
        record: &TokenRecord,
        registers: bool,
        at: Timestamp,
        actor: &str,
    ) -> Vec<Event> {
        let minted = What::TokenMinted {
            token_id: record.id,
            node_name: record.bound_to.clone(),
            max_uses: record.max_uses,
        };
        let registered = record
            .bound_to
            .clone()
            .filter(|_| registers)
            .map(|node_name| What::NodeRegistered { node_name });
        registered.into_iter().chain([minted]).map(|what| Event::by(at, actor, what)).collect()
    }

    fn invitation(&self, token: &JoinToken, node_name: Option<NodeName>) -> Option<Invitation> {
        let (_, fingerprint) = self.ca()?;
        let url = self.config.enroll_url.clone()?;
        // The token is read a second time because it cannot be cloned: the text has one owner.
        let token = JoinToken::parse(&self.prefix, token.expose()).ok()?;
        Some(Invitation { url, ca: vec![fingerprint], token, node_name })
    }

    /// Tokens, newest first; those past their time only with `include_expired`.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn tokens(
        &self,
        page: Page<TokenId>,
        include_expired: bool,
    ) -> Result<Vec<TokenRecord>, OperatorError> {
        let live_at = (!include_expired).then(|| self.clock.now());
        Ok(self.store.tokens(page, live_at).await?)
    }

    /// Withdraws a token, and the redelivery of what it was spent for.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn revoke(&self, id: TokenId, actor: &str) -> Result<RevokeVerdict, OperatorError> {
        let at = self.stamps.next(&*self.clock);
        let event = Event::by(at, actor, What::TokenRevoked { token_id: id });
        let outcome = self
            .store
            .revoke(id, at, event.clone())
            .await?
            .ok_or(OperatorError::NotFound("token"))?;
        if outcome.revoked_now {
            self.tell(&event);
        }
        Ok(match outcome.token.status(at) {
            TokenStatus::Revoked | TokenStatus::Replaced => RevokeVerdict::Revoked,
            other => RevokeVerdict::AlreadyOver(other),
        })
    }

    /// The redemptions of a token, newest first.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn redemptions(
        &self,
        id: TokenId,
        page: Page<RedemptionId>,
    ) -> Result<Vec<RedemptionRecord>, OperatorError> {
        if self.store.token(id).await?.is_none() {
            return Err(OperatorError::NotFound("token"));
        }
        Ok(self.store.redemptions(id, page).await?)
    }
}

fn record(
    token: &JoinToken,
    wish: MintRequest,
    at: Timestamp,
    ttl: Duration,
    actor: &str,
) -> TokenRecord {
    TokenRecord {
        id: token.id(),
        digest: token.digest(),
        max_uses: if wish.node_name.is_some() { 1 } else { wish.max_uses },
        bound_to: wish.node_name,
        created_at: at,
        expires_at: at.after(ttl),
        uses: 0,
        created_by: actor.to_owned(),
        description: wish.description,
        revoked_at: None,
        replaced_at: None,
    }
}
