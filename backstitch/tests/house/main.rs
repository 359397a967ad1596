//! The house rules that no compiler knows: who may import whom, how long a file may be, what it may be called, and
//! that words, files and documents which belong together say the same.

mod crates;
mod engines;
mod features;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 70;

/// Files that may be longer, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];
/// Functions that may be longer (`file::function`), each with its reason.
const LONG_FUNCTIONS: &[(&str, &str)] = &[];
/// Tests that may sleep, each with its reason.
const MAY_SLEEP: &[(&str, &str)] = &[
    ("backstitch/tests/house/main.rs", "names the word it looks for"),
    ("service-kit/tests/postgres.rs", "asks a process outside again until it answers; nothing there tells when"),
    ("event-store/tests/serve/access.rs", "asks a port again that is full; nothing tells when a place is free"),
    ("backstitch/tests/replicas/client.rs", "tries again when the client says when, as sagas do"),
    ("saga-orchestrator/tests/runner.rs", "lets a hand-turned clock go on beside the test"),
    ("saga-orchestrator/tests/unreachable.rs", "lets a hand-turned clock go on beside the test"),
];

/// A module that cannot be named is two modules.
const BANNED_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "misc", "stuff"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_path_buf()
}

/// Every file of the repository by its path from the root, without what is built or run.
fn files() -> Vec<String> {
    fn walk(folder: &Path, root: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("a folder of the repository can be listed") {
            let path = entry.expect("a folder of the repository can be listed").path();
            let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
            if path.is_dir() {
                if !["target", ".git", "data", ".backstitch", "node_modules"].contains(&name.as_str()) {
                    walk(&path, root, found);
                }
            } else if name != ".git" {
                found.push(path.strip_prefix(root).expect("walked from the root").to_string_lossy().into_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), &root(), &mut found);
    found.sort();
    assert!(found.len() > 50, "the walk found the repository");
    found
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn rust_files() -> Vec<String> {
    files().into_iter().filter(|path| path.ends_with(".rs")).collect()
}

/// Fails with all findings at once.
fn none(rule: &str, found: impl IntoIterator<Item = String>) {
    let found: Vec<String> = found.into_iter().collect();
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn files_stay_under_600_lines() {
    let excepted: BTreeSet<&str> = LONG_FILES.iter().map(|(path, _)| *path).collect();
    let lines = |path: &String| text(path).lines().count();
    none(
        "files of 600 lines or more (split them, or list them in LONG_FILES with the reason)",
        rust_files()
            .into_iter()
            .filter(|path| !excepted.contains(path.as_str()) && lines(path) >= MAX_FILE_LINES)
            .map(|path| format!("{path}: {} lines", lines(&path))),
    );
    none(
        "listed in LONG_FILES without need",
        excepted.iter().filter(|path| lines(&path.to_string()) < MAX_FILE_LINES).map(|path| path.to_string()),
    );
}

/// Every function with its length, told by rustfmt's indentation: it ends at the brace that stands where it began.
fn functions(source: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = source.lines().collect();
    let indentation = |line: &str| line.len() - line.trim_start().len();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(at) = words.iter().position(|word| *word == "fn") else { continue };
        let modifiers = ["pub", "pub(crate)", "pub(super)", "async", "const", "unsafe", "extern", "\"C\""];
        if !words[..at].iter().all(|word| modifiers.contains(word)) {
            continue;
        }
        let name: String = words[at + 1].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let last = lines[start..].iter().position(|l| {
            indentation(l) == indentation(line) && (l.trim_start().starts_with('}') || l.ends_with(['}', ';']))
        });
        found.push((name, last.map_or(1, |last| last + 1)));
    }
    found
}

#[test]
fn functions_stay_under_70_lines() {
    let excepted: BTreeSet<&str> = LONG_FUNCTIONS.iter().map(|(name, _)| *name).collect();
    let mut seen = 0;
    let mut long = Vec::new();
    for path in rust_files() {
        for (name, lines) in functions(&text(&path)) {
            seen += 1;
            let name = format!("{path}::{name}");
            if lines >= MAX_FUNCTION_LINES && !excepted.contains(name.as_str()) {
                long.push(format!("{name}: {lines} lines"));
            }
        }
    }
    assert!(seen > 200, "functions were found: {seen}");
    none("functions of 70 lines or more (split them, or list them in LONG_FUNCTIONS with the reason)", long);
}

#[test]
fn every_file_has_a_name_of_its_own() {
    none(
        "names that say nothing",
        files().into_iter().filter(|path| {
            path.split('/').any(|part| BANNED_NAMES.contains(&part.split('.').next().unwrap_or_default()))
        }),
    );
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not find itself.
    let words = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["X", "XX:"],
        ["todo", "!("],
        ["unimplemented", "!("],
        ["#[ig", "nore"],
        ["#[should", "_panic"],
    ]
    .map(|parts| parts.concat());
    let read =
        |path: &String| ["rs", "toml", "md", "sh", "sql", "yml"].iter().any(|end| path.ends_with(&format!(".{end}")));
    none(
        "work that is left over (it is an issue, or it is nothing)",
        files().into_iter().filter(read).flat_map(|path| {
            let source = text(&path);
            let marked = |line: &str| words.iter().any(|word| line.contains(word.as_str()));
            let lines = source.lines().enumerate().filter(|(_, line)| marked(line));
            lines.map(|(number, line)| format!("{path}:{}: {}", number + 1, line.trim())).collect::<Vec<_>>()
        }),
    );
}

#[test]
fn tests_wait_for_positions_and_do_not_sleep() {
    let excepted: BTreeSet<&str> = MAY_SLEEP.iter().map(|(path, _)| *path).collect();
    let is_test =
        |path: &String| path.contains("/tests/") || path.ends_with("/tests.rs") || path.ends_with("_tests.rs");
    none(
        "tests that sleep (wait for a position or `until=settled`, or list the file in MAY_SLEEP with the reason)",
        rust_files().into_iter().filter(is_test).filter(|path| !excepted.contains(path.as_str())).filter(|path| {
            let source = text(path);
            source.contains("sleep(")
        }),
    );
}

#[test]
fn services_ask_postgres_within_bounds() {
    let on_a_pool = ["fetch_one(", "fetch_all(", "fetch_optional(", "execute("];
    let asks = |line: &str| {
        on_a_pool.iter().any(|call| {
            let executor =
                line.split_once(call).and_then(|(_, rest)| rest.split_once(')')).map(|(executor, _)| executor);
            executor.is_some_and(|executor| executor.trim_start_matches('&').ends_with("pool"))
        })
    };
    let is_service = |path: &String| path.contains("/src/") && !path.starts_with("backstitch/trials/src/bench/");
    none(
        "queries on a pool itself, which have no bound when the server is gone without a word (use service_kit::pg::ask)",
        rust_files().into_iter().filter(is_service).filter(|path| text(path).lines().any(asks)),
    );
}

#[test]
fn scripts_can_be_run() {
    let scripts: Vec<String> =
        files().into_iter().filter(|path| path.starts_with("script/") || path.starts_with(".ci/")).collect();
    for needed in ["script/server", "script/test", ".ci/run"] {
        assert!(scripts.iter().any(|path| path == needed), "{needed} is missing");
    }
    let sourced = |path: &String| path.ends_with(".md") || path.ends_with(".sh");
    none(
        "scripts that are not executable or do not stop at the first fault",
        scripts.into_iter().filter(|path| !sourced(path)).filter(|path| {
            let mode = fs::metadata(root().join(path)).expect("it was listed").permissions().mode();
            let source = text(path);
            // A Python program stops at the first exception by itself.
            let stops = source.contains("set -euo pipefail") || source.starts_with("#!/usr/bin/env python3\n");
            mode & 0o111 == 0 || !source.starts_with("#!") || !stops
        }),
    );
}

/// The JSON files of a folder of `schemas/` as `(aggregate, name, version)`.
fn contracts(folder: &str) -> BTreeSet<(String, String)> {
    let prefix = format!("schemas/{folder}/");
    let of_folder = files().into_iter().filter_map(|path| path.strip_prefix(&prefix).map(str::to_owned));
    of_folder
        .filter_map(|path| {
            let (aggregate, file) = path.split_once('/')?;
            Some((aggregate.to_owned(), file.strip_suffix(".json")?.to_owned()))
        })
        .collect()
}

#[test]
fn events_are_spelt_alike_in_rust_and_in_their_contracts() {
    let of = |aggregate: &str, types: &[(&str, u16)]| -> Vec<(String, String)> {
        let names = |(name, newest): &(&str, u16)| {
            (1..=*newest).map(|v| (aggregate.to_owned(), format!("{name}.v{v}"))).collect::<Vec<_>>()
        };
        types.iter().flat_map(names).collect()
    };
    let of_aggregates = domain::Kind::ALL.iter().flat_map(|kind| of(kind.category, kind.events));
    let others = [
        of("saga", domain::saga::Event::TYPES),
        of("provider_inbox", &[("ProviderEventReceived", 1), ("ProviderEventRecorded", 1)]),
    ];
    let in_rust: BTreeSet<(String, String)> = of_aggregates.chain(others.into_iter().flatten()).collect();
    for folder in ["events", "golden"] {
        let (written, file) = (contracts(folder), |(a, f): &(String, String)| format!("{a}/{f}.json"));
        none(&format!("events without a file in schemas/{folder}"), in_rust.difference(&written).map(file));
        none(&format!("files in schemas/{folder} without an event"), written.difference(&in_rust).map(file));
    }
}

#[test]
fn every_aggregate_is_in_the_list_of_kinds() {
    let folder = |path: String| Some(path.strip_prefix("domain/src/")?.strip_suffix("/decide.rs")?.to_owned());
    let folders: BTreeSet<String> = files().into_iter().filter_map(folder).collect();
    let listed: BTreeSet<String> = domain::Kind::ALL.iter().map(|kind| kind.category.to_owned()).collect();
    assert_eq!(
        folders, listed,
        "an aggregate is a folder of domain/src with the category's name, and a line in Kind::ALL"
    );
}

/// The string literals of a line.
fn literals(line: &str) -> impl Iterator<Item = &str> {
    line.split('"').skip(1).step_by(2)
}

/// The problems that the code can answer with: second arguments of `Problem::new`, and the codes of rejections as declared.
fn problem_slugs() -> BTreeSet<String> {
    let rejections = domain::Kind::ALL.iter().map(|kind| kind.rejections);
    let of_prices = <domain::order::pricing::PricingError as domain::Rejected>::CODES;
    let declared = rejections.chain([of_prices]).flatten();
    let mut slugs: BTreeSet<String> = declared.map(|code| (*code).to_owned()).collect();
    let is_slug = |text: &&str| {
        text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
    };
    for path in rust_files().into_iter().filter(|path| path.contains("/src/") && !path.ends_with("tests.rs")) {
        let source = text(&path);
        let calls = source.match_indices("Problem::new(").chain(source.match_indices("Self::new(StatusCode::"));
        for (at, _) in calls {
            let call: String = source[at..].chars().take(300).collect();
            slugs.extend(literals(&call).find(is_slug).map(str::to_owned));
        }
    }
    slugs
}

#[test]
fn every_problem_has_a_page_with_its_cause_and_the_way_out() {
    let slugs = problem_slugs();
    assert!(slugs.len() > 15, "problems were found: {slugs:?}");
    let pages: BTreeSet<String> = files()
        .into_iter()
        .filter_map(|path| path.strip_prefix("docs/problems/")?.strip_suffix(".md").map(str::to_owned))
        .filter(|page| page != "README")
        .collect();
    none("problems without a page in docs/problems", slugs.difference(&pages).cloned());
    none("pages in docs/problems of no problem", pages.difference(&slugs).cloned());
}

#[test]
fn programs_print_through_one_module() {
    // `println!` and its relatives panic when the reader of a pipe has gone.
    let macros = ["println!(", "eprintln!(", "print!(", "eprint!("];
    let is_program = |path: &String| {
        path.contains("/src/")
            && !path.contains("/tests/")
            && !path.ends_with("/tests.rs")
            && !path.ends_with("/build.rs")
    };
    none(
        "programs that print past service_kit::print",
        rust_files().into_iter().filter(is_program).flat_map(|path| {
            let source = text(&path);
            let code = source.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
            let prints = code.filter(|line| macros.iter().any(|name| line.contains(name))).map(str::to_owned);
            prints.map(|line| format!("{path}: {line}")).collect::<Vec<_>>()
        }),
    );
}

/// Doc comments that help nobody who has not seen the code.
const SAYS_NOTHING: &[&str] = &[
    "Why.",
    "Why not.",
    "Whose.",
    "When.",
    "Until when.",
    "Who.",
    "By whom.",
    "For whom.",
    "What.",
    "How.",
    "Which.",
    "Where.",
    "How much.",
];

/// The longest name of a new test: a line of a test run on a terminal of 110 columns, behind the path of its module.
const TEST_NAME_CHARS: usize = 80;
/// How many tests have longer names, from before there was this rule. The number may only fall.
const LONG_TEST_NAMES: usize = 0;
/// How many public items of libraries have a doc comment of three words or fewer, from before there was this rule. The number
/// may only fall.
const SHORT_DOC_COMMENTS: usize = 0;

/// Fails when there are more findings than before the rule.
fn no_more_than(rule: &str, name: &str, before: usize, found: &[String]) {
    let now = found.len();
    assert!(now <= before, "{rule}: {now}, and {name} is {before}; one of these is new:\n  {}", found.join("\n  "));
}

#[test]
fn names_of_new_tests_have_at_most_80_characters() {
    let mut long = Vec::new();
    for path in rust_files() {
        let source = text(&path);
        let lines: Vec<&str> = source.lines().map(str::trim).collect();
        for pair in
            lines.windows(2).filter(|pair| pair[0].starts_with("#[test]") || pair[0].starts_with("#[tokio::test"))
        {
            let name = pair[1].trim_start_matches("async ").trim_start_matches("fn ");
            let name = name.split('(').next().unwrap_or_default();
            if name.chars().count() > TEST_NAME_CHARS {
                long.push(format!("{path}: {name}"));
            }
        }
    }
    no_more_than("names of tests that are too long", "LONG_TEST_NAMES", LONG_TEST_NAMES, &long);
}

#[test]
fn doc_comments_of_new_public_items_have_more_than_three_words() {
    let is_library =
        |path: &String| path.contains("/src/") && !path.starts_with("backstitch/") && !path.ends_with("/main.rs");
    let mut short = Vec::new();
    for path in rust_files().into_iter().filter(is_library) {
        let source = text(&path);
        let lines: Vec<&str> = source.lines().map(str::trim).collect();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("pub ")) {
            let above = lines[..at].iter().rev().skip_while(|line| line.starts_with("#["));
            let doc: Vec<&str> = above.map_while(|line| line.strip_prefix("///")).collect();
            if let [doc] = doc.as_slice()
                && doc.split_whitespace().count() <= 3
            {
                short.push(format!("{path}:{}: {line}: {}", at + 1, doc.trim()));
            }
        }
    }
    no_more_than("doc comments of three words or fewer", "SHORT_DOC_COMMENTS", SHORT_DOC_COMMENTS, &short);
}

#[test]
fn comments_and_documents_name_what_they_speak_of() {
    // Put together here, so that this file does not find itself.
    let words = [["who", "ever"], ["whoso", "ever"]].map(|parts| parts.concat());
    let read = |path: &String| {
        let ends = [".rs", ".md", ".proto", ".sql", ".yml", ".yaml", ".toml", ".txt", ".py", ".ts"];
        let script = path.starts_with("script/") || path.starts_with("deploy/") || path.starts_with(".ci/");
        (script || ends.iter().any(|end| path.ends_with(end))) && !path.starts_with("schemas/released/")
    };
    none(
        "sentences without a noun as their subject, and doc comments that say nothing",
        files().into_iter().filter(read).flat_map(|path| {
            // Binary files among the scripts' data are passed by.
            let source = fs::read_to_string(root().join(&path)).unwrap_or_default();
            let is_bad = |line: &str| {
                let small = line.to_lowercase();
                let doc = line.trim_start().strip_prefix("/// ").is_some_and(|doc| SAYS_NOTHING.contains(&doc));
                doc || words.iter().any(|word| small.contains(word.as_str()))
            };
            let lines = source.lines().enumerate().filter(|(_, line)| is_bad(line));
            lines.map(|(number, line)| format!("{path}:{}: {}", number + 1, line.trim())).collect::<Vec<_>>()
        }),
    );
}

#[test]
fn links_in_the_documents_lead_to_files() {
    let files = files();
    let exists = |path: &Path| {
        let path = path.to_string_lossy().into_owned();
        files.contains(&path) || files.iter().any(|file| file.starts_with(&format!("{path}/")))
    };
    let broken = files.iter().filter(|path| path.ends_with(".md")).flat_map(|document| {
        let source = text(document);
        let targets = source.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        let local = targets.filter(|target| !target.contains("://") && !target.starts_with(['#', '/', '<']));
        let folder = Path::new(document).parent().unwrap_or(Path::new(""));
        let missing = local.filter(|target| {
            let mut at = folder.to_owned();
            for part in target.split(['#', '?']).next().unwrap_or_default().split('/') {
                match part {
                    ".." => _ = at.pop(),
                    "." | "" => {}
                    name => at.push(name),
                }
            }
            !at.as_os_str().is_empty() && !exists(&at)
        });
        missing.map(|target| format!("{document}: {target}")).collect::<Vec<_>>()
    });
    none("links in documents to files that are not there", broken);
}

#[test]
fn file_names_in_the_documents_exist() {
    let files = files();
    let endings = [".rs", ".sql", ".toml", ".json", ".md"];
    let documented = |path: &&String| path.ends_with(".md") && (path.starts_with("docs/") || !path.contains('/'));
    let missing = files.iter().filter(documented).flat_map(|document| {
        let source = text(document);
        let named = source.split('`').skip(1).step_by(2).filter(|word| {
            endings.iter().any(|end| word.ends_with(end)) && !word.contains([' ', '<', '{', '*', '…', ':'])
        });
        // `backstitch.toml` is the reader's own file.
        let unknown = named.filter(|word| *word != "backstitch.toml").filter(|word| {
            let word = word.trim_start_matches("./").trim_start_matches("../");
            !files.iter().any(|file| file == word || file.ends_with(&format!("/{word}")))
        });
        unknown.map(|word| format!("{document}: {word}")).collect::<Vec<_>>()
    });
    none("files named in documents that are not there", missing);
}
