//! An SQLite file as a store of rows.

use std::io;

use rusqlite::{Connection, ErrorCode};

use crate::projecting::row_store::RowStore;

/// Tables of an SQLite file. A projection runs its SQL on the connection as it is: a transaction is open there, and SQL that
/// waits for nothing needs no `.await`.
#[derive(Debug)]
pub enum Sqlite {}

/// Why rows were not read or written.
#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    /// SQLite refused a statement, or a value does not fit.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The log could not be read in a gap, or a query ended without an answer.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl RowStore for Sqlite {
    type Connection = Connection;
    type Error = SqliteError;

    async fn run(sql: &mut Connection, statement: &'static str) -> Result<(), SqliteError> {
        Ok(sql.execute_batch(statement)?)
    }

    fn is_refusal(error: &SqliteError) -> bool {
        use rusqlite::Error as E;
        let SqliteError::Sqlite(error) = error else { return false };
        let code = code_of(error);
        let of_row = matches!(code, Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig));
        let of_value = matches!(
            error,
            E::FromSqlConversionFailure(..)
                | E::IntegralValueOutOfRange(..)
                | E::InvalidColumnType(..)
                | E::ToSqlConversionFailure(_)
                | E::Utf8Error(..)
        );
        of_row || of_value || is_of_statement(error)
    }

    fn is_of_schema(error: &SqliteError) -> bool {
        matches!(error, SqliteError::Sqlite(error) if is_of_statement(error))
    }
}

/// SQLite's code of an error, of a statement that does not compile as well.
fn code_of(error: &rusqlite::Error) -> Option<ErrorCode> {
    if let rusqlite::Error::SqlInputError { error, .. } = error {
        return Some(error.code);
    }
    error.sqlite_error_code()
}

/// Whether it is the statement that cannot be run, as when a table or a column is not there: SQLite has one code for it all.
fn is_of_statement(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as E;
    code_of(error) == Some(ErrorCode::Unknown)
        || matches!(error, E::InvalidColumnName(_) | E::InvalidColumnIndex(_) | E::InvalidParameterCount(..))
}
