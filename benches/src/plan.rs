//! What is measured, how much of it, and where.

use std::error::Error;
use std::path::PathBuf;

use clap::ValueEnum;

use crate::measure::Section;
use crate::{
    connected, enrollments, heartbeats, herd, issuing, postgres, redemptions, refusals, rest,
    tables,
};

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// How much is measured, and where.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    pub(crate) redemptions: u32,
    pub(crate) tokens: u32,
    pub(crate) herd: u32,
    pub(crate) nodes: u32,
    pub(crate) connected: u32,
    pub(crate) dir: PathBuf,
}

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Durable redemptions through the SQLite store, beside the same statements bare.
    Redemptions,
    /// Durable redemptions through the PostgreSQL store, beside the same statements in pgbench, and a
    /// fleet token beside tokens of their own. Left out where no server is installed.
    Postgres,
    /// Enrollments in process, beside their cryptography alone.
    Issuing,
    /// Whole enrollments over TLS, beside a bare hello over the same TLS.
    Enrollments,
    /// What it costs to refuse, by reason, beside what it costs to admit.
    Refusals,
    /// Machines that all come at once.
    Herd,
    /// Heartbeats over kept connections, beside a bare JSON request.
    Heartbeats,
    /// Machines that are all connected, each with a stream open: memory, and the processor.
    Connected,
    /// The reference binaries at rest: memory, start-up, size.
    Rest,
    /// What operators do, by the size of the table.
    Tables,
}

impl Part {
    pub(crate) async fn measure(self, plan: &Plan) -> Result<Section, Failure> {
        match self {
            Self::Redemptions => redemptions::measure(plan).await,
            Self::Postgres => postgres::measure(plan).await,
            Self::Issuing => issuing::measure(plan).await,
            Self::Enrollments => enrollments::measure(plan).await,
            Self::Refusals => refusals::measure(plan).await,
            Self::Herd => herd::measure(plan).await,
            Self::Heartbeats => heartbeats::measure(plan).await,
            Self::Connected => connected::measure(plan).await,
            Self::Rest => rest::measure(plan).await,
            Self::Tables => tables::measure(plan).await,
        }
    }
}
