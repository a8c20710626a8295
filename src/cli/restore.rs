//! `seawall restore`: ends a switch, and says what still kills its routes.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::flip::{Flip, FlipOptions, Flipped, complain, subject};
use super::moment::to_the_second;
use super::precedence::{met, name};
use crate::config::{Change, EntryText, RouteSettings, Settings};
use crate::control::Manner;
use crate::policy::kill::{KillKey, KillSettings};
use crate::vocab::{Clock, format_duration};

/// Options of `restore`.
#[derive(Args, Debug)]
pub(super) struct RestoreArguments {
    /// The key that was thrown: a route, tier:NAME, all, or plan:NAME.
    key: String,
    /// Write "off" instead of taking the line away: the routes are then left alone by less
    /// specific keys too, and it acts at once.
    #[arg(long)]
    exempt: bool,
    #[command(flatten)]
    flip: FlipOptions,
}

pub(super) fn run(dir: &Path, arguments: &RestoreArguments) -> ExitCode {
    let begun = Clock::now();
    let (disk, key) = match subject(dir, &arguments.key) {
        Ok(subject) => subject,
        Err(failed) => return failed,
    };
    let change = match arguments.exempt {
        true => Change::Set(EntryText::word("off")),
        false => Change::Remove,
    };
    let thrown = disk.switches.entries.contains_key(&key);
    let waits = !arguments.flip.no_wait && !arguments.flip.json;
    if thrown && !arguments.exempt && waits {
        eprintln!("a line that goes ends its switch once the file was unchanged for 1 s; waiting");
    }
    let flip = Flip {
        dir,
        disk: &disk,
        key: &arguments.key,
        change: &change,
        options: &arguments.flip,
        begun,
    };
    let flipped = match flip.carry_out() {
        Ok(flipped) => flipped,
        Err(error) => return complain(&error),
    };
    let still = still(&flipped, &key, &disk.settings);
    say(&flipped, &key, &disk.settings, arguments, &still);
    match flipped.succeeded() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Each route of the key that a switch still concerns, and by which.
fn still(flipped: &Flipped, key: &KillKey, settings: &Settings) -> Vec<(String, Vec<String>)> {
    let entries = &flipped.done.after.entries;
    let routes = settings.routes_of(key).into_iter();
    let killers = routes.map(|route| {
        let met = met(route, entries, Clock::unix());
        let killing = met.iter().filter(|clause| clause.order.is_some());
        (route.name.to_string(), killing.map(name).collect())
    });
    killers
        .filter(|(_, by): &(_, Vec<_>)| !by.is_empty())
        .collect()
}

fn say(
    flipped: &Flipped,
    key: &KillKey,
    settings: &Settings,
    arguments: &RestoreArguments,
    still: &[(String, Vec<String>)],
) {
    // The edit is made, whether or not somebody still reads of it.
    let mut out = io::stdout().lock();
    if let Some(complaint) = flipped.complaint().filter(|_| !flipped.succeeded()) {
        eprintln!("seawall: {complaint}");
    }
    if arguments.flip.json {
        let mut document = flipped.document(&arguments.key);
        let still = still
            .iter()
            .map(|(route, by)| json!({ "route": route, "by": by }));
        document["still_killed"] = still.collect::<Vec<Value>>().into();
        let _ = writeln!(out, "{document:#}");
        return;
    }
    if flipped.succeeded() {
        let _ = writeln!(out, "{}", sentence(flipped, key, settings, arguments));
    }
    for (route, by) in still.iter().take(8) {
        let _ = writeln!(out, "  {route} is still killed by {}", by.join(", then "));
    }
    for switch in automatic(flipped).filter(|_| !arguments.exempt) {
        let text = |key: &str| switch[key].as_str().unwrap_or("?");
        let (route, until) = (text("key"), to_the_second(text("expires")));
        let _ = writeln!(
            out,
            "  {route} is still killed automatically until {until}; `seawall restore {route} \
             --exempt` ends that"
        );
    }
    if still.len() > 8 {
        let _ = writeln!(
            out,
            "  and {} more routes are still killed",
            still.len() - 8
        );
    }
}

/// What the gateway killed by itself and still kills.
fn automatic(flipped: &Flipped) -> impl Iterator<Item = &Value> {
    let switches = flipped.switches().iter();
    switches.filter(|switch| switch["source"] == "auto" && switch["state"] == "thrown")
}

fn sentence(
    flipped: &Flipped,
    key: &KillKey,
    settings: &Settings,
    arguments: &RestoreArguments,
) -> String {
    let path = flipped.done.written.location.path.display();
    let word = if arguments.exempt {
        "exempt"
    } else {
        "restored"
    };
    if flipped.done.written.manner == Manner::Unchanged {
        return match arguments.exempt {
            true => format!("{key} is exempt already in {path}; nothing to change"),
            false => format!("{key} is not thrown in {path}; nothing to change"),
        };
    }
    if flipped.outcome.is_none() {
        return format!("{key}: written, not confirmed");
    }
    let took = flipped.took_ms();
    let back = match back(flipped, key, settings) {
        Back::Nothing => String::new(),
        Back::AtOnce => "; traffic is back at once".to_owned(),
        Back::Over(ramp) => format!("; traffic comes back over {ramp}"),
    };
    format!("{key} is {word} (confirmed in {took} ms){back}")
}

/// How traffic comes back.
enum Back {
    /// None does: nothing was killed, or other keys still kill it.
    Nothing,
    AtOnce,
    /// Such as `30s`, or `10s to 30s` when routes differ.
    Over(String),
}

fn back(flipped: &Flipped, key: &KillKey, settings: &Settings) -> Back {
    let done = &flipped.done;
    let now = Clock::unix();
    let kills = |route: &&RouteSettings, entries: &KillSettings| {
        let met = met(route, entries, now);
        met.iter().any(|clause| clause.order.is_some())
    };
    let mut routes = settings.routes_of(key);
    routes.retain(|route| kills(route, &done.before.entries) && !kills(route, &done.after.entries));
    let times = || routes.iter().map(|route| route.kill_switch.restore);
    match (times().min(), times().max()) {
        (None, _) | (_, None) => Back::Nothing,
        (_, Some(Duration::ZERO)) => Back::AtOnce,
        (Some(least), Some(most)) if least == most => Back::Over(format_duration(most)),
        (Some(least), Some(most)) => {
            let (least, most) = (format_duration(least), format_duration(most));
            Back::Over(format!("{least} to {most}"))
        }
    }
}
