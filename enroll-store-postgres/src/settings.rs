//! Operators, settings, and whether the store answers.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use enroll_core::model::{AdminRecord, BearerDigest, Event};
use enroll_core::store::{Admins, Finding, Probe, Setting, Settings, StoreError};

use crate::error::Failure;
use crate::transaction::{Transaction, Values};
use crate::{PostgresStore, diagnose, journal, masters, rows, values};

/// For how long one write that worked shows that writing works.
const WRITE_SHOWS_FOR: Duration = Duration::from_secs(1);

#[async_trait]
impl Admins for PostgresStore {
    async fn insert_admin(&self, admin: AdminRecord, event: Event) -> Result<bool, StoreError> {
        self.write("add an operator", &(admin, event), |transaction, (admin, event)| {
            Box::pin(async move {
                let values = values![
                    rows::escaped(&admin.name),
                    admin.role.as_str(),
                    admin.digest.as_bytes().as_slice(),
                    admin.created_at.unix_millis()
                ];
                journalled(transaction, INSERT_ADMIN, values, event).await
            })
        })
        .await
    }

    async fn admin(&self, digest: BearerDigest) -> Result<Option<AdminRecord>, StoreError> {
        self.read("look up an operator", &digest, |transaction, digest| {
            Box::pin(async move {
                let values = values![digest.as_bytes().as_slice()];
                transaction.find(ADMIN_BY_DIGEST, values, rows::admin).await
            })
        })
        .await
    }

    async fn admins(&self) -> Result<Vec<AdminRecord>, StoreError> {
        self.read("list operators", &(), |transaction, ()| {
            Box::pin(transaction.list(LIST_ADMINS, &[], rows::admin))
        })
        .await
    }

    async fn remove_admin(&self, name: &str, event: Event) -> Result<bool, StoreError> {
        self.write("remove an operator", &(name, event), |transaction, (name, event)| {
            Box::pin(async move {
                transaction.execute(LOCK_ADMINS, &[]).await?;
                journalled(transaction, REMOVE_ADMIN, values![rows::escaped(name)], event).await
            })
        })
        .await
    }
}

#[async_trait]
impl Settings for PostgresStore {
    async fn setting(&self, key: &str) -> Result<Option<Setting>, StoreError> {
        self.read("read a setting", key, |transaction, key| {
            Box::pin(async move {
                transaction.find(SETTING, values![rows::escaped(key)], rows::setting).await
            })
        })
        .await
    }

    async fn put_setting(
        &self,
        key: &str,
        value: String,
        expected: u64,
        event: Event,
    ) -> Result<bool, StoreError> {
        let given = (key, value, expected, event);
        let written = self
            .write("change a setting", &given, |transaction, (key, value, expected, event)| {
                Box::pin(put(transaction, key, value, *expected, event))
            })
            .await?;
        self.changed();
        Ok(written)
    }
}

async fn put(
    transaction: Transaction<'_>,
    key: &str,
    value: &str,
    expected: u64,
    event: &Event,
) -> Result<bool, Failure> {
    let (key, value) = (rows::escaped(key), rows::escaped(value));
    // A version that does not fit was never given out.
    let Ok(expected) = rows::integer(expected) else { return Ok(false) };
    let written = match expected {
        0 => journalled(transaction, INSERT_SETTING, values![key, value], event).await?,
        _ => journalled(transaction, CHANGE_SETTING, values![key, value, expected], event).await?,
    };
    if written {
        masters::notify(transaction).await?;
    }
    Ok(written)
}

#[async_trait]
impl Probe for PostgresStore {
    /// Reads one row, and writes it at most once a second: a server that is away is seen at once by
    /// the read, one that cannot write within that second by the write.
    async fn probe(&self) -> Result<(), StoreError> {
        const OPERATION: &str = "probe the store";
        self.read(OPERATION, &(), |transaction, ()| {
            Box::pin(async move {
                let found = transaction.find(READ_PROBE, &[], |_| Ok(())).await?;
                found.ok_or(Failure::Missing("the probe's row"))
            })
        })
        .await?;
        // Held over the write, so that of many probes at once one writes and the others believe it.
        let mut wrote = self.inner.wrote.lock().await;
        if wrote.is_some_and(|at| at.elapsed() < WRITE_SHOWS_FOR) {
            return Ok(());
        }
        *wrote = None;
        self.transact(OPERATION, &(), |transaction, ()| {
            Box::pin(async move {
                let written = transaction.execute(WRITE_PROBE, &[]).await?;
                if written == 1 { Ok(()) } else { Err(Failure::Missing("the probe's row")) }
            })
        })
        .await?;
        *wrote = Some(Instant::now());
        Ok(())
    }

    async fn diagnose(&self) -> Result<Vec<Finding>, StoreError> {
        diagnose::look(self).await
    }
}

/// Runs a statement that writes one row or none, journals `event` if it wrote, and says whether.
async fn journalled(
    transaction: Transaction<'_>,
    statement: &'static str,
    values: Values<'_>,
    event: &Event,
) -> Result<bool, Failure> {
    let written = transaction.execute(statement, values).await? == 1;
    if written {
        journal::insert_event(transaction, event).await?;
    }
    Ok(written)
}

/// `insert_admin` writes one new row of `enroll_admins`, and only if the name is not there.
pub(crate) const INSERT_ADMIN: &str = "INSERT INTO enroll_admins (name, role, digest, created_at)
    VALUES ($1, $2, $3, $4)
    ON CONFLICT (name) DO NOTHING";

/// `admin_by_digest` reads one row.
pub(crate) const ADMIN_BY_DIGEST: &str =
    "SELECT name, role, digest, created_at FROM enroll_admins WHERE digest = $1";

/// `list_admins` reads all of them; they are few.
pub(crate) const LIST_ADMINS: &str =
    "SELECT name, role, digest, created_at FROM enroll_admins ORDER BY name";

/// `lock_admins` locks all of them, in order: two who remove each other do so one after the other.
pub(crate) const LOCK_ADMINS: &str = "SELECT 1 FROM enroll_admins ORDER BY name FOR UPDATE";

/// `remove_admin` removes one row of those that are locked, and only if somebody else remains who may
/// do everything.
pub(crate) const REMOVE_ADMIN: &str = "DELETE FROM enroll_admins
    WHERE name = $1 AND (role <> 'admin'
        OR EXISTS (SELECT 1 FROM enroll_admins WHERE role = 'admin' AND name <> $1))";

/// `setting` reads one row.
pub(crate) const SETTING: &str = "SELECT value, version FROM enroll_settings WHERE key = $1";

/// `insert_setting` writes one new row of `enroll_settings`, and only if the key is not there.
pub(crate) const INSERT_SETTING: &str =
    "INSERT INTO enroll_settings (key, value, version) VALUES ($1, $2, 1)
    ON CONFLICT (key) DO NOTHING";

/// `change_setting` locks and writes one row, and only if nobody changed it since.
pub(crate) const CHANGE_SETTING: &str =
    "UPDATE enroll_settings SET value = $2, version = version + 1 WHERE key = $1 AND version = $3";

/// `read_probe` reads one row.
pub(crate) const READ_PROBE: &str = "SELECT writes FROM enroll_probe WHERE one = 1";

/// `write_probe` locks and writes one row.
pub(crate) const WRITE_PROBE: &str = "UPDATE enroll_probe SET writes = writes + 1 WHERE one = 1";
