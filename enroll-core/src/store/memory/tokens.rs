use async_trait::async_trait;

use super::{MemoryStore, State, collision, page};
use crate::model::{
    Event, Facts, NameState, NodeName, NodeRecord, RedemptionId, RedemptionRecord, Timestamp,
    TokenId, TokenRecord, TrustState,
};
use crate::store::{Mint, MintOutcome, NameRule, Page, RevokeOutcome, StoreError, Tokens};

#[async_trait]
impl Tokens for MemoryStore {
    async fn mint(&self, mint: Mint) -> Result<MintOutcome, StoreError> {
        self.state().mint(mint)
    }

    async fn token(&self, id: TokenId) -> Result<Option<TokenRecord>, StoreError> {
        Ok(self.state().tokens.get(&id).cloned())
    }

    async fn tokens(
        &self,
        wanted: Page<TokenId>,
        live_at: Option<Timestamp>,
    ) -> Result<Vec<TokenRecord>, StoreError> {
        let state = self.state();
        let live = |token: &&TokenRecord| live_at.is_none_or(|at| at < token.expires_at);
        let rows = state.tokens.values().rev().filter(live).cloned();
        Ok(page(wanted, rows, |token, seen| token.id < seen))
    }

    async fn revoke(
        &self,
        id: TokenId,
        at: Timestamp,
        event: Event,
    ) -> Result<Option<RevokeOutcome>, StoreError> {
        Ok(self.state().revoke(id, at, event))
    }

    async fn redemptions(
        &self,
        id: TokenId,
        wanted: Page<RedemptionId>,
    ) -> Result<Vec<RedemptionRecord>, StoreError> {
        let state = self.state();
        let mut rows: Vec<_> =
            state.redemptions.values().filter(|row| row.token_id == Some(id)).cloned().collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.id));
        Ok(page(wanted, rows.into_iter(), |row, seen| row.id < seen))
    }
}

#[cfg(feature = "testing")]
impl MemoryStore {
    /// Writes a token over whatever is there: what an insert does that is really an upsert. It
    /// exists so that the conformance suite can be shown to tell such a store.
    pub fn danger_put_token(&self, token: TokenRecord) {
        self.state().tokens.insert(token.id, token);
    }
}

impl State {
    fn mint(&mut self, mint: Mint) -> Result<MintOutcome, StoreError> {
        if self.tokens.contains_key(&mint.token.id) {
            return Err(collision("mint a token"));
        }
        let node = match mint.token.bound_to.clone() {
            None => None,
            Some(name) => match (mint.rule, self.name_state(&name)) {
                (NameRule::NotHeld, NameState::Held(_)) => return Ok(MintOutcome::NameHeld),
                (NameRule::Exists, NameState::Unknown | NameState::Deleted { .. }) => {
                    return Ok(MintOutcome::NoSuchNode);
                }
                (_, NameState::Pending(_) | NameState::Held(_)) => self.relabelled(&name, &mint),
                (_, NameState::Unknown | NameState::Deleted { .. }) => {
                    if self.node_names.contains_key(&mint.new_node_id) {
                        return Err(collision("mint a token"));
                    }
                    Some(self.registered(name, &mint))
                }
            },
        };
        if let Some(node) = &node {
            self.replace_unspent(&node.name, mint.token.created_at);
            self.close_redemptions(&node.name, mint.token.created_at);
        }
        self.tokens.insert(mint.token.id, mint.token);
        mint.events.into_iter().for_each(|event| self.journal(event));
        Ok(MintOutcome::Minted(node.map(Box::new)))
    }

    fn registered(&mut self, name: NodeName, mint: &Mint) -> NodeRecord {
        let node = NodeRecord {
            id: mint.new_node_id,
            name,
            state: TrustState::Pending,
            cordoned: false,
            labels: mint.labels.clone().unwrap_or_default(),
            facts: Facts::default(),
            method: None,
            created_at: mint.token.created_at,
            enrolled_at: None,
            last_seen_at: None,
            fuse: None,
        };
        self.insert_node(node.clone());
        node
    }

    fn relabelled(&mut self, name: &NodeName, mint: &Mint) -> Option<NodeRecord> {
        let node = self.nodes.get_mut(name)?;
        if let Some(labels) = &mint.labels {
            node.labels.clone_from(labels);
        }
        Some(node.clone())
    }

    fn replace_unspent(&mut self, name: &NodeName, at: Timestamp) {
        for token in self.tokens.values_mut() {
            if token.bound_to.as_ref() == Some(name) && token.uses == 0 && stands(token) {
                token.replaced_at = Some(at);
            }
        }
    }

    fn revoke(&mut self, id: TokenId, at: Timestamp, event: Event) -> Option<RevokeOutcome> {
        let token = self.tokens.get_mut(&id)?;
        let revoked_now = stands(token) && !token.is_spent() && at < token.expires_at;
        if revoked_now {
            token.revoked_at = Some(at);
        }
        let token = token.clone();
        if revoked_now {
            self.journal(event);
        }
        for redemption in self.redemptions.values_mut().filter(|row| row.token_id == Some(id)) {
            redemption.closed_at.get_or_insert(at);
        }
        Some(RevokeOutcome { token, revoked_now })
    }

    /// Revokes what is bound to the name of a node that is being deleted.
    pub(super) fn revoke_bound(&mut self, name: &NodeName, at: Timestamp) {
        for token in self.tokens.values_mut() {
            if token.bound_to.as_ref() == Some(name) && stands(token) && !token.is_spent() {
                token.revoked_at = Some(at);
            }
        }
    }
}

/// Whether no operator took it back.
fn stands(token: &TokenRecord) -> bool {
    token.revoked_at.is_none() && token.replaced_at.is_none()
}
