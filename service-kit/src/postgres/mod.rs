//! A private Postgres, started from the machine's own binaries: unix socket, a random loopback port, an unprivileged
//! user.
//!
//! *Invariant:* a commit that was acknowledged survives `kill -9` of Postgres (and, with [`Settings::server`], a power
//! cut): a reader that was told a position never finds less. `synchronous_commit = off` would break that for a moment
//! after a crash, and a feed that is idle then would not even notice.
//!
//! *Invariant:* the postmaster ends with the process that started it, however that one dies (`PR_SET_PDEATHSIG`, armed
//! on a thread that lives as long as the cluster is wanted), and is started again when it dies by itself.
//!
//! The folder: `data/` (the cluster), `socket/` (mode 0700), `password` (for TCP), `postgres.log`. The caller holds
//! whatever lock keeps a second server away from the folder.

mod files;
mod keeper;
mod priority;
pub mod testing;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

pub use files::group_to_let_through;
pub use keeper::Settings;
pub use priority::giving_way;

use files::Home;
use keeper::Keeper;

/// How long a start may take: recovery after a kill replays at most `max_wal_size`, which takes seconds, not minutes.
const START_BOUND: Duration = Duration::from_secs(60);
/// Between two looks whether it answers: a warm start takes about 60 ms.
const POLL: Duration = Duration::from_millis(5);
/// The owner of the cluster and of its databases.
const USER: &str = "backstitch";

/// The reason why there is no private Postgres.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No binaries of Postgres were found.
    #[error(
        "no Postgres binaries found: install them (`apt-get install postgresql`), name their folder in \
         BACKSTITCH_POSTGRES_BIN, or give a running Postgres in DATABASE_URL"
    )]
    NoBinaries,
    /// Postgres refuses to run as root, and there is no user to run it as.
    #[error("Postgres refuses to run as root and /etc/passwd has neither `postgres` nor `nobody`: add one of them")]
    NoUser,
    /// The user that Postgres runs as cannot reach the folder.
    #[error(
        "user `{user}`, as whom Postgres runs, cannot enter `{blocked}`: choose a data folder that it can reach, such \
         as /var/lib/backstitch"
    )]
    Unreachable {
        /// Name of the user.
        user: String,
        /// The folder on the path that the user may not enter.
        blocked: PathBuf,
    },
    /// The cluster was made by another major version.
    #[error(
        "`{folder}` was made by Postgres {found} and the binaries are Postgres {binaries}: delete it (the read models \
         are folded again from the log) or name the old binaries in BACKSTITCH_POSTGRES_BIN"
    )]
    OtherVersion {
        /// The cluster's folder.
        folder: PathBuf,
        /// The version that made it.
        found: String,
        /// Version of the binaries.
        binaries: String,
    },
    /// A file or folder cannot be made or read.
    #[error("`{path}` cannot be used")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's description of the error.
        #[source]
        source: std::io::Error,
    },
    /// A program failed.
    #[error("`{program}` failed, its last words: {last_words}")]
    Program {
        /// The program that failed.
        program: PathBuf,
        /// The end of what it wrote.
        last_words: String,
    },
    /// Postgres runs and does not answer.
    #[error("Postgres in `{folder}` did not answer within {} s; see postgres.log there", START_BOUND.as_secs())]
    Silent {
        /// The cluster's folder.
        folder: PathBuf,
        /// The error of the last attempt to connect.
        #[source]
        source: Option<sqlx::Error>,
    },
}

impl PostgresError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// A running private cluster. Dropping it stops it without waiting; [`Self::stop`] waits.
#[derive(Debug)]
pub struct PrivatePostgres {
    keeper: Keeper,
    home: Home,
    port: u16,
}

impl PrivatePostgres {
    /// Starts the cluster of `folder`, making it on the first run (about 1 s; 60 ms later on), and waits until it
    /// answers. An orphan of a server that was killed is stopped first.
    ///
    /// # Errors
    /// [`PostgresError`]: no binaries, no user, an unusable folder, another version's cluster, or no answer in 60 s.
    pub async fn start(folder: &Path, settings: Settings) -> Result<Self, PostgresError> {
        let home = Home::new(folder)?;
        let (keeper, port) = Keeper::start(home.clone(), settings).await?;
        let started = Self { keeper, home, port };
        started.wait_until_it_answers().await?;
        Ok(started)
    }

    /// Returns the URL of a database over the unix socket, and creates the database if there is none. `name`: lower
    /// case letters, digits, `_`.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn database(&self, name: &str) -> Result<String, sqlx::Error> {
        let mut admin = self.admin().await?;
        let there: Option<i32> = sqlx::query_scalar("select 1 from pg_database where datname = $1")
            .bind(name)
            .fetch_optional(&mut admin)
            .await?;
        if there.is_none() {
            create_database(&mut admin, name).await?;
        }
        admin.close().await?;
        Ok(self.url(name))
    }

    /// The URL of a database over the unix socket, which only the cluster's own user (and root) can open.
    pub fn url(&self, database: &str) -> String {
        let socket = self.home.socket();
        format!("postgres:///{database}?host={}&port={}&user={USER}", socket.display(), self.port)
    }

    /// The URL of a database over loopback TCP, with its password: for `psql` and the like.
    ///
    /// # Errors
    /// [`PostgresError::File`] if the password cannot be read.
    pub fn tcp_url(&self, database: &str) -> Result<String, PostgresError> {
        let path = self.home.password();
        let password = std::fs::read_to_string(&path).map_err(PostgresError::file(&path))?;
        Ok(format!("postgres://{USER}:{}@127.0.0.1:{}/{database}", password.trim(), self.port))
    }

    /// The TCP port on the loopback address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the postmaster now; `None` while it is being started again.
    pub fn pid(&self) -> Option<u32> {
        self.keeper.pid()
    }

    /// Stops it (SIGINT: open transactions are rolled back, the next start needs no recovery) and waits for its end,
    /// 10 to 50 ms; what does not end in 5 s is killed.
    pub async fn stop(self) {
        self.keeper.stop().await;
    }

    /// A connection to the cluster's own database.
    async fn admin(&self) -> Result<PgConnection, sqlx::Error> {
        let options: PgConnectOptions = self.url("postgres").parse()?;
        options.disable_statement_logging().connect().await
    }

    async fn wait_until_it_answers(&self) -> Result<(), PostgresError> {
        let begun = Instant::now();
        let mut last = None;
        while begun.elapsed() < START_BOUND {
            match self.admin().await {
                Ok(connection) => {
                    let _ = connection.close().await; // It answered; how it says good-bye does not matter.
                    return Ok(());
                }
                Err(error) => last = Some(error),
            }
            if let Some(last_words) = self.keeper.first_failure() {
                return Err(PostgresError::Program { program: "postgres".into(), last_words });
            }
            tokio::time::sleep(POLL).await;
        }
        Err(PostgresError::Silent { folder: self.home.folder().to_owned(), source: last })
    }
}

/// Makes a database. Names cannot be bound in DDL: what is not a plain name is refused.
async fn create_database(admin: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        return Err(sqlx::Error::Configuration(format!("`{name}` is not a plain database name").into()));
    }
    let statement = format!("create database {name}"); // Checked just above.
    sqlx::query(sqlx::AssertSqlSafe(statement)).execute(admin).await.map(|_| ())
}
