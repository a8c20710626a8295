//! A finding in words.

use std::io::{self, Write};

use super::finding::{Finding, Refusal, Taken};
use super::switches::{EntryReport, Kill};

/// Writes it for people.
pub(super) fn write(finding: &Finding, out: &mut impl Write) -> io::Result<()> {
    let Finding {
        method,
        target,
        host,
        client,
        ..
    } = finding;
    writeln!(out, "{method} {target}, host {host}, client {client}\n")?;
    if let Some(refusal) = &finding.refusal {
        return refused(refusal, out);
    }
    if let Some(route) = &finding.route {
        taken(route, out)?;
    }
    if let Some(kill) = &finding.kill {
        killed(kill, out)?;
    }
    if let Some(breaker) = finding.breaker {
        writeln!(out, "breaker   held {breaker} by hand")?;
    }
    if let Some(otherwise) = &finding.otherwise {
        let word = match finding.kill.as_ref().map(|kill| kill.verdict) {
            Some("killed") => "unkilled",
            Some(_) | None => "then",
        };
        writeln!(out, "{word:<9} {otherwise}")?;
    }
    writeln!(out)?;
    let width = finding.policies.iter().map(|policy| policy.key.len()).max();
    let width = width.unwrap_or_default();
    for policy in &finding.policies {
        writeln!(
            out,
            "{:<width$}  {}  ({})",
            policy.key, policy.value, policy.from
        )?;
    }
    Ok(())
}

fn refused(refusal: &Refusal, out: &mut impl Write) -> io::Result<()> {
    let Refusal {
        status,
        reason,
        why,
        ..
    } = refusal;
    writeln!(out, "refused   {status} {reason}: {why}")
}

fn taken(route: &Taken, out: &mut impl Write) -> io::Result<()> {
    let Taken {
        name,
        pattern,
        tier,
        ..
    } = route;
    writeln!(out, "route     {name} ({pattern}), tier {tier}")?;
    for (word, text) in [
        ("owner", &route.owner),
        ("impact", &route.impact),
        ("runbook", &route.runbook),
    ] {
        if let Some(text) = text {
            writeln!(out, "          {word} {text}")?;
        }
    }
    Ok(())
}

fn killed(kill: &Kill, out: &mut impl Write) -> io::Result<()> {
    let said = match kill.verdict {
        "killed" => "KILLED",
        "share" => "a share of such requests is KILLED",
        _ => "passes",
    };
    let none = if kill.entries.is_empty() {
        ": no switch concerns the route"
    } else {
        ""
    };
    writeln!(out, "switches  {said}{none}")?;
    for (index, entry) in kill.entries.iter().enumerate() {
        writeln!(
            out,
            "          {}. {}: {}",
            index + 1,
            describe(entry),
            entry.outcome
        )?;
    }
    if let Some(returning) = &kill.returning {
        writeln!(out, "          {returning}")?;
    }
    if let Some(standing) = kill.standing {
        writeln!(
            out,
            "          by {} this client stands at {standing:.2} of 100; a switch takes those below its percent",
            kill.sticky
        )?;
    }
    for entry in &kill.then {
        writeln!(
            out,
            "          restored, it would be killed by {}",
            describe(entry)
        )?;
    }
    Ok(())
}

/// `leaderboard: drop, 50 %, when ..., until ..., INC-42 (amy)`.
fn describe(entry: &EntryReport) -> String {
    let mut text = entry.key.clone();
    if let Some(within) = &entry.within {
        text += &format!(" ({within})");
    }
    text += &format!(" = {}", entry.mode);
    if let (Some(status), true) = (entry.status, entry.mode != "off") {
        text += &format!(", {status}");
    }
    if entry.percent < 100.0 {
        text += &format!(", {} %", entry.percent);
    }
    if let Some(when) = &entry.when {
        text += &format!(", when {when}");
    }
    if let Some(until) = &entry.until {
        text += &format!(", until {until}");
    }
    if entry.dry_run {
        text += ", dry run";
    }
    match (&entry.reason, &entry.owner) {
        (Some(reason), Some(owner)) => text + &format!(", {reason:?} ({owner})"),
        (Some(reason), None) => text + &format!(", {reason:?}"),
        (None, Some(owner)) => text + &format!(", ({owner})"),
        (None, None) => text,
    }
}
