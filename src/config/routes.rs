//! `[routes]`, with `[defaults]` merged in.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method};

use super::answer::{kill_switch, on_failure};
use super::attempts::{breaker, retry, retry_budget};
use super::cursor::{Cursor, Decoded, Single};
use super::headers::{edits, matchers};
use super::keys;
use super::limits::{Whole, auto_kill, client_retry_budget, concurrency, rate_limit};
use super::observe::observe;
use super::report::Complaint;
use super::settings::{HostRewrite, RouteSettings, Target};
use super::target::{default_target, target};
use super::tree::{Entry, Node, Place, Table};
use super::value::{bad_name, describe, expected, none_of, positive_duration, size, text, words};
use super::warnings::{warn, warn_of_memory};
use crate::matching::{HostPattern, MatchSpec, PathPattern, PathTemplate};
use crate::policy::kill::Mode;
use crate::upstream::UpstreamSpec;
use crate::vocab::{ByteSize, Tier, format_duration};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);
const DEFAULT_MAX_BODY: ByteSize = ByteSize(10 << 20);

/// Upstreams by name.
pub(super) type Upstreams = BTreeMap<Arc<str>, UpstreamSpec>;

/// Reads `[defaults]` alone, so that its errors are reported once, where they stand.
pub(super) fn defaults(cursor: &Cursor<'_>, upstreams: &Upstreams) {
    let pattern = cursor
        .read("path", pattern)
        .unwrap_or_else(PathPattern::any);
    matched(cursor, pattern);
    default_target(cursor, upstreams);
    policies(cursor, None);
}

/// Every route, sorted by name.
pub(super) fn routes<'a>(
    cursor: &Cursor<'a>,
    defaults: Option<&'a Table<'a>>,
    upstreams: &Upstreams,
) -> Vec<RouteSettings> {
    let number = cursor.entries().count();
    let mut routes = Vec::with_capacity(number);
    let mut taken: HashMap<String, (&str, Place)> = HashMap::with_capacity(number);
    for (entry, _) in cursor.entries() {
        if let Some(complaint) = bad_name(&entry.key) {
            cursor.complain(&entry.key, entry.key_place, complaint);
            continue;
        }
        let Some(own) = table_of(cursor, entry) else {
            continue;
        };
        let at = (cursor.path.join(&entry.key), entry.key_place);
        let route = Cursor::open(own, keys::ROUTE, at, cursor.report).inheriting(defaults);
        let (settings, whole) = route_settings(entry.key.as_ref().into(), &route, upstreams);
        let place = route.place_of(if route.has("path") { "path" } else { "host" });
        let asked = identity(&route, &settings.matches);
        if let Some((other, first)) = taken.get(&asked)
            && whole
        {
            let message = format!(
                "the same requests as the route `{other}` at {}",
                cursor.report.name(*first)
            );
            let hint = "one of them would never be used: change host, path, methods or headers";
            route.complain("path", place, Complaint::new(message).hint(hint));
        } else if whole {
            taken.insert(asked, (&entry.key, place));
        }
        warn(&route, &settings);
        routes.push(settings);
    }
    warn_of_memory(cursor, &routes);
    routes
}

fn table_of<'a>(cursor: &Cursor<'a>, entry: &'a Entry<'a>) -> Option<&'a Table<'a>> {
    let table = entry.value.as_table();
    if table.is_none() {
        let complaint = expected("a table", &entry.value);
        cursor.complain(&entry.key, entry.value.place, complaint);
    }
    table
}

/// What a route asks of a request, so that equal texts take the same requests.
fn identity(route: &Cursor<'_>, matches: &MatchSpec) -> String {
    let mut asked = String::with_capacity(matches.path.as_str().len() + 8);
    let mut skipping = false;
    for c in matches.path.as_str().chars() {
        // The name of a segment does not matter, whether it is the rest does.
        skipping = (skipping && c != '}') || c == '{';
        if !skipping || c == '{' || c == '*' {
            asked.push(c);
        }
    }
    let host = route.read("host", |node| Ok(text(node)?.to_ascii_lowercase()));
    let mut methods: Vec<&str> = matches.methods.iter().map(Method::as_str).collect();
    methods.sort_unstable();
    let mut headers: Vec<String> = matches.headers.iter().map(|h| format!("{h:?}")).collect();
    headers.sort_unstable();
    for part in host.iter().map(String::as_str).chain(methods) {
        asked.push('\n');
        asked.push_str(part);
    }
    for part in &headers {
        asked.push_str("\n:");
        asked.push_str(part);
    }
    asked
}

/// The settings, and whether match and target could be read. A route that lacks them stands
/// in for itself, so that switches which name it are not reported as well.
fn route_settings(
    name: Arc<str>,
    cursor: &Cursor<'_>,
    upstreams: &Upstreams,
) -> (RouteSettings, bool) {
    let pattern = pattern_of(cursor);
    let target = target(cursor, upstreams);
    let whole = pattern.is_some() && target.is_some();
    let path = pattern.unwrap_or_else(PathPattern::any);
    let policies = policies(cursor, Some(&path));
    let settings = RouteSettings {
        name,
        matches: matched(cursor, path),
        target: target.unwrap_or_else(|| policies.target.clone()),
        ..policies
    };
    (settings, whole)
}

fn pattern_of(cursor: &Cursor<'_>) -> Option<PathPattern> {
    if cursor.has("path") {
        return cursor.read("path", pattern);
    }
    if !cursor.has("host") {
        cursor
            .missing(Complaint::new("a route needs `path` or `host`").hint("add path = \"/...\""));
        return None;
    }
    Some(PathPattern::any())
}

fn pattern(node: &Node<'_>) -> Decoded<PathPattern> {
    PathPattern::parse(text(node)?).map_err(|error| found(error, node))
}

fn found(error: impl std::fmt::Display, node: &Node<'_>) -> Complaint {
    Complaint::new(format!("{error}, found {}", describe(node)))
}

fn matched(cursor: &Cursor<'_>, path: PathPattern) -> MatchSpec {
    let host = cursor.read("host", |node| {
        HostPattern::parse(text(node)?).map_err(|error| found(error, node))
    });
    MatchSpec {
        host,
        path,
        methods: methods(cursor),
        headers: matchers(cursor),
    }
}

fn methods(cursor: &Cursor<'_>) -> Vec<Method> {
    let Some(mut methods) = cursor.read_list("methods", Single::Refused, method) else {
        return Vec::new();
    };
    if methods.is_empty() && cursor.owns("methods") {
        let complaint = Complaint::new("expected at least one method")
            .hint("leave `methods` out to take them all");
        let key = cursor.path.join("methods").to_string();
        cursor
            .report
            .missing(cursor.place_of("methods"), key, complaint);
    }
    let mut seen = Vec::new();
    methods.retain(|method| {
        let new = !seen.contains(method);
        seen.push(method.clone());
        new
    });
    methods
}

fn method(node: &Node<'_>) -> Decoded<Method> {
    let text = text(node)?;
    let complaint = || expected("a method such as \"GET\"", node);
    if text.chars().any(|c| c.is_ascii_lowercase()) {
        let upper = text.to_ascii_uppercase();
        return Err(complaint().hint(format!("did you mean {upper:?}?")));
    }
    Method::from_bytes(text.as_bytes()).map_err(|_| complaint())
}

/// Everything but name, match and target, which the caller fills in. Without a path nothing is
/// known of the names that `path_rewrite` may use.
fn policies(cursor: &Cursor<'_>, path: Option<&PathPattern>) -> RouteSettings {
    let timeout = cursor
        .read("timeout", positive_duration)
        .unwrap_or(DEFAULT_TIMEOUT);
    let tier = cursor.read("tier", tier).unwrap_or_default();
    let kill_switch = kill_switch(cursor, tier);
    // What `[defaults]` says counts with what each route adds to it.
    let mode = path.map_or(Some(Mode::Archive), |_| kill_switch.mode);
    let whole = path.map_or(Whole::Later, |_| Whole::Required);
    RouteSettings {
        name: "".into(),
        matches: MatchSpec {
            host: None,
            path: PathPattern::any(),
            methods: Vec::new(),
            headers: Vec::new(),
        },
        target: Target::Upstream("".into()),
        tier,
        owner: cursor.read("owner", words),
        runbook: cursor.read("runbook", words),
        impact: cursor.read("impact", words),
        timeout,
        attempt_timeout: attempt_timeout(cursor, timeout),
        stream_idle_timeout: cursor.read("stream_idle_timeout", positive_duration),
        max_body: cursor
            .read("max_body", max_body)
            .unwrap_or(Some(DEFAULT_MAX_BODY)),
        path_rewrite: path.and_then(|path| path_rewrite(cursor, path)),
        host_rewrite: cursor
            .read("host_rewrite", host_rewrite)
            .unwrap_or(HostRewrite::Keep),
        request_headers: edits(cursor, "request_headers"),
        response_headers: edits(cursor, "response_headers"),
        on_failure: on_failure(cursor, mode),
        observe: observe(cursor),
        rate_limit: rate_limit(cursor, whole),
        concurrency: concurrency(cursor, whole),
        retry: retry(cursor),
        retry_budget: retry_budget(cursor),
        breaker: breaker(cursor),
        client_retry_budget: client_retry_budget(cursor, whole),
        auto_kill: auto_kill(cursor, (tier, &kill_switch), whole),
        kill_switch,
    }
}

fn tier(node: &Node<'_>) -> Decoded<Tier> {
    let names = Tier::ALL.map(Tier::as_str);
    let name = text(node).map_err(|_| none_of(&names, node))?;
    Tier::from_name(name).ok_or_else(|| none_of(&names, node))
}

fn attempt_timeout(cursor: &Cursor<'_>, timeout: Duration) -> Option<Duration> {
    let attempt = cursor.read("attempt_timeout", positive_duration)?;
    if attempt > timeout {
        let complaint = Complaint::new(format!(
            "an attempt may take longer than the whole request (`timeout`, {})",
            format_duration(timeout)
        ));
        let hint = "lower it, or raise `timeout`";
        cursor.complain(
            "attempt_timeout",
            cursor.place_of("attempt_timeout"),
            complaint.hint(hint),
        );
    }
    Some(attempt)
}

fn path_rewrite(cursor: &Cursor<'_>, path: &PathPattern) -> Option<PathTemplate> {
    let node = cursor.read("path_rewrite", Ok)?;
    let template = text(node)
        .and_then(|text| PathTemplate::parse(text, path).map_err(|error| found(error, node)));
    // Reported even when inherited: another route's path may have the names this one lacks.
    template
        .map_err(|complaint| cursor.complain("path_rewrite", node.place, complaint))
        .ok()
}

fn max_body(node: &Node<'_>) -> Decoded<Option<ByteSize>> {
    match text(node) {
        Ok("none") => Ok(None),
        _ => size(node).map(Some).map_err(|complaint| Complaint {
            message: complaint
                .message
                .replace("expected a size:", "expected \"none\" or a size:"),
            ..complaint
        }),
    }
}

fn host_rewrite(node: &Node<'_>) -> Decoded<HostRewrite> {
    let complaint = || expected("\"upstream\" or the name of a host", node);
    let text = text(node)?;
    if text == "upstream" {
        return Ok(HostRewrite::Upstream);
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || "_.-:[]".contains(c);
    if text.is_empty() || !text.chars().all(valid) {
        return Err(complaint());
    }
    HeaderValue::from_str(text)
        .map(HostRewrite::Name)
        .map_err(|_| complaint())
}
