//! Redemptions as the statements take them: a column for each value.

use std::sync::Arc;

use enroll_core::store::{ATTEMPTS_PER_NAME, Redeem};
use tokio_postgres::types::ToSql;

use crate::error::Failure;
use crate::identities::Columns;
use crate::tokens::SHARDS;
use crate::{nodes, rows};

/// Redemptions as columns, each a parameter of the statements.
#[derive(Default)]
pub(crate) struct Given<'a> {
    name_keys: Vec<i64>,
    ids: Vec<uuid::Uuid>,
    instants: Vec<i64>,
    token_ids: Vec<Option<String>>,
    methods: Vec<&'static str>,
    node_ids: Vec<uuid::Uuid>,
    names: Vec<&'a str>,
    facts: Vec<String>,
    archs: Vec<Option<String>>,
    minted_at: Vec<i64>,
    addresses: Vec<Option<String>>,
    claims: Vec<Option<Vec<u8>>>,
    events: Vec<String>,
    fuses: Vec<Option<uuid::Uuid>>,
    identities: Columns<'a>,
}

impl<'a> Given<'a> {
    pub(crate) fn of(redeems: &'a [Arc<Redeem>]) -> Result<Self, Failure> {
        let mut given = Self::default();
        for redeem in redeems {
            given.push(redeem)?;
        }
        Ok(given)
    }

    fn push(&mut self, redeem: &'a Redeem) -> Result<(), Failure> {
        let approval = &redeem.approval;
        let claim = approval.claim().map(|claim| claim.digest().as_bytes().to_vec());
        self.name_keys.push(nodes::name_key(approval.node_name()));
        self.ids.push(rows::uuid(redeem.id.as_bytes()));
        self.instants.push(redeem.at.unix_millis());
        self.token_ids.push(approval.token_id().map(|id| id.to_string()));
        self.methods.push(approval.method().as_str());
        self.node_ids.push(rows::uuid(redeem.node_id().as_bytes()));
        self.names.push(approval.node_name().as_str());
        self.facts.push(rows::json(&redeem.facts)?);
        self.archs.push(crate::beats::arch(&redeem.facts));
        self.minted_at.push(approval.minted_at().unix_millis());
        self.addresses.push(redeem.origin.source_ip.map(|ip| ip.to_string()));
        self.claims.push(claim);
        self.events.push(rows::json(&redeem.event())?);
        self.fuses.push(approval.fuse().map(|attempt| rows::uuid(attempt.as_bytes())));
        self.identities.extend(&redeem.identities, Some(redeem.node_id()))
    }

    /// `$1` to `$4` of [`LOCK`](crate::redeem_statements::LOCK).
    pub(crate) fn lock_values(&self) -> [&(dyn ToSql + Sync); 4] {
        [&self.name_keys, &self.node_ids, &self.token_ids, &SHARDS]
    }

    /// `$1` to `$29` of [`REDEEM_FREE`](crate::redeem_statements::REDEEM_FREE) and its like.
    pub(crate) fn redeem_values(&self) -> [&(dyn ToSql + Sync); 29] {
        let new = &self.identities;
        [
            &self.ids,
            &self.instants,
            &self.token_ids,
            &self.methods,
            &self.node_ids,
            &self.names,
            &self.facts,
            &self.archs,
            &self.minted_at,
            &self.addresses,
            &self.claims,
            &self.events,
            &self.fuses,
            &const { ATTEMPTS_PER_NAME as i64 - 1 },
            &new.ids,
            &new.node_ids,
            &new.node_names,
            &new.redemption_ids,
            &new.predecessors,
            &new.kinds,
            &new.serials,
            &new.key_digests,
            &new.certificates,
            &new.api_key_digests,
            &new.external_ids,
            &new.issued_at,
            &new.expires_at,
            &new.first_used_at,
            &SHARDS,
        ]
    }
}
