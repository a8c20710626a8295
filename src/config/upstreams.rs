//! `[upstreams]`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use super::cursor::{Cursor, Decoded, Single};
use super::keys::{self, NOT_YET};
use super::report::Complaint;
use super::tree::Node;
use super::upstream_policies::{balance, concurrency, health, outlier};
use super::value::{bad_name, count, expected, positive_duration, text};
use crate::policy::balance::MOST_ENDPOINTS;
use crate::upstream::{EndpointKind, EndpointSpec, KeepaliveSpec, UpstreamSpec};

const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const DEFAULT_READ_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_KEEPALIVE: KeepaliveSpec = KeepaliveSpec {
    max_idle: 256,
    max_idle_time: Duration::from_secs(60),
};

/// Every upstream that is free of errors, and the names of all.
pub(super) fn upstreams(cursor: &Cursor<'_>) -> BTreeMap<Arc<str>, UpstreamSpec> {
    let mut upstreams = BTreeMap::new();
    for (entry, _) in cursor.entries() {
        if let Some(complaint) = bad_name(&entry.key) {
            cursor.complain(&entry.key, entry.key_place, complaint);
            continue;
        }
        let Some(table) = cursor.table(&entry.key, keys::UPSTREAM) else {
            continue;
        };
        let table = table.at(entry.key_place);
        let name: Arc<str> = entry.key.as_ref().into();
        upstreams.insert(name.clone(), upstream(name, &table));
    }
    upstreams
}

fn upstream(name: Arc<str>, cursor: &Cursor<'_>) -> UpstreamSpec {
    let (mut balance, hash) = balance(cursor);
    let health = health(cursor, &mut balance);
    UpstreamSpec {
        name,
        endpoints: endpoints(cursor),
        connect_timeout: cursor
            .read("connect_timeout", positive_duration)
            .unwrap_or(DEFAULT_CONNECT_TIMEOUT),
        read_timeout: cursor
            .read("read_timeout", positive_duration)
            .unwrap_or(DEFAULT_READ_TIMEOUT),
        keepalive: keepalive(cursor),
        balance,
        hash,
        health,
        outlier: outlier(cursor),
        concurrency: cursor.read("concurrency", concurrency).unwrap_or_default(),
    }
}

fn keepalive(cursor: &Cursor<'_>) -> KeepaliveSpec {
    let Some(table) = cursor.table("keepalive", keys::KEEPALIVE) else {
        return DEFAULT_KEEPALIVE;
    };
    KeepaliveSpec {
        max_idle: table
            .read("max_idle", |node| count(node, 0, 1_000_000))
            .unwrap_or(DEFAULT_KEEPALIVE.max_idle),
        max_idle_time: table
            .read("max_idle_time", positive_duration)
            .unwrap_or(DEFAULT_KEEPALIVE.max_idle_time),
    }
}

fn endpoints(cursor: &Cursor<'_>) -> Vec<EndpointSpec> {
    if !cursor.has("endpoints") {
        cursor.missing(
            Complaint::new("`endpoints` is missing")
                .hint("add endpoints = [\"http://127.0.0.1:9001\"]"),
        );
        return Vec::new();
    }
    let Some(endpoints) = cursor.read_list("endpoints", Single::Refused, endpoint) else {
        return Vec::new();
    };
    let place = cursor.place_of("endpoints");
    for (index, one) in endpoints.iter().enumerate() {
        let same = |other: &EndpointSpec| {
            (other.kind, &other.host, other.port) == (one.kind, &one.host, one.port)
        };
        if endpoints[..index].iter().any(same) {
            let complaint = Complaint::new(format!("{} is listed twice", one.text));
            cursor.complain("endpoints", place, complaint);
        }
    }
    if endpoints.len() > MOST_ENDPOINTS {
        let number = endpoints.len();
        let message = format!("expected at most {MOST_ENDPOINTS} endpoints, found {number}");
        cursor.complain("endpoints", place, Complaint::new(message));
    }
    if endpoints.is_empty() {
        let complaint = Complaint::new("expected at least one endpoint that can be used");
        cursor
            .report
            .missing(place, cursor.path.join("endpoints").to_string(), complaint);
    }
    endpoints
}

/// `http://host[:port]` or `http+srv://name`, and nothing after it.
fn endpoint(node: &Node<'_>) -> Decoded<EndpointSpec> {
    let complaint = || expected("an endpoint such as \"http://127.0.0.1:9001\"", node);
    let text = text(node)?;
    if text.starts_with("https://") {
        return Err(Complaint::new(format!("https endpoints are {NOT_YET}")));
    }
    let schemes = [
        (EndpointKind::Host, "http://"),
        (EndpointKind::Srv, "http+srv://"),
    ];
    let written = schemes
        .into_iter()
        .find_map(|(kind, scheme)| Some((kind, scheme, text.strip_prefix(scheme)?)));
    let Some((kind, scheme, authority)) = written else {
        let hint = (!text.contains("://")).then(|| format!("did you mean \"http://{text}\"?"));
        return Err(complaint().maybe_hint(hint));
    };
    if let Some((before, _)) = authority.split_once(['/', '?', '#']) {
        return Err(complaint().hint(format!(
            "an endpoint has no path: write \"{scheme}{before}\", and `path_rewrite` in the route"
        )));
    }
    if authority.contains('@') {
        return Err(complaint().hint("an endpoint has no user and no password"));
    }
    let (host, port) = split_port(authority).ok_or_else(complaint)?;
    let port = match port {
        None if kind == EndpointKind::Srv => {
            srv_name(host)?;
            0
        }
        Some(_) if kind == EndpointKind::Srv => {
            let hint = format!("SRV records name the ports: write \"{scheme}{host}\"");
            return Err(complaint().hint(hint));
        }
        None => 80,
        Some(port) => port
            .parse()
            .ok()
            .filter(|number: &u16| *number > 0)
            .ok_or_else(|| complaint().hint("a port is a number from 1 to 65535"))?,
    };
    Ok(EndpointSpec {
        text: text.into(),
        kind,
        host: host.into(),
        port,
    })
}

/// Addresses have no SRV records.
fn srv_name(host: &str) -> Decoded<()> {
    if host.parse::<IpAddr>().is_err() {
        return Ok(());
    }
    let complaint = Complaint::new(format!("{host} is an address, and has no SRV records"));
    Err(complaint.hint("write \"http+srv://_SERVICE._tcp.NAME\", or \"http://ADDRESS:PORT\""))
}

/// Host without brackets, and the port if there is one.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        return match rest {
            "" => Some((host, None)),
            rest => Some((host, Some(rest.strip_prefix(':')?))),
        };
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let valid = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    (!host.is_empty() && host.chars().all(valid)).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tree::{Place, Value};

    fn parse(text: &str) -> Option<(String, u16)> {
        let node = Node {
            place: Place::default(),
            value: Value::Text(text.into()),
        };
        let endpoint = endpoint(&node).ok()?;
        Some((endpoint.host.to_string(), endpoint.port))
    }

    #[test]
    fn endpoints_are_names_or_addresses_with_a_port() {
        for (text, host, port) in [
            ("http://127.0.0.1:9001", "127.0.0.1", 9001),
            ("http://stats.internal", "stats.internal", 80),
            ("http://[::1]:9001", "::1", 9001),
            ("http://[::1]", "::1", 80),
        ] {
            assert_eq!(parse(text), Some((host.to_owned(), port)), "{text}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for text in [
            "",
            "127.0.0.1:9001",
            "https://a",
            "http://",
            "http://:80",
            "http://a:0",
            "http://a:99999",
            "http://a:b",
            "http://a/",
            "http://a?b",
            "http://u@a",
            "http://[::1",
            "http://[a]:1",
            "http://[::1]9",
            "http://::1",
            "http://a b",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
