//! `backstitch bench`: that each bench over HTTP does its work. How fast it is does not matter here.

use std::process::Command;

use serde_json::Value;

#[test]
fn each_bench_over_http_places_its_orders() {
    for bench in ["commands", "saga", "everything"] {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["bench", bench, "--seconds", "1", "--clients", "4", "--json", "--dir"];
        let output =
            Command::new(env!("CARGO_BIN_EXE_backstitch")).args(arguments).arg(folder.path()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let rows: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let first = rows.iter().find(|row| row["bench"] == bench).unwrap_or_else(|| {
            panic!("bench {bench} measured nothing: {said}{}", String::from_utf8_lossy(&output.stderr))
        });
        assert!(first["value"].as_f64().unwrap() > 0.0, "{first}");
    }
}
