use async_trait::async_trait;

use super::{MemoryStore, State, collision, under};
use crate::decision::Take;
use crate::model::{
    Method, NameState, NodeName, NodeRecord, Prior, RedemptionRecord, Snapshot, Timestamp,
    TokenRecord, TrustState,
};
use crate::store::{
    Lookup, Redeem, RedeemOutcome, Redeliver, RedeliverOutcome, Redemptions, StoreError,
};

#[async_trait]
impl Redemptions for MemoryStore {
    async fn look_up(&self, lookup: Lookup<'_>) -> Result<Snapshot, StoreError> {
        Ok(self.state().look_up(lookup))
    }

    async fn redeem(&self, redeem: Redeem) -> Result<RedeemOutcome, StoreError> {
        let mut state = self.state();
        if !state.may_redeem(&redeem) {
            return Ok(RedeemOutcome::Lost(Box::new(state.look_up_for(&redeem))));
        }
        if !state.admits_redemption(&redeem) {
            return Err(collision("redeem a token"));
        }
        if matches!(redeem.approval.take(), Take::Held(_)) {
            self.changed();
        }
        Ok(RedeemOutcome::Enrolled(Box::new(state.redeem(redeem))))
    }

    async fn redeliver(&self, redeliver: Redeliver) -> Result<RedeliverOutcome, StoreError> {
        let mut state = self.state();
        let redemption = redeliver.redelivery.redemption();
        let Some(node) = state.open_to(redemption, redeliver.at).cloned() else {
            return Ok(RedeliverOutcome::Closed(Box::new(state.look_up(Lookup {
                token_id: redemption.token_id,
                node_name: Some(&redemption.node_name),
                claim: redemption.claim,
            }))));
        };
        if !state.admits(&redeliver.replacements) || !state.admits_attempt(&redeliver.attempt) {
            return Err(collision("give an answer again"));
        }
        state.redeliver(redeliver, &node);
        Ok(RedeliverOutcome::Redelivered(Box::new(node)))
    }
}

#[cfg(feature = "testing")]
impl MemoryStore {
    /// Writes a redemption whether or not it may be written, over whatever is there: what a store
    /// does that checks first and acts later. It exists so that the conformance suite can be shown
    /// to tell such a store.
    pub fn danger_redeem_unchecked(&self, redeem: Redeem) -> NodeRecord {
        self.state().redeem(redeem)
    }
}

impl State {
    fn look_up(&self, lookup: Lookup<'_>) -> Snapshot {
        let token = lookup.token_id.and_then(|id| self.tokens.get(&id)).cloned();
        let bound_to = token.as_ref().and_then(|token| token.bound_to.as_ref());
        let name = lookup.node_name.or(bound_to);
        Snapshot {
            prior: name.and_then(|name| self.prior(lookup, name)),
            name: name.map_or(NameState::Unknown, |name| self.name_state(name)),
            token,
        }
    }

    fn look_up_for(&self, redeem: &Redeem) -> Snapshot {
        self.look_up(Lookup {
            token_id: redeem.approval.token_id(),
            node_name: Some(redeem.approval.node_name()),
            claim: redeem.approval.claim(),
        })
    }

    pub(super) fn name_state(&self, name: &NodeName) -> NameState {
        match (self.nodes.get(name), self.deleted.get(name)) {
            (Some(node), _) if node.state == TrustState::Pending => {
                NameState::Pending(node.clone())
            }
            (Some(node), _) => NameState::Held(node.clone()),
            (None, Some(at)) => NameState::Deleted { at: *at },
            (None, None) => NameState::Unknown,
        }
    }

    fn prior(&self, lookup: Lookup<'_>, name: &NodeName) -> Option<Prior> {
        let (claim, node) = (lookup.claim?, self.nodes.get(name)?);
        let same_proof = |redemption: &RedemptionRecord| match lookup.token_id {
            Some(id) => redemption.token_id == Some(id),
            None => redemption.token_id.is_none() && redemption.method == Method::Secret,
        };
        let redemption =
            self.redemptions.range(under(name)).map(|(_, redemption)| redemption).rfind(
                |redemption| {
                    redemption.node_id == node.id
                        && redemption.claim == Some(claim)
                        && same_proof(redemption)
                },
            )?;
        let identities = self
            .identities_of(redemption.node_id)
            .filter(|identity| {
                identity.redemption_id == redemption.id
                    && identity.predecessor.is_none()
                    && identity.revoked_at.is_none()
            })
            .cloned()
            .collect();
        Some(Prior { redemption: redemption.clone(), identities })
    }

    fn may_redeem(&self, redeem: &Redeem) -> bool {
        let good = |token: &TokenRecord| {
            token.revoked_at.is_none()
                && token.replaced_at.is_none()
                && redeem.at < token.expires_at
                && !token.is_spent()
        };
        let approval = &redeem.approval;
        let spendable = match approval.token_id() {
            Some(id) => self.tokens.get(&id).is_some_and(good),
            None => true,
        };
        spendable
            && match (approval.take(), self.name_state(approval.node_name())) {
                (Take::Free, NameState::Unknown) => true,
                (Take::Free, NameState::Deleted { at }) => approval.minted_at() > at,
                (Take::Pending(id), NameState::Pending(node)) => node.id == id,
                (Take::Held(id), NameState::Held(node)) => {
                    let theirs =
                        approval.method() == Method::Secret && node.method != Some(Method::Secret);
                    node.id == id && node.fuse_attempt() == approval.fuse() && !theirs
                }
                _ => false,
            }
    }

    fn admits_redemption(&self, redeem: &Redeem) -> bool {
        let node_collides = redeem.approval.take() == Take::Free
            && self.node_names.contains_key(&redeem.new_node_id);
        !node_collides
            && !self.redemption_names.contains_key(&redeem.id)
            && self.admits(&redeem.identities)
            && self.admits_attempt(&redeem.attempt())
    }

    /// Carries a redemption out; that it may be is the caller's to know.
    fn redeem(&mut self, redeem: Redeem) -> NodeRecord {
        if let Some(token) = redeem.approval.token_id().and_then(|id| self.tokens.get_mut(&id)) {
            token.uses = token.uses.saturating_add(1);
        }
        let node = self.enrolled(&redeem);
        self.journal(redeem.event());
        self.insert_attempt(redeem.attempt());
        self.revoke_identities(node.id, redeem.at, |_| true);
        self.close_redemptions(&node.name, redeem.at);
        self.insert_node(node.clone());
        for mut identity in redeem.identities {
            identity.node_id = node.id;
            self.insert_identity(identity);
        }
        let redemption = RedemptionRecord {
            id: redeem.id,
            token_id: redeem.approval.token_id(),
            method: redeem.approval.method(),
            node_id: node.id,
            node_name: node.name.clone(),
            at: redeem.at,
            source_ip: redeem.origin.source_ip,
            claim: redeem.approval.claim(),
            closed_at: None,
        };
        self.redemption_names.insert(redemption.id, node.name.clone());
        self.redemptions.insert((node.name.clone(), redemption.id), redemption);
        node
    }

    /// The node as the redemption leaves it.
    fn enrolled(&self, redeem: &Redeem) -> NodeRecord {
        let before = match redeem.approval.take() {
            Take::Free => None,
            Take::Pending(_) | Take::Held(_) => self.nodes.get(redeem.approval.node_name()),
        };
        redeem.node(before)
    }

    /// The node that holds the name, if the redemption is still open at `at`.
    fn open_to(&self, redemption: &RedemptionRecord, at: Timestamp) -> Option<&NodeRecord> {
        let now = self.redemptions.get(&(redemption.node_name.clone(), redemption.id))?;
        let node = self.nodes.get(&now.node_name)?;
        let holds = node.id == now.node_id && node.state != TrustState::Pending;
        (now.is_open(at) && holds).then_some(node)
    }

    fn redeliver(&mut self, redeliver: Redeliver, node: &NodeRecord) {
        let redemption = redeliver.redelivery.redemption().id;
        for replacement in &redeliver.replacements {
            let kind = replacement.credential.kind();
            self.revoke_identities(node.id, redeliver.at, |identity| {
                identity.redemption_id == redemption && identity.credential.kind() == kind
            });
        }
        for mut replacement in redeliver.replacements {
            replacement.node_id = node.id;
            self.insert_identity(replacement);
        }
        self.insert_attempt(redeliver.attempt);
        self.journal(redeliver.event);
    }
}
