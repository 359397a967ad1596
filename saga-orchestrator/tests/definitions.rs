//! The tables: each can be followed both ways, and none changes without a new version.

#![allow(clippy::unwrap_used, reason = "tests only: a panic is the report")]

use domain::saga::Kind;
use saga_engine::definition::{DefinitionError, Meaning, sends_nothing};
use saga_engine::process::Process as _;
use saga_orchestrator::config::Time;
use saga_orchestrator::sagas;
use saga_orchestrator::shop::{Definition, Limit, People, ShopSagas, Step, Undo};

#[test]
fn no_table_changes_without_a_new_version() {
    for definition in sagas::ALL {
        let path = format!("{}/golden/{}.v{}.txt", env!("CARGO_MANIFEST_DIR"), definition.name, definition.version);
        let now = definition.fingerprint();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &now).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            golden, now,
            "active sagas follow this table: make it a new version (UPDATE_GOLDEN=1 writes {path})"
        );
    }
}

#[test]
fn all_tables_can_be_followed() {
    assert_eq!(ShopSagas::validate(), Ok(()));
}

const ROW: Step = Step {
    name: "row",
    kind: Kind::Compensatable,
    after: &[],
    sends: sends_nothing,
    awaits: None,
    undo: Some(Undo::Nothing),
    within: Time::Command,
    limit: Limit::Never,
    tries: 1,
    redo: None,
    means: |_| Meaning::Attention,
    keep: None,
};

const fn table(steps: &'static [Step]) -> Definition {
    Definition {
        name: "trial",
        version: 1,
        starts_on: &["Nothing"],
        steps,
        hears: |_, _| Vec::new(),
        stops: |_| None,
        hands_over: None,
        people: People::SKIP_NOTHING,
    }
}

const PIVOT: Step = Step { name: "pivot", kind: Kind::Pivot, after: &["row"], undo: None, ..ROW };
const FORWARD: Step = Step { name: "forward", kind: Kind::Retriable, after: &["pivot"], undo: None, ..ROW };

#[test]
fn a_table_in_order_is_taken() {
    assert_eq!(table(&[ROW, PIVOT, FORWARD]).validate(), Ok(()));
}

#[test]
fn a_compensatable_step_without_its_compensation_is_refused_by_name() {
    let refused = table(&[Step { undo: None, ..ROW }]).validate().unwrap_err();
    assert_eq!(refused, DefinitionError::NoUndo { saga: "trial", step: "row" });
    let text = "saga `trial`: step `row` is compensatable and lacks its compensation; give it one, or `Undo::Nothing`";
    assert_eq!(refused.to_string(), text);
}

#[test]
fn a_retriable_step_before_the_pivot_is_refused() {
    let refused = table(&[ROW, Step { after: &["row"], ..FORWARD }, PIVOT]).validate().unwrap_err();
    assert_eq!(refused, DefinitionError::RetriableBeforePivot { saga: "trial", step: "forward", pivot: "pivot" });
}

#[test]
fn a_compensatable_step_after_the_pivot_is_refused() {
    let refused = table(&[ROW, PIVOT, Step { name: "late", after: &["pivot"], ..ROW }]).validate().unwrap_err();
    assert_eq!(refused, DefinitionError::CompensatableAfterPivot { saga: "trial", step: "late", pivot: "pivot" });
}

#[test]
fn two_pivots_are_refused() {
    let refused = table(&[ROW, PIVOT, Step { name: "second", after: &["row"], ..PIVOT }]).validate().unwrap_err();
    assert_eq!(refused, DefinitionError::TwoPivots { saga: "trial", first: "pivot", second: "second" });
}

#[test]
fn a_name_that_no_row_above_bears_is_refused() {
    let unknown = |step, unknown| DefinitionError::UnknownStep { saga: "trial", step, unknown };
    assert_eq!(table(&[Step { after: &["nowhere"], ..ROW }]).validate(), Err(unknown("row", "nowhere")));
    assert_eq!(
        table(&[ROW, Step { redo: Some(("nowhere", 1)), ..PIVOT }]).validate(),
        Err(unknown("pivot", "nowhere"))
    );
    assert_eq!(table(&[PIVOT, ROW]).validate(), Err(unknown("pivot", "row")));
}

#[test]
fn two_rows_of_one_name_are_refused() {
    assert_eq!(table(&[ROW, ROW]).validate(), Err(DefinitionError::SameName { saga: "trial", step: "row" }));
}
