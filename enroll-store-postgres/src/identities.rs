//! Identities, as requests present them.

use async_trait::async_trait;
use enroll_core::model::{
    CommandStatus, CredentialKind, CredentialRecord, IdentityId, IdentityRecord, NodeId,
    RedemptionId, Sha256, Timestamp,
};
use enroll_core::store::{
    Identities, IdentityKey, Mark, Member, RenewOutcome, Renewal, Standing, StoreError, Touched,
    UseOutcome,
};
use uuid::Uuid;

use crate::error::Failure;
use crate::rows::{NODE_WIDTH, identity_columns};
use crate::transaction::Transaction;
use crate::{PostgresStore, journal, redemptions, rows, touched, values};

#[async_trait]
impl Identities for PostgresStore {
    async fn member(&self, key: IdentityKey) -> Result<Option<Member>, StoreError> {
        self.read("look up an identity", &key, |transaction, key| {
            Box::pin(member(transaction, *key))
        })
        .await
    }

    async fn standing(&self, ids: Vec<IdentityId>) -> Result<Vec<Standing>, StoreError> {
        self.read("confirm identities", &ids, |transaction, ids| {
            Box::pin(standing(transaction, ids))
        })
        .await
    }

    async fn touched(&self, since: Option<Mark>) -> Result<Touched, StoreError> {
        self.read("look what was touched", &since, |transaction, since| {
            Box::pin(touched::since(transaction, *since))
        })
        .await
    }

    async fn mark_used(&self, id: IdentityId, at: Timestamp) -> Result<UseOutcome, StoreError> {
        self.write("record a first use", &(id, at), |transaction, (id, at)| {
            Box::pin(mark_used(transaction, *id, *at))
        })
        .await
    }

    async fn successor(
        &self,
        predecessor: IdentityId,
        key_digest: Sha256,
    ) -> Result<Option<IdentityRecord>, StoreError> {
        let wanted = (rows::uuid(predecessor.as_bytes()), key_digest);
        self.read("look up a renewal", &wanted, |transaction, (predecessor, key_digest)| {
            Box::pin(async move {
                let values = values![predecessor, key_digest.as_bytes().as_slice()];
                transaction.find(SUCCESSOR, values, rows::identity).await
            })
        })
        .await
    }

    async fn external(
        &self,
        kind: CredentialKind,
        external_ids: Vec<String>,
    ) -> Result<Vec<IdentityRecord>, StoreError> {
        let wanted = (kind, external_ids);
        self.read("look up identities made elsewhere", &wanted, |transaction, (kind, ids)| {
            Box::pin(async move {
                let ids: Vec<_> = ids.iter().map(|id| rows::escaped(id)).collect();
                let values = values![kind.as_str(), ids];
                transaction.list(IDENTITIES_BY_EXTERNAL_ID, values, rows::identity).await
            })
        })
        .await
    }

    async fn renew(&self, wanted: Renewal) -> Result<RenewOutcome, StoreError> {
        self.write("renew an identity", &wanted, |transaction, wanted| {
            Box::pin(renew(transaction, wanted))
        })
        .await
    }
}

async fn member(transaction: Transaction<'_>, key: IdentityKey) -> Result<Option<Member>, Failure> {
    let found = match key {
        IdentityKey::Serial(serial) => {
            transaction.rows(MEMBER_BY_SERIAL, values![serial.as_bytes()]).await?
        }
        IdentityKey::ApiKey(digest) => {
            transaction.rows(MEMBER_BY_API_KEY, values![digest.as_bytes().as_slice()]).await?
        }
        _ => return Err(Failure::Unsupported("the key of an identity")),
    };
    let Some(row) = found.first() else { return Ok(None) };
    let identity = rows::identity(&mut rows::Columns::of(row))?;
    let node = match row.try_get::<_, Option<Uuid>>(IDENTITY_WIDTH)? {
        None => None,
        Some(_) => Some(rows::node(&mut rows::Columns::from(row, IDENTITY_WIDTH))?),
    };
    let has_open_commands = row.try_get(IDENTITY_WIDTH + NODE_WIDTH)?;
    Ok(Some(Member { identity, node, has_open_commands }))
}

async fn standing(
    transaction: Transaction<'_>,
    ids: &[IdentityId],
) -> Result<Vec<Standing>, Failure> {
    let asked: Vec<Uuid> = ids.iter().map(|id| rows::uuid(id.as_bytes())).collect();
    let values = values![asked, CommandStatus::Queued.as_str()];
    let found = transaction
        .list(STANDING, values, |columns| Ok((columns.count::<usize>()?, columns.get::<bool>()?)));
    let standing = |(place, called): (usize, bool)| {
        let id = place.checked_sub(1).and_then(|place| ids.get(place))?;
        Some(Standing { id: *id, called })
    };
    Ok(found.await?.into_iter().filter_map(standing).collect())
}

async fn mark_used(
    transaction: Transaction<'_>,
    id: IdentityId,
    at: Timestamp,
) -> Result<UseOutcome, Failure> {
    let (id, millis) = (rows::uuid(id.as_bytes()), at.unix_millis());
    transaction.execute(LOCK_NODE_OF, values![id]).await?;
    let used = transaction.find(USE_IDENTITY, values![id, millis], rows::identity).await?;
    let Some(identity) = used else {
        let there = transaction.find(IDENTITY_BY_ID, values![id], rows::identity).await?;
        return Ok(match there {
            Some(identity) if identity.revoked_at.is_none() => UseOutcome::Again,
            _ => UseOutcome::Revoked,
        });
    };
    if let Some(predecessor) = identity.predecessor {
        let values = values![rows::uuid(predecessor.as_bytes()), millis];
        transaction.execute(REVOKE_IDENTITY, values).await?;
    }
    redemptions::close(transaction, identity.redemption_id, at).await?;
    Ok(UseOutcome::First)
}

async fn renew(transaction: Transaction<'_>, renewal: &Renewal) -> Result<RenewOutcome, Failure> {
    let Some(predecessor) = renewal.successor.predecessor else {
        return Ok(RenewOutcome::Revoked);
    };
    let id = rows::uuid(predecessor.as_bytes());
    let node_is_there = transaction.execute(LOCK_NODE_OF, values![id]).await? == 1;
    let identity = transaction.find(IDENTITY_BY_ID, values![id], rows::identity).await?;
    if !node_is_there || identity.is_none_or(|identity| identity.revoked_at.is_some()) {
        return Ok(RenewOutcome::Revoked);
    }
    let kind = renewal.successor.credential.kind();
    let values = values![id, kind.as_str(), renewal.at.unix_millis()];
    transaction.execute(REVOKE_UNUSED_SUCCESSOR, values).await?;
    insert(transaction, std::slice::from_ref(&renewal.successor), None).await?;
    journal::insert_event(transaction, &renewal.event).await?;
    Ok(RenewOutcome::Renewed)
}

/// Revokes all that a node holds.
pub(crate) async fn revoke_of_node(
    transaction: Transaction<'_>,
    node_id: NodeId,
    at: Timestamp,
) -> Result<(), Failure> {
    let values = values![rows::uuid(node_id.as_bytes()), at.unix_millis()];
    transaction.execute(REVOKE_IDENTITIES_OF_NODE, values).await.map(drop)
}

/// Revokes what a redemption made of one kind.
pub(crate) async fn revoke_replaced(
    transaction: Transaction<'_>,
    node_id: NodeId,
    redemption_id: RedemptionId,
    kind: &CredentialKind,
    at: Timestamp,
) -> Result<(), Failure> {
    let node_id = rows::uuid(node_id.as_bytes());
    let redemption_id = rows::uuid(redemption_id.as_bytes());
    let values = values![node_id, redemption_id, kind.as_str(), at.unix_millis()];
    transaction.execute(REVOKE_REPLACED, values).await.map(drop)
}

/// New identities as columns.
#[derive(Default)]
pub(crate) struct Columns<'a> {
    pub(crate) ids: Vec<Uuid>,
    pub(crate) node_ids: Vec<Uuid>,
    pub(crate) node_names: Vec<&'a str>,
    pub(crate) redemption_ids: Vec<Uuid>,
    pub(crate) predecessors: Vec<Option<Uuid>>,
    pub(crate) kinds: Vec<String>,
    pub(crate) serials: Vec<Option<&'a [u8]>>,
    pub(crate) key_digests: Vec<Option<&'a [u8]>>,
    pub(crate) certificates: Vec<Option<&'a [u8]>>,
    pub(crate) api_key_digests: Vec<Option<&'a [u8]>>,
    pub(crate) external_ids: Vec<Option<std::borrow::Cow<'a, str>>>,
    pub(crate) issued_at: Vec<i64>,
    pub(crate) expires_at: Vec<Option<i64>>,
    pub(crate) first_used_at: Vec<Option<i64>>,
    pub(crate) revoked_at: Vec<Option<i64>>,
}

impl<'a> Columns<'a> {
    /// `identities` as columns; those of `node_id`, where one is given.
    pub(crate) fn of(
        identities: &'a [IdentityRecord],
        node_id: Option<NodeId>,
    ) -> Result<Self, Failure> {
        let mut columns = Self::default();
        columns.extend(identities, node_id)?;
        Ok(columns)
    }

    /// Adds `identities`, those of `node_id`, where one is given.
    pub(crate) fn extend(
        &mut self,
        identities: &'a [IdentityRecord],
        node_id: Option<NodeId>,
    ) -> Result<(), Failure> {
        for identity in identities {
            let node_id = node_id.unwrap_or(identity.node_id);
            let predecessor = identity.predecessor.as_ref().map(IdentityId::as_bytes);
            self.ids.push(rows::uuid(identity.id.as_bytes()));
            self.node_ids.push(rows::uuid(node_id.as_bytes()));
            self.node_names.push(identity.node_name.as_str());
            self.redemption_ids.push(rows::uuid(identity.redemption_id.as_bytes()));
            self.predecessors.push(predecessor.map(rows::uuid));
            self.kinds.push(identity.credential.kind().as_str().to_owned());
            self.push_credential(&identity.credential)?;
            self.issued_at.push(identity.issued_at.unix_millis());
            self.expires_at.push(identity.expires_at.map(Timestamp::unix_millis));
            self.first_used_at.push(identity.first_used_at.map(Timestamp::unix_millis));
            self.revoked_at.push(identity.revoked_at.map(Timestamp::unix_millis));
        }
        Ok(())
    }

    fn push_credential(&mut self, credential: &'a CredentialRecord) -> Result<(), Failure> {
        let (mut x509, mut api_key_digest, mut external) = (None, None, None);
        match credential {
            CredentialRecord::X509 { serial, key_digest, certificate } => {
                x509 = Some((serial.as_bytes(), key_digest.as_bytes().as_slice(), &**certificate));
            }
            CredentialRecord::ApiKey { digest } => {
                api_key_digest = Some(digest.as_bytes().as_slice())
            }
            CredentialRecord::External { external_id, .. } => {
                external = Some(rows::escaped(external_id))
            }
            _ => return Err(Failure::Unsupported("a credential")),
        }
        self.serials.push(x509.map(|(serial, ..)| serial));
        self.key_digests.push(x509.map(|(_, key_digest, _)| key_digest));
        self.certificates.push(x509.map(|(.., certificate)| certificate));
        self.api_key_digests.push(api_key_digest);
        self.external_ids.push(external);
        Ok(())
    }
}

/// Writes new identities; of `node_id`, where one is given.
pub(crate) async fn insert(
    transaction: Transaction<'_>,
    identities: &[IdentityRecord],
    node_id: Option<NodeId>,
) -> Result<(), Failure> {
    let new = Columns::of(identities, node_id)?;
    let values = values![
        new.ids,
        new.node_ids,
        new.node_names,
        new.redemption_ids,
        new.predecessors,
        new.kinds,
        new.serials,
        new.key_digests,
        new.certificates,
        new.api_key_digests,
        new.external_ids,
        new.issued_at,
        new.expires_at,
        new.first_used_at,
        new.revoked_at
    ];
    transaction.execute(INSERT_IDENTITIES, values).await.map(drop)
}

/// How many columns an identity has.
pub(crate) const IDENTITY_WIDTH: usize = 15;

/// The columns of an identity and of its node, absent when that is gone, and whether a command of it
/// is open.
macro_rules! member_columns {
    () => {
        "identity.id, identity.node_id, identity.node_name, identity.redemption_id, \
         identity.predecessor, identity.kind, identity.serial, identity.key_digest, \
         identity.certificate, identity.api_key_digest, identity.external_id, \
         identity.issued_at, identity.expires_at, identity.first_used_at, identity.revoked_at, \
         node.id, node.name, node.state, node.cordoned, node.labels, node.facts, node.method, \
         node.created_at, node.enrolled_at, node.last_seen_at, node.fuse, \
         EXISTS (SELECT 1 FROM enroll_commands AS command \
            WHERE command.node_id = node.id AND command.finished_at IS NULL) \
         FROM enroll_identities AS identity \
         LEFT JOIN enroll_nodes AS node ON node.id = identity.node_id "
    };
}

/// `insert_identities` writes new rows of `enroll_identities`; an id, serial or digest that is there
/// is a collision.
pub(crate) const INSERT_IDENTITIES: &str = concat!(
    "INSERT INTO enroll_identities (",
    identity_columns!(),
    ") SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[],
        $6::text[], $7::bytea[], $8::bytea[], $9::bytea[], $10::bytea[], $11::text[],
        $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[])"
);

/// `lock_node_of` locks the node of one identity.
pub(crate) const LOCK_NODE_OF: &str = "SELECT 1 FROM enroll_nodes
    WHERE id = (SELECT node_id FROM enroll_identities WHERE id = $1) FOR NO KEY UPDATE";

/// `identity_by_id` reads one row.
pub(crate) const IDENTITY_BY_ID: &str =
    concat!("SELECT ", identity_columns!(), " FROM enroll_identities WHERE id = $1");

/// `identities_by_external_id` reads the rows of the external ids and the kind given; it locks
/// nothing.
pub(crate) const IDENTITIES_BY_EXTERNAL_ID: &str = concat!(
    "SELECT ",
    identity_columns!(),
    " FROM enroll_identities WHERE external_id = ANY($2::text[]) AND kind = $1"
);

/// `member_by_serial` reads one identity and its node; it locks nothing.
pub(crate) const MEMBER_BY_SERIAL: &str =
    concat!("SELECT ", member_columns!(), "WHERE identity.serial = $1");

/// `member_by_api_key` reads one identity and its node; it locks nothing.
pub(crate) const MEMBER_BY_API_KEY: &str =
    concat!("SELECT ", member_columns!(), "WHERE identity.api_key_digest = $1");

/// `successor` reads the newest unrevoked renewal of one identity with one public key.
pub(crate) const SUCCESSOR: &str = concat!(
    "SELECT ",
    identity_columns!(),
    " FROM enroll_identities
    WHERE predecessor = $1 AND key_digest = $2 AND revoked_at IS NULL
    ORDER BY id DESC LIMIT 1"
);

/// `standing` reads those of many identities that hold, by their place among the asked, and whether a
/// command of their node is queued; it locks nothing.
pub(crate) const STANDING: &str = "SELECT asked.place, EXISTS (
        SELECT 1 FROM enroll_commands AS command
        WHERE command.node_id = identity.node_id AND command.finished_at IS NULL
            AND command.status = $2)
    FROM unnest($1::uuid[]) WITH ORDINALITY AS asked (id, place)
    JOIN enroll_identities AS identity ON identity.id = asked.id AND identity.revoked_at IS NULL
    JOIN enroll_nodes AS node ON node.id = identity.node_id";

/// `use_identity` locks and writes one identity, and only if it is neither revoked nor used.
pub(crate) const USE_IDENTITY: &str = concat!(
    "UPDATE enroll_identities SET first_used_at = $2
    WHERE id = $1 AND revoked_at IS NULL AND first_used_at IS NULL
    RETURNING ",
    identity_columns!()
);

/// `revoke_identity` locks and writes one identity, if it is not revoked.
pub(crate) const REVOKE_IDENTITY: &str =
    "UPDATE enroll_identities SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";

/// `revoke_identities_of_node` locks and writes the few a node holds.
pub(crate) const REVOKE_IDENTITIES_OF_NODE: &str = "UPDATE enroll_identities SET revoked_at = $2
    WHERE node_id = $1 AND revoked_at IS NULL";

/// `revoke_replaced` locks and writes those of one kind that one redemption made.
pub(crate) const REVOKE_REPLACED: &str = "UPDATE enroll_identities SET revoked_at = $4
    WHERE node_id = $1 AND revoked_at IS NULL AND redemption_id = $2 AND kind = $3";

/// `revoke_unused_successor` locks and writes the renewals of one identity and kind that were never
/// used.
pub(crate) const REVOKE_UNUSED_SUCCESSOR: &str = "UPDATE enroll_identities SET revoked_at = $3
    WHERE predecessor = $1 AND kind = $2 AND first_used_at IS NULL AND revoked_at IS NULL";
