//! Lists, a page at a time or whole.

use std::future::Future;

use clap::Args;
use enroll_http::client::{ApiError, PageQuery, all_pages};
use enroll_http::wire::List;
use serde::Serialize;

use super::super::failure::Failure;
use super::Master;

/// Which part of a list.
#[derive(Debug, Args)]
pub(in crate::master) struct Paging {
    /// Rows of a page, 1 to 500 [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: Option<u32>,
    /// Where the page begins: the next_cursor of the one before
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// The whole list
    #[arg(long, conflicts_with_all = ["limit", "cursor"])]
    all: bool,
}

impl Master {
    /// Prints what `call` lists, in text as `table` has it.
    pub(super) async fn list<T, A>(
        &self,
        paging: &Paging,
        call: impl Fn(PageQuery) -> A + Send + Sync,
        table: impl FnOnce(&[T]) -> String + Send,
    ) -> Result<(), Failure>
    where
        T: Serialize + Send,
        A: Future<Output = Result<List<T>, ApiError>> + Send,
    {
        let list = if paging.all {
            List { items: all_pages(call).await?, next_cursor: None }
        } else {
            call(PageQuery { limit: paging.limit, cursor: paging.cursor.clone() }).await?
        };
        self.show(&list, |list| {
            if let Some(cursor) = &list.next_cursor {
                eprintln!("There is more: --cursor {cursor}, or --all.");
            }
            table(&list.items)
        })
    }
}
