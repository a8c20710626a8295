//! The request that is made of a record.

use std::fmt;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri, Version};

use super::body::Whole;
use super::target::Recipe;
use crate::archive::{REDACTED, StoredRecord};
use crate::config::HostRewrite;
use crate::matching::normalise;
use crate::upstream::{Endpoint, RequestBody};

const REPLAY: HeaderName = HeaderName::from_static("x-seawall-replay");
const ORIGINAL_TIME: HeaderName = HeaderName::from_static("x-seawall-original-time");
const MAYBE_PROCESSED: HeaderName = HeaderName::from_static("x-seawall-maybe-processed");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// What belonged to the client's connection, or is written anew.
const NOT_SENT: [&str; 16] = [
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];

/// What becomes of values that were left out of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RedactedValues {
    /// Records that have one that is not given are not sent, and the run does not start.
    #[default]
    Needed,
    /// The header or parameter is left out of the request.
    LeftOut,
}

/// What the operator gives to each request.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Headers, in place of those recorded.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Values of query parameters whose own were left out of records.
    pub query: Vec<(String, String)>,
    /// What becomes of other values that were left out.
    pub redacted: RedactedValues,
}

/// Why no request can be made of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsendable {
    /// The method is none.
    Method,
    /// The target is none.
    Target,
    /// A header is none; its name.
    Header(String),
}

impl fmt::Display for Unsendable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsendable::Method => f.write_str("its method is no HTTP method"),
            Unsendable::Target => f.write_str("its target is no request target"),
            Unsendable::Header(name) => write!(f, "its header {name:?} cannot be sent"),
        }
    }
}

/// A value that a record lacks and nobody gives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lacking {
    /// Of that header.
    Header(String),
    /// Of that query parameter.
    Query(String),
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lacking::Header(name) => write!(f, "header {name}"),
            Lacking::Query(name) => write!(f, "query parameter {name}"),
        }
    }
}

/// What of a record was left out and is needed.
pub(super) fn lacking(record: &StoredRecord, given: &Given) -> Vec<Lacking> {
    if given.redacted == RedactedValues::LeftOut {
        return Vec::new();
    }
    let has = |name: &str| given.headers.iter().any(|(known, _)| known == name);
    let headers = record.headers.iter();
    let headers = headers.filter(|(name, value)| value == REDACTED && !has(name) && is_sent(name));
    let mut lacking: Vec<_> = headers.map(|(n, _)| Lacking::Header(n.clone())).collect();
    let query = record.target.split_once('?').map_or("", |(_, query)| query);
    for piece in query.split('&') {
        if let Some((_, name)) = redacted_parameter(piece)
            && !given.query.iter().any(|(known, _)| known == name)
        {
            lacking.push(Lacking::Query(name.to_owned()));
        }
    }
    lacking.sort();
    lacking.dedup();
    lacking
}

/// A request, ready to be sent as often as it takes.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    method: Method,
    target: PathAndQuery,
    headers: HeaderMap,
    body: Bytes,
}

impl Outgoing {
    /// Makes a request of a record.
    pub(super) fn of(
        record: &StoredRecord,
        recipe: &Recipe,
        given: &Given,
    ) -> Result<Outgoing, Unsendable> {
        let method = Method::from_bytes(record.method.as_bytes());
        let body = Bytes::from(record.body());
        Ok(Outgoing {
            method: method.map_err(|_| Unsendable::Method)?,
            target: target(record, recipe, given)?,
            headers: headers(record, recipe, given, body.len())?,
            body,
        })
    }

    /// Gives its memory back, when it is not sent any more.
    pub(super) fn forget_body(&mut self) {
        self.body = Bytes::new();
    }

    /// The request, as this endpoint gets it.
    pub(super) fn request(&self, recipe: &Recipe, to: &Endpoint) -> Request<RequestBody> {
        let body = match self.body.is_empty() {
            true => RequestBody::empty(),
            false => RequestBody::other(Whole::new(self.body.clone())),
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from(self.target.clone());
        *request.version_mut() = Version::HTTP_11;
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        match &recipe.host {
            HostRewrite::Upstream => drop(headers.insert(header::HOST, to.authority.clone())),
            HostRewrite::Name(name) => drop(headers.insert(header::HOST, name.clone())),
            // HTTP/1.0 may have named none.
            HostRewrite::Keep if !headers.contains_key(header::HOST) => {
                headers.insert(header::HOST, to.authority.clone());
            }
            HostRewrite::Keep => {}
        }
        request
    }
}

/// The path that the gateway would send, and the query with the values given.
fn target(
    record: &StoredRecord,
    recipe: &Recipe,
    given: &Given,
) -> Result<PathAndQuery, Unsendable> {
    let (path, query) = match record.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&*record.target, None),
    };
    let normalised = normalise(path).map_err(|_| Unsendable::Target)?.path;
    let mut text = match &recipe.path_rewrite {
        Some(template) => template.apply(&normalised),
        None if recipe.as_received => format!("{}{path}", recipe.prefix),
        None => format!("{}{normalised}", recipe.prefix),
    };
    if let Some(query) = query {
        let pieces = query.split('&').filter_map(|piece| filled(piece, given));
        for (position, piece) in pieces.enumerate() {
            text.push(if position == 0 { '?' } else { '&' });
            text.push_str(&piece);
        }
    }
    PathAndQuery::try_from(text).map_err(|_| Unsendable::Target)
}

/// A piece of a query with the value given; `None` when nothing is left of it.
fn filled(piece: &str, given: &Given) -> Option<String> {
    let Some((before, name)) = redacted_parameter(piece) else {
        return Some(piece.to_owned());
    };
    match given.query.iter().find(|(known, _)| known == name) {
        Some((_, value)) => Some(format!("{before}{name}={value}")),
        None if before.is_empty() => None,
        None => Some(before.trim_end_matches(';').to_owned()),
    }
}

/// What stands before a parameter whose value was left out, and its name.
fn redacted_parameter(piece: &str) -> Option<(&str, &str)> {
    let named = piece.strip_suffix(REDACTED)?.strip_suffix('=')?;
    let start = named.rfind(';').map_or(0, |at| at + 1);
    Some(named.split_at(start))
}

fn is_sent(name: &str) -> bool {
    !NOT_SENT.contains(&name) && !name.starts_with("x-seawall-")
}

fn headers(
    record: &StoredRecord,
    recipe: &Recipe,
    given: &Given,
    length: usize,
) -> Result<HeaderMap, Unsendable> {
    let wrong = |name: &str| Unsendable::Header(name.to_owned());
    let nominated = nominated(record);
    let mut headers = HeaderMap::with_capacity(record.headers.len() + 10);
    for (name, value) in &record.headers {
        let replaced = given
            .headers
            .iter()
            .any(|(given, _)| given.as_str() == name);
        let named = nominated.iter().any(|other| other == name);
        if !is_sent(name) || named || replaced || value == REDACTED {
            continue;
        }
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong(name))?;
        let value =
            HeaderValue::from_str(value).or_else(|_| HeaderValue::from_bytes(value.as_bytes()));
        headers.append(key, value.map_err(|_| wrong(name))?);
    }
    let framed = |name: &str| record.headers.iter().any(|(known, _)| known == name);
    if length > 0 || framed("content-length") || framed("transfer-encoding") {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    forwarding(&mut headers, record.client)?;
    let text = |name: HeaderName, text: &str| {
        let value = HeaderValue::try_from(text).map_err(|_| wrong(name.as_str()));
        Ok((name, value?))
    };
    if !record.request_id.is_empty() {
        headers.extend([text(X_REQUEST_ID, &record.request_id)?]);
    }
    for name in &recipe.edits.remove {
        headers.remove(name);
    }
    for (name, value) in &recipe.edits.set {
        headers.insert(name, value.clone());
    }
    for (name, value) in recipe.edits.add.iter().chain(&given.headers) {
        headers.append(name, value.clone());
    }
    let (name, id) = text(REPLAY, &record.id.to_string())?;
    headers.insert(name, id);
    let (name, time) = text(ORIGINAL_TIME, &format!("{:.6}", record.time))?;
    headers.insert(name, time);
    if record.maybe_processed {
        headers.insert(MAYBE_PROCESSED, HeaderValue::from_static("true"));
    }
    Ok(headers)
}

/// The forwarding fields, as the gateway sets them for a client that is no trusted proxy.
fn forwarding(headers: &mut HeaderMap, client: IpAddr) -> Result<(), Unsendable> {
    let wrong = |_| Unsendable::Header(X_FORWARDED_FOR.to_string());
    let client = HeaderValue::try_from(client.to_string()).map_err(wrong)?;
    headers.insert(X_FORWARDED_FOR, client.clone());
    headers.insert(X_REAL_IP, client);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    if let Some(host) = headers.get(header::HOST).cloned() {
        headers.insert(X_FORWARDED_HOST, host);
    }
    // Not the gateway's own entry: a replay through the gateway is no loop.
    headers.append(header::VIA, HeaderValue::from_static("1.1 seawall-replay"));
    Ok(())
}

/// The fields that Connection names: they ended with it.
fn nominated(record: &StoredRecord) -> Vec<String> {
    let headers = record.headers.iter();
    let lines = headers.filter(|(name, _)| name == "connection");
    let tokens = lines.flat_map(|(_, value)| value.split(','));
    tokens
        .map(|token| token.trim().to_ascii_lowercase())
        .collect()
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
