//! A store that checks first and acts later. Nothing but real concurrency tells it from a good one.

use std::future::Future;
use std::time::Duration;

use enroll_core::model::{Role, Snapshot};
use enroll_core::store::{
    Admins, Lookup, MemoryStore, Redeem, RedeemOutcome, Redeliver, RedeliverOutcome, Redemptions,
    Setting, Settings, StoreError,
};
use enroll_core::testing::{Decorator, Operation};
use enroll_core::{decorate_store, model};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{breaks, broken, name_is_as_approved, token_is_good};

struct Racy {
    store: MemoryStore,
    checked: Notify,
}

impl Decorator for Racy {
    type Inner = MemoryStore;

    fn inner(&self) -> &MemoryStore {
        &self.store
    }

    async fn around<T: Send>(
        &self,
        _operation: Operation,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        call.await
    }
}
decorate_store! { Racy: Tokens Nodes Identities Commands Journal Masters Probe }

impl Racy {
    /// Lets time go by between check and act: until somebody else has checked too, if anybody does.
    async fn think(&self) {
        self.checked.notify_waiters();
        // Who is alone has nobody to wait for, and acts in the end.
        let _alone = timeout(Duration::from_millis(50), self.checked.notified()).await;
    }
}

#[async_trait::async_trait]
impl Redemptions for Racy {
    async fn look_up(&self, lookup: Lookup<'_>) -> Result<Snapshot, StoreError> {
        self.store.look_up(lookup).await
    }

    async fn redeem(&self, redeem: Redeem) -> Result<RedeemOutcome, StoreError> {
        let lookup = Lookup {
            token_id: redeem.approval.token_id(),
            node_name: Some(redeem.approval.node_name()),
            claim: redeem.approval.claim(),
        };
        let seen = self.store.look_up(lookup).await?;
        if !token_is_good(&redeem, &seen) || !name_is_as_approved(&redeem, &seen) {
            return Ok(RedeemOutcome::Lost(Box::new(seen)));
        }
        self.think().await;
        Ok(RedeemOutcome::Enrolled(Box::new(self.store.danger_redeem_unchecked(redeem))))
    }

    async fn redeliver(&self, redeliver: Redeliver) -> Result<RedeliverOutcome, StoreError> {
        self.store.redeliver(redeliver).await
    }
}

#[async_trait::async_trait]
impl Admins for Racy {
    async fn insert_admin(
        &self,
        admin: model::AdminRecord,
        event: model::Event,
    ) -> Result<bool, StoreError> {
        self.store.insert_admin(admin, event).await
    }

    async fn admin(
        &self,
        digest: model::BearerDigest,
    ) -> Result<Option<model::AdminRecord>, StoreError> {
        self.store.admin(digest).await
    }

    async fn admins(&self) -> Result<Vec<model::AdminRecord>, StoreError> {
        self.store.admins().await
    }

    async fn remove_admin(&self, name: &str, event: model::Event) -> Result<bool, StoreError> {
        let admins = self.store.admins().await?;
        let others = admins.iter().any(|other| other.role == Role::Admin && other.name != name);
        let there = admins.iter().any(|admin| admin.name == name);
        if !there || !others {
            return Ok(false);
        }
        self.think().await;
        self.store.danger_remove_admin(name, event);
        Ok(true)
    }
}

#[async_trait::async_trait]
impl Settings for Racy {
    async fn setting(&self, key: &str) -> Result<Option<Setting>, StoreError> {
        self.store.setting(key).await
    }

    async fn put_setting(
        &self,
        key: &str,
        value: String,
        expected: u64,
        event: model::Event,
    ) -> Result<bool, StoreError> {
        let seen = self.store.setting(key).await?;
        if seen.map_or(0, |setting| setting.version) != expected {
            return Ok(false);
        }
        self.think().await;
        loop {
            let now = self.store.setting(key).await?.map_or(0, |setting| setting.version);
            if self.store.put_setting(key, value.clone(), now, event.clone()).await? {
                return Ok(true);
            }
        }
    }
}

fn fresh() -> Racy {
    Racy { store: MemoryStore::new(), checked: Notify::new() }
}

#[test]
fn the_contested_laws_tell_it() {
    breaks(
        &[
            "r2_one_of_64_claimants_of_a_one_shot_token_wins",
            "r2_a_counted_token_serves_exactly_its_count",
            "r2_of_many_contested_tokens_each_is_spent_once",
            "r2_two_calls_of_one_claimant_spend_one_use",
            "r2_redeem_racing_revoke_has_one_winner",
            "r2_redeem_racing_regenerate_has_one_winner",
            "r2_redeem_racing_delete_leaves_nothing_alive",
            "r3_many_tokens_for_one_free_name_have_one_winner",
            "r3_two_tokens_for_one_free_name_have_one_winner",
            "n1_one_node_has_a_name",
            "a3_two_admins_do_not_remove_each_other",
            "c1_of_many_changes_at_once_one_is_made",
        ],
        fresh,
    );
}

/// So that the laws above are known to need their concurrency.
#[test]
fn one_call_after_the_other_does_not() {
    let broken = broken(
        &[
            "r2_a_use_that_went_since_the_look_up_is_gone",
            "r2_a_token_revoked_since_the_look_up_is_lost",
            "r3_free_is_lost_once_the_name_is_held",
            "r3_a_token_minted_before_the_deletion_loses",
            "r5_a_lost_redemption_wrote_nothing",
            "a3_the_last_admin_stays",
            "c1_a_setting_is_written_by_who_knows_its_version",
        ],
        fresh,
    );
    assert_eq!(broken, []);
}
