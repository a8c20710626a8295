//! One pass over a request's headers: what is refused, and what later steps need to know.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Version};

use crate::policy::client_retries;
use crate::upstream::RequestBody;
use crate::vocab::Reason;

/// What one pass over the headers found.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// `Expect: 100-continue`: nothing of the body was sent yet.
    pub(crate) expects_continue: bool,
    /// The client asks for another protocol (not h2c, which is ignored: RFC 9113, 3.1).
    pub(crate) upgrade: bool,
    /// Fields to remove besides the hop-by-hop ones: nominated by Connection, or ours.
    pub(crate) nominated: Vec<HeaderName>,
    /// Which of the removable and the forwarding fields are there.
    pub(crate) seen: Seen,
}

/// Which fields were seen: removing what is not there costs a hash each.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connection: bool,
    pub(crate) keep_alive: bool,
    pub(crate) proxy_connection: bool,
    pub(crate) te: bool,
    pub(crate) transfer_encoding: bool,
    pub(crate) upgrade: bool,
    pub(crate) expect: bool,
    pub(crate) via: bool,
    pub(crate) forwarded: bool,
    pub(crate) forwarded_for: bool,
    pub(crate) content_length: bool,
    pub(crate) host: bool,
    /// Of those that may say that it is a retry.
    pub(crate) attempts: bool,
}

/// Examines a request whose message hyper has parsed.
pub(crate) fn examine(request: &Request<RequestBody>) -> Result<Facts, Reason> {
    let mut facts = Facts::default();
    let mut hosts = 0;
    let mut lengths = 0;
    let headers = request.headers();
    for (name, value) in headers {
        match name.as_str() {
            "host" => hosts += 1,
            "content-length" => lengths += 1,
            "transfer-encoding" => transfer_encoding(&mut facts.seen, value)?,
            "connection" => connection(&mut facts, value)?,
            "upgrade" => {
                facts.seen.upgrade = true;
                facts.upgrade |= !value.as_bytes().eq_ignore_ascii_case(b"h2c");
            }
            "expect" => {
                facts.seen.expect = true;
                facts.expects_continue |= value.as_bytes().eq_ignore_ascii_case(b"100-continue");
            }
            "keep-alive" => facts.seen.keep_alive = true,
            "proxy-connection" => facts.seen.proxy_connection = true,
            "te" => facts.seen.te = true,
            "via" => facts.seen.via = true,
            "forwarded" => facts.seen.forwarded = true,
            "x-forwarded-for" => facts.seen.forwarded_for = true,
            other if other.starts_with("x-seawall-") => facts.nominated.push(name.clone()),
            other if client_retries::is_looked_at(other) => facts.seen.attempts = true,
            _ => {}
        }
    }
    facts.seen.content_length = lengths > 0;
    facts.seen.host = hosts > 0;
    let both = lengths > 0 && facts.seen.transfer_encoding;
    if hosts > 1 || lengths > 1 || both || *request.method() == Method::CONNECT {
        return Err(Reason::BadRequest);
    }
    if facts.seen.transfer_encoding && request.version() < Version::HTTP_11 {
        return Err(Reason::BadRequest);
    }
    check_host(request, hosts)?;
    // An Upgrade that Connection does not name is not meant for us (RFC 9110, 7.8).
    facts.upgrade &= facts.seen.connection && names(headers, "upgrade");
    Ok(facts)
}

fn transfer_encoding(seen: &mut Seen, value: &HeaderValue) -> Result<(), Reason> {
    let chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
    match chunked && !seen.transfer_encoding {
        true => {
            seen.transfer_encoding = true;
            Ok(())
        }
        false => Err(Reason::BadRequest),
    }
}

fn connection(facts: &mut Facts, value: &HeaderValue) -> Result<(), Reason> {
    facts.seen.connection = true;
    let value = value.as_bytes();
    if value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close") {
        return Ok(());
    }
    for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        if token.is_empty() || is_option(token) {
            continue;
        }
        let name = HeaderName::from_bytes(token).map_err(|_| Reason::BadRequest)?;
        // Nominating what frames or routes the message would be a way to unmake it.
        if !matches!(
            name.as_str(),
            "host" | "content-length" | "transfer-encoding"
        ) {
            facts.nominated.push(name);
        }
    }
    Ok(())
}

fn is_option(token: &[u8]) -> bool {
    ["close", "keep-alive", "upgrade"]
        .iter()
        .any(|option| token.eq_ignore_ascii_case(option.as_bytes()))
}

fn names(headers: &HeaderMap, option: &str) -> bool {
    let lines = headers.get_all(http::header::CONNECTION).iter();
    lines
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
}

/// One Host, well-formed, and the same as an absolute target's authority (RFC 9112, 3.2).
fn check_host(request: &Request<RequestBody>, hosts: usize) -> Result<(), Reason> {
    let Some(host) = request.headers().get(http::header::HOST) else {
        let needed = request.version() >= Version::HTTP_11;
        return match needed && hosts == 0 {
            true => Err(Reason::BadRequest),
            false => Ok(()),
        };
    };
    let host = host.as_bytes();
    if !is_host(host) {
        return Err(Reason::BadRequest);
    }
    match request.uri().authority() {
        Some(authority) if !authority.as_str().as_bytes().eq_ignore_ascii_case(host) => {
            Err(Reason::BadRequest)
        }
        _ => Ok(()),
    }
}

/// A name or address, and a port of digits if there is one (RFC 3986, 3.2.2 and 3.2.3).
fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host.strip_prefix(b"[") {
        Some(rest) => match memchr::memchr(b']', rest) {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => return false,
        },
        None => host.split_at(memchr::memchr(b':', host).unwrap_or(host.len())),
    };
    let bracketed = host.starts_with(b"[");
    let good_name = name.iter().all(|byte| match bracketed {
        true => byte.is_ascii_hexdigit() || b":.".contains(byte),
        false => is_name_byte(*byte),
    });
    let good_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    good_name && good_port
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte)
}

/// Whether the request has been through the gateway that appends `via`.
pub(crate) fn loops(headers: &HeaderMap, via: &HeaderValue) -> bool {
    let lines = headers.get_all(http::header::VIA).iter();
    lines
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|hop| hop.trim_ascii() == via.as_bytes())
}
