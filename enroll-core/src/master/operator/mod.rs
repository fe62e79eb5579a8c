//! What operators do: tokens, nodes, other operators, and reading what happened.

mod admins;
mod error;
mod nodes;
mod state;
mod tokens;

pub use error::OperatorError;
pub use nodes::{RegisterRequest, Registered};
pub use tokens::{MintRequest, Minted, RevokeVerdict};
