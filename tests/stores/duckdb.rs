//! DuckDB, as an analyst would ask it.

use std::process::Command;

use serde::de::DeserializeOwned;

/// The rows that a query gives.
pub(crate) fn rows<T: DeserializeOwned>(query: &str) -> Vec<T> {
    let program = "import duckdb, json, sys\n\
        print(json.dumps(duckdb.sql(sys.argv[1]).fetchall()))";
    let ran = Command::new("python3")
        .args(["-c", program, query])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{errors}");
    serde_json::from_slice(&ran.stdout).unwrap()
}
