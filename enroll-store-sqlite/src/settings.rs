//! Operators, settings, and whether the store answers.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use enroll_core::model::{AdminRecord, BearerDigest, Event};
use enroll_core::store::{Admins, Finding, Probe, Setting, Settings, StoreError};
use rusqlite::named_params;

use crate::error::Failure;
use crate::transaction::Transaction;
use crate::{SqliteStore, journal, rows};

/// For how long one write that worked shows that writing works.
const WRITE_SHOWS_FOR: Duration = Duration::from_secs(1);

#[async_trait]
impl Admins for SqliteStore {
    async fn insert_admin(&self, admin: AdminRecord, event: Event) -> Result<bool, StoreError> {
        self.write("add an operator", move |transaction| {
            let values = named_params! {
                ":name": admin.name,
                ":role": admin.role.as_str(),
                ":digest": admin.digest.as_bytes(),
                ":created_at": admin.created_at.unix_millis(),
            };
            journalled(transaction, INSERT_ADMIN, values, &event)
        })
        .await
    }

    async fn admin(&self, digest: BearerDigest) -> Result<Option<AdminRecord>, StoreError> {
        self.read("look up an operator", move |transaction| {
            let values = named_params! { ":digest": digest.as_bytes() };
            transaction.find(ADMIN_BY_DIGEST, values, rows::admin)
        })
        .await
    }

    async fn admins(&self) -> Result<Vec<AdminRecord>, StoreError> {
        self.read("list operators", |transaction| transaction.list(LIST_ADMINS, &[], rows::admin))
            .await
    }

    async fn remove_admin(&self, name: &str, event: Event) -> Result<bool, StoreError> {
        let name = name.to_owned();
        self.write("remove an operator", move |transaction| {
            journalled(transaction, REMOVE_ADMIN, named_params! { ":name": name }, &event)
        })
        .await
    }
}

#[async_trait]
impl Settings for SqliteStore {
    async fn setting(&self, key: &str) -> Result<Option<Setting>, StoreError> {
        let key = key.to_owned();
        self.read("read a setting", move |transaction| {
            transaction.find(SETTING, named_params! { ":key": key }, rows::setting)
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
        let key = key.to_owned();
        let written = self.write("change a setting", move |transaction| {
            if expected == 0 {
                let values = named_params! { ":key": key, ":value": value };
                return journalled(transaction, INSERT_SETTING, values, &event);
            }
            // A version that does not fit was never given out.
            let Ok(expected) = rows::integer(expected) else { return Ok(false) };
            let values = named_params! { ":key": key, ":value": value, ":expected": expected };
            journalled(transaction, CHANGE_SETTING, values, &event)
        });
        let written = written.await?;
        self.changed();
        Ok(written)
    }
}

#[async_trait]
impl Probe for SqliteStore {
    /// Reads one row, and writes it at most once a second: a thread that died, a full or read-only
    /// disk are seen at once by the read or within that second by the write.
    async fn probe(&self) -> Result<(), StoreError> {
        self.read("probe the store", |transaction| {
            transaction
                .find(READ_PROBE, &[], |_| Ok(()))?
                .ok_or(Failure::Missing("the probe's row"))
        })
        .await?;
        // Held over the write, so that of many probes at once one writes and the others believe it.
        let mut wrote = self.inner.wrote.lock().await;
        if wrote.is_some_and(|at| at.elapsed() < WRITE_SHOWS_FOR) {
            return Ok(());
        }
        *wrote = None;
        self.write("probe the store", |transaction| {
            let written = transaction.execute(WRITE_PROBE, &[])?;
            if written == 1 { Ok(()) } else { Err(Failure::Missing("the probe's row")) }
        })
        .await?;
        *wrote = Some(Instant::now());
        Ok(())
    }

    async fn diagnose(&self) -> Result<Vec<Finding>, StoreError> {
        let (synchronous, mode) = self
            .write("look at the settings", |transaction| {
                let synchronous = transaction.find(SYNCHRONOUS, &[], |row| row.get::<i64>())?;
                let mode = transaction.find(JOURNAL_MODE, &[], |row| row.get::<String>())?;
                Ok((synchronous.unwrap_or(0), mode.unwrap_or_default()))
            })
            .await?;
        let says = format!("journal_mode is {mode}, synchronous is {synchronous} (2 is FULL).");
        // Set when the file was opened; it would take a fault of this crate to find otherwise.
        let is_durable = synchronous >= FULL && mode == "wal";
        let next = "Restart the master; if it stays so, report it as a bug.";
        Ok(vec![if is_durable {
            Finding::good("durability", says)
        } else {
            Finding::bad("durability", says, next)
        }])
    }
}

/// `PRAGMA synchronous` that syncs at every commit.
const FULL: i64 = 2;
const SYNCHRONOUS: &str = "SELECT synchronous FROM pragma_synchronous";
const JOURNAL_MODE: &str = "SELECT journal_mode FROM pragma_journal_mode";

/// Runs a statement that writes one row or none, journals `event` if it wrote, and says whether.
fn journalled(
    transaction: Transaction<'_>,
    statement: &'static str,
    values: crate::transaction::Named<'_>,
    event: &Event,
) -> Result<bool, Failure> {
    let written = transaction.execute(statement, values)? == 1;
    if written {
        journal::insert_event(transaction, event)?;
    }
    Ok(written)
}

/// `insert_admin` writes one row of `enroll_admins`, and only if the name is not there.
pub(crate) const INSERT_ADMIN: &str = "INSERT INTO enroll_admins (name, role, digest, created_at)
    VALUES (:name, :role, :digest, :created_at)
    ON CONFLICT (name) DO NOTHING";

/// `admin_by_digest` reads one row.
pub(crate) const ADMIN_BY_DIGEST: &str =
    "SELECT name, role, digest, created_at FROM enroll_admins WHERE digest = :digest";

/// `list_admins` reads all of them; they are few.
pub(crate) const LIST_ADMINS: &str =
    "SELECT name, role, digest, created_at FROM enroll_admins ORDER BY name";

/// `remove_admin` removes one row, and only if somebody else remains who may do everything.
pub(crate) const REMOVE_ADMIN: &str = "DELETE FROM enroll_admins
    WHERE name = :name AND (role <> 'admin'
        OR EXISTS (SELECT 1 FROM enroll_admins WHERE role = 'admin' AND name <> :name))";

/// `setting` reads one row.
pub(crate) const SETTING: &str = "SELECT value, version FROM enroll_settings WHERE key = :key";

/// `insert_setting` writes one row of `enroll_settings`, and only if the key is not there.
pub(crate) const INSERT_SETTING: &str =
    "INSERT INTO enroll_settings (key, value, version) VALUES (:key, :value, 1)
    ON CONFLICT (key) DO NOTHING";

/// `change_setting` writes one row, and only if nobody changed it since.
pub(crate) const CHANGE_SETTING: &str =
    "UPDATE enroll_settings SET value = :value, version = version + 1
    WHERE key = :key AND version = :expected";

/// `read_probe` reads one row.
pub(crate) const READ_PROBE: &str = "SELECT writes FROM enroll_probe WHERE one = 1";

/// `write_probe` writes one row.
pub(crate) const WRITE_PROBE: &str = "UPDATE enroll_probe SET writes = writes + 1 WHERE one = 1";
