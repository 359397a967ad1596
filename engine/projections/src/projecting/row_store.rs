//! Where rows are stored: what a projection is given to read and write its tables, and what the rules of applying need of it.

use std::error::Error;
use std::future::Future;
use std::io;

/// A store of rows with transactions and savepoints. Its implementations are empty types; a program names them in
/// `Projection<…>`.
pub trait RowStore: 'static {
    /// What SQL is run on. A transaction is open there whenever a projection gets it.
    type Connection: Send;
    /// What the store says when SQL fails. Made from an [`io::Error`] where the log cannot be read in a gap.
    type Error: Error + Send + Sync + 'static + From<io::Error>;

    /// Runs a statement without values and without rows.
    fn run(sql: &mut Self::Connection, statement: &'static str)
    -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Whether the store refused the rows themselves; anything else is an outage and tried again as it is.
    fn is_refusal(error: &Self::Error) -> bool;

    /// Whether it is rather the table than the row: it or a column is not there.
    fn is_of_schema(error: &Self::Error) -> bool;
}

/// Marks where a part of a transaction begins.
pub(crate) async fn savepoint<S: RowStore>(sql: &mut S::Connection) -> Result<(), S::Error> {
    S::run(sql, "savepoint part").await
}

/// Undoes everything since the savepoint, which is gone then.
pub(crate) async fn roll_back<S: RowStore>(sql: &mut S::Connection) -> Result<(), S::Error> {
    S::run(sql, "rollback to savepoint part").await?;
    release::<S>(sql).await
}

/// Keeps everything since the savepoint, which is gone then.
pub(crate) async fn release<S: RowStore>(sql: &mut S::Connection) -> Result<(), S::Error> {
    S::run(sql, "release savepoint part").await
}
