//! `seawall schema`: the JSON Schema of the configuration.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::config::json_schema;

/// Prints it; the shipped `schema.json` is this text.
pub(super) fn run() -> ExitCode {
    // Whoever closes the pipe has read enough.
    let _ = io::stdout().lock().write_all(json_schema().as_bytes());
    ExitCode::SUCCESS
}
