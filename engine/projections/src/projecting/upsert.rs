//! Writes rows of one table of Postgres in one statement. A column is named once, beside its values; its type in SQL follows from
//! theirs.

use std::fmt::Write as _;

use sqlx::encode::Encode;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgHasArrayType, PgRow, Postgres};
use sqlx::{Arguments as _, AssertSqlSafe, PgConnection, Row as _, Type, TypeInfo as _};

use super::changes::{Head, column};

/// What becomes of a column where the row is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Existing {
    /// It is part of the key.
    Key,
    /// It keeps its value.
    Stays,
    /// It gets the new value.
    Set,
    /// The new value is added to its own.
    Add,
    /// It keeps the greater value.
    Greatest,
}

/// One statement that inserts rows and updates those that are there. Rows are written by version: a row that has followed its
/// stream further than what is written keeps what it has.
#[derive(Debug)]
pub struct Upsert<'r, R> {
    table: &'static str,
    rows: &'r [R],
    columns: Vec<(&'static str, Existing)>,
    types: Vec<String>,
    arguments: PgArguments,
    problem: Option<BoxDynError>,
    by_version: bool,
}

impl<'r, R> Upsert<'r, R> {
    /// These rows, into a table of the schema that the transaction names. No two of them have the same key.
    pub fn new(table: &'static str, rows: &'r [R]) -> Self {
        let (columns, types) = (Vec::new(), Vec::new());
        Self { table, rows, columns, types, arguments: PgArguments::default(), problem: None, by_version: false }
    }

    /// A column of the primary key.
    #[must_use]
    pub fn key<T: Value>(self, name: &'static str, value: impl Fn(&R) -> T) -> Self {
        self.column(name, Existing::Key, value)
    }

    /// A column that is written with the row's first version, and stays as it is.
    #[must_use]
    pub fn once<T: Value>(self, name: &'static str, value: impl Fn(&R) -> T) -> Self {
        self.column(name, Existing::Stays, value)
    }

    /// A column that is written each time.
    #[must_use]
    pub fn set<T: Value>(self, name: &'static str, value: impl Fn(&R) -> T) -> Self {
        self.column(name, Existing::Set, value)
    }

    /// A column that is a sum, and what is added to it.
    #[must_use]
    pub fn add<T: Value>(self, name: &'static str, value: impl Fn(&R) -> T) -> Self {
        self.column(name, Existing::Add, value)
    }

    /// A column that keeps the greatest value that was written.
    #[must_use]
    pub fn greatest<T: Value>(self, name: &'static str, value: impl Fn(&R) -> T) -> Self {
        self.column(name, Existing::Greatest, value)
    }

    /// The columns `stream_version`, `global_position` and `updated_at`, written each time.
    #[must_use]
    pub fn head(self, head: impl Fn(&R) -> Head) -> Self {
        Self { by_version: true, ..self.head_columns(Existing::Set, head) }
    }

    /// The same columns of a row that is written once.
    #[must_use]
    pub fn head_once(self, head: impl Fn(&R) -> Head) -> Self {
        self.head_columns(Existing::Stays, head)
    }

    fn head_columns(self, existing: Existing, head: impl Fn(&R) -> Head) -> Self {
        self.column("stream_version", existing, |row| head(row).version_column())
            .column("global_position", existing, |row| head(row).position_column())
            .column("updated_at", existing, |row| head(row).updated_at)
    }

    fn column<T: Value>(mut self, name: &'static str, existing: Existing, value: impl Fn(&R) -> T) -> Self {
        let values = column(self.rows, value);
        self.columns.push((name, existing));
        self.types.push(<Vec<T> as Type<Postgres>>::type_info().name().to_owned());
        if let Err(error) = self.arguments.add(values) {
            self.problem.get_or_insert(error);
        }
        self
    }

    /// Writes the rows.
    ///
    /// # Errors
    /// What Postgres says; [`sqlx::Error::Encode`] for values that have no form in SQL.
    pub async fn execute(self, sql: &mut PgConnection) -> Result<(), sqlx::Error> {
        if let Some(problem) = self.problem {
            return Err(sqlx::Error::Encode(problem));
        }
        let text = statement(self.table, &self.columns, &self.types, self.by_version);
        // Made of names in this program's text; every value is an argument.
        sqlx::query_with(AssertSqlSafe(text), self.arguments).execute(sql).await.map(|_| ())
    }
}

impl Head {
    /// From a row that was read with the columns `stream_version`, `global_position` and `updated_at`.
    ///
    /// # Errors
    /// What sqlx says, when a column is missing or has another type.
    pub fn of_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let (version, position) = (row.try_get("stream_version")?, row.try_get("global_position")?);
        Ok(Self::stored(version, position, row.try_get("updated_at")?))
    }
}

/// A value of a column: any that Postgres has arrays of, null included.
pub trait Value: for<'q> Encode<'q, Postgres> + Type<Postgres> + PgHasArrayType + 'static {}

impl<T: for<'q> Encode<'q, Postgres> + Type<Postgres> + PgHasArrayType + 'static> Value for T {}

fn statement(table: &str, columns: &[(&str, Existing)], types: &[String], by_version: bool) -> String {
    let names = |wanted: fn(Existing) -> bool| {
        let wanted = columns.iter().filter(|(_, existing)| wanted(*existing));
        wanted.map(|(name, _)| *name).collect::<Vec<_>>()
    };
    let arrays: Vec<String> = types.iter().zip(1..).map(|(array, at)| format!("${at}::{array}")).collect();
    let mut text = format!(
        "insert into {table} as t ({}) select * from unnest({}) on conflict ({}) do ",
        names(|_| true).join(", "),
        arrays.join(", "),
        names(|existing| existing == Existing::Key).join(", "),
    );
    let changes: Vec<String> = columns.iter().filter_map(|(name, existing)| change(name, *existing)).collect();
    if changes.is_empty() {
        text.push_str("nothing");
        return text;
    }
    let _ = write!(text, "update set {}", changes.join(", ")); // Text in memory takes whatever is written.
    if by_version {
        text.push_str(" where t.stream_version < excluded.stream_version");
    }
    text
}

/// What becomes of a column where the row is there already.
fn change(name: &str, existing: Existing) -> Option<String> {
    match existing {
        Existing::Key | Existing::Stays => None,
        Existing::Set => Some(format!("{name} = excluded.{name}")),
        Existing::Add => Some(format!("{name} = t.{name} + excluded.{name}")),
        Existing::Greatest => Some(format!("{name} = greatest(t.{name}, excluded.{name})")),
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use event_store::Position;
    use sqlx::types::Json;

    use super::*;

    struct Line {
        id: i64,
        note: Option<&'static str>,
        head: Head,
    }

    fn text_of<R>(upsert: &Upsert<R>) -> String {
        statement(upsert.table, &upsert.columns, &upsert.types, upsert.by_version)
    }

    #[test]
    fn a_statement_names_each_column_and_what_becomes_of_it() {
        let head = Head { version: 3, position: Position(9), updated_at: DateTime::<Utc>::UNIX_EPOCH };
        let rows = [Line { id: 1, note: None, head }];
        let upsert = Upsert::new("lines", &rows).key("id", |row| row.id).once("note", |row| row.note);
        assert_eq!(
            text_of(&upsert),
            "insert into lines as t (id, note) select * from unnest($1::INT8[], $2::TEXT[]) on conflict (id) do nothing"
        );
        let upsert = upsert.set("tags", |_| Json(vec!["a"])).add("total", |row| row.id).greatest("last", |row| row.id);
        let updates = text_of(&upsert);
        let expected = "update set tags = excluded.tags, total = t.total + excluded.total, \
                        last = greatest(t.last, excluded.last)";
        assert!(updates.contains("$3::JSONB[], $4::INT8[]"), "{updates}");
        assert!(updates.ends_with(expected), "{updates}");
        let upsert = upsert.head(|row| row.head);
        assert!(text_of(&upsert).ends_with("where t.stream_version < excluded.stream_version"));
        assert!(upsert.problem.is_none());
    }
}
