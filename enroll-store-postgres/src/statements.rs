//! The statements of the hot path, for measuring them without the store around them.

use crate::{redeem_statements, tokens};

/// What one redemption of a name that nobody had runs within its transaction, in order. Parameters
/// are bound by place: those of the first are `$1` to `$4`, those of the second `$1` to `$29`.
pub const REDEMPTION: [&str; 2] = [redeem_statements::LOCK, redeem_statements::REDEEM_FREE];

/// What that transaction begins with besides.
pub const PLANNED_ONCE: &str = redeem_statements::PLANNED_ONCE;

/// In how many rows the uses of an unlimited token are counted.
pub const SHARDS: i32 = tokens::SHARDS;
