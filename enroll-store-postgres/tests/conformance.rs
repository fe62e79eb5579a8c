//! The laws that every store keeps, each on a schema of its own.

use enroll_store_postgres::PostgresStore;

async fn fresh() -> PostgresStore {
    PostgresStore::open_temp().await.expect("a schema can be made")
}
enroll_core::store_conformance!(fresh);
