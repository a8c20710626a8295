//! `seawall top ROUTE`: who sends most of a route's requests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::ask::{self, AskError, Gateway};
use crate::config::did_you_mean;

/// How often `--watch` asks; the gateway gathers once a second.
const EVERY: Duration = Duration::from_secs(1);

/// Options of `top`.
#[derive(Args, Debug)]
pub(super) struct TopArguments {
    /// The route, as it is named in the configuration.
    #[arg(value_name = "ROUTE")]
    route: String,
    /// A JSON document on standard output, for scripts.
    #[arg(long)]
    json: bool,
    /// Go on, once a second.
    #[arg(long)]
    watch: bool,
    /// Ask this admin listener instead of the one that the configuration names.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
}

/// The values of one route by key.
type Keys = BTreeMap<String, Vec<Observed>>;

/// One value, as `/api/v1/status` has it.
#[derive(Debug, Deserialize)]
struct Observed {
    value: Option<String>,
    count: u64,
    at_most: u64,
    per_second: f64,
    share: f64,
}

/// The part of `/api/v1/status` that is shown here.
#[derive(Debug, Deserialize)]
struct Status {
    observed: BTreeMap<String, Value>,
}

/// The part of an element of `/api/v1/routes` that is needed here.
#[derive(Debug, Deserialize)]
struct Route {
    name: String,
    observe: Vec<String>,
}

pub(super) fn run(dir: &Path, arguments: &TopArguments) -> ExitCode {
    let gateway = Gateway::admin(dir, arguments.admin.as_deref());
    loop {
        let values = match values(gateway, &arguments.route) {
            Ok(values) => values,
            Err(why) => {
                eprintln!("seawall: {why}");
                return ExitCode::FAILURE;
            }
        };
        // A closed pipe is how a reader says that it has seen enough.
        if show(&values, arguments).is_err() || !arguments.watch {
            return ExitCode::SUCCESS;
        }
        std::thread::sleep(EVERY);
    }
}

/// What the gateway says of the route: an object of keys, empty without requests.
fn values(gateway: Gateway<'_>, route: &str) -> Result<Value, String> {
    let mut status: Status = fetch(gateway, "/api/v1/status")?;
    if let Some(values) = status.observed.remove(route) {
        return Ok(values);
    }
    let routes: Vec<Route> = fetch(gateway, "/api/v1/routes")?;
    match routes.iter().find(|known| known.name == route) {
        None => Err(unknown(route, &routes)),
        Some(known) if known.observe.is_empty() => Err(format!(
            "the route `{route}` observes nothing: add observe = [\"client-ip\"] below \
             [routes.{route}]; \"header:NAME\" observes a header"
        )),
        Some(known) => {
            let none = |key: &String| (key.clone(), Value::Array(Vec::new()));
            Ok(Value::Object(known.observe.iter().map(none).collect()))
        }
    }
}

fn unknown(route: &str, routes: &[Route]) -> String {
    let names = || routes.iter().map(|route| route.name.as_str());
    let hint = did_you_mean(route, names()).or_else(|| match routes.len() {
        0 => Some("it has no routes".to_owned()),
        1..=20 => Some(format!(
            "its routes: {}",
            names().collect::<Vec<_>>().join(", ")
        )),
        _ => None,
    });
    let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
    format!("the gateway has no route `{route}`{hint}")
}

fn fetch<T: serde::de::DeserializeOwned>(gateway: Gateway<'_>, path: &str) -> Result<T, String> {
    let answer = ask::get(gateway, path).map_err(|error| match error {
        AskError::Unreachable(..) => format!("{error}; is the gateway running?"),
        other => other.to_string(),
    })?;
    let from = &answer.from;
    if answer.status != StatusCode::OK {
        let status = answer.status.as_u16();
        return Err(format!(
            "{from} answers {status} to {path}: is it the admin listener of a gateway?"
        ));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|error| format!("{from} answers {path} in another way than expected: {error}"))
}

fn show(values: &Value, arguments: &TopArguments) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if arguments.json {
        // With `--watch` a document is a line, so that a reader sees where it ends.
        let line = if arguments.watch {
            serde_json::to_string(values)
        } else {
            serde_json::to_string_pretty(values)
        };
        writeln!(out, "{}", line?)?;
        return out.flush();
    }
    if arguments.watch && out.is_terminal() {
        // To the upper left corner, and nothing below it.
        write!(out, "\x1b[H\x1b[2J")?;
    }
    let keys = Keys::deserialize(values)?;
    write!(out, "{}", table(&arguments.route, &keys))?;
    out.flush()
}

/// A block for each key.
fn table(route: &str, keys: &Keys) -> String {
    if keys.values().all(Vec::is_empty) {
        return format!("{route}: no requests in the last 10 s\n");
    }
    let mut text = format!("{route}: the last 10 s\n");
    for (key, values) in keys {
        let names: Vec<String> = values.iter().map(name).collect();
        let lengths = names.iter().chain([key]).map(|name| name.chars().count());
        let width = lengths.max().unwrap_or(0);
        let _ = writeln!(
            text,
            "\n{key:width$}  {:>10}  {:>10}  {:>7}",
            "requests", "per second", "share"
        );
        for (name, observed) in names.iter().zip(values) {
            let share = format!("{:.1} %", observed.share * 100.0);
            let _ = write!(
                text,
                "{name:width$}  {:>10}  {:>10.1}  {share:>7}",
                observed.count, observed.per_second
            );
            if observed.at_most > observed.count {
                let _ = write!(text, "  at most {}", observed.at_most);
            }
            text.push('\n');
        }
    }
    text
}

/// A value as a terminal may show it: it is a stranger's text.
fn name(observed: &Observed) -> String {
    match observed.value.as_deref() {
        None => "(absent)".to_owned(),
        Some("") => "(empty)".to_owned(),
        Some(value) => value.chars().map(plain).collect(),
    }
}

/// Control characters, and those that turn the direction of writing, would change what else is
/// on the screen.
fn plain(c: char) -> char {
    let turns =
        matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || turns {
        char::REPLACEMENT_CHARACTER
    } else {
        c
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(value: Option<&str>, count: u64, at_most: u64) -> Observed {
        Observed {
            value: value.map(str::to_owned),
            count,
            at_most,
            per_second: count as f64 / 10.0,
            share: count as f64 / 100.0,
        }
    }

    #[test]
    fn the_table_is_in_columns_and_bounds_are_told_where_a_count_is_not_exact() {
        let values = vec![
            observed(Some("4.2.1"), 90, 90),
            observed(None, 8, 9),
            observed(Some(""), 1, 1),
        ];
        let keys = Keys::from([("header:x-version".to_owned(), values)]);
        let expected = "submit: the last 10 s\n\n\
            header:x-version    requests  per second    share\n\
            4.2.1                     90         9.0   90.0 %\n\
            (absent)                   8         0.8    8.0 %  at most 9\n\
            (empty)                    1         0.1    1.0 %\n";
        assert_eq!(table("submit", &keys), expected);
    }

    #[test]
    fn a_route_without_requests_is_one_line() {
        let keys = Keys::from([("client-ip".to_owned(), Vec::new())]);
        assert_eq!(table("ping", &keys), "ping: no requests in the last 10 s\n");
    }

    #[test]
    fn what_a_stranger_wrote_cannot_move_the_cursor_or_turn_the_line() {
        let shown = name(&observed(Some("a\u{1b}[2Jb\u{9b}c\u{202e}d"), 1, 1));
        assert_eq!(shown, "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d");
    }

    #[test]
    fn an_unknown_route_is_answered_with_the_nearest_or_with_those_there_are() {
        let known = |name: &str| Route {
            name: name.to_owned(),
            observe: Vec::new(),
        };
        let routes = [known("submit-stats"), known("ping")];
        assert!(unknown("submit-stat", &routes).contains("did you mean `submit-stats`?"));
        assert!(unknown("x", &routes).ends_with("its routes: submit-stats, ping"));
        assert!(unknown("x", &[]).ends_with("it has no routes"));
    }
}
