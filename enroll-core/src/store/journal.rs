//! Attempts and events, kept for people, in bounds.

use async_trait::async_trait;

use super::{Page, StoreError};
use crate::model::{AttemptId, AttemptRecord, Event, JournalledEvent, NodeName};

/// Proven attempts kept per name.
pub const ATTEMPTS_PER_NAME: u32 = 100;
/// Attempts without any valid proof kept in all.
pub const UNPROVEN_ATTEMPTS: u32 = 10_000;
/// Events kept.
pub const EVENTS: u32 = 100_000;

/// The journal.
///
/// # Contract
/// - **J1** Of proven attempts under one name the newest [`ATTEMPTS_PER_NAME`] are kept; those that
///   were not proven share one ring of [`UNPROVEN_ATTEMPTS`].
/// - **J2** Events have ascending places in the order they were written; the newest [`EVENTS`] are
///   kept.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Writes attempts that were refused.
    ///
    /// # Errors
    /// [`StoreError`]; none was written then.
    async fn record_attempts(&self, attempts: Vec<AttemptRecord>) -> Result<(), StoreError>;

    /// Attempts under one name, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn attempts(
        &self,
        name: &NodeName,
        page: Page<AttemptId>,
    ) -> Result<Vec<AttemptRecord>, StoreError>;

    /// Writes events that are part of no other operation.
    ///
    /// # Errors
    /// [`StoreError`]; none was written then.
    async fn record_events(&self, events: Vec<Event>) -> Result<(), StoreError>;

    /// Events in order.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn events(&self, page: Page<u64>) -> Result<Vec<JournalledEvent>, StoreError>;
}
