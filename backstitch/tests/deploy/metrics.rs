//! The numbers that processes give, and what `docs/operating.md` says of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::yaml::{files_below, none, root, text};

/// Known by these names to dashboards that are not ours.
const OTHERS_NAMES: &[&str] = &["event_serialization_error", "event_handler_error"];

/// The names in the code, each with whether it is a counter, a gauge or a histogram.
fn of_the_code() -> BTreeMap<String, &'static str> {
    let folders = [root(), root().join("engine"), root().join("backstitch")]
        .into_iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let crates = folders.map(|entry| entry.unwrap().path()).filter(|path| path.join("src/lib.rs").is_file());
    let files = crates.flat_map(|path| files_below(&path.strip_prefix(root()).unwrap().join("src").to_string_lossy()));
    let mut found = BTreeMap::new();
    for source in files.filter(|path| path.ends_with(".rs")).map(|path| text(&path)) {
        for kind in ["counter", "gauge", "histogram"] {
            for (at, call) in source.match_indices(&format!("metrics::{kind}!(")) {
                let after = source[at + call.len()..].trim_start();
                if let Some(name) = after.strip_prefix('"').and_then(|rest| rest.split('"').next()) {
                    found.insert(name.to_owned(), kind);
                }
            }
        }
        // Those that are chosen by what happened.
        let chosen = source.split('"').skip(1).step_by(2).filter(|word| word.starts_with("backstitch_bus_consumer_"));
        for name in chosen.filter(|name| name.ends_with("_total")) {
            found.insert(name.to_owned(), "counter");
        }
    }
    found.retain(|name, _| !name.starts_with("backstitch_test_"));
    found
}

#[test]
fn every_number_is_explained_and_every_explained_number_is_given() {
    let given: BTreeSet<String> = of_the_code().into_keys().collect();
    assert!(given.len() > 20, "metrics were found: {given:?}");
    let prefixes = ["backstitch_", "event_"];
    let document = text("docs/operating.md");
    let explained: BTreeSet<String> = document
        .split('`')
        .filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix)))
        .filter(|word| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        .map(str::to_owned)
        .collect();
    none("metrics that docs/operating.md does not explain", given.difference(&explained).cloned());
    none("metrics in docs/operating.md that nobody gives", explained.difference(&given).cloned());
}

#[test]
fn every_number_has_its_help_and_the_one_prefix() {
    let given: BTreeSet<String> = of_the_code().into_keys().collect();
    let described: BTreeSet<String> =
        service_kit::metrics::DESCRIBED.iter().map(|(name, _)| (*name).to_owned()).collect();
    none("metrics without a row in service-kit/src/metrics/described.rs", given.difference(&described).cloned());
    none("rows there of metrics that nobody gives", described.difference(&given).cloned());
    let foreign =
        given.iter().filter(|name| !name.starts_with("backstitch_") && !OTHERS_NAMES.contains(&name.as_str()));
    none("names without the prefix `backstitch_`", foreign.cloned());
}

#[test]
fn a_number_s_name_says_what_it_is() {
    none(
        "names that do not say what they are",
        of_the_code().into_iter().filter_map(|(name, kind)| {
            let fits = match kind {
                "counter" => name.ends_with("_total") || OTHERS_NAMES.contains(&name.as_str()),
                "histogram" => name.ends_with("_seconds"),
                _ => !name.ends_with("_total") && !name.ends_with("_seconds"),
            };
            (!fits).then(|| format!("{kind} {name}"))
        }),
    );
}
