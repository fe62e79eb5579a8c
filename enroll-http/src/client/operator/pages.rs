//! Lists, a page at a time or whole.

use std::future::Future;

use super::ApiError;
use super::transport::Param;
use crate::wire::List;

/// Which page of a list.
///
/// # Defaults
/// The first one, of as many rows as the master gives unasked: [`List::DEFAULT_LIMIT`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the two parameters of every list")]
pub struct PageQuery {
    /// The most rows wanted, [`List::MIN_LIMIT`] to [`List::MAX_LIMIT`].
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl PageQuery {
    /// The first page, as large as can be.
    #[must_use]
    pub const fn largest() -> Self {
        Self { limit: Some(List::<()>::MAX_LIMIT), cursor: None }
    }

    /// The page after one whose `next_cursor` is `cursor`, of the same size.
    #[must_use]
    pub fn at(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    /// The parameters of the request.
    pub(super) fn into_params(self) -> Vec<Param> {
        let limit = self.limit.map(|limit| ("limit", limit.to_string()));
        limit.into_iter().chain(self.cursor.map(|cursor| ("cursor", cursor))).collect()
    }
}

/// A whole list, read in the largest pages.
///
/// ```no_run
/// # async fn example(client: enroll_http::client::OperatorClient)
/// #     -> Result<(), enroll_http::client::ApiError> {
/// use enroll_http::client::all_pages;
///
/// for token in all_pages(|page| client.tokens(true, page)).await? {
///     println!("{} {}", token.id, token.status);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The first [`ApiError`] of a page.
pub async fn all_pages<T, F, A>(mut page: F) -> Result<Vec<T>, ApiError>
where
    F: FnMut(PageQuery) -> A,
    A: Future<Output = Result<List<T>, ApiError>>,
{
    let (mut rows, mut query) = (Vec::new(), PageQuery::largest());
    loop {
        let list = page(query.clone()).await?;
        rows.extend(list.items);
        match list.next_cursor {
            // A master that leads back to where the page began would lead there for ever.
            Some(next) if query.cursor.as_ref() != Some(&next) => query = query.at(next),
            _ => return Ok(rows),
        }
    }
}
