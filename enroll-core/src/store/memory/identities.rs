use std::collections::BTreeSet;

use async_trait::async_trait;

use super::{CredentialKey, MemoryStore, State, collision};
use crate::model::{
    CommandStatus, CredentialKind, CredentialRecord, IdentityId, IdentityRecord, NodeRecord,
    Sha256, Timestamp,
};
use crate::store::{
    Identities, IdentityKey, Mark, Member, RenewOutcome, Renewal, Standing, StoreError, Touched,
    UseOutcome,
};

#[async_trait]
impl Identities for MemoryStore {
    async fn member(&self, key: IdentityKey) -> Result<Option<Member>, StoreError> {
        let state = self.state();
        let key = match key {
            IdentityKey::Serial(serial) => CredentialKey::Serial(serial),
            IdentityKey::ApiKey(digest) => CredentialKey::ApiKey(digest),
        };
        let identity = state.credentials.get(&key).and_then(|id| state.identity(*id));
        Ok(identity.map(|identity| {
            let node = state.holder(identity);
            Member {
                identity: identity.clone(),
                node: node.cloned(),
                has_open_commands: node.is_some_and(|it| state.open(it.id).next().is_some()),
            }
        }))
    }

    async fn standing(&self, ids: Vec<IdentityId>) -> Result<Vec<Standing>, StoreError> {
        let state = self.state();
        Ok(ids.into_iter().filter_map(|id| state.standing(id)).collect())
    }

    async fn touched(&self, since: Option<Mark>) -> Result<Touched, StoreError> {
        let state = self.state();
        // As many of the last as happened since, if that many are kept.
        let count = since.and_then(|since| state.touches.checked_sub(since.0));
        let first = count.and_then(|count| {
            let count = usize::try_from(count).ok()?;
            state.touched.len().checked_sub(count)
        });
        let nodes = first.map(|first| state.touched.range(first..).copied().collect());
        Ok(Touched { mark: Mark(state.touches), nodes })
    }

    async fn mark_used(&self, id: IdentityId, at: Timestamp) -> Result<UseOutcome, StoreError> {
        Ok(self.state().mark_used(id, at))
    }

    async fn successor(
        &self,
        predecessor: IdentityId,
        key_digest: Sha256,
    ) -> Result<Option<IdentityRecord>, StoreError> {
        let state = self.state();
        let same_key = |identity: &IdentityRecord| {
            matches!(&identity.credential,
                CredentialRecord::X509 { key_digest: digest, .. } if *digest == key_digest)
        };
        Ok(state
            .identities
            .values()
            .find(|identity| {
                identity.predecessor == Some(predecessor)
                    && identity.revoked_at.is_none()
                    && same_key(identity)
            })
            .cloned())
    }

    async fn external(
        &self,
        kind: CredentialKind,
        external_ids: Vec<String>,
    ) -> Result<Vec<IdentityRecord>, StoreError> {
        let wanted: BTreeSet<String> = external_ids.into_iter().collect();
        let is_wanted = |identity: &&IdentityRecord| {
            matches!(&identity.credential,
                CredentialRecord::External { kind: made_by, external_id }
                    if *made_by == kind && wanted.contains(external_id))
        };
        Ok(self.state().identities.values().filter(is_wanted).cloned().collect())
    }

    async fn renew(&self, renewal: Renewal) -> Result<RenewOutcome, StoreError> {
        self.state().renew(renewal)
    }
}

impl State {
    /// The node an identity belongs to, unless it is gone.
    fn holder(&self, identity: &IdentityRecord) -> Option<&NodeRecord> {
        self.nodes.get(&identity.node_name).filter(|node| node.id == identity.node_id)
    }

    fn standing(&self, id: IdentityId) -> Option<Standing> {
        let identity = self.identity(id).filter(|found| found.revoked_at.is_none())?;
        let node = self.holder(identity)?.id;
        let called = self.open(node).any(|it| it.status == CommandStatus::Queued);
        Some(Standing { id, called })
    }

    fn mark_used(&mut self, id: IdentityId, at: Timestamp) -> UseOutcome {
        let Some(identity) = self.identity_mut(id).filter(|found| found.revoked_at.is_none())
        else {
            return UseOutcome::Revoked;
        };
        if identity.first_used_at.is_some() {
            return UseOutcome::Again;
        }
        identity.first_used_at = Some(at);
        let (predecessor, redemption) = (identity.predecessor, identity.redemption_id);
        if let Some(predecessor) = predecessor.and_then(|id| self.identity(id)) {
            let (predecessor, node) = (predecessor.id, predecessor.node_id);
            self.revoke_identities(node, at, |identity| identity.id == predecessor);
        }
        if let Some(redemption) = self.redemption_mut(redemption) {
            redemption.closed_at.get_or_insert(at);
        }
        UseOutcome::First
    }

    fn renew(&mut self, renewal: Renewal) -> Result<RenewOutcome, StoreError> {
        let predecessor = renewal.successor.predecessor.and_then(|id| self.identity(id));
        let Some(predecessor) =
            predecessor.filter(|found| found.revoked_at.is_none() && self.holder(found).is_some())
        else {
            return Ok(RenewOutcome::Revoked);
        };
        if !self.admits(std::slice::from_ref(&renewal.successor)) {
            return Err(collision("renew an identity"));
        }
        let (predecessor, node) = (predecessor.id, predecessor.node_id);
        let kind = renewal.successor.credential.kind();
        self.revoke_identities(node, renewal.at, |identity| {
            identity.predecessor == Some(predecessor)
                && identity.first_used_at.is_none()
                && identity.credential.kind() == kind
        });
        self.insert_identity(renewal.successor);
        self.journal(renewal.event);
        Ok(RenewOutcome::Renewed)
    }
}
