//! Identities, as requests present them.

use std::collections::BTreeSet;

use async_trait::async_trait;
use enroll_core::model::{
    CommandStatus, CredentialKind, CredentialRecord, IdentityId, IdentityRecord, NodeId,
    RedemptionId, RedemptionRecord, Sha256, Timestamp,
};
use enroll_core::store::{
    Identities, IdentityKey, Mark, Member, RenewOutcome, Renewal, Standing, StoreError, Touched,
    UseOutcome,
};
use rusqlite::named_params;

use crate::error::Failure;
use crate::rows::identity_columns;
use crate::transaction::Transaction;
use crate::{SqliteStore, journal, redemptions, rows, touched};

#[async_trait]
impl Identities for SqliteStore {
    async fn member(&self, key: IdentityKey) -> Result<Option<Member>, StoreError> {
        self.look_up("look up an identity", move |transaction| member(transaction, key)).await
    }

    async fn standing(&self, ids: Vec<IdentityId>) -> Result<Vec<Standing>, StoreError> {
        self.read("confirm identities", move |transaction| {
            let standing = ids.iter().map(|id| standing(transaction, *id));
            standing.filter_map(Result::transpose).collect()
        })
        .await
    }

    async fn touched(&self, since: Option<Mark>) -> Result<Touched, StoreError> {
        self.read("look what was touched", move |transaction| touched::since(transaction, since))
            .await
    }

    async fn mark_used(&self, id: IdentityId, at: Timestamp) -> Result<UseOutcome, StoreError> {
        self.write("record a first use", move |transaction| mark_used(transaction, id, at)).await
    }

    async fn successor(
        &self,
        predecessor: IdentityId,
        key_digest: Sha256,
    ) -> Result<Option<IdentityRecord>, StoreError> {
        self.read("look up a renewal", move |transaction| {
            let values = named_params! {
                ":predecessor": predecessor.as_bytes(),
                ":key_digest": key_digest.as_bytes(),
            };
            transaction.find(SUCCESSOR, values, rows::identity)
        })
        .await
    }

    async fn external(
        &self,
        kind: CredentialKind,
        external_ids: Vec<String>,
    ) -> Result<Vec<IdentityRecord>, StoreError> {
        self.read("look up identities made elsewhere", move |transaction| {
            let mut found = Vec::new();
            for external_id in external_ids.iter().collect::<BTreeSet<_>>() {
                let values = named_params! { ":kind": kind.as_str(), ":external_id": external_id };
                found.extend(transaction.list(
                    IDENTITIES_BY_EXTERNAL_ID,
                    values,
                    rows::identity,
                )?);
            }
            Ok(found)
        })
        .await
    }

    async fn renew(&self, wanted: Renewal) -> Result<RenewOutcome, StoreError> {
        self.write("renew an identity", move |transaction| renew(transaction, &wanted)).await
    }
}

/// Reads all in one statement: it is asked at every call of a member.
fn member(transaction: Transaction<'_>, key: IdentityKey) -> Result<Option<Member>, Failure> {
    match key {
        IdentityKey::Serial(serial) => {
            let values = named_params! { ":serial": serial.as_bytes() };
            transaction.find(IDENTITY_BY_SERIAL, values, read_member)
        }
        IdentityKey::ApiKey(digest) => {
            let values = named_params! { ":api_key_digest": digest.as_bytes() };
            transaction.find(IDENTITY_BY_API_KEY, values, read_member)
        }
        _ => Err(Failure::Unsupported("the key of an identity")),
    }
}

fn read_member(columns: &mut rows::Columns<'_, '_>) -> Result<Member, Failure> {
    let has_open_commands = columns.get()?;
    let has_node = columns.get()?;
    let identity = rows::identity(columns)?;
    let node = if has_node { Some(rows::node(columns)?) } else { None };
    Ok(Member { identity, node, has_open_commands })
}

fn standing(transaction: Transaction<'_>, id: IdentityId) -> Result<Option<Standing>, Failure> {
    let values = named_params! { ":id": id.as_bytes(), ":queued": CommandStatus::Queued.as_str() };
    let called = transaction.find(STANDING, values, |columns| columns.get())?;
    Ok(called.map(|called| Standing { id, called }))
}

fn mark_used(
    transaction: Transaction<'_>,
    id: IdentityId,
    at: Timestamp,
) -> Result<UseOutcome, Failure> {
    let values = named_params! { ":id": id.as_bytes(), ":at": at.unix_millis() };
    let Some(identity) = transaction.find(USE_IDENTITY, values, rows::identity)? else {
        let values = named_params! { ":id": id.as_bytes() };
        let there = transaction.find(IDENTITY_BY_ID, values, rows::identity)?;
        return Ok(match there {
            Some(identity) if identity.revoked_at.is_none() => UseOutcome::Again,
            _ => UseOutcome::Revoked,
        });
    };
    if let Some(predecessor) = identity.predecessor {
        let values = named_params! { ":id": predecessor.as_bytes(), ":at": at.unix_millis() };
        transaction.execute(REVOKE_IDENTITY, values)?;
    }
    redemptions::close(transaction, identity.redemption_id, at)?;
    Ok(UseOutcome::First)
}

fn renew(transaction: Transaction<'_>, renewal: &Renewal) -> Result<RenewOutcome, Failure> {
    let Some(predecessor) = renewal.successor.predecessor else {
        return Ok(RenewOutcome::Revoked);
    };
    let values = named_params! { ":id": predecessor.as_bytes() };
    if transaction.find(RENEWABLE, values, |_| Ok(()))?.is_none() {
        return Ok(RenewOutcome::Revoked);
    }
    let kind = renewal.successor.credential.kind();
    let values = named_params! {
        ":predecessor": predecessor.as_bytes(),
        ":kind": kind.as_str(),
        ":at": renewal.at.unix_millis(),
    };
    transaction.execute(REVOKE_UNUSED_SUCCESSOR, values)?;
    insert(transaction, &renewal.successor, renewal.successor.node_id)?;
    journal::insert_event(transaction, &renewal.event)?;
    Ok(RenewOutcome::Renewed)
}

/// The identities straight from a redemption that are not revoked.
pub(crate) fn of_redemption(
    transaction: Transaction<'_>,
    redemption: &RedemptionRecord,
) -> Result<Vec<IdentityRecord>, Failure> {
    let values = named_params! {
        ":node_id": redemption.node_id.as_bytes(),
        ":redemption_id": redemption.id.as_bytes(),
    };
    transaction.list(IDENTITIES_OF_REDEMPTION, values, rows::identity)
}

/// Revokes all that a node holds.
pub(crate) fn revoke_of_node(
    transaction: Transaction<'_>,
    node_id: NodeId,
    at: Timestamp,
) -> Result<(), Failure> {
    let values = named_params! { ":node_id": node_id.as_bytes(), ":at": at.unix_millis() };
    transaction.execute(REVOKE_IDENTITIES_OF_NODE, values).map(drop)
}

/// Revokes what a redemption made of one kind.
pub(crate) fn revoke_replaced(
    transaction: Transaction<'_>,
    node_id: NodeId,
    redemption_id: RedemptionId,
    kind: &CredentialKind,
    at: Timestamp,
) -> Result<(), Failure> {
    let values = named_params! {
        ":node_id": node_id.as_bytes(),
        ":redemption_id": redemption_id.as_bytes(),
        ":kind": kind.as_str(),
        ":at": at.unix_millis(),
    };
    transaction.execute(REVOKE_REPLACED, values).map(drop)
}

/// A credential as columns.
#[derive(Default)]
struct Columns<'a> {
    serial: Option<&'a [u8]>,
    key_digest: Option<&'a [u8]>,
    certificate: Option<&'a [u8]>,
    api_key_digest: Option<&'a [u8]>,
    external_id: Option<&'a str>,
}

impl<'a> Columns<'a> {
    fn of(credential: &'a CredentialRecord) -> Result<Self, Failure> {
        Ok(match credential {
            CredentialRecord::X509 { serial, key_digest, certificate } => Self {
                serial: Some(serial.as_bytes()),
                key_digest: Some(key_digest.as_bytes()),
                certificate: Some(certificate),
                ..Self::default()
            },
            CredentialRecord::ApiKey { digest } => {
                Self { api_key_digest: Some(digest.as_bytes()), ..Self::default() }
            }
            CredentialRecord::External { external_id, .. } => {
                Self { external_id: Some(external_id), ..Self::default() }
            }
            _ => return Err(Failure::Unsupported("a credential")),
        })
    }
}

/// Writes a new identity of a node.
pub(crate) fn insert(
    transaction: Transaction<'_>,
    identity: &IdentityRecord,
    node_id: NodeId,
) -> Result<(), Failure> {
    let (kind, columns) = (identity.credential.kind(), Columns::of(&identity.credential)?);
    let values = named_params! {
        ":id": identity.id.as_bytes(),
        ":node_id": node_id.as_bytes(),
        ":node_name": identity.node_name.as_str(),
        ":redemption_id": identity.redemption_id.as_bytes(),
        ":predecessor": identity.predecessor.as_ref().map(IdentityId::as_bytes),
        ":kind": kind.as_str(),
        ":serial": columns.serial,
        ":key_digest": columns.key_digest,
        ":certificate": columns.certificate,
        ":api_key_digest": columns.api_key_digest,
        ":external_id": columns.external_id,
        ":issued_at": identity.issued_at.unix_millis(),
        ":expires_at": identity.expires_at.map(Timestamp::unix_millis),
        ":first_used_at": identity.first_used_at.map(Timestamp::unix_millis),
        ":revoked_at": identity.revoked_at.map(Timestamp::unix_millis),
    };
    transaction.execute(INSERT_IDENTITY, values).map(drop)
}

/// Whether a command is open, whether the node is there, the identity, the node.
macro_rules! member_columns {
    () => {
        "EXISTS (SELECT 1 FROM enroll_commands AS command INDEXED BY enroll_commands_open \
            WHERE command.node_id = node.id AND command.finished_at IS NULL), \
         node.id IS NOT NULL, \
         identity.id, identity.node_id, identity.node_name, identity.redemption_id, \
         identity.predecessor, identity.kind, identity.serial, identity.key_digest, \
         identity.certificate, identity.api_key_digest, identity.external_id, \
         identity.issued_at, identity.expires_at, identity.first_used_at, identity.revoked_at, \
         node.id, node.name, node.state, node.cordoned, node.labels, node.facts, node.method, \
         node.created_at, node.enrolled_at, node.last_seen_at, node.fuse \
         FROM enroll_identities AS identity \
         LEFT JOIN enroll_nodes AS node ON node.id = identity.node_id "
    };
}

/// `insert_identity` writes one row of `enroll_identities`; an id, serial or digest that is there is
/// a collision.
pub(crate) const INSERT_IDENTITY: &str = concat!(
    "INSERT INTO enroll_identities (",
    identity_columns!(),
    ") VALUES (:id, :node_id, :node_name, :redemption_id, :predecessor, :kind, :serial,
        :key_digest, :certificate, :api_key_digest, :external_id, :issued_at, :expires_at,
        :first_used_at, :revoked_at)"
);

/// `identity_by_id` reads one row.
pub(crate) const IDENTITY_BY_ID: &str =
    concat!("SELECT ", identity_columns!(), " FROM enroll_identities WHERE id = :id");

/// `identity_by_serial` reads one identity, its node, and whether a command of it is open.
pub(crate) const IDENTITY_BY_SERIAL: &str =
    concat!("SELECT ", member_columns!(), "WHERE identity.serial = :serial");

/// `identity_by_api_key` reads one identity, its node, and whether a command of it is open.
pub(crate) const IDENTITY_BY_API_KEY: &str =
    concat!("SELECT ", member_columns!(), "WHERE identity.api_key_digest = :api_key_digest");

/// `identities_by_external_id` reads the rows of one external id and kind.
pub(crate) const IDENTITIES_BY_EXTERNAL_ID: &str = concat!(
    "SELECT ",
    identity_columns!(),
    " FROM enroll_identities WHERE external_id = :external_id AND kind = :kind"
);

/// `identities_of_redemption` reads the few a node holds.
pub(crate) const IDENTITIES_OF_REDEMPTION: &str = concat!(
    "SELECT ",
    identity_columns!(),
    " FROM enroll_identities
    WHERE node_id = :node_id AND revoked_at IS NULL AND redemption_id = :redemption_id
        AND predecessor IS NULL
    ORDER BY id"
);

/// `successor` reads the newest unrevoked renewal of one identity with one public key.
pub(crate) const SUCCESSOR: &str = concat!(
    "SELECT ",
    identity_columns!(),
    " FROM enroll_identities
    WHERE predecessor = :predecessor AND key_digest = :key_digest AND revoked_at IS NULL
    ORDER BY id DESC LIMIT 1"
);

/// `renewable` reads one identity, if it may be renewed: not revoked, and its node is there.
pub(crate) const RENEWABLE: &str = "SELECT 1 FROM enroll_identities AS identity
    JOIN enroll_nodes AS node ON node.id = identity.node_id
    WHERE identity.id = :id AND identity.revoked_at IS NULL";

/// `standing` reads one identity, if it holds, and whether a command of its node is queued.
pub(crate) const STANDING: &str = "SELECT EXISTS (
        SELECT 1 FROM enroll_commands AS command
        WHERE command.node_id = identity.node_id AND command.finished_at IS NULL
            AND command.status = :queued)
    FROM enroll_identities AS identity
    JOIN enroll_nodes AS node ON node.id = identity.node_id
    WHERE identity.id = :id AND identity.revoked_at IS NULL";

/// `use_identity` writes one identity, and only if it is neither revoked nor used.
pub(crate) const USE_IDENTITY: &str = concat!(
    "UPDATE enroll_identities SET first_used_at = :at
    WHERE id = :id AND revoked_at IS NULL AND first_used_at IS NULL
    RETURNING ",
    identity_columns!()
);

/// `revoke_identity` writes one identity, if it is not revoked.
pub(crate) const REVOKE_IDENTITY: &str =
    "UPDATE enroll_identities SET revoked_at = :at WHERE id = :id AND revoked_at IS NULL";

/// `revoke_identities_of_node` writes the few a node holds.
pub(crate) const REVOKE_IDENTITIES_OF_NODE: &str = "UPDATE enroll_identities SET revoked_at = :at
    WHERE node_id = :node_id AND revoked_at IS NULL";

/// `revoke_replaced` writes those of one kind that one redemption made.
pub(crate) const REVOKE_REPLACED: &str = "UPDATE enroll_identities SET revoked_at = :at
    WHERE node_id = :node_id AND revoked_at IS NULL AND redemption_id = :redemption_id
        AND kind = :kind";

/// `revoke_unused_successor` writes the renewals of one identity and kind that were never used.
pub(crate) const REVOKE_UNUSED_SUCCESSOR: &str = "UPDATE enroll_identities SET revoked_at = :at
    WHERE predecessor = :predecessor AND kind = :kind
        AND first_used_at IS NULL AND revoked_at IS NULL";
