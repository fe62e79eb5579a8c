//! The operators' command line: one call of the operator API each, shown as a table or as it came.

mod admin;
mod auto_enrollment;
mod connection;
mod doctor;
mod events;
mod fence;
mod mesh;
mod name;
mod node;
mod node_text;
mod output;
mod paging;
mod table;
mod token;

use std::path::Path;

use clap::{Args, Subcommand};

use super::failure::Failure;
use connection::{Connection, Master};

/// What an operator does.
#[derive(Debug, Subcommand)]
pub(super) enum OperatorCommand {
    /// Join tokens: mint, list, revoke, see who used them
    Token(Group<token::TokenCall>),
    /// Nodes: register, list, look at, cordon, fuse, command, delete
    Node(Group<node::NodeCall>),
    /// Enrollment by a shared secret alone: look at it, switch it, rotate its secret
    AutoEnrollment(Group<auto_enrollment::AutoEnrollmentCall>),
    /// Operators: add, list, remove
    Admin(Group<admin::AdminCall>),
    /// The mesh: who is in it
    Mesh(Group<mesh::MeshCall>),
    /// The audit log
    Events(events::EventsArgs),
    /// A failover of the store: whether there was one, and that you know of it
    Fence(Group<fence::FenceCall>),
    /// Look whether all is well: store, durability, clock, certificates, listeners
    Doctor(doctor::DoctorArgs),
}

/// Commands about one thing.
#[derive(Debug, Args)]
pub(super) struct Group<C: Subcommand> {
    #[command(flatten)]
    to: Connection,
    #[command(subcommand)]
    call: C,
}

/// Calls the master, and shows what it answers.
pub(super) async fn run(data_dir: &Path, command: OperatorCommand) -> Result<(), Failure> {
    match command {
        OperatorCommand::Token(group) => token::run(group.call, &group.to.open(data_dir)?).await,
        OperatorCommand::Node(group) => node::run(group.call, &group.to.open(data_dir)?).await,
        OperatorCommand::AutoEnrollment(group) => {
            auto_enrollment::run(group.call, &group.to.open(data_dir)?).await
        }
        OperatorCommand::Admin(group) => admin::run(group.call, &group.to.open(data_dir)?).await,
        OperatorCommand::Mesh(group) => mesh::run(group.call, &group.to.open(data_dir)?).await,
        OperatorCommand::Events(args) => events::run(&args, &args.to.open(data_dir)?).await,
        OperatorCommand::Fence(group) => fence::run(group.call, &group.to.open(data_dir)?).await,
        OperatorCommand::Doctor(args) => doctor::run(&args, data_dir).await,
    }
}
