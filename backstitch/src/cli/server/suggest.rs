//! Names that shells offer for an argument: those that this release knows. Any other text is taken as well, since the server
//! that is asked may be of another release.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};

/// Takes any text, and lets shells offer names.
#[derive(Debug, Clone)]
pub(crate) struct Suggested(fn() -> BTreeSet<&'static str>);

impl TypedValueParser for Suggested {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new((self.0)().into_iter().map(PossibleValue::new)))
    }
}

/// The names of the read models.
pub(crate) fn projection() -> Suggested {
    Suggested(|| projection_service::projections::ALL.iter().map(|model| model.name).collect())
}

/// The types of sagas.
pub(crate) fn saga_type() -> Suggested {
    Suggested(|| saga_orchestrator::sagas::ALL.iter().map(|definition| definition.name).collect())
}

/// The steps of all sagas.
pub(crate) fn step() -> Suggested {
    Suggested(|| saga_orchestrator::sagas::ALL.iter().flat_map(|saga| saga.steps).map(|step| step.name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_offered_and_other_texts_are_taken_too() {
        let command = clap::Command::new("x").arg(clap::Arg::new("name").value_parser(projection()));
        let offered =
            projection().possible_values().unwrap().map(|name| name.get_name().to_owned()).collect::<Vec<_>>();
        assert!(offered.contains(&"orders".to_owned()), "{offered:?}");
        let taken = command.try_get_matches_from(["x", "of_a_newer_server"]).unwrap();
        assert_eq!(taken.get_one::<String>("name").unwrap(), "of_a_newer_server");
        let count = |suggested: Suggested| suggested.possible_values().unwrap().count();
        assert!(count(saga_type()) >= 3 && count(step()) >= 10);
    }
}
