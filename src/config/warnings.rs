//! What is no error, and yet should be looked at before the night of a launch.

use bytes::Bytes;
use http::{Method, StatusCode};

use super::cursor::Cursor;
use super::report::Complaint;
use super::settings::RouteSettings;
use super::target::{Chosen, chosen};
use crate::policy::kill::{AnswerSpec, Mode};
use crate::policy::rate::{RateKey, RateLimitSpec};
use crate::policy::retry::Trigger;
use crate::vocab::{ByteSize, Tier, format_duration};

/// Warns of one route.
pub(super) fn warn(cursor: &Cursor<'_>, route: &RouteSettings) {
    if route.tier == Tier::Core && route.owner.is_none() {
        let complaint = Complaint::new("a core route without an owner")
            .hint("add owner = \"...\": who is called when it breaks");
        cursor
            .report
            .warning(cursor.place, cursor.path.to_string(), complaint);
    }
    let answer = &route.kill_switch.answer;
    let auto = route.auto_kill.as_ref().map(|auto| auto.mode);
    if silent(route.kill_switch.mode) && is_hollow(route, answer) {
        warn_of(cursor, "kill_switch", hollow(&route.name));
    } else if silent(auto) && is_hollow(route, answer) {
        warn_of(cursor, "auto_kill", hollow(&route.name));
    }
    idle(cursor);
    never_timed_out(cursor, route);
}

fn warn_of(cursor: &Cursor<'_>, key: &str, complaint: Complaint) {
    let path = cursor.path.join(key).to_string();
    cursor.report.warning(cursor.place_of(key), path, complaint);
}

/// Whether clients take the answer of this mode for success.
fn silent(mode: Option<Mode>) -> bool {
    matches!(mode, Some(Mode::Drop | Mode::Archive))
}

/// Whether a dropped GET would be answered with 200 and nothing, which clients take for data.
pub(super) fn is_hollow(route: &RouteSettings, answer: &AnswerSpec) -> bool {
    let methods = &route.matches.methods;
    let gets = methods.is_empty() || methods.contains(&Method::GET);
    let status = answer.status.or(route.kill_switch.answer.status);
    let body = answer
        .body
        .as_ref()
        .or(route.kill_switch.answer.body.as_ref());
    gets && status.unwrap_or(StatusCode::OK) == StatusCode::OK && body.is_none_or(Bytes::is_empty)
}

/// The warning about such an answer.
pub(super) fn hollow(route: &str) -> Complaint {
    let message = format!(
        "a killed GET of the route `{route}` is answered 200 with an empty body, which clients take for data"
    );
    Complaint::new(message).hint("give it a body, another status, or mode \"reject\"")
}

/// Policies towards an upstream, written in a route that has none.
fn idle(cursor: &Cursor<'_>) {
    const KEYS: [&str; 4] = ["retry", "retry_budget", "breaker", "client_retry_budget"];
    if chosen(cursor) != Chosen::Respond {
        return;
    }
    let off = |key: &str| cursor.read(key, |node| Ok(node.as_text() == Some("off")));
    let kept = |key: &&str| cursor.owns(key) && off(key) == Some(false);
    for key in KEYS.into_iter().filter(kept) {
        let complaint = Complaint::new("has no effect: the gateway answers this route itself");
        warn_of(cursor, key, complaint.hint("remove it"));
    }
}

/// Timeouts that are to be retried, when no attempt ever times out before the request does.
fn never_timed_out(cursor: &Cursor<'_>, route: &RouteSettings) {
    let asked =
        route.retry.attempts > 1 && route.retry.on.listed().any(|on| on == Trigger::Timeout);
    let shorter = route
        .attempt_timeout
        .is_some_and(|attempt| attempt < route.timeout);
    if asked && !shorter && chosen(cursor) != Chosen::Respond {
        let message = format!(
            "a timeout is never retried: one attempt may take all of `timeout`, {}",
            format_duration(route.timeout)
        );
        let hint = "add an attempt_timeout well below it";
        warn_of(cursor, "retry", Complaint::new(message).hint(hint));
    }
}

/// Memory of rate limits that somebody should have meant.
const MUCH: u64 = 256 << 20;

/// Bytes of one key of a rate limit.
const SEAT: u64 = 16;

/// Warns when the counters of all keyed rate limits together take much memory: a limit in
/// `[defaults]` takes its own for each route.
pub(super) fn warn_of_memory(routes: &Cursor<'_>, all: &[RouteSettings]) {
    let keyed = |limit: &&RateLimitSpec| match limit.key {
        RateKey::Route => false,
        RateKey::ClientIp | RateKey::Header(_) => true,
    };
    let limits = all.iter().filter_map(|route| route.rate_limit.as_ref());
    let keys: Vec<u64> = limits
        .filter(keyed)
        .map(|limit| limit.max_keys.into())
        .collect();
    let bytes = keys.iter().sum::<u64>() * SEAT;
    if bytes > MUCH {
        let message = format!(
            "the rate limits of {} routes take up to {} of memory together",
            keys.len(),
            ByteSize(bytes >> 20 << 20)
        );
        let hint =
            "lower `max_keys`, or use key = \"route\" where clients need no counters of their own";
        routes.report.warning(
            routes.place,
            routes.path.to_string(),
            Complaint::new(message).hint(hint),
        );
    }
}
