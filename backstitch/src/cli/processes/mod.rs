//! The processes of a cluster by name, each with the settings that it reads. All of them read one file, whose keys and
//! defaults are those of `docs/backstitch.toml`.

pub(super) mod gateway;
pub(super) mod provider_sim;
#[cfg(feature = "cluster")]
pub(super) mod relay;
pub(super) mod serve;

use all_in_one::Config;
use serde::de::DeserializeOwned;
use service_kit::config::{self, Origin, Said, Shown};

/// A process, and what it reads.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    /// As people start it: a binary, or a sub-command of `backstitch`.
    pub name: &'static str,
    /// The sections that it reads.
    pub sections: fn() -> &'static [&'static str],
    /// The keys that it reads, such as `http.listen`.
    pub keys: fn() -> Vec<String>,
    /// What is wrong for it with what was said.
    pub problems: fn(&Said) -> Vec<String>,
    /// How the value of a key may be shown.
    pub shown: fn(&str) -> Shown,
    /// What was said of a key, and where.
    pub get: for<'a> fn(&'a Said, &str) -> Option<(serde_json::Value, &'a Origin)>,
}

/// All that this program can run.
pub const PROCESSES: &[Process] = &[
    process::<Config>("serve"),
    #[cfg(feature = "cluster")]
    process::<command_service::service::Config>("command-service"),
    #[cfg(feature = "cluster")]
    process::<saga_orchestrator::service::Config>("saga-orchestrator"),
    #[cfg(feature = "cluster")]
    process::<projection_service::service::Config>("projection-service"),
    process::<gateway::Settings>("gateway"),
    process::<provider_sim::Settings>("provider-sim"),
    #[cfg(feature = "cluster")]
    process::<relay::Settings>("relay"),
    #[cfg(feature = "cluster")]
    process::<crate::cli::projection::prepare::Settings>("prepare"),
];

const fn process<T: DeserializeOwned>(name: &'static str) -> Process {
    Process {
        name,
        sections: config::sections::<T>,
        keys: config::keys::<T>,
        problems: Said::problems::<T>,
        shown: config::shown::<T>,
        get: Said::get::<T>,
    }
}

/// The process of this name.
pub fn named(name: &str) -> Option<&'static Process> {
    PROCESSES.iter().find(|process| process.name == name)
}

// With all processes: the document is compared with what they read together.
#[cfg(test)]
#[cfg(feature = "cluster")]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use service_kit::config::{DOCUMENTED, defaults};

    use super::*;

    /// The keys of the document: those with a value, and those that stand in a comment because they have no default.
    fn documented() -> BTreeSet<String> {
        let mut section = String::new();
        let mut found = BTreeSet::new();
        for line in DOCUMENTED.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                name.clone_into(&mut section);
            }
            let key = line.trim_start_matches("# ").split_once(" = ").map(|(key, _)| key);
            let is_key = |key: &&str| {
                !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            };
            found.extend(key.filter(is_key).map(|key| format!("{section}.{key}")));
        }
        found
    }

    #[test]
    fn every_key_of_every_process_is_documented_and_no_other() {
        let read: BTreeSet<String> = PROCESSES.iter().flat_map(|process| (process.keys)()).collect();
        let documented = documented();
        assert!(documented.len() > 30, "keys were found: {documented:?}");
        let missing: Vec<&String> = read.difference(&documented).collect();
        assert!(missing.is_empty(), "not in docs/backstitch.toml: {missing:?}");
        let unknown: Vec<&String> = documented.difference(&read).collect();
        assert!(unknown.is_empty(), "in docs/backstitch.toml, and read by no process: {unknown:?}");
    }

    /// Whole numbers that may be anything: neither a duration nor a count.
    const ANY_NUMBER: &[&str] = &["pricing.tax_basis_points", "provider.simulated.seed"];
    /// Durations and counts that may be 0, each with what that means.
    const MAY_BE_ZERO: &[(&str, &str)] = &[
        ("bus.replication", "refused by the broker that makes the topic"),
        ("event_store.min_free_disk_percent", "no command is refused for lack of room"),
        ("provider.simulated.delay_ms", "the simulated provider answers at once"),
        ("provider.simulated.webhook_delay_ms", "the simulated provider sends webhooks at once"),
        ("provider.simulated.withheld_ms", "the simulated provider withholds no answer"),
    ];

    /// Who refuses a key with a value, and how.
    fn refused(key: &str, value: &str) -> Vec<String> {
        let (section, name) = key.rsplit_once('.').unwrap();
        let said = Said::text(&format!("[{section}]\n{name} = {value}\n"), Path::new("test.toml")).unwrap();
        let reads = PROCESSES.iter().filter(|process| (process.keys)().iter().any(|read| read == key));
        let refusals = reads.map(|process| (process.problems)(&said).join("; ")).collect::<Vec<_>>();
        assert!(!refusals.is_empty(), "`{key}` is read by some process");
        refusals
    }

    #[test]
    fn every_duration_and_every_count_has_a_range_and_is_refused_by_name_outside_of_it() {
        let defaults = defaults().unwrap();
        let keys: BTreeSet<String> = PROCESSES.iter().flat_map(|process| (process.keys)()).collect();
        let is_number = |key: &&String| {
            let value = PROCESSES.iter().find_map(|process| (process.get)(&defaults, key)).map(|(value, _)| value);
            value.is_some_and(|value| value.is_i64()) && !ANY_NUMBER.contains(&key.as_str())
        };
        let numbers: Vec<&String> = keys.iter().filter(is_number).collect();
        assert!(numbers.len() > 20, "numbers were found: {numbers:?}");
        for key in numbers {
            let zero = (!MAY_BE_ZERO.iter().any(|(may, _)| may == key)).then_some("0");
            for value in zero.into_iter().chain(["-2", "9223372036854775807"]) {
                for refusal in refused(key, value) {
                    assert!(refusal.contains(&format!("`{key}`")), "{key} = {value}: {refusal:?}");
                }
            }
        }
    }

    #[test]
    fn every_section_is_one_that_the_processes_know_of_each_other() {
        for process in PROCESSES {
            for section in (process.sections)() {
                assert!(config::SECTIONS.contains(section), "`{section}` of {} is missing in SECTIONS", process.name);
            }
        }
    }

    #[test]
    fn the_documented_settings_fit_every_process() {
        let said = defaults().unwrap();
        for process in PROCESSES {
            assert_eq!((process.problems)(&said), Vec::<String>::new(), "{}", process.name);
        }
    }
}
