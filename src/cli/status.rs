//! `seawall status`: what the running gateway does now.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::amount::{about, count};
use super::ask::{self, Gateway};
use super::endpoints::endpoints;
use super::ledger::ledger;
use super::moment::{span, to_the_second};

/// Options of `status`.
#[derive(Args, Debug)]
pub(super) struct StatusArguments {
    /// Ask this gateway instead of the one that the configuration names.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// The gateway's own answer, for scripts.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(dir: &Path, arguments: &StatusArguments) -> ExitCode {
    let gateway = Gateway::admin(dir, arguments.admin.as_deref());
    let answer = match ask::get(gateway, "/api/v1/status") {
        Ok(answer) if answer.status.is_success() => answer,
        Ok(answer) => {
            eprintln!("seawall: {} answers {}", answer.from, answer.status);
            return ExitCode::FAILURE;
        }
        Err(error) => {
            eprintln!("seawall: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut out = io::stdout().lock();
    // A closed pipe is no reason for another exit code.
    let _ = match serde_json::from_slice(&answer.body) {
        Ok(status) if !arguments.json => write(&status, &mut out),
        Ok::<Value, _>(_) => out.write_all(&answer.body).and_then(|()| writeln!(out)),
        Err(error) => {
            eprintln!("seawall: {} does not answer in JSON: {error}", answer.from);
            return ExitCode::FAILURE;
        }
    };
    ExitCode::SUCCESS
}

fn write(status: &Value, out: &mut impl Write) -> io::Result<()> {
    let text = |key: &str| status[key].as_str().unwrap_or("?");
    let up = status["uptime_seconds"].as_f64().unwrap_or_default();
    writeln!(
        out,
        "seawall {}, instance {}: {} for {}, {} routes",
        text("version"),
        text("instance"),
        text("phase"),
        span(seconds(up)),
        status["routes"]
    )?;
    reload(&status["last_reload"], text("config_hash"), out)?;
    errors(&status["switch_errors"], out)?;
    switches(status["switches"].as_array(), out)?;
    breakers(&status["breakers"], out)?;
    open_breakers(&status["open_breakers"], out)?;
    client_retries(&status["client_retries"], out)?;
    endpoints(&status["endpoints"], out)?;
    ledger(&status["ledger"], out)?;
    archive(&status["archive"], out)
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn reload(reload: &Value, hash: &str, out: &mut impl Write) -> io::Result<()> {
    let text = |key: &str| reload[key].as_str().unwrap_or("?");
    writeln!(
        out,
        "configuration {hash}: last reload {} at {}",
        text("result"),
        to_the_second(text("time"))
    )?;
    errors(&reload["errors"], out)?;
    let waiting = reload["needs_restart"].as_array();
    let waiting: Vec<&str> = waiting
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    match waiting.is_empty() {
        true => Ok(()),
        false => writeln!(out, "  holds after a restart only: {}", waiting.join(", ")),
    }
}

/// `error config/switches.toml:4: kill.x: ...; did you mean ...`.
fn errors(problems: &Value, out: &mut impl Write) -> io::Result<()> {
    for problem in problems.as_array().into_iter().flatten() {
        let text = |key: &str| problem[key].as_str().unwrap_or_default();
        write!(out, "error {}", text("file"))?;
        if problem["line"].as_u64().is_some_and(|line| line > 0) {
            write!(out, ":{}:{}", problem["line"], problem["column"])?;
        }
        for part in [text("key"), text("message")] {
            if !part.is_empty() {
                write!(out, ": {part}")?;
            }
        }
        match text("hint") {
            "" => writeln!(out)?,
            hint => writeln!(out, "; {hint}")?,
        }
    }
    Ok(())
}

fn switches(switches: Option<&Vec<Value>>, out: &mut impl Write) -> io::Result<()> {
    let rows: Vec<[String; 9]> = switches.into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        return writeln!(out, "\nno switch is thrown");
    }
    let titles = [
        "switch", "state", "mode", "share", "age", "until", "owner", "source", "reason",
    ];
    let titles = titles.map(str::to_owned);
    let all: Vec<&[String; 9]> = std::iter::once(&titles).chain(&rows).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..9).map(|column| width(column).unwrap_or(0)).collect();
    writeln!(out)?;
    for (row, switch) in all
        .iter()
        .zip(std::iter::once(None).chain(switches.into_iter().flatten().map(Some)))
    {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        writeln!(out, "{}", line.join("  ").trim_end())?;
        if let Some(switch) = switch {
            details(switch, out)?;
        }
    }
    Ok(())
}

fn row(switch: &Value) -> [String; 9] {
    let text = |key: &str| switch[key].as_str().unwrap_or("-").to_owned();
    let state = text("state").replace('_', " ");
    let state = match switch["held"].as_bool() {
        Some(true) => format!("{state}, held"),
        Some(false) | None => state,
    };
    let key = match switch["plan"].as_str() {
        Some(plan) => format!("  {} (plan:{plan})", text("key")),
        None => text("key"),
    };
    let share = switch["share"].as_f64().unwrap_or_default() * 100.0;
    let age = switch["age_seconds"].as_f64().unwrap_or_default();
    let until = match text("state").as_str() {
        "restoring" => format!("back {}", to_the_second(&text("ends"))),
        _ => to_the_second(&text("expires")),
    };
    let mode = switch["mode"].as_str().unwrap_or("each its own");
    [
        key,
        state,
        mode.to_owned(),
        format!("{} %", (share * 10.0).round() / 10.0),
        span(seconds(age)),
        until,
        text("owner"),
        text("source"),
        text("reason"),
    ]
}

/// What is too long for a column.
fn details(switch: &Value, out: &mut impl Write) -> io::Result<()> {
    if let Some(when) = switch["when"].as_str() {
        writeln!(out, "  when {when}")?;
    }
    let routes = switch["routes"].as_array();
    let routes: Vec<&str> = routes
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let own = routes.len() == 1 && switch["key"] == routes[0];
    match routes.len() {
        _ if own => Ok(()),
        0 => writeln!(out, "  reaches no route"),
        1..=8 => writeln!(out, "  routes: {}", routes.join(", ")),
        more => writeln!(out, "  {more} routes: {}, ...", routes[..8].join(", ")),
    }
}

/// Breakers held by hand, a line each.
fn breakers(breakers: &Value, out: &mut impl Write) -> io::Result<()> {
    for breaker in breakers.as_array().into_iter().flatten() {
        let text = |key: &str| breaker[key].as_str().unwrap_or("?");
        let age = breaker["age_seconds"].as_f64().unwrap_or_default();
        let held = match breaker["held"].as_bool() {
            Some(true) => "; the file no longer says so",
            Some(false) | None => "",
        };
        writeln!(
            out,
            "breaker of {} held {} by hand for {}{held}",
            text("route"),
            text("forced"),
            span(seconds(age))
        )?;
    }
    Ok(())
}

/// Breakers that refuse requests by themselves, a line each.
fn open_breakers(breakers: &Value, out: &mut impl Write) -> io::Result<()> {
    let breakers = breakers.as_array().map(Vec::as_slice).unwrap_or_default();
    for breaker in breakers.iter().take(NAMED) {
        let text = |key: &str| breaker[key].as_str().unwrap_or("?");
        let state = match text("state") {
            "probing" => "probing, or letting traffic come back",
            state => state,
        };
        let (route, upstream) = (text("route"), text("upstream"));
        writeln!(out, "breaker of {route} to upstream {upstream}: {state}")?;
    }
    match breakers.len().saturating_sub(NAMED) {
        0 => Ok(()),
        more => writeln!(out, "and {more} more breakers"),
    }
}

/// Most routes that are named for one thing.
const NAMED: usize = 5;

/// Routes whose clients send requests again, those with the most first.
fn client_retries(retries: &Value, out: &mut impl Write) -> io::Result<()> {
    let routes = retries.as_object().into_iter().flatten();
    let figure = |value: &Value, key: &str| value[key].as_f64().unwrap_or_default();
    let rates = routes.map(|(route, value)| {
        let (rate, share) = (figure(value, "per_second"), figure(value, "share"));
        (rate, share, route)
    });
    let mut rates: Vec<_> = rates.collect();
    rates.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.2.cmp(other.2)));
    for (rate, share, route) in rates.iter().take(NAMED) {
        writeln!(
            out,
            "clients of {route} send {rate:.1} requests/s again, {:.0} % of all",
            share * 100.0
        )?;
    }
    match rates.len().saturating_sub(NAMED) {
        0 => Ok(()),
        more => writeln!(out, "and those of {more} more routes"),
    }
}

/// What the journal holds, and how its way into the store goes.
fn archive(archive: &Value, out: &mut impl Write) -> io::Result<()> {
    if archive.is_null() {
        return Ok(());
    }
    let size = |bytes: &Value| about(bytes.as_u64().unwrap_or_default());
    writeln!(
        out,
        "archive: {}, {} in the journal",
        count(archive["records"].as_u64().unwrap_or_default(), "record"),
        size(&archive["journal_bytes"])
    )?;
    for directory in archive["directories"].as_array().into_iter().flatten() {
        if let (Some(path), Some(fault)) = (directory["path"].as_str(), directory["fault"].as_str())
        {
            writeln!(
                out,
                "  {path} cannot be used: {fault}; it is tried again by itself"
            )?;
        }
    }
    let store = &archive["store"];
    let Some(url) = store["url"].as_str() else {
        return Ok(());
    };
    let waiting = match store["waiting_segments"].as_u64() {
        None | Some(0) => "no segment waits".to_owned(),
        Some(segments) => {
            let lag = store["lag_seconds"].as_f64().unwrap_or_default();
            let (size, lag) = (size(&store["waiting_bytes"]), span(seconds(lag)));
            format!(
                "waiting: {} ({size}), {lag} behind",
                count(segments, "segment")
            )
        }
    };
    let text = |key: &str| store[key].as_str().unwrap_or_default();
    let failing = match store["failures"].as_u64() {
        None | Some(0) => String::new(),
        Some(failures) => {
            let (time, error) = (to_the_second(text("last_error_time")), text("last_error"));
            format!("; {failures} tries failed, the last at {time}: {error}")
        }
    };
    writeln!(out, "store {url}: {waiting}{failing}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn breakers_by_hand_and_the_most_repeated_routes_are_named() {
        let mut out = Vec::new();
        let value = json!([
            { "route": "a", "forced": "tripped", "age_seconds": 61.0, "held": true },
            { "route": "b", "forced": "passing", "age_seconds": 2.0, "held": false },
        ]);
        breakers(&value, &mut out).unwrap();
        let value: serde_json::Map<String, Value> = (1..=7)
            .map(|n| (format!("r{n}"), json!({ "share": 0.25, "per_second": n })))
            .collect();
        client_retries(&Value::Object(value), &mut out).unwrap();
        let said = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(
            lines[0],
            "breaker of a held tripped by hand for 1m 1s; the file no longer says so"
        );
        assert_eq!(lines[1], "breaker of b held passing by hand for 2s");
        assert_eq!(
            lines[2],
            "clients of r7 send 7.0 requests/s again, 25 % of all"
        );
        assert_eq!(
            lines[6],
            "clients of r3 send 3.0 requests/s again, 25 % of all"
        );
        assert_eq!(lines[7], "and those of 2 more routes");
    }

    #[test]
    fn breakers_that_do_not_pass_are_named() {
        let breaker =
            |route: &str, state: &str| json!({ "route": route, "upstream": "u", "state": state });
        let mut all = vec![breaker("a", "tripped"), breaker("b", "probing")];
        all.extend((0..NAMED).map(|n| breaker(&format!("r{n}"), "tripped")));
        let mut out = Vec::new();
        open_breakers(&Value::Array(all), &mut out).unwrap();
        let said = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], "breaker of a to upstream u: tripped");
        let probing = "breaker of b to upstream u: probing, or letting traffic come back";
        assert_eq!(lines[1], probing);
        assert_eq!(lines[NAMED], "and 2 more breakers");
    }

    #[test]
    fn a_journal_directory_that_cannot_be_used_is_named_with_its_fault() {
        let value = json!({
            "directories": [
                {"path": "data/full", "usable": false, "fault": "no room left"},
                {"path": "data/journal", "usable": true, "fault": null},
            ],
            "records": 2, "journal_bytes": 2048, "store": null,
        });
        let mut out = Vec::new();
        archive(&value, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "archive: 2 records, 2.0 KiB in the journal\n  \
             data/full cannot be used: no room left; it is tried again by itself\n"
        );
    }
}
