//! `seawall kill`: throws a switch.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::HeaderName;
use jiff::Timestamp;
use serde_json::Value;
use toml_edit::{Datetime, InlineTable, Value as Toml};

use super::flip::{Flip, FlipOptions, Flipped, complain, subject};
use super::moment::{rfc3339, to_the_second};
use super::precedence::{key_of, met, name};
use crate::config::{Change, EntryText, Settings};
use crate::control::{own_mode, plain_entry};
use crate::policy::kill::KillKey;
use crate::vocab::{Clock, parse_duration};

/// Options of `kill`.
#[derive(Args, Debug)]
pub(super) struct KillArguments {
    /// A route, tier:NAME, all, or plan:NAME.
    key: String,
    /// drop (200, the payload is discarded), archive (200, it is kept) or reject (503). Default:
    /// the route's own.
    #[arg(long)]
    mode: Option<String>,
    /// The share of the clients, 0 to 100.
    #[arg(long, value_name = "SHARE", value_parser = percent, allow_negative_numbers = true)]
    percent: Option<f64>,
    /// Only requests with this header; VALUE exactly, VALUE* by its beginning, *VALUE by its end,
    /// the NAME alone if it is there. May be repeated; all must hold.
    #[arg(long, value_name = "NAME=VALUE", value_parser = condition)]
    when_header: Vec<(HeaderName, Toml)>,
    /// For how long, such as 2h.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, conflicts_with = "until")]
    length: Option<Duration>,
    /// Until when, such as 2026-11-06T09:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = until)]
    until: Option<Datetime>,
    /// Why: shown in log and status.
    #[arg(long)]
    reason: Option<String>,
    /// Who: shown in log and status. Default: you.
    #[arg(long)]
    owner: Option<String>,
    /// Only count what would be killed.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    flip: FlipOptions,
}

fn condition(text: &str) -> Result<(HeaderName, Toml), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    let name = name.trim();
    let header = name.parse().map_err(|_| format!("{name:?} is no header"))?;
    let one = |key: &str, value: Toml| Toml::InlineTable(InlineTable::from_iter([(key, value)]));
    let test = match value {
        None => one("present", true.into()),
        Some(value) => match (value.strip_prefix('*'), value.strip_suffix('*')) {
            (Some(""), _) | (Some(_), Some(_)) => {
                return Err("expected VALUE, VALUE* or *VALUE; the NAME alone for any".to_owned());
            }
            (Some(end), None) => one("suffix", end.into()),
            (None, Some(begin)) => one("prefix", begin.into()),
            (None, None) => value.into(),
        },
    };
    Ok((header, test))
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.parse().ok();
    let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| "expected a number from 0 to 100".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("expected a duration above 0".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("expected {error}")),
    }
}

fn until(text: &str) -> Result<Datetime, String> {
    const EXPECTED: &str = "expected a time with its offset from UTC, such as 2026-11-06T09:00:00Z";
    let time: Timestamp = text.parse().map_err(|_| EXPECTED.to_owned())?;
    if Duration::try_from(time.as_duration()).unwrap_or_default() <= Clock::unix() {
        return Err("that time is over".to_owned());
    }
    let mut until: Datetime = text.parse().map_err(|_| EXPECTED.to_owned())?;
    // Not every editor knows times without seconds, which TOML has had only since 1.1.
    if let Some(time) = &mut until.time {
        time.second.get_or_insert(0);
    }
    Ok(until)
}

pub(super) fn run(dir: &Path, arguments: &KillArguments) -> ExitCode {
    let begun = Clock::now();
    let (disk, key) = match subject(dir, &arguments.key) {
        Ok(subject) => subject,
        Err(failed) => return failed,
    };
    let entry = match entry(&key, arguments, &disk.settings) {
        Ok(entry) => entry,
        Err(why) => return complain(&why),
    };
    let flip = Flip {
        dir,
        disk: &disk,
        key: &arguments.key,
        change: &Change::Set(entry),
        options: &arguments.flip,
        begun,
    };
    let flipped = match flip.carry_out() {
        Ok(flipped) => flipped,
        Err(error) => return complain(&error),
    };
    say(&flipped, &key, &disk.settings, arguments);
    match flipped.succeeded() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// The entry as it is to be written.
fn entry(
    key: &KillKey,
    arguments: &KillArguments,
    settings: &Settings,
) -> Result<EntryText, String> {
    let is_plan = matches!(key, KillKey::Plan(_));
    let narrowed = arguments.mode.is_some()
        || arguments.percent.is_some()
        || !arguments.when_header.is_empty();
    if is_plan && narrowed {
        return Err(format!(
            "{key} is a plan: its entries have their own modes, shares and conditions; \
             kill one of its keys instead"
        ));
    }
    let routes = settings.routes_of(key);
    let modeless = routes.iter().find(|route| route.kill_switch.mode.is_none());
    if let (Some(route), None, false) = (modeless, &arguments.mode, is_plan) {
        return Err(format!(
            "the kill_switch of route {} names no mode; give --mode drop (200, the payload is \
             discarded), --mode archive (200, it is kept) or --mode reject (503)",
            route.name
        ));
    }
    let fields = fields(arguments);
    if fields.is_empty() {
        return Ok(match &arguments.mode {
            Some(mode) => EntryText::word(mode),
            None => plain_entry(key, settings),
        });
    }
    let own = own_mode(key, settings);
    let mode = match (key, &arguments.mode) {
        (KillKey::Plan(_), _) => Some("on"),
        (_, Some(mode)) => Some(mode.as_str()),
        (_, None) => own.map(|mode| mode.as_str()),
    };
    let mode = mode.map(|mode| ("mode", Toml::from(mode)));
    Ok(EntryText::table(mode.into_iter().chain(fields).collect()))
}

/// What is said besides the mode, in the usual order.
fn fields(arguments: &KillArguments) -> Vec<(&'static str, Toml)> {
    let mut fields = Vec::new();
    if let Some(percent) = arguments.percent {
        let whole = percent.fract() == 0.0 && percent.abs() < 1e6;
        let value = match whole {
            true => Toml::from(percent as i64),
            false => Toml::from(percent),
        };
        fields.push(("percent", value));
    }
    if !arguments.when_header.is_empty() {
        let headers = arguments.when_header.iter();
        let headers: InlineTable = headers
            .map(|(name, test)| (name.as_str(), test.clone()))
            .collect();
        let when = InlineTable::from_iter([("headers", Toml::InlineTable(headers))]);
        fields.push(("when", Toml::InlineTable(when)));
    }
    if let Some(until) = end(arguments) {
        fields.push(("until", Toml::from(until)));
    }
    let text = |text: &String| Toml::from(text.as_str());
    if let Some(reason) = &arguments.reason {
        fields.push(("reason", text(reason)));
    }
    if let Some(owner) = arguments.owner.clone().or_else(caller) {
        fields.push(("owner", text(&owner)));
    }
    if arguments.dry_run {
        fields.push(("dry_run", true.into()));
    }
    fields
}

fn end(arguments: &KillArguments) -> Option<Datetime> {
    let length = arguments.length;
    let ends = length.map(|length| rfc3339(Clock::unix().saturating_add(length)));
    let ends = ends.and_then(|text| text.parse().ok());
    ends.or(arguments.until)
}

/// Who types. Of root nothing can be told but who became root.
fn caller() -> Option<String> {
    let named = |name| std::env::var(name).ok();
    let names = [named("SUDO_USER"), named("USER")];
    let mut names = names.into_iter().flatten();
    names.find(|name| !name.is_empty() && name != "root")
}

fn say(flipped: &Flipped, key: &KillKey, settings: &Settings, arguments: &KillArguments) {
    // The switch is thrown, whether or not somebody still reads that it is.
    let mut out = io::stdout().lock();
    if let Some(complaint) = flipped.complaint() {
        eprintln!("seawall: {complaint}");
    }
    if !flipped.done.before.has_kill_table && flipped.done.after.has_kill_table {
        eprintln!(
            "note: the file had no [kill] and has one now: other switches that the gateway still \
             held end within a second; throw those that are needed too"
        );
    }
    if arguments.flip.json {
        let _ = writeln!(out, "{:#}", flipped.document(&arguments.key));
        return;
    }
    let replaced = &flipped.done.written.difference.removed;
    if !replaced.trim().is_empty() {
        eprintln!("was: {}", replaced.trim_end());
    }
    match flipped.switches() {
        [] if flipped.outcome.is_none() => {
            let _ = writeln!(out, "{}: written, not confirmed", arguments.key);
        }
        [] => {}
        [first, rest @ ..] => {
            let took = flipped.took_ms();
            let _ = writeln!(out, "{} (confirmed in {took} ms)", sentence(first));
            for element in rest {
                let _ = writeln!(out, "  {}", sentence(element));
            }
        }
    }
    for line in decided_elsewhere(flipped, key, settings) {
        let _ = writeln!(out, "  {line}");
    }
}

/// `leaderboard is killed: drop, 50 % of the clients, ...; routes: leaderboard`.
fn sentence(element: &Value) -> String {
    let text = |key: &str| element[key].as_str();
    let state = match text("state") {
        Some("dry_run") => "is rehearsed, nothing is killed",
        Some("expired") => "is over already, nothing is killed",
        Some("off") => "is off",
        Some("restoring") => "as it was lets traffic come back slowly",
        Some(_) | None => "is killed",
    };
    let mode = text("mode").unwrap_or("each route in its own mode");
    let mut line = format!("{} {state}: {mode}", text("key").unwrap_or_default());
    let percent = element["percent"].as_f64().unwrap_or(100.0);
    if percent < 100.0 {
        line += &format!(", {percent} % of the clients");
    }
    if let Some(when) = text("when") {
        line += &format!(", when {when}");
    }
    let routes = element["routes"].as_array();
    let routes: Vec<&str> = routes
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    match routes.len() {
        0 => line += "; no route",
        1..=8 => line += &format!("; routes: {}", routes.join(", ")),
        more => line += &format!("; {more} routes: {}, ...", routes[..8].join(", ")),
    }
    match text("expires") {
        Some(expires) => line + &format!("; until {}", to_the_second(expires)),
        None => line + "; until restored",
    }
}

/// The routes of the key for which another key decides first.
fn decided_elsewhere(flipped: &Flipped, key: &KillKey, settings: &Settings) -> Vec<String> {
    let entries = &flipped.done.after.entries;
    let mut lines = Vec::new();
    for route in settings.routes_of(key) {
        let met = met(route, entries, Clock::unix());
        if met.iter().any(|clause| key_of(clause) == *key) {
            continue;
        }
        if let Some(last) = met.last() {
            lines.push(format!("not {}: {} decides", route.name, name(last)));
        }
    }
    let surplus = lines.len().saturating_sub(8);
    lines.truncate(8);
    if surplus > 0 {
        lines.push(format!("and not {surplus} more routes"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_exact_or_by_beginning_or_end_or_presence() {
        for (text, toml) in [
            ("x-v=1.0", "\"1.0\""),
            ("X-V=1.0*", "{ prefix = \"1.0\" }"),
            ("x-v=*beta", "{ suffix = \"beta\" }"),
            ("x-v", "{ present = true }"),
            ("x-v=", "\"\""),
        ] {
            let (name, test) = condition(text).unwrap();
            assert_eq!((name.as_str(), test.to_string().trim()), ("x-v", toml));
        }
        for wrong in ["x-v=*", "x-v=*a*", "=1", "a b=1"] {
            assert!(condition(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_share_is_a_number_from_0_to_100() {
        for (text, share) in [("0", 0.0), ("0.5", 0.5), ("100", 100.0)] {
            assert_eq!(percent(text), Ok(share));
        }
        for wrong in ["-1", "100.1", "abc", "nan", "inf", "50%", ""] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_end_has_an_offset_and_lies_ahead() {
        assert!(until("2999-01-01T00:00:00+01:00").is_ok());
        for wrong in ["2999-01-01T00:00:00", "2999-01-01", "tomorrow"] {
            assert!(until(wrong).unwrap_err().contains("offset"), "{wrong}");
        }
        let seconds = until("2999-01-01T09:00Z").map(|until| until.to_string());
        assert_eq!(seconds.as_deref(), Ok("2999-01-01T09:00:00Z"));
        assert!(until("1999-01-01T00:00:00Z").unwrap_err().contains("over"));
    }
}
