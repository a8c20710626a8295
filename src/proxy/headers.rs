//! Header hygiene: what is removed, set and appended on the way up and on the way back.

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Uri, Version};
use ipnet::IpNet;

use super::displaced::Displaced;
use super::examine::Facts;
use super::exchange::Exchange;
use super::hop;
use super::peer::Peer;
use crate::config::HeaderEdits;
use crate::snapshot::{Branch, Route};
use crate::upstream::RequestBody;
use crate::vocab::Reason;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Which attempt a request is, from the second on.
pub(crate) const X_SEAWALL_ATTEMPT: HeaderName = HeaderName::from_static("x-seawall-attempt");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// What the gateway itself writes into every request: none of these lines is the client's.
pub(crate) const GIVEN: [HeaderName; 8] = [
    X_REQUEST_ID,
    X_SEAWALL_ATTEMPT,
    X_FORWARDED_FOR,
    X_FORWARDED_PROTO,
    X_FORWARDED_HOST,
    X_REAL_IP,
    header::VIA,
    header::TRANSFER_ENCODING,
];

/// The address that the request is taken to come from: the rightmost X-Forwarded-For entry that
/// is no trusted proxy, believed only from one.
pub(crate) fn client_ip(headers: &HeaderMap, peer: &Peer, trusted: &[IpNet]) -> IpAddr {
    let own = peer.ip();
    if !is_trusted(own, trusted) {
        return own;
    }
    let mut nearest = own;
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    // Hop by hop: what a client put into the line that its proxy appends to may be no text, and
    // must not hide the hop beside it.
    for hop in lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
        let Some(ip) = hop::address(hop) else {
            return nearest;
        };
        nearest = ip.to_canonical();
        if !is_trusted(nearest, trusted) {
            return nearest;
        }
    }
    nearest
}

fn is_trusted(ip: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&ip))
}

/// Makes a request's headers what the upstream gets; `displaced` keeps what the client sent.
pub(crate) fn prepare_request(
    headers: &mut HeaderMap,
    facts: &Facts,
    exchange: &Exchange,
    displaced: &mut Displaced,
) {
    let view = &exchange.view;
    let trusted = &view.snapshot.settings().server.trusted_proxies;
    remove_hop_by_hop(headers, facts, displaced);
    match is_trusted(exchange.peer.ip(), trusted) {
        true => extend_forwarding(headers, &exchange.peer, trusted, displaced),
        false => begin_forwarding(headers, facts, &exchange.peer, displaced),
    }
    if facts.seen.via {
        displaced.keep(headers, &header::VIA);
    }
    headers.append(header::VIA, view.via.clone());
    displaced.set(headers, X_REQUEST_ID, exchange.request_id.clone());
}

fn remove_hop_by_hop(headers: &mut HeaderMap, facts: &Facts, displaced: &mut Displaced) {
    let seen = &facts.seen;
    let fixed = [
        (seen.connection, header::CONNECTION),
        (seen.keep_alive, KEEP_ALIVE),
        (seen.proxy_connection, PROXY_CONNECTION),
        (seen.te, header::TE),
        (seen.transfer_encoding, header::TRANSFER_ENCODING),
        (seen.upgrade, header::UPGRADE),
        (seen.upgrade, HTTP2_SETTINGS),
        (seen.expect, header::EXPECT),
    ];
    for (there, name) in fixed {
        if there {
            displaced.remove(headers, &name);
        }
    }
    for name in &facts.nominated {
        displaced.remove(headers, name);
    }
}

/// Appends to the forwarding fields that a trusted proxy sent.
fn extend_forwarding(
    headers: &mut HeaderMap,
    peer: &Peer,
    trusted: &[IpNet],
    displaced: &mut Displaced,
) {
    let client = client_ip(headers, peer, trusted);
    let chain = forwarded_chain(headers, peer);
    displaced.set(headers, X_FORWARDED_FOR, chain);
    if let Ok(client) = HeaderValue::try_from(client.to_string()) {
        displaced.set(headers, X_REAL_IP, client);
    }
    displaced.keep(headers, &X_FORWARDED_PROTO);
    headers
        .entry(X_FORWARDED_PROTO)
        .or_insert(HeaderValue::from_static("http"));
    if let Some(host) = headers.get(header::HOST).cloned() {
        displaced.keep(headers, &X_FORWARDED_HOST);
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
}

/// Sets the forwarding fields from the connection.
fn begin_forwarding(
    headers: &mut HeaderMap,
    facts: &Facts,
    peer: &Peer,
    displaced: &mut Displaced,
) {
    if facts.seen.forwarded {
        displaced.remove(headers, &FORWARDED);
    }
    displaced.set(headers, X_FORWARDED_FOR, peer.ip_text.clone());
    displaced.set(headers, X_REAL_IP, peer.ip_text.clone());
    let http = HeaderValue::from_static("http");
    displaced.set(headers, X_FORWARDED_PROTO, http);
    match headers.get(header::HOST).cloned() {
        Some(host) => displaced.set(headers, X_FORWARDED_HOST, host),
        None => displaced.remove(headers, &X_FORWARDED_HOST),
    }
}

fn forwarded_chain(headers: &HeaderMap, peer: &Peer) -> HeaderValue {
    let mut chain = Vec::new();
    for line in headers.get_all(X_FORWARDED_FOR) {
        chain.extend_from_slice(line.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(peer.ip_text.as_bytes());
    HeaderValue::from_maybe_shared(bytes::Bytes::from(chain))
        .unwrap_or_else(|_| peer.ip_text.clone())
}

/// A request of HTTP/1.0 may name no host; that of HTTP/1.1 which it becomes must (RFC 9112, 3.2):
/// the one in its target, or the upstream's own.
pub(crate) fn give_host(request: &mut Request<RequestBody>, branch: Option<&Branch>) {
    let named = request.uri().authority();
    let named = named.and_then(|authority| HeaderValue::try_from(authority.as_str()).ok());
    let first = || {
        let upstream = &branch?.upstream;
        Some(upstream.endpoints().first()?.authority.clone())
    };
    if let Some(host) = named.or_else(first) {
        request.headers_mut().insert(header::HOST, host);
    }
}

/// Gives the request the target that the upstream gets: the path that was matched, or the
/// route's rewrite of it, and the query as received.
pub(crate) fn retarget(
    request: &mut Request<RequestBody>,
    route: &Route,
    matched: Option<String>,
    displaced: &mut Displaced,
) -> Result<(), Reason> {
    let uri = request.uri();
    let rewritten = match &route.spec.path_rewrite {
        Some(template) => Some(template.apply(matched.as_deref().unwrap_or(uri.path()))),
        None => matched,
    };
    let path_and_query = match (rewritten, uri.query()) {
        (None, _) if uri.authority().is_none() => return Ok(()),
        (None, _) => uri.path_and_query().cloned().ok_or(Reason::BadRequest)?,
        (Some(path), None) => parse_target(path)?,
        (Some(path), Some(query)) => parse_target(format!("{path}?{query}"))?,
    };
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(path_and_query);
    let target = Uri::from_parts(parts).map_err(|_| Reason::BadRequest)?;
    displaced.keep_target(std::mem::replace(request.uri_mut(), target));
    Ok(())
}

fn parse_target(text: String) -> Result<PathAndQuery, Reason> {
    PathAndQuery::from_maybe_shared(bytes::Bytes::from(text)).map_err(|_| Reason::BadRequest)
}

/// Frames the body once more, as exactly one unambiguous message.
pub(crate) fn frame(request: &mut Request<RequestBody>, facts: &Facts) {
    *request.version_mut() = Version::HTTP_11;
    // hyper's client takes a GET for bodiless unless a header says otherwise.
    if facts.seen.transfer_encoding && !request.body().is_empty() {
        let chunked = HeaderValue::from_static("chunked");
        request
            .headers_mut()
            .insert(header::TRANSFER_ENCODING, chunked);
    }
}

/// Applies a route's edits: remove, then set, then add.
pub(crate) fn edit(headers: &mut HeaderMap, edits: &HeaderEdits) {
    for name in &edits.remove {
        headers.remove(name);
    }
    for (name, value) in &edits.set {
        headers.insert(name, value.clone());
    }
    for (name, value) in &edits.add {
        headers.append(name, value.clone());
    }
}

/// Applies a route's edits to a request; `displaced` keeps what the client sent.
pub(crate) fn edit_request(
    headers: &mut HeaderMap,
    edits: &HeaderEdits,
    displaced: &mut Displaced,
) {
    for name in names(edits).filter(|name| !GIVEN.contains(name)) {
        displaced.keep(headers, name);
    }
    edit(headers, edits);
}

/// The fields that edits touch.
pub(crate) fn names(edits: &HeaderEdits) -> impl Iterator<Item = &HeaderName> {
    let written = edits.set.iter().chain(&edits.add);
    edits.remove.iter().chain(written.map(|(name, _)| name))
}

/// Checks the framing of a response and removes what is not for the client.
pub(crate) fn scrub_response(headers: &mut HeaderMap) -> Result<(), Reason> {
    let mut lengths = 0;
    let mut hop_by_hop = Hops::default();
    for (name, value) in &*headers {
        match name.as_str() {
            "content-length" => lengths += 1,
            "transfer-encoding" => {
                let chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
                if !chunked || hop_by_hop.transfer_encoding {
                    return Err(Reason::UpstreamInvalid);
                }
                hop_by_hop.transfer_encoding = true;
            }
            "connection" => hop_by_hop.connection = true,
            "keep-alive" | "proxy-connection" | "te" | "upgrade" => hop_by_hop.others = true,
            _ => {}
        }
    }
    if lengths > 1 || (lengths == 1 && hop_by_hop.transfer_encoding) {
        return Err(Reason::UpstreamInvalid);
    }
    hop_by_hop.remove(headers);
    Ok(())
}

#[derive(Default)]
struct Hops {
    connection: bool,
    transfer_encoding: bool,
    others: bool,
}

impl Hops {
    fn remove(self, headers: &mut HeaderMap) {
        if self.connection {
            for name in nominated(headers) {
                headers.remove(name);
            }
            headers.remove(header::CONNECTION);
        }
        if self.transfer_encoding {
            headers.remove(header::TRANSFER_ENCODING);
        }
        if self.others {
            for name in [KEEP_ALIVE, PROXY_CONNECTION, header::TE, header::UPGRADE] {
                headers.remove(name);
            }
        }
    }
}

fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(header::CONNECTION).iter();
    lines
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .filter(|name| *name != header::CONTENT_LENGTH)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_no_trusted_proxy() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let peer = Peer::new("10.0.0.1:1".parse().unwrap());
        let ip = |lines: &[(&str, &str)]| client_ip(&headers(lines), &peer, &trusted).to_string();
        assert_eq!(
            ip(&[("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.0.0.2")]),
            "1.2.3.4"
        );
        assert_eq!(
            ip(&[("x-forwarded-for", "[2001:db8::1]:443, 10.0.0.2:80")]),
            "2001:db8::1"
        );
        assert_eq!(
            ip(&[
                ("x-forwarded-for", "1.2.3.4"),
                ("x-forwarded-for", "10.9.9.9")
            ]),
            "1.2.3.4"
        );
        assert_eq!(ip(&[("x-forwarded-for", "1.2.3.4, junk")]), "10.0.0.1");
        assert_eq!(ip(&[("x-forwarded-for", "10.1.1.1")]), "10.1.1.1");
        assert_eq!(ip(&[]), "10.0.0.1");
        let stranger = Peer::new("9.9.9.9:1".parse().unwrap());
        let spoofed = headers(&[("x-forwarded-for", "1.2.3.4")]);
        assert_eq!(
            client_ip(&spoofed, &stranger, &trusted).to_string(),
            "9.9.9.9"
        );
    }

    #[test]
    fn what_is_no_text_does_not_hide_the_address_that_the_proxy_added() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let peer = Peer::new("10.0.0.1:1".parse().unwrap());
        let mut lines = headers(&[("x-forwarded-for", "6.6.6.6")]);
        let merged = HeaderValue::from_bytes(b"\xff, 1.2.3.4").unwrap();
        lines.append(X_FORWARDED_FOR, merged);
        assert_eq!(client_ip(&lines, &peer, &trusted).to_string(), "1.2.3.4");
        let own = HeaderValue::from_bytes(b"1.2.3.4\xff").unwrap();
        lines.append(X_FORWARDED_FOR, own);
        assert_eq!(client_ip(&lines, &peer, &trusted).to_string(), "10.0.0.1");
    }

    #[test]
    fn a_response_loses_what_is_hop_by_hop_and_what_connection_names() {
        let mut map = headers(&[
            ("connection", "close, x-inner"),
            ("x-inner", "1"),
            ("keep-alive", "timeout=5"),
            ("x-kept", "1"),
        ]);
        scrub_response(&mut map).unwrap();
        assert_eq!(map, headers(&[("x-kept", "1")]));
    }

    #[test]
    fn ambiguous_response_framing_is_invalid() {
        for lines in [
            &[("content-length", "1"), ("content-length", "2")][..],
            &[("content-length", "1"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "gzip, chunked")],
            &[
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "chunked"),
            ],
        ] {
            let result = scrub_response(&mut headers(lines));
            assert_eq!(result, Err(Reason::UpstreamInvalid), "{lines:?}");
        }
    }
}
