//! The audit log.

use clap::Args;
use enroll_http::wire::EventItem;

use super::super::failure::Failure;
use super::paging::Paging;
use super::table::{at, or_dash, table};
use super::{Connection, Master};

/// Which part of the log.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  enroll-master events --after 1200 --all")]
pub(in crate::master) struct EventsArgs {
    #[command(flatten)]
    pub(super) to: Connection,
    /// Only what happened behind this place of the log
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    #[command(flatten)]
    paging: Paging,
}

pub(super) async fn run(args: &EventsArgs, master: &Master) -> Result<(), Failure> {
    let call = |page| master.client.events(args.after, page);
    master.list(&args.paging, call, text).await
}

fn text(events: &[EventItem]) -> String {
    let row = |event: &EventItem| {
        let detail = |(name, value): (&String, &serde_json::Value)| match value {
            serde_json::Value::String(text) => format!("{name}={text}"),
            value => format!("{name}={value}"),
        };
        let details: Vec<String> = event.details.iter().map(detail).collect();
        [
            event.seq.to_string(),
            at(Some(event.at)),
            or_dash(event.actor.as_ref()),
            event.kind.clone(),
            details.join(" "),
        ]
    };
    table(["SEQ", "AT", "ACTOR", "TYPE", "DETAILS"], events.iter().map(row))
}
