//! The statements of the hot path, for measuring them without the store around them.

use crate::{identities, journal, nodes, redemptions, tokens};

/// What one redemption of a name that nobody had runs, in order. Parameters are bound by name.
pub const REDEMPTION: [&str; 5] = [
    tokens::SPEND_USE,
    nodes::TAKE_FREE,
    journal::INSERT_EVENT,
    redemptions::INSERT_REDEMPTION,
    identities::INSERT_IDENTITY,
];
