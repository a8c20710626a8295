//! The effective policies of a route: every key, its value, and where that comes from.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde::Serialize;

use super::limits::limits;
use super::origin::Origins;
use crate::config::{HeaderEdits, HostRewrite, RouteSettings, SourceFile, Target};
use crate::vocab::format_duration;

/// One key of a route.
#[derive(Debug, Serialize)]
pub(super) struct Policy {
    pub(super) key: Cow<'static, str>,
    /// As configuration writes it; `none` where nothing is set.
    pub(super) value: String,
    /// `route`, `defaults`, `route and defaults`, `upstream`, or `built in`.
    pub(super) from: &'static str,
}

/// Every key of the route.
pub(super) fn policies(files: &[SourceFile], route: &RouteSettings) -> Vec<Policy> {
    let origins = Origins::of(files, &route.name);
    let values = matches(route)
        .into_iter()
        .chain(people(route))
        .chain(times(route))
        .chain(edits(route))
        .chain(limits(route))
        .chain(kill_switch(route));
    values
        .map(|(key, value)| Policy {
            key: key.into(),
            value,
            from: origin(&origins, key),
        })
        .collect()
}

fn origin(origins: &Origins, key: &str) -> &'static str {
    match key {
        "auto_kill.mode" if !origins.has(key) => origins.of_key("kill_switch.mode"),
        key => origins.of_key(key),
    }
}

/// A key and its value.
pub(super) type Pair = (&'static str, String);

fn or_none(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

/// The items in one line.
pub(super) fn list<T: ToString>(items: &[T], empty: &str) -> String {
    match items {
        [] => empty.to_owned(),
        items => {
            let items: Vec<String> = items.iter().map(ToString::to_string).collect();
            items.join(", ")
        }
    }
}

fn matches(route: &RouteSettings) -> Vec<Pair> {
    let matches = &route.matches;
    let headers: Vec<String> = matches
        .headers
        .iter()
        .map(|header| format!("{} {}", header.name, header.test))
        .collect();
    let target = match &route.target {
        Target::Upstream(name) => ("upstream", name.to_string()),
        Target::Split(parts) => {
            let parts = parts
                .iter()
                .map(|part| format!("{} {}", part.upstream, part.weight));
            ("split", parts.collect::<Vec<String>>().join(", "))
        }
        Target::Respond(respond) => {
            let bytes = respond.body.len();
            let status = respond.status.as_u16();
            ("respond", format!("{status}, {bytes} bytes"))
        }
    };
    vec![
        ("path", matches.path.as_str().to_owned()),
        ("methods", list(&matches.methods, "all")),
        ("host", or_none(matches.host.as_ref())),
        ("headers", list(&headers, "none")),
        target,
    ]
}

fn people(route: &RouteSettings) -> Vec<Pair> {
    vec![
        ("tier", route.tier.to_string()),
        ("owner", or_none(route.owner.as_deref())),
        ("runbook", or_none(route.runbook.as_deref())),
        ("impact", or_none(route.impact.as_deref())),
    ]
}

fn times(route: &RouteSettings) -> Vec<Pair> {
    let time = |time: Option<Duration>| or_none(time.map(format_duration));
    vec![
        ("timeout", format_duration(route.timeout)),
        ("attempt_timeout", time(route.attempt_timeout)),
        (
            "stream_idle_timeout",
            route
                .stream_idle_timeout
                .map_or_else(|| "the upstream's read_timeout".to_owned(), format_duration),
        ),
        ("max_body", or_none(route.max_body)),
    ]
}

fn edits(route: &RouteSettings) -> Vec<Pair> {
    let host = match &route.host_rewrite {
        HostRewrite::Keep => "the client's".to_owned(),
        HostRewrite::Upstream => "upstream".to_owned(),
        HostRewrite::Name(name) => text(name),
    };
    let path = route.path_rewrite.as_ref();
    vec![
        (
            "path_rewrite",
            or_none(path.map(|template| template.as_str())),
        ),
        ("host_rewrite", host),
        ("request_headers", edited(&route.request_headers)),
        ("response_headers", edited(&route.response_headers)),
        ("on_failure", route.on_failure.as_str().to_owned()),
        ("observe", list(&route.observe, "nothing")),
    ]
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn edited(edits: &HeaderEdits) -> String {
    let lines = |verb: &str, lines: &[(HeaderName, HeaderValue)]| -> Vec<String> {
        let line = |(name, value): &(HeaderName, HeaderValue)| {
            format!("{verb} {name} = {:?}", text(value))
        };
        lines.iter().map(line).collect()
    };
    let removed = edits.remove.iter().map(|name| format!("remove {name}"));
    let mut all: Vec<String> = removed.collect();
    all.extend(lines("set", &edits.set));
    all.extend(lines("add", &edits.add));
    list(&all, "none")
}

fn kill_switch(route: &RouteSettings) -> Vec<Pair> {
    let own = &route.kill_switch;
    let body = own.answer.body.as_deref().map(String::from_utf8_lossy);
    let kind = own.answer.content_type.as_ref().map(text);
    let status = own.answer.status.map(|status| status.as_u16());
    vec![
        ("kill_switch.mode", or_none(own.mode)),
        ("kill_switch.status", status.unwrap_or(200).to_string()),
        (
            "kill_switch.body",
            body.map_or_else(|| "empty".to_owned(), Into::into),
        ),
        ("kill_switch.content_type", or_none(kind)),
        ("kill_switch.restore", format_duration(own.restore)),
        ("kill_switch.sticky", own.sticky.to_string()),
        ("kill_switch.close_tunnels", own.close_tunnels.to_string()),
        ("kill_switch.when_full", own.when_full.as_str().to_owned()),
        ("kill_switch.archive_quota", own.archive_quota.to_string()),
    ]
}
