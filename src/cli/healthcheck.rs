//! `seawall healthcheck`: asks the gateway of a configuration whether it is ready.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use http::StatusCode;

use super::ask::{self, Gateway};

/// Options of `healthcheck`.
#[derive(Args, Debug, Default)]
pub(super) struct HealthcheckArguments {
    /// Ask this address instead of the one that the configuration names.
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<SocketAddr>,
}

pub(super) fn run(dir: &Path, arguments: &HealthcheckArguments) -> ExitCode {
    let given = arguments.address.map(|address| address.to_string());
    let gateway = given.as_deref().map_or(Gateway::Probe(dir), Gateway::At);
    let why = match ask::get(gateway, "/readyz") {
        Ok(answer) if answer.status == StatusCode::OK => {
            println!("ready");
            return ExitCode::SUCCESS;
        }
        Ok(answer) => format!(
            "{} is not ready: it answers {}",
            answer.from,
            answer.status.as_u16()
        ),
        Err(error) => error.to_string(),
    };
    eprintln!("seawall: {why}");
    ExitCode::FAILURE
}
