//! `seawall healthcheck`: asks the gateway of a configuration whether it is ready.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::config;

/// Longest time for the connection, and for the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Options of `healthcheck`.
#[derive(Args, Debug, Default)]
pub(super) struct HealthcheckArguments {
    /// Ask this address instead of the one that the configuration names.
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<SocketAddr>,
}

pub(super) fn run(dir: &Path, arguments: &HealthcheckArguments) -> ExitCode {
    let asked = match arguments.address {
        Some(address) => Ok(address),
        None => configured(dir),
    };
    match asked.and_then(ask) {
        Ok(()) => {
            println!("ready");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("seawall: {why}");
            ExitCode::FAILURE
        }
    }
}

fn configured(dir: &Path) -> Result<SocketAddr, String> {
    let hint = "give --address HOST:PORT";
    let problems = |problems: Vec<config::Problem>| match problems.first() {
        Some(problem) => format!("{problem}; {hint}"),
        None => hint.to_owned(),
    };
    let files = config::read_structure(dir).map_err(problems)?;
    let loaded = config::load(&files, &*config::process_environment()).map_err(problems)?;
    let admin = loaded.settings.admin;
    let address = admin.probe_listen.unwrap_or(admin.listen);
    match address.port() {
        0 => Err(format!(
            "admin.listen has port 0, which the running gateway chose; {hint}"
        )),
        _ => Ok(reachable(address)),
    }
}

/// The address that reaches a listener on "any address".
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn ask(address: SocketAddr) -> Result<(), String> {
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let request =
            format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.take(64 * 1024).read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().map_err(|error| format!("no answer from {address}: {error}"))?;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    match status {
        "200" => Ok(()),
        _ => Err(format!("{address} is not ready: it answers {status}")),
    }
}
