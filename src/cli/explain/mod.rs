//! `seawall explain`: what the gateway would do with a request, and why, from the files alone.

mod finding;
mod limits;
mod origin;
mod policies;
mod switches;
mod upstreams;
mod words;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use http::header::{HOST, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri};

use super::disk::Disk;
use crate::config::Problem;
use crate::upstream::RequestBody;
use finding::Finding;

/// Options of `explain`.
#[derive(Args, Debug)]
pub(super) struct ExplainArguments {
    /// The request's method, such as GET.
    #[arg(value_parser = method)]
    method: Method,
    /// Its URL, or its path and query alone.
    #[arg(value_name = "URL")]
    url: Uri,
    /// A header of the request; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The address that the connection comes from.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    client: IpAddr,
    /// A JSON document on standard output, for scripts.
    #[arg(long)]
    json: bool,
}

/// Methods are upper case, and those who type them at night are not.
fn method(text: &str) -> Result<Method, String> {
    text.to_ascii_uppercase()
        .parse()
        .map_err(|_| "expected a method such as GET".to_owned())
}

/// `NAME: VALUE`, as curl takes it.
fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let expected = || "expected NAME: VALUE".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(expected)?;
    let name = name.trim().parse().map_err(|_| expected())?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| expected())?;
    Ok((name, value))
}

pub(super) fn run(dir: &Path, arguments: ExplainArguments) -> ExitCode {
    let disk = match Disk::read(dir) {
        Ok(disk) if disk.errors.iter().all(concerns_no_request) => disk,
        Ok(disk) => return refuse(&disk.errors),
        Err(problems) => return refuse(&problems),
    };
    for problem in &disk.switches.problems {
        eprintln!("{problem}");
    }
    let (json, client) = (arguments.json, SocketAddr::new(arguments.client, 0));
    let finding = Finding::of(&disk, &request(arguments), client);
    let mut out = io::stdout().lock();
    // A closed pipe is no reason for another exit code.
    let _ = if json {
        serde_json::to_writer_pretty(&mut out, &finding)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out))
    } else {
        words::write(&finding, &mut out)
    };
    ExitCode::SUCCESS
}

/// The shell of whoever asks need not know the tokens of the admin listener.
fn concerns_no_request(problem: &Problem) -> bool {
    problem.key.starts_with("admin.tokens")
}

fn refuse(problems: &[Problem]) -> ExitCode {
    for problem in problems {
        eprintln!("{problem}");
    }
    eprintln!("seawall: the configuration has errors; `seawall check` shows them with their lines");
    ExitCode::FAILURE
}

/// The request as a client sends it: the host in its field, the path alone in the first line.
fn request(arguments: ExplainArguments) -> Request<RequestBody> {
    let mut request = Request::new(RequestBody::empty());
    *request.method_mut() = arguments.method;
    let host = arguments.url.authority().map(|host| host.as_str());
    let host = HeaderValue::from_str(host.unwrap_or("localhost"));
    let path = arguments.url.path_and_query().cloned();
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    let own_host = arguments.headers.iter().any(|(name, _)| *name == HOST);
    let headers = request.headers_mut();
    if let (Ok(host), false) = (host, own_host) {
        headers.insert(HOST, host);
    }
    for (name, value) in arguments.headers {
        headers.append(name, value);
    }
    request
}
