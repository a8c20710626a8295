//! Floor 10: the command line, one file a command.
//!
//! Exit codes: 0 done, 1 failed, 2 usage. Errors go to standard error, data to standard output.

mod absent;
mod amount;
mod archive;
mod ask;
pub mod check;
mod demo;
mod disk;
mod endpoints;
mod explain;
mod flip;
mod flush;
mod healthcheck;
mod kill;
mod ledger;
mod moment;
mod precedence;
mod replay;
mod restore;
mod run;
mod running;
mod schema;
mod status;
mod top;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// An HTTP API gateway with a kill switch on every route.
#[derive(Debug, Parser)]
#[command(name = "seawall", version, about)]
struct Arguments {
    /// The configuration directory: seawall.toml, routes.d/*.toml and switches.toml.
    #[arg(long, value_name = "DIR", default_value = "config", global = true)]
    config: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the gateway. SIGTERM drains, SIGINT drains without delay, SIGHUP reloads.
    Run(run::RunArguments),
    /// Validates the configuration and shows every error at once.
    Check {
        /// A JSON document on standard output, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Throws a switch: edits switches.toml and waits until the running gateway confirms.
    Kill(kill::KillArguments),
    /// Ends a switch, and says what still kills its routes.
    Restore(restore::RestoreArguments),
    /// Shows what the running gateway does: switches, errors, killed requests.
    Status(status::StatusArguments),
    /// Says which route takes a request, what its switches do to it, and every policy.
    Explain(explain::ExplainArguments),
    /// Prints the JSON Schema of the configuration, for editors.
    Schema,
    /// Exits with 0 if the gateway of this configuration answers /readyz; for containers.
    Healthcheck(healthcheck::HealthcheckArguments),
    /// Shows who sends most of a route's requests: the values of what it observes.
    Top(top::TopArguments),
    /// Shows what mode archive kept, in journal and store; also while the gateway runs.
    Archive(archive::ArchiveArguments),
    /// Sends what mode archive kept to an upstream, at a pace that it can bear.
    Replay(replay::ReplayArguments),
    /// Runs the gateway with sample services and synthetic clients in this process.
    Demo(demo::DemoArguments),
}

/// Runs the command that the arguments name.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let Arguments { config, command } = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are data: 0 and standard output.
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    match command.unwrap_or_else(|| Command::Run(run::RunArguments::default())) {
        Command::Run(arguments) => run::run(config, &arguments),
        Command::Check { json } => check::run(&config, json),
        Command::Kill(arguments) => kill::run(&config, &arguments),
        Command::Restore(arguments) => restore::run(&config, &arguments),
        Command::Status(arguments) => status::run(&config, &arguments),
        Command::Explain(arguments) => explain::run(&config, arguments),
        Command::Schema => schema::run(),
        Command::Healthcheck(arguments) => healthcheck::run(&config, &arguments),
        Command::Top(arguments) => top::run(&config, &arguments),
        Command::Archive(arguments) => archive::run(&config, &arguments),
        Command::Replay(arguments) => replay::run(&config, &arguments),
        Command::Demo(arguments) => demo::run(config, &arguments),
    }
}
