//! `seawall run`: the gateway.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::running::{Running, Start};

/// Options of `run`.
#[derive(Args, Debug, Default)]
pub(super) struct RunArguments {
    /// Start without switches.toml; nothing is thrown until there is one.
    #[arg(long)]
    no_switches: bool,
    /// Share the client ports with another gateway, for a binary upgrade. The admin
    /// addresses of the two must differ.
    #[arg(long)]
    share_port: bool,
}

pub(super) fn run(dir: PathBuf, arguments: &RunArguments) -> ExitCode {
    let start = Start {
        dir,
        no_switches: arguments.no_switches,
        share_port: arguments.share_port,
        amend: None,
        log: None,
    };
    match Running::start(start).and_then(Running::until_drained) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("seawall: {why}");
            ExitCode::FAILURE
        }
    }
}
