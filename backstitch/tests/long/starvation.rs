//! `backstitch bench classes` measures all its cases: each flood is answered, and nothing that is measured is refused beside it.
//! How much is kept is for people to read.

use std::process::Command;

use crate::program;

#[test]
fn no_flood_of_one_class_refuses_what_another_asks() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["bench", "classes", "--seconds", "5", "--json", "--dir"];
    let output = Command::new(program()).args(arguments).arg(folder.path()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let rows = said.lines().filter(|line| line.contains(r#""bench":"classes""#)).count();
    assert_eq!(
        rows,
        8,
        "two requests, alone and beside three floods: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
