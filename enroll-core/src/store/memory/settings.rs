use async_trait::async_trait;

use super::{MemoryStore, collision};
use crate::model::{AdminRecord, BearerDigest, Event, Role};
use crate::store::{Admins, Finding, Probe, Setting, Settings, StoreError};

#[async_trait]
impl Admins for MemoryStore {
    async fn insert_admin(&self, admin: AdminRecord, event: Event) -> Result<bool, StoreError> {
        let mut state = self.state();
        if state.admins.contains_key(&admin.name) {
            return Ok(false);
        }
        if state.admins.values().any(|other| other.digest == admin.digest) {
            return Err(collision("add an operator"));
        }
        state.admins.insert(admin.name.clone(), admin);
        state.journal(event);
        Ok(true)
    }

    async fn admin(&self, digest: BearerDigest) -> Result<Option<AdminRecord>, StoreError> {
        Ok(self.state().admins.values().find(|admin| admin.digest == digest).cloned())
    }

    async fn admins(&self) -> Result<Vec<AdminRecord>, StoreError> {
        Ok(self.state().admins.values().cloned().collect())
    }

    async fn remove_admin(&self, name: &str, event: Event) -> Result<bool, StoreError> {
        let mut state = self.state();
        let others =
            state.admins.values().any(|other| other.role == Role::Admin && other.name != name);
        match state.admins.get(name) {
            Some(admin) if admin.role != Role::Admin || others => {
                state.admins.remove(name);
                state.journal(event);
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

#[cfg(feature = "testing")]
impl MemoryStore {
    /// Removes an operator, the last admin too: what a store does that checks first and acts later.
    /// It exists so that the conformance suite can be shown to tell such a store.
    pub fn danger_remove_admin(&self, name: &str, event: Event) {
        let mut state = self.state();
        state.admins.remove(name);
        state.journal(event);
    }
}

#[async_trait]
impl Settings for MemoryStore {
    async fn setting(&self, key: &str) -> Result<Option<Setting>, StoreError> {
        Ok(self.state().settings.get(key).cloned())
    }

    async fn put_setting(
        &self,
        key: &str,
        value: String,
        expected: u64,
        event: Event,
    ) -> Result<bool, StoreError> {
        let mut state = self.state();
        if state.settings.get(key).map_or(0, |setting| setting.version) != expected {
            return Ok(false);
        }
        let version = expected.saturating_add(1);
        state.settings.insert(key.to_owned(), Setting { value, version });
        state.journal(event);
        self.changed();
        Ok(true)
    }
}

#[async_trait]
impl Probe for MemoryStore {
    async fn probe(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn diagnose(&self) -> Result<Vec<Finding>, StoreError> {
        let says = "What is in memory is gone when the master ends.";
        let next = "Give the master a store on a disk.";
        Ok(vec![Finding::bad("durability", says, next)])
    }
}
