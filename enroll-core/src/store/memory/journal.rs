use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use super::{MemoryStore, State, collision, page};
use crate::model::{AttemptId, AttemptRecord, Event, JournalledEvent, NodeName};
use crate::store::{ATTEMPTS_PER_NAME, EVENTS, Journal, Page, StoreError, UNPROVEN_ATTEMPTS};

#[async_trait]
impl Journal for MemoryStore {
    async fn record_attempts(&self, attempts: Vec<AttemptRecord>) -> Result<(), StoreError> {
        let mut state = self.state();
        let mut ids = BTreeSet::new();
        if !attempts.iter().all(|attempt| ids.insert(attempt.id) && state.admits_attempt(attempt)) {
            return Err(collision("record attempts"));
        }
        attempts.into_iter().for_each(|attempt| state.insert_attempt(attempt));
        Ok(())
    }

    async fn attempts(
        &self,
        name: &NodeName,
        wanted: Page<AttemptId>,
    ) -> Result<Vec<AttemptRecord>, StoreError> {
        let state = self.state();
        let proven = state.proven.get(&Some(name.clone())).into_iter().flat_map(BTreeMap::values);
        let unproven =
            state.unproven.values().filter(|attempt| attempt.node_name.as_ref() == Some(name));
        let mut rows: Vec<_> = proven.chain(unproven).cloned().collect();
        rows.sort_by_key(|attempt| std::cmp::Reverse(attempt.id));
        Ok(page(wanted, rows.into_iter(), |attempt, seen| attempt.id < seen))
    }

    async fn record_events(&self, events: Vec<Event>) -> Result<(), StoreError> {
        let mut state = self.state();
        events.into_iter().for_each(|event| state.journal(event));
        Ok(())
    }

    async fn events(&self, wanted: Page<u64>) -> Result<Vec<JournalledEvent>, StoreError> {
        let state = self.state();
        Ok(page(wanted, state.events.iter().cloned(), |row, seen| row.seq > seen))
    }
}

impl State {
    pub(super) fn journal(&mut self, event: Event) {
        self.last_seq += 1;
        self.events.push_back(JournalledEvent { seq: self.last_seq, event });
        if self.events.len() > EVENTS as usize {
            self.events.pop_front();
        }
    }

    pub(super) fn admits_attempt(&self, attempt: &AttemptRecord) -> bool {
        let there =
            self.proven.get(&attempt.node_name).is_some_and(|r| r.contains_key(&attempt.id));
        !there && !self.unproven.contains_key(&attempt.id)
    }

    pub(super) fn insert_attempt(&mut self, attempt: AttemptRecord) {
        let (ring, bound) = if attempt.proven {
            (self.proven.entry(attempt.node_name.clone()).or_default(), ATTEMPTS_PER_NAME)
        } else {
            (&mut self.unproven, UNPROVEN_ATTEMPTS)
        };
        ring.insert(attempt.id, attempt);
        if ring.len() > bound as usize {
            ring.pop_first();
        }
    }
}
