//! The laws that every store keeps, on a database just made and on one that was closed and opened
//! again.

use enroll_store_sqlite::SqliteStore;

mod fresh {
    async fn store() -> super::SqliteStore {
        super::SqliteStore::open_temp().await.expect("a temporary directory can be written")
    }
    enroll_core::store_conformance!(store);
}

mod reopened {
    async fn store() -> super::SqliteStore {
        let made = super::SqliteStore::open_temp().await.expect("a directory can be written");
        made.reopen().await.expect("what was closed opens again")
    }
    enroll_core::store_conformance!(store);
}
