//! `backstitch store check`: whether every event is sound, and whether anybody has seen more than the log holds.

use event_store::sqlite::{self, CheckReport, LogFile};
use event_store::{Position, ReadError, StreamName};
use saga_orchestrator::CHECKPOINT_STREAM;
use serde::Serialize;

use service_kit::secret::SecretUrl;
use terminal::output::{self, Table, Tone};
use terminal::progress::{bar, show};
use terminal::{Exit, Failure};

use super::no_log;
use super::place::Log;
use super::postgres::{self, Asked};

/// What was found, of the log and of who reads it.
#[derive(Debug, Serialize)]
struct Checked {
    #[serde(flatten)]
    report: CheckReport,
    /// How far the sagas have read; none: they begin anew.
    saga_checkpoint: Option<Position>,
    /// How far the read models have come.
    read_models: Asked,
}

/// Checks a folder.
pub(super) async fn run(log: &Log, postgres: Option<&SecretUrl>) -> anyhow::Result<Exit> {
    let (dir, as_json) = (log.dir().await?, log.json);
    let bar = bar("checking");
    let found = sqlite::check(&dir, &mut |done, all| show(&bar, done, all));
    bar.finish_and_clear();
    let mut report = found.map_err(|error| no_log(&error, &dir))?;
    // Who reads is asked before the log is looked at again: it may grow meanwhile, and they with it.
    let read_models = postgres::ask(&dir, postgres).await;
    let log = LogFile::open_as_it_is(&dir).map_err(|error| no_log(&error, &dir))?;
    let saga_checkpoint = compare(&log, &read_models, &mut report).unwrap_or_else(|error| {
        report.add(Position::START, error.to_string());
        None
    });
    let checked = Checked { report, saga_checkpoint, read_models };
    if as_json {
        output::json(&checked)?;
    } else {
        print(&checked);
    }
    let report = &checked.report;
    if report.is_whole() {
        return Ok(Exit::Done);
    }
    let (what, dir) = (format!("{} problems in `{}`", report.problem_count, report.path), dir.display());
    Err(Failure::no(
        what,
        format!("cp -a {dir} {dir}-damaged   # keep a copy; then what each problem says, or the last backup"),
    ))
}

/// Compares what was seen with the log as it is now; the sagas' checkpoint.
fn compare(log: &LogFile, read_models: &Asked, report: &mut CheckReport) -> Result<Option<Position>, ReadError> {
    let stream: StreamName = CHECKPOINT_STREAM.parse().expect("a literal of printable ASCII is a stream's name");
    let saga_checkpoint = log.snapshot(&stream)?.map(|snapshot| Position(snapshot.version));
    let (head, first) = (log.head()?, log.event(Position(1))?.map(|event| event.id));
    if let Some(seen) = saga_checkpoint.filter(|seen| *seen > head) {
        let what = format!(
            "the sagas have read up to position {seen}, the log ends at {head}: its end is missing; restore it (the sagas \
             leave such a checkpoint alone and read the log again)"
        );
        report.add(Position::START, what);
    }
    for checkpoint in &read_models.checkpoints {
        let name = format!("the read model `{}` (generation {})", checkpoint.projection, checkpoint.generation);
        let way_out = "drop its database (private: the folder `postgres`), and it is folded again";
        if checkpoint.position > head {
            let seen = checkpoint.position;
            let what = format!(
                "{name} has seen position {seen}, the log ends at {head}: its end is missing; restore it, or accept the \
                 loss: {way_out}"
            );
            report.add(Position::START, what);
        }
        if let Some(bound) = checkpoint.log.filter(|bound| Some(*bound) != first) {
            let this = first.map_or_else(|| "is empty".to_owned(), |id| format!("begins with {id}"));
            let what = format!(
                "{name} is of another log, which begins with the event {bound}; this one {this}: give that log its own \
                 database, or {way_out}"
            );
            report.add(Position::START, what);
        }
    }
    Ok(saga_checkpoint)
}

fn print(checked: &Checked) {
    let CheckReport { path, events, streams, position, .. } = &checked.report;
    output::line(format_args!("{path}: {events} events in {streams} streams, up to position {position}"));
    let sagas = checked.saga_checkpoint.map_or_else(|| "none".to_owned(), |at| format!("at position {at}"));
    output::line(format_args!("sagas' checkpoint: {sagas}"));
    let Asked { of, not_asked, checkpoints } = &checked.read_models;
    match (not_asked, checkpoints.iter().map(|checkpoint| checkpoint.position).min()) {
        (Some(why), _) => output::toned(Tone::Warn, format_args!("read models: not asked, {why}")),
        (None, None) => output::line(format_args!("read models: none in {of}")),
        (None, Some(least)) => {
            let count = checkpoints.len();
            output::line(format_args!("read models: {count} checkpoints in {of}, the last at position {least}"));
        }
    }
    if checked.report.served && !checked.report.structure {
        output::toned(Tone::Faint, "SQLite's own check was left out: the folder is being served");
    }
    for note in &checked.report.notes {
        output::toned(Tone::Warn, format_args!("note: {note}"));
    }
    if checked.report.is_whole() {
        output::toned(Tone::Good, "whole: every checksum, chain link and version fits, and no reader has seen more");
        return;
    }
    let mut table = Table::new(&[">position", "problem"]);
    for problem in &checked.report.problems {
        let at = if problem.position == Position::START { "-".to_owned() } else { problem.position.to_string() };
        table.row(Tone::Bad, [at, problem.what.clone()]);
    }
    table.print();
    let unnamed = checked.report.problem_count.saturating_sub(checked.report.problems.len() as u64);
    if unnamed > 0 {
        output::line(format_args!("and {unnamed} more"));
    }
}
