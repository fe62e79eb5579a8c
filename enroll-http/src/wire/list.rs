//! Lists, a page at a time.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One page of a list.
///
/// Rows that are added while a list is read neither repeat nor hide others: a page begins after the
/// last row of the one before, not at a number of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[expect(clippy::exhaustive_structs, reason = "the two members of every list")]
pub struct List<T> {
    /// The rows, in the order of the list.
    pub items: Vec<T>,
    /// Where the next page begins, an opaque text for `?cursor=`; null after the last one.
    #[schema(required = true, max_length = 1024)]
    pub next_cursor: Option<String>,
}

impl<T> List<T> {
    /// Fewest rows a page can be asked for.
    pub const MIN_LIMIT: u32 = 1;
    /// Most rows a page can be asked for.
    pub const MAX_LIMIT: u32 = 500;
    /// Rows of a page that nobody said a number for.
    pub const DEFAULT_LIMIT: u32 = 50;
}
