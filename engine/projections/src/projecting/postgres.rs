//! Postgres as a store of rows.

use sqlx::PgConnection;

use crate::projecting::row_store::RowStore;

/// Tables of a Postgres, in the schema that the transaction names.
#[derive(Debug)]
pub enum Postgres {}

impl RowStore for Postgres {
    type Connection = PgConnection;
    type Error = sqlx::Error;

    async fn run(sql: &mut PgConnection, statement: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(statement).execute(sql).await.map(|_| ())
    }

    fn is_refusal(error: &sqlx::Error) -> bool {
        // Classes 22 (data), 23 (constraint), 42 (a column that is not there), 54 (too large).
        ["22", "23", "42", "54"].iter().any(|class| is_of_class(error, class))
            || matches!(error, sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. })
    }

    fn is_of_schema(error: &sqlx::Error) -> bool {
        is_of_class(error, "42")
    }
}

fn is_of_class(error: &sqlx::Error, class: &str) -> bool {
    let code = error.as_database_error().and_then(|refusal| refusal.code());
    code.is_some_and(|code| code.starts_with(class))
}
