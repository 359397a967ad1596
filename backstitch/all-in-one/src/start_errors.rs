//! Why something of a system cannot start, each with the way out.

use std::path::Path;

use event_store::OpenError;
use service_kit::StartError;
use service_kit::postgres::PostgresError;

/// Why the log was not opened, with the way out.
pub fn of_log(error: &OpenError, dir: &Path) -> StartError {
    let dir = dir.display();
    let hint = match error {
        OpenError::Locked { .. } => {
            format!("stop the other server, or: backstitch serve --data {dir}-2 --listen 127.0.0.1:7410")
        }
        OpenError::Foreign { .. } => format!("backstitch serve --data {dir}-2   # or move the file away"),
        OpenError::Damaged { .. } => {
            format!("backstitch store check --data {dir}   # then restore the last backup")
        }
        OpenError::Missing { .. } => {
            format!("ls -la {dir}   # put events.db back; or: backstitch serve --data {dir} --new-log")
        }
        OpenError::WalMissing { .. } => {
            "backstitch store backup NEW-FOLDER --data SERVED-FOLDER   # makes a whole copy, also of a running server"
                .to_owned()
        }
        OpenError::TailMissing { .. } => {
            format!(
                "restore the last backup as {dir}/events.db; to accept the loss: rm -r {dir}/events.mark {dir}/postgres"
            )
        }
        OpenError::Unusable { .. } => {
            format!("ls -ld {dir}; df -h {dir}   # writable by this user, and space left?")
        }
    };
    StartError::new(error, hint)
}

/// Why there is no Postgres, with the way out.
pub fn of_postgres(error: &PostgresError) -> StartError {
    let hint = match error {
        PostgresError::NoBinaries => "script/bootstrap   # installs them; or: export DATABASE_URL=postgres://…",
        PostgresError::NoUser => "useradd --system postgres",
        PostgresError::Unreachable { .. } => "backstitch serve --data /var/lib/backstitch",
        PostgresError::OtherVersion { .. } => {
            "delete the folder that is named: read models are folded again from the log"
        }
        PostgresError::File { .. } | PostgresError::Program { .. } | PostgresError::Silent { .. } => {
            "read postgres.log in the data folder; deleting its `postgres` folder loses nothing but the time to fold again"
        }
    };
    // The whole chain: what the system says is in the source.
    let mut what = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        what.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    StartError::new(what, hint)
}
