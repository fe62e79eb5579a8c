use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use super::{MemoryStore, State, page};
use crate::model::{Event, Health, NodeName, NodeRecord, Timestamp};
use crate::store::{
    Beat, DeleteOutcome, NodeCount, NodeFilter, Nodes, Page, StoreError, Transition,
};

#[async_trait]
impl Nodes for MemoryStore {
    async fn node(&self, name: &NodeName) -> Result<Option<NodeRecord>, StoreError> {
        Ok(self.state().nodes.get(name).cloned())
    }

    async fn nodes(
        &self,
        wanted: Page<NodeName>,
        filter: NodeFilter,
    ) -> Result<Vec<NodeRecord>, StoreError> {
        let state = self.state();
        let rows = state.nodes.values().filter(|node| passes(node, &filter)).cloned();
        let Page { after, limit } = &wanted;
        Ok(page(Page { after: after.as_ref(), limit: *limit }, rows, |node, seen| {
            node.name > *seen
        }))
    }

    async fn count_nodes(
        &self,
        at: Timestamp,
        stale_after: Duration,
    ) -> Result<Vec<NodeCount>, StoreError> {
        let mut counts = BTreeMap::new();
        for node in self.state().nodes.values() {
            *counts.entry((node.state, node.health(at, stale_after))).or_insert(0) += 1;
        }
        let count = |((state, health), nodes)| NodeCount { state, health, nodes };
        Ok(counts.into_iter().map(count).collect())
    }

    async fn set_cordon(
        &self,
        name: &NodeName,
        cordoned: bool,
        event: Event,
    ) -> Result<Option<NodeRecord>, StoreError> {
        let mut state = self.state();
        let Some(node) = state.nodes.get_mut(name) else { return Ok(None) };
        let changed = node.cordoned != cordoned;
        node.cordoned = cordoned;
        let node = node.clone();
        if changed {
            state.journal(event);
        }
        Ok(Some(node))
    }

    async fn delete_node(
        &self,
        name: &NodeName,
        at: Timestamp,
        event: Event,
    ) -> Result<DeleteOutcome, StoreError> {
        let mut state = self.state();
        let Some(node) = state.nodes.remove(name) else { return Ok(DeleteOutcome::NoSuchNode) };
        state.node_names.remove(&node.id);
        state.deleted.insert(name.clone(), at);
        state.forget_commands(node.id, |_| true);
        state.revoke_identities(node.id, at, |_| true);
        state.revoke_bound(name, at);
        state.close_redemptions(name, at);
        state.journal(event);
        self.changed();
        Ok(DeleteOutcome::Deleted(Box::new(node)))
    }

    async fn transition(&self, step: Transition) -> Result<Option<NodeRecord>, StoreError> {
        let mut state = self.state();
        let Some(name) = state.node_names.get(&step.node_id).cloned() else { return Ok(None) };
        let Some(node) = state.nodes.get_mut(&name) else { return Ok(None) };
        if node.state != step.from || node.fuse_attempt() != step.attempt {
            return Ok(None);
        }
        node.state = step.to;
        node.fuse = Some(step.fuse);
        let node = node.clone();
        if let Some(event) = step.event {
            state.journal(event);
        }
        Ok(Some(node))
    }

    async fn record_beats(&self, beats: Vec<Beat>) -> Result<(), StoreError> {
        let mut state = self.state();
        beats.into_iter().for_each(|beat| state.record_beat(beat));
        Ok(())
    }
}

impl State {
    fn record_beat(&mut self, beat: Beat) {
        let name = self.node_names.get(&beat.node_id);
        let Some(node) = name.and_then(|name| self.nodes.get_mut(name)) else { return };
        let overtaken =
            |since: Option<Timestamp>| since.is_some_and(|since| beat.is_overtaken_by(since));
        if overtaken(node.last_seen_at) || overtaken(node.enrolled_at) {
            return;
        }
        node.last_seen_at = Some(beat.at);
        if let Some(facts) = beat.facts {
            node.facts = facts;
        }
    }
}

fn passes(node: &NodeRecord, filter: &NodeFilter) -> bool {
    filter.status.is_none_or(|(status, at, stale_after)| node.status(at, stale_after) == status)
        && filter.state.is_none_or(|state| node.state == state)
        && filter.degraded.is_none_or(|(wanted, at, stale_after)| {
            (node.health(at, stale_after) == Health::Degraded) == wanted
        })
        && filter.arch.as_ref().is_none_or(|arch| node.facts.arch.as_ref() == Some(arch))
}
