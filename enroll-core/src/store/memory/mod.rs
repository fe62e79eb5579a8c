//! The reference store: every contract of the traits, as plainly as it can be said.
//!
//! One lock over plain maps, so that every operation stands at one instant because nothing else
//! happens meanwhile. Each checks all it has to check before it writes the first thing, so that what
//! fails has written nothing.

mod commands;
mod identities;
mod journal;
mod masters;
mod nodes;
mod redemptions;
mod settings;
mod tokens;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::{Page, Setting, StoreError, StoreErrorKind};
use crate::model::{
    AdminRecord, AttemptId, AttemptRecord, BearerDigest, CommandId, CommandRecord,
    CredentialRecord, IdentityId, IdentityRecord, JournalledEvent, MasterId, NodeId, NodeName,
    NodeRecord, RedemptionId, RedemptionRecord, Serial, Timestamp, TokenId, TokenRecord,
};

/// A store in memory: the reference the others are held against, and what tests run on.
///
/// It keeps every contract but durability: **what it holds dies with it**. A master that restarts
/// on it has forgotten which tokens are spent, so it is no store to run a fleet on.
#[derive(Default)]
pub struct MemoryStore {
    state: Mutex<State>,
    /// How often something was changed that others wait for.
    changes: watch::Sender<u64>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No operation stops half way, so what a panicking holder left behind is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("MemoryStore")
            .field("tokens", &state.tokens.len())
            .field("nodes", &state.nodes.len())
            .finish_non_exhaustive()
    }
}

/// How many nodes that were touched last are kept.
const TOUCHED: usize = 1000;

/// What a credential is found by, and unique in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum CredentialKey {
    Serial(Serial),
    ApiKey(BearerDigest),
}

impl CredentialKey {
    fn of(credential: &CredentialRecord) -> Option<Self> {
        match credential {
            CredentialRecord::X509 { serial, .. } => Some(Self::Serial(*serial)),
            CredentialRecord::ApiKey { digest } => Some(Self::ApiKey(*digest)),
            CredentialRecord::External { .. } => None,
        }
    }
}

#[derive(Default)]
struct State {
    tokens: BTreeMap<TokenId, TokenRecord>,
    /// Nodes that are not deleted; the key makes their names unique.
    nodes: BTreeMap<NodeName, NodeRecord>,
    node_names: BTreeMap<NodeId, NodeName>,
    /// When the last holder of a name was deleted.
    deleted: BTreeMap<NodeName, Timestamp>,
    /// By name first, so that all of one name lie together.
    redemptions: BTreeMap<(NodeName, RedemptionId), RedemptionRecord>,
    redemption_names: BTreeMap<RedemptionId, NodeName>,
    /// By node first, so that all of one node lie together.
    identities: BTreeMap<(NodeId, IdentityId), IdentityRecord>,
    identity_nodes: BTreeMap<IdentityId, NodeId>,
    credentials: BTreeMap<CredentialKey, IdentityId>,
    /// By node first, then in the order they were queued.
    commands: BTreeMap<(NodeId, u64), CommandRecord>,
    command_places: BTreeMap<CommandId, (NodeId, u64)>,
    last_command: u64,
    admins: BTreeMap<String, AdminRecord>,
    settings: BTreeMap<String, Setting>,
    /// Proven attempts, by the name they claimed.
    proven: BTreeMap<Option<NodeName>, BTreeMap<AttemptId, AttemptRecord>>,
    unproven: BTreeMap<AttemptId, AttemptRecord>,
    events: VecDeque<JournalledEvent>,
    /// Who does what, and until when.
    duties: BTreeMap<String, (MasterId, Instant)>,
    /// The nodes that were touched last, and how many were in all.
    touched: VecDeque<NodeId>,
    touches: u64,
    last_seq: u64,
}

impl State {
    fn identity(&self, id: IdentityId) -> Option<&IdentityRecord> {
        self.identities.get(&(*self.identity_nodes.get(&id)?, id))
    }

    fn identity_mut(&mut self, id: IdentityId) -> Option<&mut IdentityRecord> {
        self.identities.get_mut(&(*self.identity_nodes.get(&id)?, id))
    }

    fn identities_of(&self, node: NodeId) -> impl Iterator<Item = &IdentityRecord> {
        self.identities.range(all_of(node)).map(|(_, identity)| identity)
    }

    fn identities_of_mut(&mut self, node: NodeId) -> impl Iterator<Item = &mut IdentityRecord> {
        self.identities.range_mut(all_of(node)).map(|(_, identity)| identity)
    }

    fn redemption_mut(&mut self, id: RedemptionId) -> Option<&mut RedemptionRecord> {
        self.redemptions.get_mut(&(self.redemption_names.get(&id)?.clone(), id))
    }

    fn insert_node(&mut self, node: NodeRecord) {
        let id = node.id;
        if let Some(former) = self.nodes.insert(node.name.clone(), node.clone()) {
            self.node_names.remove(&former.id);
        }
        self.node_names.insert(id, node.name);
    }

    /// Whether all of `fresh` may be inserted: no id, serial or digest is there, or there twice.
    fn admits(&self, fresh: &[IdentityRecord]) -> bool {
        let (mut ids, mut keys) = (BTreeSet::new(), BTreeSet::new());
        fresh.iter().all(|identity| {
            let key = CredentialKey::of(&identity.credential);
            !self.identity_nodes.contains_key(&identity.id)
                && ids.insert(identity.id)
                && key.is_none_or(|key| !self.credentials.contains_key(&key) && keys.insert(key))
        })
    }

    fn insert_identity(&mut self, identity: IdentityRecord) {
        if let Some(key) = CredentialKey::of(&identity.credential) {
            self.credentials.insert(key, identity.id);
        }
        self.identity_nodes.insert(identity.id, identity.node_id);
        self.identities.insert((identity.node_id, identity.id), identity);
    }

    /// Revokes those of a node's identities that `which` says.
    fn revoke_identities(
        &mut self,
        node: NodeId,
        at: Timestamp,
        which: impl Fn(&IdentityRecord) -> bool,
    ) {
        let mut revoked = false;
        for identity in self.identities_of_mut(node).filter(|identity| which(identity)) {
            revoked |= identity.revoked_at.is_none();
            identity.revoked_at.get_or_insert(at);
        }
        if revoked {
            self.touch(node);
        }
    }

    fn touch(&mut self, node: NodeId) {
        self.touches += 1;
        self.touched.push_back(node);
        if self.touched.len() > TOUCHED {
            self.touched.pop_front();
        }
    }

    fn close_redemptions(&mut self, name: &NodeName, at: Timestamp) {
        for (_, redemption) in self.redemptions.range_mut(under(name)) {
            redemption.closed_at.get_or_insert(at);
        }
    }
}

fn all_of(node: NodeId) -> RangeInclusive<(NodeId, IdentityId)> {
    (node, IdentityId::from_bytes([0; 16]))..=(node, IdentityId::from_bytes([255; 16]))
}

fn under(name: &NodeName) -> RangeInclusive<(NodeName, RedemptionId)> {
    let end = |byte| (name.clone(), RedemptionId::from_bytes([byte; 16]));
    end(0)..=end(255)
}

fn collision(operation: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Collision, operation)
}

/// Those of `rows`, sorted as the list is, that the page holds; `after` says whether a row comes
/// after the last one already seen.
fn page<K: Copy, T: Clone>(
    page: Page<K>,
    rows: impl Iterator<Item = T>,
    after: impl Fn(&T, K) -> bool,
) -> Vec<T> {
    rows.filter(|row| page.after.is_none_or(|seen| after(row, seen)))
        .take(usize::try_from(page.limit).unwrap_or(usize::MAX))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn it_is_a_whole_store_and_shows_no_more_than_counts() {
        fn whole(_: &dyn Store) {}
        let store = MemoryStore::new();
        whole(&store);
        assert_eq!(format!("{store:?}"), "MemoryStore { tokens: 0, nodes: 0, .. }");
    }
}
