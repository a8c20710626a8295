//! Asks a running gateway over HTTP: how commands reach its admin listener.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::config::{self, Problem};
use crate::upstream::RequestBody;

/// Longest time for a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// Longest time for the answer, its body included.
const ANSWER: Duration = Duration::from_secs(5);
/// Largest body that is read; the status of 10,000 routes is a few megabytes.
const MAX_BODY: usize = 64 << 20;

/// Which gateway is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gateway<'a> {
    /// The one whose configuration is in this directory, at `admin.listen`.
    Admin(&'a Path),
    /// The same at `admin.probe_listen`, or at `admin.listen` without one.
    Probe(&'a Path),
    /// The one at this `HOST:PORT` or `http://HOST:PORT`, as somebody typed it.
    At(&'a str),
}

impl<'a> Gateway<'a> {
    /// The admin listener at the URL, if one is given, else that of the configuration.
    pub(super) fn admin(dir: &'a Path, url: Option<&'a str>) -> Gateway<'a> {
        url.map_or(Gateway::Admin(dir), Gateway::At)
    }

    /// The option that names another gateway.
    fn option(self) -> &'static str {
        match self {
            Gateway::Admin(_) | Gateway::At(_) => "--admin URL",
            Gateway::Probe(_) => "--address HOST:PORT",
        }
    }
}

/// What the gateway said.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its status.
    pub(super) status: StatusCode,
    /// Its whole body.
    pub(super) body: Vec<u8>,
    /// Who said it, as `HOST:PORT`.
    pub(super) from: String,
}

/// Why there is no answer. Its text is one line for standard error.
#[derive(Debug)]
pub(super) enum AskError {
    /// The configuration, which should name the address, cannot be read.
    Configuration(Option<Box<Problem>>, &'static str),
    /// The configuration leaves the port to the gateway.
    ChosenPort(&'static str),
    /// What was typed is no address.
    Address(String),
    /// Nobody answers there.
    Unreachable(String, io::Error),
    /// What came is not HTTP, or broke off.
    Invalid(String, hyper::Error),
    /// The body is larger than any that a gateway sends.
    TooLarge(String),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskError::Configuration(Some(problem), option) => {
                write!(f, "{problem}; give {option}")
            }
            AskError::Configuration(None, option) => write!(f, "give {option}"),
            AskError::ChosenPort(option) => write!(
                f,
                "admin.listen has port 0, which the running gateway chose; give {option}"
            ),
            AskError::Address(given) => write!(
                f,
                "{given:?} is no address: expected HOST:PORT or http://HOST:PORT"
            ),
            AskError::Unreachable(from, error) => write!(f, "no answer from {from}: {error}"),
            AskError::Invalid(from, error) => {
                write!(f, "no valid HTTP answer from {from}: {error}")
            }
            AskError::TooLarge(from) => write!(f, "the answer of {from} is too large"),
        }
    }
}

impl std::error::Error for AskError {}

/// One GET at the gateway, on a connection of its own.
///
/// # Errors
/// When the gateway's address is not known, or no whole answer comes from it in time. A status
/// other than 200 is an answer.
pub(super) fn get(gateway: Gateway<'_>, path: &str) -> Result<Answer, AskError> {
    let from = authority(gateway)?;
    let unreachable = |error| AskError::Unreachable(from.clone(), error);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(unreachable)?;
    runtime.block_on(async {
        let late = |_| unreachable(io::ErrorKind::TimedOut.into());
        let connecting = tokio::time::timeout(CONNECT, TcpStream::connect(&from));
        let stream = connecting.await.map_err(late)?.map_err(unreachable)?;
        let exchange = tokio::time::timeout(ANSWER, exchange(stream, &from, path));
        exchange.await.map_err(late)?
    })
}

async fn exchange(stream: TcpStream, from: &str, path: &str) -> Result<Answer, AskError> {
    let invalid = |error| AskError::Invalid(from.to_owned(), error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(invalid)?;
    let mut request = Request::new(RequestBody::empty());
    // What a path is made of was chosen by us, and a host that was connected to is a header.
    *request.uri_mut() = path.parse().unwrap_or_default();
    if let Ok(host) = from.parse() {
        request.headers_mut().insert(header::HOST, host);
    }
    let ask = async {
        let response = sender.send_request(request).await.map_err(invalid)?;
        let (head, body) = response.into_parts();
        Ok(Answer {
            status: head.status,
            body: collect(body, from).await?,
            from: from.to_owned(),
        })
    };
    let (mut ask, mut connection) = (pin!(ask), pin!(connection));
    tokio::select! {
        biased;
        answer = &mut ask => answer,
        // Its error is also the request's.
        _ = &mut connection => ask.await,
    }
}

async fn collect(body: Incoming, from: &str) -> Result<Vec<u8>, AskError> {
    let mut body = pin!(body);
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|error| AskError::Invalid(from.to_owned(), error))?;
        let data: Bytes = frame.into_data().unwrap_or_default();
        if bytes.len() + data.len() > MAX_BODY {
            return Err(AskError::TooLarge(from.to_owned()));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Where the gateway listens, as `HOST:PORT`.
fn authority(gateway: Gateway<'_>) -> Result<String, AskError> {
    let (dir, probe) = match gateway {
        Gateway::At(given) => return typed(given),
        Gateway::Admin(dir) => (dir, false),
        Gateway::Probe(dir) => (dir, true),
    };
    let option = gateway.option();
    let problem = |problem: Option<Problem>| AskError::Configuration(problem.map(Box::new), option);
    let files = config::read_structure(dir);
    let files = files.map_err(|problems| problem(problems.into_iter().next()))?;
    let examined = config::examine(&files, &*config::process_environment());
    // Other errors do not hide the address: the shell of whoever asks need not know the tokens.
    let hides = |problem: &Problem| {
        problem.key.is_empty()
            || (problem.key.starts_with("admin") && !problem.key.starts_with("admin.tokens"))
    };
    if let Some(hiding) = examined.errors.into_iter().find(hides) {
        return Err(problem(Some(hiding)));
    }
    let admin = examined.settings.admin;
    let address = match admin.probe_listen {
        Some(address) if probe => address,
        _ => admin.listen,
    };
    match address.port() {
        0 => Err(AskError::ChosenPort(option)),
        _ => Ok(reachable(address).to_string()),
    }
}

fn typed(given: &str) -> Result<String, AskError> {
    let complaint = || AskError::Address(given.to_owned());
    let uri: Uri = given
        .trim_end_matches('/')
        .parse()
        .map_err(|_| complaint())?;
    let plain = matches!(uri.scheme_str(), None | Some("http"));
    let bare = uri.path_and_query().is_none_or(|path| path == "/");
    match uri.authority() {
        Some(authority) if plain && bare && authority.port_u16().is_some_and(|port| port != 0) => {
            Ok(authority.to_string())
        }
        _ => Err(complaint()),
    }
}

/// The address that reaches a listener on "any address".
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    /// Answers one connection with these bytes.
    fn answering(bytes: impl Into<String>) -> String {
        let bytes = bytes.into();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            stream.write_all(bytes.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn an_answer_is_read_whatever_its_framing() {
        for bytes in [
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nready",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nready\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nready",
        ] {
            let address = answering(bytes);
            let answer = get(Gateway::At(&format!("http://{address}/")), "/readyz").unwrap();
            assert_eq!(answer.status, StatusCode::OK);
            assert_eq!(answer.body, b"ready");
            assert_eq!(answer.from, address);
        }
    }

    #[test]
    fn a_large_answer_is_read_whole() {
        let body = "x".repeat(3 << 20);
        for framing in ["content-length: 3145728", "connection: close"] {
            let address = answering(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{body}"));
            let answer = get(Gateway::At(&address), "/").unwrap();
            assert_eq!(answer.body.len(), body.len(), "{framing}");
        }
    }

    #[test]
    fn an_answer_that_breaks_off_or_is_not_http_is_an_error() {
        for bytes in [
            "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nready",
            "SSH-2.0-OpenSSH\r\n\r\n",
            "",
        ] {
            let error = get(Gateway::At(&answering(bytes)), "/").unwrap_err();
            assert!(matches!(error, AskError::Invalid(..)), "{error}");
        }
    }

    #[test]
    fn what_is_typed_must_be_an_address() {
        for good in ["127.0.0.1:9901", "http://[::1]:9901", "http://localhost:1/"] {
            assert!(typed(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "localhost",
            "127.0.0.1:0",
            "https://127.0.0.1:1",
            "http://h:1/status",
            "a b:1",
        ] {
            assert!(matches!(typed(bad), Err(AskError::Address(_))), "{bad}");
        }
    }

    #[test]
    fn a_listener_on_any_address_is_reached_over_loopback() {
        let reach = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reach("0.0.0.0:9901"), "127.0.0.1:9901");
        assert_eq!(reach("[::]:9901"), "[::1]:9901");
        assert_eq!(reach("10.0.0.1:9901"), "10.0.0.1:9901");
    }
}
