//! A store that overwrites where it should lose, and upserts where it should insert.

use std::future::Future;

use enroll_core::decorate_store;
use enroll_core::model::{
    AdminRecord, BearerDigest, Event, RedemptionId, RedemptionRecord, Snapshot, Timestamp, TokenId,
    TokenRecord,
};
use enroll_core::store::{
    Admins, Lookup, MemoryStore, Mint, MintOutcome, Page, Redeem, RedeemOutcome, Redeliver,
    RedeliverOutcome, Redemptions, RevokeOutcome, StoreError, Tokens,
};
use enroll_core::testing::{Decorator, Operation};

use super::{breaks, token_is_good};

struct Overwriting(MemoryStore);

impl Decorator for Overwriting {
    type Inner = MemoryStore;

    fn inner(&self) -> &MemoryStore {
        &self.0
    }

    async fn around<T: Send>(
        &self,
        _operation: Operation,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        call.await
    }
}
decorate_store! { Overwriting: Nodes Identities Commands Settings Journal Masters Probe }

#[async_trait::async_trait]
impl Redemptions for Overwriting {
    async fn look_up(&self, lookup: Lookup<'_>) -> Result<Snapshot, StoreError> {
        self.0.look_up(lookup).await
    }

    /// Looks at the token and not at the name, and at no serial.
    async fn redeem(&self, redeem: Redeem) -> Result<RedeemOutcome, StoreError> {
        let lookup = Lookup {
            token_id: redeem.approval.token_id(),
            node_name: Some(redeem.approval.node_name()),
            claim: redeem.approval.claim(),
        };
        let seen = self.0.look_up(lookup).await?;
        if !token_is_good(&redeem, &seen) {
            return Ok(RedeemOutcome::Lost(Box::new(seen)));
        }
        Ok(RedeemOutcome::Enrolled(Box::new(self.0.danger_redeem_unchecked(redeem))))
    }

    async fn redeliver(&self, redeliver: Redeliver) -> Result<RedeliverOutcome, StoreError> {
        self.0.redeliver(redeliver).await
    }
}

#[async_trait::async_trait]
impl Tokens for Overwriting {
    async fn mint(&self, mint: Mint) -> Result<MintOutcome, StoreError> {
        if self.0.token(mint.token.id).await?.is_some() {
            self.0.danger_put_token(mint.token);
            return Ok(MintOutcome::Minted(None));
        }
        self.0.mint(mint).await
    }

    async fn token(&self, id: TokenId) -> Result<Option<TokenRecord>, StoreError> {
        self.0.token(id).await
    }

    async fn tokens(
        &self,
        page: Page<TokenId>,
        live_at: Option<Timestamp>,
    ) -> Result<Vec<TokenRecord>, StoreError> {
        self.0.tokens(page, live_at).await
    }

    async fn revoke(
        &self,
        id: TokenId,
        at: Timestamp,
        event: Event,
    ) -> Result<Option<RevokeOutcome>, StoreError> {
        self.0.revoke(id, at, event).await
    }

    async fn redemptions(
        &self,
        id: TokenId,
        page: Page<RedemptionId>,
    ) -> Result<Vec<RedemptionRecord>, StoreError> {
        self.0.redemptions(id, page).await
    }
}

#[async_trait::async_trait]
impl Admins for Overwriting {
    async fn insert_admin(&self, admin: AdminRecord, event: Event) -> Result<bool, StoreError> {
        self.0.danger_remove_admin(&admin.name, event.clone());
        self.0.insert_admin(admin, event).await
    }

    async fn admin(&self, digest: BearerDigest) -> Result<Option<AdminRecord>, StoreError> {
        self.0.admin(digest).await
    }

    async fn admins(&self) -> Result<Vec<AdminRecord>, StoreError> {
        self.0.admins().await
    }

    async fn remove_admin(&self, name: &str, event: Event) -> Result<bool, StoreError> {
        self.0.remove_admin(name, event).await
    }
}

#[test]
fn the_laws_of_names_and_collisions_tell_it() {
    breaks(
        &[
            "r3_many_tokens_for_one_free_name_have_one_winner",
            "r3_two_tokens_for_one_free_name_have_one_winner",
            "r3_free_is_lost_once_the_name_is_held",
            "r3_free_is_lost_once_the_name_is_pending",
            "r3_a_token_minted_before_the_deletion_loses",
            "r3_a_token_minted_at_the_deletion_loses",
            "r3_a_secret_set_before_the_deletion_loses",
            "r3_pending_is_lost_once_the_name_is_held",
            "r3_pending_is_lost_once_the_name_is_another_nodes",
            "r3_held_is_lost_once_the_holder_is_gone",
            "r3_held_is_lost_once_the_holder_is_another",
            "r3_held_is_lost_once_an_attempt_to_fuse_began",
            "r3_secret_does_not_replace_what_a_token_made_meanwhile",
            "r5_a_lost_redemption_wrote_nothing",
            "r7_a_collision_writes_nothing",
            "r7_a_revoked_identity_keeps_its_serial",
            "t2_an_id_minted_twice_is_a_collision",
            "n1_one_node_has_a_name",
            "a1_a_name_is_given_once",
            "a1_many_inserts_of_one_name_give_it_once",
        ],
        || Overwriting(MemoryStore::new()),
    );
}
