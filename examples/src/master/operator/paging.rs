//! Lists, a page at a time or whole.

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use enroll_http::wire::List;

use super::super::failure::Failure;
use super::Caller;
use super::caller::Call;
use super::output::{Output, print};

/// Which part of a list.
#[derive(Debug, Args)]
pub(in crate::master) struct Paging {
    /// Rows of a page, 1 to 500
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: Option<u32>,
    /// Where the page begins: the next_cursor of the one before
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// All pages from there on
    #[arg(long)]
    all: bool,
}

impl Caller {
    /// Prints what `call` lists, in text as `table` has it.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        paging: &Paging,
        call: impl Fn() -> Call + Send + Sync,
        table: impl FnOnce(Vec<T>) -> String + Send,
    ) -> Result<(), Failure> {
        let page = |cursor: Option<&str>| {
            call().with_some("limit", paging.limit).with_some("cursor", cursor)
        };
        let mut body = page(paging.cursor.as_deref()).send().await?;
        if !paging.all {
            return self.show(&body, |list: List<T>| {
                if let Some(cursor) = &list.next_cursor {
                    eprintln!("There is more: --cursor {cursor}, or --all.");
                }
                table(list.items)
            });
        }
        let mut rows: Vec<Value> = Vec::new();
        loop {
            let list: List<Value> = body.read()?;
            rows.extend(list.items);
            let Some(cursor) = list.next_cursor else { break };
            body = page(Some(&cursor)).send().await?;
        }
        match self.output {
            Output::Json => print(&json!({ "items": rows, "next_cursor": null }).to_string()),
            Output::Text => {
                let rows = rows.into_iter().map(serde_json::from_value).collect::<Result<_, _>>();
                let rows = rows.map_err(|cause: serde_json::Error| {
                    Failure::new("a row of the list cannot be understood").because(cause)
                })?;
                print(&table(rows));
            }
        }
        Ok(())
    }
}
