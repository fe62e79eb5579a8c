//! The transaction that an operation runs in, and all it may do with it.

use rusqlite::{Connection, ToSql};

use crate::error::Failure;
use crate::rows::Columns;

/// A transaction that somebody else begins and ends: the writer with its batch, a reader with its
/// one operation.
#[derive(Clone, Copy)]
pub(crate) struct Transaction<'a> {
    connection: &'a Connection,
    guarded: bool,
}

/// Values by the names they have in a statement.
pub(crate) type Named<'a> = &'a [(&'a str, &'a dyn ToSql)];

impl<'a> Transaction<'a> {
    pub(crate) const fn new(connection: &'a Connection) -> Self {
        Self { connection, guarded: false }
    }

    /// The same, for an operation that has a savepoint of its own.
    pub(crate) const fn guarded(connection: &'a Connection) -> Self {
        Self { connection, guarded: true }
    }

    /// Runs a statement that writes, and says how many rows it wrote: that count is the verdict.
    pub(crate) fn execute(self, sql: &'static str, values: Named<'_>) -> Result<usize, Failure> {
        Ok(self.connection.prepare_cached(sql)?.execute(values)?)
    }

    /// Runs a statement that inserts one row, and says at which place. What `RETURNING` would say as
    /// well, it gathers in a table of its own first.
    pub(crate) fn insert(self, sql: &'static str, values: Named<'_>) -> Result<i64, Failure> {
        Ok(self.connection.prepare_cached(sql)?.insert(values)?)
    }

    /// The first row of a statement, if it has one. The statement is run to its end, because one that
    /// writes is checked only there.
    pub(crate) fn find<T>(
        self,
        sql: &'static str,
        values: Named<'_>,
        read: impl FnOnce(&mut Columns<'_, '_>) -> Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(values)?;
        let found = match rows.next()? {
            Some(row) => Some(read(&mut Columns::of(row))?),
            None => None,
        };
        while found.is_some() && rows.next()?.is_some() {}
        Ok(found)
    }

    /// All rows of a statement.
    pub(crate) fn list<T>(
        self,
        sql: &'static str,
        values: Named<'_>,
        mut read: impl FnMut(&mut Columns<'_, '_>) -> Result<T, Failure>,
    ) -> Result<Vec<T>, Failure> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(values)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(read(&mut Columns::of(row))?);
        }
        Ok(found)
    }

    /// Lets `work` read all that it reads at one instant. For a reader, which has no batch around it.
    pub(crate) fn at_one_instant<T>(
        self,
        work: impl FnOnce(Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.execute("BEGIN", &[])?;
        let found = work(self)?;
        self.execute("COMMIT", &[])?;
        Ok(found)
    }

    /// Undoes all that this operation wrote, so that it can read on as of before.
    ///
    /// # Errors
    /// [`Failure::Unguarded`] when it has no savepoint: the writer carries it out again with one.
    pub(crate) fn undo(self) -> Result<(), Failure> {
        if self.guarded { self.execute(UNDO, &[]).map(drop) } else { Err(Failure::Unguarded) }
    }

    /// Begins one operation of a batch, with a savepoint.
    pub(crate) fn begin_operation(self) -> Result<(), Failure> {
        self.execute("SAVEPOINT operation", &[]).map(drop)
    }

    /// Keeps what it wrote, for the batch to commit.
    pub(crate) fn keep_operation(self) -> Result<(), Failure> {
        self.execute("RELEASE operation", &[]).map(drop)
    }
}

const UNDO: &str = "ROLLBACK TO operation";
