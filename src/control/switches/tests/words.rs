//! Files and the entries in effect, written as words.
//!
//! A case is a list of steps `TIME FILE => KEYS`. A file is words: `a=drop`, `a=off`,
//! `a=inert` (thrown without a mode, on routes that have none), `!a` (an entry in error), `!!`
//! (an error elsewhere), `-kill` (no such table), `garbage` (unparsable); or `gone`. A second
//! look at the same words is a look at the same file.
//!
//! An entry may go on: `drop:50` percent, `drop?q` for requests with the query parameter q,
//! `drop@900` until that time, `drop~` a dry run; `drop?q+reject` is a list of two. A plan is
//! `plan:p=on` or `off`, with what it throws: `plan:p=on/x1,s1`. `^s1@900` is no word of the
//! file: the gateway has thrown s1 by itself, until that time.

use std::sync::Arc;

use super::super::*;
use crate::config::{SourceFile, load};
use crate::matching::{QueryMatch, ValueTest};
use crate::policy::kill::{Mode, Plan, PlanUse};
use crate::vocab::Clock;

/// Two routes of each tier, named by its letter: c1 c2, s1 s2, x1 x2 (sheddable).
pub(super) fn routes() -> Vec<RouteSettings> {
    let mut text = String::new();
    for (tier, letter) in [("core", 'c'), ("standard", 's'), ("sheddable", 'x')] {
        for n in 1..=2 {
            text += &format!("[routes.{letter}{n}]\npath = \"/{letter}{n}\"\n");
            text += &format!("tier = \"{tier}\"\nrespond = {{ status = 204 }}\n");
        }
    }
    let files = [SourceFile::new("seawall.toml", &text)];
    load(&files, &|_| None).unwrap().settings.routes
}

/// The wall clock at time 0 of every case.
pub(super) const EPOCH: Duration = Duration::from_secs(1_800_000_000);

pub(super) fn at(start: Instant, ms: u64) -> Moment {
    let since = Duration::from_millis(ms);
    Moment {
        steady: start + since,
        unix: EPOCH + since,
    }
}

/// Routes whose switches nobody but people have thrown.
pub(super) fn ground(routes: &[RouteSettings]) -> Ground<'_> {
    static NONE: AutoEntries = AutoEntries::new();
    Ground {
        routes,
        auto: &NONE,
    }
}

/// What the gateway has thrown by itself: `s1@900`.
pub(super) fn automatic<'w>(words: impl IntoIterator<Item = &'w str>) -> AutoEntries {
    let thrown = words.into_iter().map(|word| {
        let (route, end) = word.split_once('@').unwrap();
        (route.into(), entry(&format!("drop@{end}")))
    });
    thrown.collect()
}

pub(super) fn key(name: &str) -> KillKey {
    match name.split_once(':') {
        None if name == "all" => KillKey::All,
        None => KillKey::Route(name.into()),
        Some(("tier", tier)) => KillKey::Tier(Tier::from_name(tier).unwrap()),
        Some((_, plan)) => KillKey::Plan(plan.into()),
    }
}

pub(super) fn until(ms: &str) -> Duration {
    EPOCH + Duration::from_millis(ms.parse().unwrap())
}

pub(super) fn entry(word: &str) -> KillEntry {
    let (word, dry_run) = match word.strip_suffix('~') {
        Some(word) => (word, true),
        None => (word, false),
    };
    let (word, end) = match word.split_once('@') {
        Some((word, end)) => (word, Some(until(end))),
        None => (word, None),
    };
    let (word, query) = match word.split_once('?') {
        Some((word, query)) => (word, Some(query)),
        None => (word, None),
    };
    let (mode, percent) = word.split_once(':').unwrap_or((word, "100"));
    let mut entry = KillEntry::word(match mode {
        "off" => Position::Off,
        "inert" => Position::Thrown(None),
        mode => Position::Thrown(Some(Mode::from_name(mode).unwrap())),
    });
    entry.share = Share::from_percent(percent.parse().unwrap()).unwrap();
    entry.when.query.extend(query.map(|name| QueryMatch {
        name: name.to_owned(),
        test: ValueTest::Present(true),
    }));
    entry.until = end;
    entry.dry_run = dry_run;
    entry
}

pub(super) fn setting(name: &str, value: &str) -> Setting {
    if !name.starts_with("plan:") {
        return Setting::Entries(value.split('+').map(entry).collect());
    }
    let (value, keys) = value.split_once('/').unwrap_or((value, ""));
    let keys = keys.split(',').filter(|key| !key.is_empty());
    let plan: Plan = keys.map(|name| (key(name), vec![entry("drop")])).collect();
    let (word, end) = match value.split_once('@') {
        Some((word, end)) => (word, Some(until(end))),
        None => (value, None),
    };
    Setting::Plan(PlanUse {
        on: word.trim_end_matches('~') == "on",
        plan: Arc::new(plan),
        until: end,
        dry_run: word.ends_with('~'),
        reason: None,
        owner: None,
    })
}

pub(super) fn problem() -> crate::config::Problem {
    crate::config::Problem::placeless("switches.toml", "wrong")
}

pub(super) fn file(words: &str) -> SwitchesRead {
    let mut read = SwitchesRead {
        has_kill_table: true,
        parsed: true,
        ..SwitchesRead::default()
    };
    for word in words.split_whitespace() {
        if let Some((name, value)) = word.split_once('=') {
            read.entries.insert(key(name), setting(name, value));
        } else if let Some(name) = word.strip_prefix('!') {
            read.problems.push(problem());
            if name != "!" {
                read.in_error.insert(key(name));
            }
        } else if word == "-kill" {
            read.has_kill_table = false;
        } else {
            assert_eq!(word, "garbage");
            read.parsed = false;
            read.has_kill_table = false;
            read.problems.push(problem());
        }
    }
    read
}

pub(super) fn digest(words: &str) -> u64 {
    u64::from(crc32c::crc32c(words.as_bytes()))
}

/// An entry in the language of the cases.
pub(super) fn spelt(entry: &KillEntry) -> String {
    let mut text = match entry.position {
        Position::Off => "off".to_owned(),
        Position::Thrown(None) => "inert".to_owned(),
        Position::Thrown(Some(mode)) => mode.to_string(),
    };
    if entry.share != Share::WHOLE {
        text += &format!(":{}", entry.share.percent());
    }
    for query in &entry.when.query {
        text += &format!("?{}", query.name);
    }
    if let Some(until) = entry.until {
        text += &format!("@{}", (until - EPOCH).as_millis());
    }
    if entry.dry_run {
        text.push('~');
    }
    text
}

/// The effective entries as words.
pub(super) fn words(entries: &Entries) -> String {
    let word = |(key, setting): (&KillKey, &Setting)| match setting {
        Setting::Entries(entries) => {
            let entries: Vec<String> = entries.iter().map(spelt).collect();
            format!("{key}={}", entries.join("+"))
        }
        Setting::Plan(plan) => {
            let on = if plan.on { "on" } else { "off" };
            let dry_run = if plan.dry_run { "~" } else { "" };
            let end = plan
                .until
                .map(|until| format!("@{}", (until - EPOCH).as_millis()));
            let keys: Vec<String> = plan.plan.keys().map(ToString::to_string).collect();
            let slash = if keys.is_empty() { "" } else { "/" };
            let end = end.unwrap_or_default();
            format!("{key}={on}{dry_run}{end}{slash}{}", keys.join(","))
        }
    };
    entries.iter().map(word).collect::<Vec<_>>().join(" ")
}

pub(super) fn play(case: &str) {
    let routes = routes();
    let start = Clock::now();
    let mut switches = Switches::default();
    for step in case.lines().map(str::trim).filter(|step| !step.is_empty()) {
        let (left, expected) = step.split_once("=>").unwrap();
        let (time, said) = left.trim().split_once(' ').unwrap_or((left.trim(), ""));
        let now = at(start, time.parse().unwrap());
        let (auto, said): (Vec<&str>, Vec<&str>) = said
            .split_whitespace()
            .partition(|word| word.starts_with('^'));
        let auto = automatic(auto.iter().map(|word| &word[1..]));
        let said = &said.join(" ");
        let read = file(if said.trim() == "gone" { "" } else { said });
        let seen = Seen {
            digest: digest(said.trim()),
            read: &read,
        };
        let seen = (said.trim() != "gone").then_some(seen);
        let due = switches.observe(
            seen,
            Ground {
                routes: &routes,
                auto: &auto,
            },
            now,
        );
        assert_eq!(
            words(&switches.entries),
            expected.trim(),
            "at `{step}` of\n{case}"
        );
        let soon = |due| due > now.steady && due <= now.steady + CALM;
        assert!(due.is_none_or(soon), "{step}");
    }
}
