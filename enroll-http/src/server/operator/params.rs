//! What stands after the `?`.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use enroll_core::store::Page;
use http::request::Parts;

use super::{cursor, invalid};
use crate::wire::{List, Problem};

/// The parameters of a request; those nobody asks for are ignored.
pub(super) struct Params(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| invalid("What stands after the `?` is not a list of `name=value`."))?;
        // Some stores cannot take it, and no value that means anything has it.
        if pairs.iter().any(|(_, value)| value.contains('\0')) {
            return Err(invalid("A parameter holds the character U+0000."));
        }
        Ok(Self(pairs))
    }
}

impl Params {
    /// The text of a parameter.
    ///
    /// Given twice it is refused: the two ends of a proxy might each see another one.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| &**value);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(invalid(format!("`{name}` is given twice."))),
            (value, None) => Ok(value),
        }
    }

    /// A parameter that `read` understands; `rule` ends the sentence "`<name>` must be …".
    pub(super) fn read<T>(
        &self,
        name: &str,
        rule: impl Display,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        read(text).map(Some).ok_or_else(|| invalid(format!("`{name}` must be {rule}.")))
    }

    /// A switch that is off unless it is said to be on.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Problem> {
        let read = self.read(name, "`true` or `false`", |text| text.parse().ok());
        Ok(read?.unwrap_or(false))
    }

    /// The page of `list` that is asked for.
    pub(super) fn paging<K: FromStr>(&self, list: &'static str) -> Result<Paging<K>, Problem> {
        let (min, max) = (List::<()>::MIN_LIMIT, List::<()>::MAX_LIMIT);
        let limit =
            self.read("limit", format_args!("a whole number from {min} to {max}"), |text| {
                text.parse().ok().filter(|limit| (min..=max).contains(limit))
            })?;
        let rule = "the `next_cursor` of an earlier page of this list, unchanged";
        let after = self.read("cursor", rule, |text| cursor::read(list, text))?;
        Ok(Paging { list, after, limit: limit.unwrap_or(List::<()>::DEFAULT_LIMIT) })
    }
}

/// A page that is asked for.
pub(super) struct Paging<K> {
    list: &'static str,
    /// The row it begins behind.
    pub(super) after: Option<K>,
    limit: u32,
}

impl<K: Clone + Display> Paging<K> {
    /// What to ask the store for: one row more than is shown, to know whether another page follows.
    pub(super) fn page(&self) -> Page<K> {
        Page { after: self.after.clone(), limit: self.limit + 1 }
    }

    /// The page, made of the rows the store gave for [`Self::page`].
    pub(super) fn list<R, T>(
        &self,
        mut rows: Vec<R>,
        key: impl Fn(&R) -> K,
        item: impl FnMut(R) -> T,
    ) -> List<T> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| more);
        let next_cursor = last.map(|row| cursor::write(self.list, &key(row)));
        List { items: rows.into_iter().map(item).collect(), next_cursor }
    }
}
