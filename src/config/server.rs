//! `[server]`, `[admin]` and `[telemetry]`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::cursor::{Cursor, Decoded, Single};
use super::file::Environment;
use super::report::{Complaint, did_you_mean};
use super::settings::{AccessLog, AdminSettings, ServerSettings, TelemetrySettings};
use super::tokens::tokens;
use super::tree::Node;
use super::value::{
    address, byte_rate, count, duration, expected, header_name, positive_duration, positive_size,
    range, text,
};
use crate::vocab::{ByteRate, ByteSize};

const MOST: usize = 10_000_000;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn on(ip: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(ip), port)
}

/// `[server]` with its defaults.
pub(super) fn server(cursor: Option<&Cursor<'_>>, environment: &Environment) -> ServerSettings {
    let mut server = ServerSettings {
        listen: vec![on(Ipv4Addr::UNSPECIFIED, 8080)],
        instance: default_instance(environment),
        workers: available(),
        trusted_proxies: Vec::new(),
        resolvers: Vec::new(),
        header_timeout: seconds(10),
        body_timeout: seconds(10),
        min_body_rate: ByteRate(256),
        write_timeout: seconds(30),
        idle_timeout: seconds(75),
        max_header_bytes: ByteSize(32 << 10),
        max_headers: 100,
        max_connections: 20_000,
        drain_delay: seconds(5),
        shutdown_grace: seconds(20),
    };
    if let Some(cursor) = cursor {
        addresses(cursor, &mut server);
        limits(cursor, &mut server);
    }
    server
}

fn default_instance(environment: &Environment) -> Arc<str> {
    environment("HOSTNAME")
        .filter(|name| is_instance(name))
        .map_or_else(|| "seawall".into(), Into::into)
}

/// It becomes part of object names and of a header, so that only plain characters fit.
fn is_instance(text: &str) -> bool {
    let valid = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    !text.is_empty() && text.len() <= 255 && text.chars().all(valid)
}

fn instance(node: &Node<'_>) -> Decoded<Arc<str>> {
    let text = text(node)?;
    if is_instance(text) {
        return Ok(text.into());
    }
    Err(expected(
        "a name of letters, digits, `_`, `.` and `-`",
        node,
    ))
}

fn available() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

fn addresses(cursor: &Cursor<'_>, server: &mut ServerSettings) {
    if let Some(listen) = cursor.read_list("listen", Single::Allowed, address) {
        let mut seen = Vec::new();
        for address in &listen {
            if address.port() != 0 && seen.contains(address) {
                let complaint = Complaint::new(format!("{address} is listed twice"));
                cursor.complain("listen", cursor.place_of("listen"), complaint);
            }
            seen.push(*address);
        }
        if listen.is_empty() {
            let complaint = Complaint::new("expected at least one address that can be used");
            cursor.complain("listen", cursor.place_of("listen"), complaint);
        }
        server.listen = listen;
    }
    set(&mut server.instance, cursor.read("instance", instance));
    let proxies = cursor.read_list("trusted_proxies", Single::Refused, range);
    set(&mut server.trusted_proxies, proxies);
    let resolvers = cursor.read_list("resolvers", Single::Refused, name_server);
    set(&mut server.resolvers, resolvers);
}

/// The address of a name server; its port is 53 unless given.
fn name_server(node: &Node<'_>) -> Decoded<SocketAddr> {
    let text = text(node)?;
    let port = |ip| SocketAddr::new(ip, 53);
    let address = text.parse().or_else(|_| text.parse().map(port));
    address
        .ok()
        .filter(|address| address.port() > 0)
        .ok_or_else(|| {
            expected(
                "the IP address of a name server, such as \"10.0.0.2\" or \"127.0.0.1:5353\"",
                node,
            )
        })
}

fn limits(cursor: &Cursor<'_>, server: &mut ServerSettings) {
    let time = |key| cursor.read(key, positive_duration);
    set(&mut server.header_timeout, time("header_timeout"));
    set(&mut server.body_timeout, time("body_timeout"));
    set(&mut server.write_timeout, time("write_timeout"));
    set(&mut server.idle_timeout, time("idle_timeout"));
    set(
        &mut server.drain_delay,
        cursor.read("drain_delay", duration),
    );
    set(
        &mut server.shutdown_grace,
        cursor.read("shutdown_grace", duration),
    );
    set(
        &mut server.min_body_rate,
        cursor.read("min_body_rate", byte_rate),
    );
    set(
        &mut server.max_header_bytes,
        cursor.read("max_header_bytes", positive_size),
    );
    let number = |key, least, most| cursor.read(key, |node| count(node, least, most));
    set(&mut server.max_headers, number("max_headers", 1, 10_000));
    set(
        &mut server.max_connections,
        number("max_connections", 1, MOST),
    );
    if let Some(workers) = number("workers", 0, 1024) {
        server.workers = if workers == 0 { available() } else { workers };
    }
}

/// `[admin]` with its defaults.
pub(super) fn admin(cursor: Option<&Cursor<'_>>, server: &ServerSettings) -> AdminSettings {
    let mut admin = AdminSettings {
        listen: on(Ipv4Addr::LOCALHOST, 9901),
        probe_listen: None,
        tokens: BTreeMap::new(),
    };
    let Some(cursor) = cursor else {
        return admin;
    };
    set(&mut admin.listen, cursor.read("listen", address));
    admin.probe_listen = cursor.read("probe_listen", address);
    apart(cursor, "listen", (admin.listen, &server.listen));
    if let Some(probe) = admin.probe_listen {
        apart(cursor, "probe_listen", (probe, &server.listen));
        apart(cursor, "probe_listen", (probe, &[admin.listen]));
    }
    admin.tokens = tokens(cursor, admin.listen);
    if cursor.has("listen") && !admin.listen.ip().is_loopback() {
        let complaint = Complaint::new(
            "the admin listener is reachable from other machines, and asks nobody who they are",
        );
        cursor.report.warning(
            cursor.place_of("listen"),
            cursor.path.join("listen").to_string(),
            complaint.hint("bind it to loopback, and give probes and Prometheus `probe_listen`"),
        );
    }
    admin
}

fn apart(cursor: &Cursor<'_>, key: &str, (address, others): (SocketAddr, &[SocketAddr])) {
    if cursor.has(key) && address.port() != 0 && others.contains(&address) {
        let complaint = Complaint::new(format!("{address} is another listener's address"));
        cursor.complain(
            key,
            cursor.place_of(key),
            complaint.hint("choose another port"),
        );
    }
}

/// `[telemetry]` with its defaults.
pub(super) fn telemetry(cursor: Option<&Cursor<'_>>) -> TelemetrySettings {
    let mut telemetry = TelemetrySettings {
        log: "info".to_owned(),
        access_log: AccessLog::Off,
        log_headers: Vec::new(),
    };
    if let Some(cursor) = cursor {
        set(&mut telemetry.log, cursor.read("log", filter));
        set(
            &mut telemetry.access_log,
            cursor.read("access_log", access_log),
        );
        let headers = cursor.read_list("log_headers", Single::Refused, header_name);
        set(&mut telemetry.log_headers, headers);
    }
    telemetry
}

fn filter(node: &Node<'_>) -> Decoded<String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let text = text(node)?;
    let complaint = || {
        expected(
            "a level such as \"info\", or a filter such as \"info,seawall=debug\"",
            node,
        )
        .maybe_hint(did_you_mean(text, LEVELS))
    };
    // A lone word that is no level would be taken for a module's name, and log nothing else.
    let word = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if text.is_empty() || (word && !LEVELS.contains(&text.to_ascii_lowercase().as_str())) {
        return Err(complaint());
    }
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(complaint()),
    }
}

fn access_log(node: &Node<'_>) -> Decoded<AccessLog> {
    match text(node)? {
        "" => Err(expected("\"off\", \"stdout\" or the path of a file", node)),
        "off" => Ok(AccessLog::Off),
        "stdout" => Ok(AccessLog::Stdout),
        path => Ok(AccessLog::File(path.into())),
    }
}
