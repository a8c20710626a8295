//! Floor 10: the command line, one file a command.

pub mod check;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the command that the arguments name.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let _ = args.count();
    ExitCode::SUCCESS
}
