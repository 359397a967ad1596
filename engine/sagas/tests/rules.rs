//! The rules of the engine, told with a saga of three steps.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod booking;

use std::time::Duration;

use booking::{BOOKING, BoxOffice, Command, DEFINITION, Facts, Paid, Patience};
use saga_engine::parts::{Action, Source};
use saga_engine::testing::Given;
use saga_engine::{Act, Begin, DefinitionError, Outcome, Process, Refusal, Step, plan};
use uuid::Uuid;

fn start() -> Begin<BoxOffice> {
    let facts = Facts { booking_id: Uuid::from_u128(7), seat: "a1".into(), guest: "ann".into() };
    Begin { source: Source { stream: "desk-1".into(), version: 0, event: "SeatBooked".into() }, facts }
}

fn begun() -> Given<BoxOffice> {
    Given::begun(BOOKING, &start(), Patience { to_pay: Duration::from_secs(600) })
}

fn waits_for_the_guest() -> Given<BoxOffice> {
    begun().answered(Outcome::Done).then(&["StepSucceeded hold", "StepStarted pay"])
}

fn no() -> Outcome {
    Outcome::Rejected { code: "seat-taken".into(), detail: "the seat is held for another guest".into() }
}

#[test]
fn a_saga_goes_from_step_to_step_and_ends_once() {
    let given = begun();
    assert_eq!(given.sends(), ["Hold"]);
    let given = given.answered(Outcome::Done).then(&["StepSucceeded hold", "StepStarted pay"]);
    assert!(given.sends().is_empty(), "nothing is sent while the guest is waited for");
    let given = given.hears(Paid).then(&["StepSucceeded pay", "StepStarted confirm"]);
    assert_eq!(given.sends(), ["Sell"]);
    let given = given.answered(Outcome::Done).then(&["StepSucceeded confirm", "SagaCompleted"]);
    given.hears(Paid).then_nothing().at(10_000).looks_at_the_time().then_nothing();
}

#[test]
fn what_takes_too_long_is_compensated_in_reverse() {
    let given = waits_for_the_guest().at(599).looks_at_the_time().then_nothing();
    let given = given.at(600).looks_at_the_time();
    let given = given.then(&["StepFailed pay", "CompensationStarted", "UndoStarted hold"]);
    assert_eq!(given.sends(), ["Release"]);
    let given = given.answered(Outcome::Done).then(&["UndoSucceeded hold", "SagaCompensated"]);
    given.hears(Paid).then_nothing();
}

#[test]
fn a_refusal_of_the_pivot_leads_back() {
    let given = waits_for_the_guest().hears(Paid).then(&["StepSucceeded pay", "StepStarted confirm"]);
    let given = given.answered(no()).then(&["StepFailed confirm", "CompensationStarted", "UndoStarted hold"]);
    given.answered(Outcome::Done).then(&["UndoSucceeded hold", "SagaCompensated"]);
}

#[test]
fn no_answer_fails_no_step_and_is_tried_again_as_the_same_command() {
    let given = begun();
    let first = given.state().legs[0].commands[0].0.clone();
    let nobody = Outcome::Unavailable { detail: "nobody answers".into(), retry_after: None };
    let given = given.answered(nobody).then(&["StepRetryScheduled hold"]);
    assert!(given.sends().is_empty(), "not before the wait is over");
    let given = given.at(1);
    assert_eq!(given.sends(), ["Hold"]);
    let again = given.state().legs[0].commands[0].0.clone();
    assert_eq!((again.id, again.body.raw().get()), (first.id, first.body.raw().get()));
}

#[test]
fn a_fact_that_comes_before_its_step_is_not_lost() {
    let given = begun().hears(Paid).then(&["SagaInputRecorded pay"]);
    let then = ["StepSucceeded hold", "StepStarted pay", "StepSucceeded pay", "StepStarted confirm"];
    given.answered(Outcome::Done).then(&then);
}

#[test]
fn a_person_compensates_before_the_pivot_and_the_plan_says_what_that_sends() {
    let given = waits_for_the_guest();
    let plan = plan(given.state(), saga_engine::testing::at(1), &Patience { to_pay: Duration::from_secs(600) });
    let planned: Vec<&str> =
        plan.fails[0].steps.iter().flat_map(|step| &step.sends).map(|sent| &*sent.command).collect();
    assert_eq!(planned, ["Release"]);
    let asked = |action| Act {
        action,
        actor: "alice".into(),
        reason: "the concert is off".into(),
        step: None,
        request_id: Uuid::from_u128(1),
    };
    assert_eq!(given.clone().acted(&asked(Action::HandOver)).unwrap_err(), Refusal::NobodyTakesOver);
    let went_back = given.acted(&asked(Action::Compensate)).unwrap();
    went_back.then(&["OperatorActed", "CompensationStarted", "UndoStarted hold"]);
}

#[test]
fn a_command_is_stored_with_a_derived_id_and_its_own_bytes() {
    let given = begun();
    let issued = &given.state().legs[0].commands[0].0;
    assert_eq!(issued.body.raw().get(), r#"{"Hold":{"seat":"a1","guest":"ann"}}"#);
    assert_eq!(issued.body.parse::<Command>().unwrap(), Command::Hold { seat: "a1".into(), guest: "ann".into() });
    let stream = "saga_booking-00000000-0000-0000-0000-000000000007";
    assert_eq!(given.state().stream, stream);
    let parts = ["saga-command", stream, "hold", "do", "0", "seat-a1"];
    assert_eq!(issued.id, BoxOffice::IDS.derive(&parts));
}

#[test]
fn a_step_that_says_nothing_of_its_compensation_is_refused() {
    const FORGOTTEN: &[Step<BoxOffice>] = &[Step { name: "hold", ..Step::COMPENSATABLE }];
    let refused = saga_engine::Definition { steps: FORGOTTEN, ..DEFINITION }.validate();
    assert_eq!(refused, Err(DefinitionError::NoUndo { saga: BOOKING, step: "hold" }));
    assert_eq!(BoxOffice::validate(), Ok(()));
}
