//! `observe`: whose most frequent values a route tells.

use super::cursor::{Cursor, Decoded, Single};
use super::report::{Complaint, did_you_mean};
use super::tree::Node;
use super::value::{expected, header_name_text, text};
use crate::telemetry::ObserveKey;

/// Most keys of a route: each costs every request a little.
const MOST: usize = 4;

/// Headers whose values open doors.
const SECRET: [&str; 4] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-api-key",
];

/// `observe`, without the keys that could not be read.
pub(super) fn observe(route: &Cursor<'_>) -> Vec<ObserveKey> {
    let Some(mut keys) = route.read_list("observe", Single::Allowed, key) else {
        return Vec::new();
    };
    if route.owns("observe") {
        check(route, &keys);
    }
    keys.truncate(MOST);
    keys
}

fn check(route: &Cursor<'_>, keys: &[ObserveKey]) {
    let place = route.place_of("observe");
    let twice = keys
        .iter()
        .enumerate()
        .find(|(n, key)| keys[..*n].contains(key));
    if let Some((_, key)) = twice {
        let complaint = Complaint::new(format!("\"{key}\" is there twice"));
        route.complain("observe", place, complaint.hint("remove one of them"));
    }
    if keys.len() > MOST {
        let complaint = Complaint::new(format!(
            "expected at most {MOST} keys, found {}",
            keys.len()
        ));
        route.complain("observe", place, complaint);
    }
    let secret = |key: &&ObserveKey| match key {
        ObserveKey::ClientIp => false,
        ObserveKey::Header(name) => SECRET.contains(&name.as_str()),
    };
    if let Some(key) = keys.iter().find(secret) {
        let complaint = Complaint::new(format!(
            "\"{key}\" shows what clients prove themselves with"
        ))
        .hint("whoever reads the status sees its values; observe another header");
        let path = route.path.join("observe").to_string();
        route.report.warning(place, path, complaint);
    }
}

fn key(node: &Node<'_>) -> Decoded<ObserveKey> {
    const CLIENT_IP: &str = "client-ip";
    let complaint = || expected("\"client-ip\" or \"header:NAME\"", node);
    let text = text(node).map_err(|_| complaint())?;
    if text == CLIENT_IP {
        return Ok(ObserveKey::ClientIp);
    }
    if let Some(name) = text.strip_prefix("header:") {
        return header_name_text(name)
            .map(ObserveKey::Header)
            .ok_or_else(complaint);
    }
    let near = || did_you_mean(text, [CLIENT_IP]);
    // `ip`, `client`: far in letters, near in meaning.
    let part = (text.len() > 1 && CLIENT_IP.contains(text)).then_some("did you mean `client-ip`?");
    let hint = part.map(str::to_owned).or_else(near).or_else(|| {
        let name = text.rsplit(':').next().unwrap_or(text);
        header_name_text(name).map(|name| format!("did you mean \"header:{name}\"?"))
    });
    Err(complaint().maybe_hint(hint))
}
