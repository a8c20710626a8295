//! How an upstream's endpoints are chosen, checked and left alone, and how much it takes:
//! `balance`, `slow_start`, `health`, `outlier` and `concurrency`.

use std::time::Duration;

use http::uri::PathAndQuery;

use super::cursor::{Cursor, Decoded};
use super::keys;
use super::limits::{MOST_AT_ONCE, opened};
use super::report::{Complaint, did_you_mean};
use super::tree::Node;
use super::value::{
    duration, duration_within, expected, header_name_text, lacks, number, percent, text,
};
use crate::policy::adaptive::AdaptiveSpec;
use crate::policy::balance::{BalanceSpec, Method};
use crate::policy::health::HealthSpec;
use crate::policy::outlier::OutlierSpec;
use crate::policy::share::Sticky;
use crate::upstream::{HealthCheckSpec, UpstreamLimit};

/// More checks or failures in a row than anybody waits for.
const MOST_IN_A_ROW: u32 = 1000;

/// Bounds of `interval`: more often, the checks would be the load.
const INTERVAL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(3600));

/// Bounds of `ejection`.
const EJECTION: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(86_400));

/// `balance`, with what belongs to it, and what is hashed.
pub(super) fn balance(upstream: &Cursor<'_>) -> (BalanceSpec, Sticky) {
    let default = BalanceSpec::default();
    let (method, hash) = upstream.read("balance", method).unwrap_or_default();
    let slow_start = upstream.read("slow_start", duration);
    let spec = BalanceSpec {
        method,
        panic: default.panic,
        slow_start: slow_start.unwrap_or(default.slow_start),
    };
    (spec, hash)
}

fn method(node: &Node<'_>) -> Decoded<(Method, Sticky)> {
    const FORMS: &str =
        "\"least-request\", \"round-robin\", \"hash:client-ip\" or \"hash:header:NAME\"";
    let complaint = || expected(FORMS, node);
    let text = text(node).map_err(|_| complaint())?;
    let hash = |sticky| Ok((Method::Hash, sticky));
    match text {
        "least-request" => Ok((Method::LeastRequest, Sticky::default())),
        "round-robin" => Ok((Method::RoundRobin, Sticky::default())),
        "hash:client-ip" => hash(Sticky::ClientIp),
        _ => {
            if let Some(name) = text.strip_prefix("hash:header:") {
                let hint = "the name of a header goes after `hash:header:`";
                let header = header_name_text(name).map(Sticky::Header);
                return hash(header.ok_or_else(|| complaint().hint(hint))?);
            }
            let words = ["least-request", "round-robin", "hash:client-ip"];
            let near = did_you_mean(text, words);
            let name = text.strip_prefix("header:").or(text.strip_prefix("hash:"));
            let header = || {
                let name = name.and_then(header_name_text)?;
                Some(format!("did you mean \"hash:header:{name}\"?"))
            };
            Err(complaint().maybe_hint(near.or_else(header)))
        }
    }
}

/// `health`, and its `panic_percent`, which belongs to the balance.
pub(super) fn health(upstream: &Cursor<'_>, balance: &mut BalanceSpec) -> Option<HealthCheckSpec> {
    let cursor = opened(upstream, "health", keys::HEALTH, "{ path = \"/healthz\" }")?;
    let default = HealthSpec::default();
    if let Some(panic) = cursor.read("panic_percent", percent) {
        balance.panic = panic;
    }
    let in_a_row = |node: &Node<'_>| number(node, 1, MOST_IN_A_ROW);
    let interval = |node: &Node<'_>| duration_within(node, INTERVAL.0, INTERVAL.1);
    let spec = HealthSpec {
        interval: cursor
            .read("interval", interval)
            .unwrap_or(default.interval),
        healthy: cursor.read("healthy", in_a_row).unwrap_or(default.healthy),
        unhealthy: cursor
            .read("unhealthy", in_a_row)
            .unwrap_or(default.unhealthy),
    };
    lacks(&cursor, "path", "add path = \"/healthz\"");
    let path = cursor.read("path", path)?;
    Some(HealthCheckSpec { path, spec })
}

fn path(node: &Node<'_>) -> Decoded<PathAndQuery> {
    let complaint = || expected("a path such as \"/healthz\"", node);
    let text = text(node).map_err(|_| complaint())?;
    if !text.starts_with('/') {
        let hint = (!text.is_empty() && !text.contains("://"))
            .then(|| format!("did you mean \"/{text}\"?"));
        return Err(complaint().maybe_hint(hint));
    }
    match text.parse() {
        Ok(path) if !text.contains('#') => Ok(path),
        Ok(_) | Err(_) => Err(complaint()),
    }
}

/// `outlier`: `{}` is one with the defaults.
pub(super) fn outlier(upstream: &Cursor<'_>) -> Option<OutlierSpec> {
    let cursor = opened(
        upstream,
        "outlier",
        keys::OUTLIER,
        "{}, or { ejection = \"30s\" }",
    )?;
    let default = OutlierSpec::default();
    let failures = cursor.read("consecutive_failures", |node| {
        number(node, 1, MOST_IN_A_ROW)
    });
    let ejection = cursor.read("ejection", |node| {
        duration_within(node, EJECTION.0, EJECTION.1)
    });
    let most = cursor.read("max_ejected_percent", percent);
    Some(OutlierSpec {
        consecutive_failures: failures.unwrap_or(default.consecutive_failures),
        ejection: ejection.unwrap_or(default.ejection),
        max_ejected: most.unwrap_or(default.max_ejected),
    })
}

/// `concurrency` of an upstream.
pub(super) fn concurrency(node: &Node<'_>) -> Decoded<UpstreamLimit> {
    let complaint = || {
        let forms = format!("\"off\", \"adaptive\" or a number from 1 to {MOST_AT_ONCE}");
        expected(forms, node)
    };
    match node.as_text() {
        Some("off") => Ok(UpstreamLimit::Off),
        Some("adaptive") => Ok(UpstreamLimit::Adaptive(AdaptiveSpec::default())),
        Some(text) => {
            let near = did_you_mean(text, ["off", "adaptive"]);
            let bare = || {
                let number = text.parse::<u32>().ok()?;
                Some(format!("write {number}, without quotes"))
            };
            Err(complaint().maybe_hint(near.or_else(bare)))
        }
        None => number(node, 1, MOST_AT_ONCE)
            .map(UpstreamLimit::Fixed)
            .map_err(|_: Complaint| complaint()),
    }
}
