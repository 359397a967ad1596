//! A Postgres for tests: one cluster per test process, one database per test.
//!
//! Clusters are kept in `/tmp/backstitch-test-postgres-<uid>/<n>` and used again by the next run (60 ms instead of a
//! second). A lock on each keeps concurrent test processes apart; there are never more than ran at once.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::Connection as _;
use tokio::sync::OnceCell;

use super::{PostgresError, PrivatePostgres, Settings, create_database};

/// The most test processes at once. Beyond it something leaks, which should be seen.
const MOST: u32 = 64;

/// A cluster that tests of this process share.
#[derive(Debug)]
pub struct TestCluster {
    postgres: PrivatePostgres,
    databases: AtomicU32,
    _lock: File,
}

static SHARED: OnceCell<TestCluster> = OnceCell::const_new();

/// The URL of an empty database of this test's own, in the cluster of this process. Databases of earlier runs are
/// dropped when the cluster starts.
///
/// # Errors
/// [`PostgresError`]; what Postgres says, as [`PostgresError::Silent`].
pub async fn fresh_database() -> Result<String, PostgresError> {
    SHARED.get_or_try_init(TestCluster::start).await?.fresh_database().await
}

impl TestCluster {
    /// A cluster of the test's own, which it may kill.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub async fn start() -> Result<Self, PostgresError> {
        let (folder, lock) = claim()?;
        let postgres = PrivatePostgres::start(&folder, Settings::testing()).await?;
        let cluster = Self { postgres, databases: AtomicU32::new(0), _lock: lock };
        cluster.drop_old_databases().await.map_err(|source| cluster.silent(source))?;
        Ok(cluster)
    }

    /// The cluster that the databases are in.
    pub fn postgres(&self) -> &PrivatePostgres {
        &self.postgres
    }

    /// Stops it for good.
    pub async fn stop(self) {
        self.postgres.stop().await;
    }

    /// The URL of a new, empty database.
    ///
    /// # Errors
    /// What Postgres says, as [`PostgresError::Silent`].
    pub async fn fresh_database(&self) -> Result<String, PostgresError> {
        let name = format!("t_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let create = async {
            let mut admin = self.postgres.admin().await?;
            create_database(&mut admin, &name).await?;
            admin.close().await
        };
        create.await.map_err(|source| self.silent(source))?;
        Ok(self.postgres.url(&name))
    }

    async fn drop_old_databases(&self) -> Result<(), sqlx::Error> {
        let mut admin = self.postgres.admin().await?;
        let names: Vec<String> = sqlx::query_scalar("select datname from pg_database where datname ~ '^t_[0-9]+$'")
            .fetch_all(&mut admin)
            .await?;
        for name in names {
            let statement = format!("drop database {name} with (force)"); // The pattern above admits plain names only.
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut admin).await?;
        }
        admin.close().await
    }

    fn silent(&self, source: sqlx::Error) -> PostgresError {
        PostgresError::Silent { folder: self.postgres.home.folder().to_owned(), source: Some(source) }
    }
}

/// The first folder that no other test process uses. The lock is the process's as long as the file is open.
fn claim() -> Result<(PathBuf, File), PostgresError> {
    // SAFETY: geteuid has no preconditions and cannot fail (geteuid(2)).
    let root = PathBuf::from(format!("/tmp/backstitch-test-postgres-{}", unsafe { libc::geteuid() }));
    fs::create_dir_all(&root).map_err(PostgresError::file(&root))?;
    // The name can be guessed: nothing is started in a folder that another user has put there.
    crate::rights::trusted(&root, false)
        .map_err(|why| PostgresError::File { path: root.clone(), source: std::io::Error::other(why) })?;
    for number in 0..MOST {
        let path = root.join(format!("{number}.lock"));
        let file = File::create(&path).map_err(PostgresError::file(&path))?;
        if file.try_lock().is_ok() {
            return Ok((root.join(number.to_string()), file));
        }
    }
    let busy = std::io::Error::other("all test clusters are in use: end the test processes that hold them");
    Err(PostgresError::File { path: root, source: busy })
}
