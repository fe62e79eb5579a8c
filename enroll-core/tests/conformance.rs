//! The reference store keeps every law.

use enroll_core::store::MemoryStore;

async fn fresh() -> MemoryStore {
    MemoryStore::new()
}
enroll_core::store_conformance!(fresh);
