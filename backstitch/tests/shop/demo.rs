//! `backstitch demo` as people type it.

use std::process::Command;

use crate::world::PROGRAM;

#[test]
fn the_demo_starts_its_own_shop_proves_that_it_adds_up_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(PROGRAM)
        .args(["demo", "--orders", "40", "--json"])
        .env("TMPDIR", folder.path())
        .env_remove("BACKSTITCH_URL")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{said}", String::from_utf8_lossy(&output.stdout)));
    assert!(output.status.success(), "{found:#}\n{said}");
    assert_eq!((&found["holds"], &found["orders"]), (&true.into(), &40.into()));
    let cases = found["ends"].as_array().unwrap();
    assert!(cases.len() >= 10, "every behaviour of the pattern was met: {cases:#?}");
    assert!(found["checks"].as_array().unwrap().len() > 12);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_demo_says_in_one_line_that_there_is_no_server() {
    let output = Command::new(PROGRAM).args(["saga", "list", "--url", "http://127.0.0.1:9"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("error: ") && said.contains("\nhint: "), "{said}");
}
