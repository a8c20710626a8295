//! A table of cases in a small language, and properties over random files.
//!
//! A case is a list of steps `TIME FILE => KEYS`. A file is words: `a=drop`, `a=off`,
//! `a=inert` (thrown without a mode, on routes that have none), `!a` (an entry in error), `!!`
//! (an error elsewhere), `-kill` (no such table), `garbage` (unparsable); or `gone`. A second
//! look at the same words is a look at the same file.
//!
//! An entry may go on: `drop:50` percent, `drop?q` for requests with the query parameter q,
//! `drop@900` until that time, `drop~` a dry run; `drop?q+reject` is a list of two. A plan is
//! `plan:p=on` or `off`, with what it throws: `plan:p=on/x1,s1`.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use proptest::prelude::*;

use super::*;
use crate::config::{SourceFile, load};
use crate::matching::{Asker, QueryMatch, ValueTest};
use crate::policy::kill::{Mode, Plan, PlanUse};
use crate::policy::rules::Verdict;
use crate::vocab::Clock;

/// Two routes of each tier, named by its letter: c1 c2, s1 s2, x1 x2 (sheddable).
fn routes() -> Vec<RouteSettings> {
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
const EPOCH: Duration = Duration::from_secs(1_800_000_000);

fn at(start: Instant, ms: u64) -> Moment {
    let since = Duration::from_millis(ms);
    Moment {
        steady: start + since,
        unix: EPOCH + since,
    }
}

fn key(name: &str) -> KillKey {
    match name.split_once(':') {
        None if name == "all" => KillKey::All,
        None => KillKey::Route(name.into()),
        Some(("tier", tier)) => KillKey::Tier(Tier::from_name(tier).unwrap()),
        Some((_, plan)) => KillKey::Plan(plan.into()),
    }
}

fn until(ms: &str) -> Duration {
    EPOCH + Duration::from_millis(ms.parse().unwrap())
}

fn entry(word: &str) -> KillEntry {
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

fn setting(name: &str, value: &str) -> Setting {
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

fn problem() -> crate::config::Problem {
    crate::config::Problem::placeless("switches.toml", "wrong")
}

fn file(words: &str) -> SwitchesRead {
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

fn digest(words: &str) -> u64 {
    u64::from(crc32c::crc32c(words.as_bytes()))
}

/// An entry in the language of the cases.
fn spelt(entry: &KillEntry) -> String {
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
fn words(entries: &Entries) -> String {
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

fn play(case: &str) {
    let routes = routes();
    let start = Clock::now();
    let mut switches = Switches::default();
    for step in case.lines().map(str::trim).filter(|step| !step.is_empty()) {
        let (left, expected) = step.split_once("=>").unwrap();
        let (time, said) = left.trim().split_once(' ').unwrap_or((left.trim(), ""));
        let now = at(start, time.parse().unwrap());
        let read = file(if said.trim() == "gone" { "" } else { said });
        let seen = Seen {
            digest: digest(said.trim()),
            read: &read,
        };
        let seen = (said.trim() != "gone").then_some(seen);
        let due = switches.observe(seen, &routes, now);
        assert_eq!(
            words(&switches.entries),
            expected.trim(),
            "at `{step}` of\n{case}"
        );
        let soon = |due| due > now.steady && due <= now.steady + CALM;
        assert!(due.is_none_or(soon), "{step}");
    }
}

#[test]
fn throwing_and_changing_the_mode_is_immediate() {
    play(
        "0 => 
         1 s1=drop => s1=drop
         2 s1=reject c1=drop => c1=drop s1=reject
         3 s1=reject c1=drop tier:core=drop => c1=drop s1=reject tier:core=drop",
    );
}

#[test]
fn a_key_that_disappears_ends_after_a_calm_second() {
    play(
        "0 s1=drop s2=drop => s1=drop s2=drop
         100 s2=drop => s1=drop s2=drop
         1099 s2=drop => s1=drop s2=drop
         1100 s2=drop => s2=drop
         1200 => s2=drop
         2200 => ",
    );
}

#[test]
fn every_edit_begins_the_second_again() {
    play(
        "0 s1=drop => s1=drop
         100 => s1=drop
         1000 s2=drop => s1=drop s2=drop
         1999 s2=drop => s1=drop s2=drop
         2000 s2=drop => s2=drop",
    );
}

#[test]
fn nothing_ends_while_the_file_is_broken_or_away() {
    play(
        "0 s1=drop => s1=drop
         100 gone => s1=drop
         5000 gone => s1=drop
         5100 !! => s1=drop
         9000 !! => s1=drop
         9100 garbage => s1=drop
         12000 garbage => s1=drop
         12100 -kill => s1=drop
         15000 -kill => s1=drop
         15100 !s1 => s1=drop
         18000 !s1 => s1=drop
         18100 => s1=drop
         19100 => ",
    );
}

#[test]
fn the_second_must_be_free_of_errors_throughout() {
    play(
        "0 s1=drop => s1=drop
         100 => s1=drop
         900 !! => s1=drop
         1000 => s1=drop
         1500 => s1=drop
         2000 => ",
    );
    // The same bytes, in error only under another structure.
    let routes = routes();
    let now = Clock::now();
    let mut switches = Switches::default();
    let mut see = |words: &str, digest, ms| {
        let read = file(words);
        let seen = Seen {
            digest,
            read: &read,
        };
        switches.observe(Some(seen), &routes, at(now, ms));
        super::tests::words(switches.entries())
    };
    assert_eq!(see("s1=drop", 1, 0), "s1=drop");
    assert_eq!(see("!s2", 2, 100), "s1=drop");
    assert_eq!(see("s2=drop", 2, 5000), "s1=drop s2=drop");
    assert_eq!(see("s2=drop", 2, 6000), "s2=drop");
}

#[test]
fn off_is_immediate_in_a_good_file_and_waits_in_a_broken_one() {
    play(
        "0 s1=drop s2=drop => s1=drop s2=drop
         1 s1=off s2=drop => s1=off s2=drop
         2 s1=off s2=off !! => s1=off s2=drop
         3 s1=off s2=off => s1=off s2=off",
    );
}

#[test]
fn off_in_a_broken_file_is_taken_where_it_restores_nothing() {
    play(
        "0 c1=off tier:core=drop !! => c1=off tier:core=drop
         1 c1=off c2=off tier:core=drop !! => c1=off tier:core=drop
         2 c1=off tier:core=off !! => c1=off tier:core=drop
         3 c1=off s1=off tier:core=drop !! => c1=off s1=off tier:core=drop",
    );
}

#[test]
fn an_entry_that_is_inert_for_a_killed_route_counts_as_restoring() {
    play(
        "0 tier:sheddable=drop => tier:sheddable=drop
         1 tier:sheddable=inert !! => tier:sheddable=drop
         2 x1=inert !! => x1=inert tier:sheddable=drop
         3 tier:sheddable=inert => x1=inert tier:sheddable=drop
         1003 tier:sheddable=inert => tier:sheddable=inert",
    );
}

#[test]
fn a_smaller_share_waits_and_a_larger_one_does_not() {
    play(
        "0 s1=drop:50 => s1=drop:50
         1 s1=drop:80 !! => s1=drop:80
         2 s1=drop:5 !! => s1=drop:80
         5000 s1=drop:5 !! => s1=drop:80
         5001 s1=drop:5 => s1=drop:80
         6000 s1=drop:5 => s1=drop:80
         6001 s1=drop:5 => s1=drop:5
         6002 s1=reject:5 => s1=reject:5",
    );
}

#[test]
fn a_condition_that_comes_waits_and_one_that_goes_does_not() {
    play(
        "0 s1=drop => s1=drop
         1 s1=drop?q => s1=drop
         1001 s1=drop?q => s1=drop?q
         1002 s1=drop !! => s1=drop",
    );
}

#[test]
fn a_list_that_is_shortened_waits() {
    play(
        "0 s1=drop?a+drop?b => s1=drop?a+drop?b
         1 s1=drop?a => s1=drop?a+drop?b
         1001 s1=drop?a => s1=drop?a
         1002 s1=drop?a+drop?b !! => s1=drop?a+drop?b
         1003 s1=drop?b+drop?a !! => s1=drop?b+drop?a",
    );
}

#[test]
fn what_is_added_to_a_list_holds_although_what_is_taken_from_it_waits() {
    play(
        "0 s1=drop?a => s1=drop?a
         1 s1=drop?b !! => s1=drop?b+drop?a
         2 s1=drop?b => s1=drop?b+drop?a
         1002 s1=drop?b => s1=drop?b
         1003 s1=drop:50 => s1=drop?b+drop:50
         2003 s1=drop:50 => s1=drop:50
         2004 s1=drop?a+drop:5 !! => s1=drop?a+drop:50",
    );
}

#[test]
fn an_end_that_comes_nearer_waits_and_one_that_goes_does_not() {
    play(
        "0 s1=drop => s1=drop
         1 s1=drop@90000 => s1=drop
         1001 s1=drop@90000 => s1=drop@90000
         1002 s1=drop@80000 !! => s1=drop@90000
         1003 s1=drop@99000 !! => s1=drop@99000
         1004 s1=drop !! => s1=drop",
    );
}

#[test]
fn a_switch_that_expired_kills_nothing_and_may_become_anything() {
    play(
        "0 s1=drop@500 => s1=drop@500
         499 s1=drop:5 !! => s1=drop@500
         500 s1=drop:5 !! => s1=drop:5
         501 s1=drop:50@600 !! => s1=drop:50@600+drop:5
         502 s1=reject@600+drop:5 !! => s1=reject@600+drop:5",
    );
}

#[test]
fn a_dry_run_in_the_place_of_a_switch_waits_and_the_other_way_does_not() {
    play(
        "0 s1=drop => s1=drop
         1 s1=drop~ => s1=drop
         1001 s1=drop~ => s1=drop~
         1002 s1=drop !! => s1=drop
         1003 s1=drop+reject~ !! => s1=drop+reject~",
    );
}

#[test]
fn a_plan_is_thrown_at_once_and_off_in_a_good_file() {
    play(
        "0 plan:p=on/x1,s1 !! => plan:p=on/s1,x1
         1 plan:p=off/x1,s1 !! => plan:p=on/s1,x1
         2 plan:p=off/x1,s1 => plan:p=off/s1,x1
         3 plan:p=on/x1,s1 => plan:p=on/s1,x1
         4 => plan:p=on/s1,x1
         1004 => ",
    );
}

#[test]
fn a_plan_keeps_what_it_lost_and_has_what_it_gained() {
    play(
        "0 plan:p=on/x1 => plan:p=on/x1
         1 plan:p=on/x1,s1 !! => plan:p=on/s1,x1
         2 plan:p=on/s1 !! => plan:p=on/s1,x1
         3 !plan:p => plan:p=on/s1,x1
         9000 !plan:p => plan:p=on/s1,x1
         9001 plan:p=on~/x1,s1 => plan:p=on/s1,x1
         10001 plan:p=on~/x1,s1 => plan:p=on~/s1,x1
         10002 plan:p=on@60000/x1 => plan:p=on@60000/x1",
    );
}

#[test]
fn off_over_a_tier_restores_and_a_list_that_begins_with_off_may_be_cut() {
    play(
        "0 tier:sheddable=drop => tier:sheddable=drop
         1 tier:sheddable=drop x1=off?q => tier:sheddable=drop
         2 tier:sheddable=drop x1=off !! => tier:sheddable=drop
         3 tier:sheddable=drop x1=off => x1=off tier:sheddable=drop
         4 tier:sheddable=drop x1=off?q+drop !! => x1=off?q+drop tier:sheddable=drop
         5 tier:sheddable=drop x1=off => x1=off?q+drop tier:sheddable=drop
         1005 tier:sheddable=drop x1=off => x1=off tier:sheddable=drop",
    );
}

#[test]
fn the_order_of_keys_does_not_matter() {
    // x1 may let go because the tier, which comes later, kills what it did.
    play(
        "0 x1=drop => x1=drop
         1 x1=drop?q tier:sheddable=drop !! => x1=drop?q tier:sheddable=drop
         2 x1=off x2=drop plan:p=on/x1 !! => x1=drop?q x2=drop tier:sheddable=drop plan:p=on/x1",
    );
}

#[test]
fn a_neighbour_in_error_refuses_no_throw() {
    play(
        "0 !s1 s2=drop => s2=drop
         1 !s1 !s2 x1=reject => s2=drop x1=reject
         2 garbage c1=drop => c1=drop s2=drop x1=reject",
    );
}

#[test]
fn what_is_held_is_known() {
    let routes = routes();
    let now = Clock::now();
    let mut switches = Switches::default();
    for (words, held) in [
        ("s1=drop s2=drop", vec![]),
        ("s1=off !s2 x1=drop", vec!["s1", "s2"]),
        ("x1=drop", vec!["s1", "s2"]),
        ("x1=drop c1=off?q+off !!", vec!["s1", "s2"]),
        ("tier:core=drop c1=inert !!", vec!["s1", "s2", "x1"]),
        ("tier:core=drop c1=off !!", vec!["c1", "s1", "s2", "x1"]),
    ] {
        let read = file(words);
        let seen = Seen {
            digest: digest(words),
            read: &read,
        };
        switches.observe(Some(seen), &routes, at(now, 0));
        let names: Vec<String> = switches.held().iter().map(ToString::to_string).collect();
        assert_eq!(names, held, "{words}");
    }
    switches.observe(None, &routes, at(now, 0));
    assert_eq!(switches.held().len(), switches.entries().len());
}

const KEYS: [&str; 10] = [
    "c1",
    "c2",
    "s1",
    "s2",
    "x1",
    "x2",
    "tier:core",
    "tier:sheddable",
    "all",
    "plan:p",
];

const VALUES: [&str; 18] = [
    "drop",
    "reject",
    "off",
    "inert",
    "drop:50",
    "drop:5",
    "drop?a",
    "reject:50?a",
    "drop?b",
    "off?a",
    "drop@2500",
    "drop@1500",
    "off@1500",
    "drop~",
    "drop?a+drop?b",
    "drop?a+drop:50",
    "off?a+drop",
    "drop:50@1500+off?b+reject",
];

const PLANS: [&str; 6] = [
    "on/x1,s1",
    "on/x1",
    "on/all,tier:core",
    "on~/x1,s1",
    "on@1500/s1",
    "off/x1",
];

fn some_file() -> impl Strategy<Value = String> {
    let values = prop::sample::select(VALUES.to_vec());
    let plan = prop::sample::select(PLANS.to_vec());
    let entry = (prop::sample::select(KEYS.to_vec()), values, plan, 0..8u8);
    let extra = prop::sample::select(vec!["", "", "", "!!", "-kill"]);
    (prop::collection::vec(entry, 0..6), extra).prop_map(|(entries, extra)| {
        let mut words = extra.to_owned();
        for (key, value, plan, broken) in entries {
            words += &match (broken, key) {
                (0, _) => format!(" !{key}"),
                (_, "plan:p") => format!(" {key}={plan}"),
                (..) => format!(" {key}={value}"),
            };
        }
        words
    })
}

/// Who is killed on a route: one bit for each of some clients, with and without each parameter.
fn killed(route: &RouteSettings, entries: &Entries, now: Duration) -> Vec<bool> {
    let rules = Rules::compile(subject(route), entries, None, now);
    let headers = HeaderMap::new();
    let queries = [None, Some("a"), Some("b"), Some("a&b")];
    let clients = (0..12u8).map(|n| IpAddr::from([192, 0, 2, n]));
    let askers = clients.flat_map(|client| queries.map(|query| (client, query)));
    let ask = |(client, query)| {
        let asker = Asker {
            headers: &headers,
            client,
            query,
        };
        let verdict = |rules: &Rules| rules.decide(&asker, b"", now).verdict;
        rules
            .as_ref()
            .is_some_and(|rules| verdict(rules) != Verdict::Pass)
    };
    askers.map(ask).collect()
}

/// Whether everything that one state kills, now or later, is killed by the other.
fn kills_as_much(
    after: &Entries,
    before: &Entries,
    routes: &[&RouteSettings],
    now: Duration,
) -> bool {
    let later = [0, 300, 800, 1600, 3000].map(|ms| now + Duration::from_millis(ms));
    routes.iter().all(|route| {
        // No traffic of a switch that expired is on its way back: that is not what is asked.
        let route = RouteSettings {
            kill_switch: crate::policy::kill::KillSwitchSpec {
                restore: Duration::ZERO,
                ..route.kill_switch.clone()
            },
            ..(*route).clone()
        };
        later.iter().all(|now| {
            let (before, after) = (killed(&route, before, *now), killed(&route, after, *now));
            before
                .iter()
                .zip(after)
                .all(|(before, after)| !before || after)
        })
    })
}

proptest! {
    /// Whatever files follow each other, only two things let a killed request through: a word
    /// that means it in a good file, and a good file after its second.
    #[test]
    fn nothing_is_restored_sooner_than_the_rule_says(
        files in prop::collection::vec((some_file(), 0..1500u64), 1..8),
    ) {
        let routes = routes();
        let start = Clock::now();
        let mut switches = Switches::default();
        let mut ms = 0;
        let mut good_since: Option<(u64, u64)> = None;
        for (words, wait) in files {
            ms += wait;
            let now = at(start, ms);
            let read = file(&words);
            let before = switches.entries.clone();
            let seen = Seen { digest: digest(&words), read: &read };
            switches.observe(Some(seen), &routes, now);
            let good = seen.free_of_errors() && read.has_kill_table;
            good_since = match good_since {
                Some((digest, since)) if good && digest == seen.digest => Some((digest, since)),
                _ => good.then_some((seen.digest, ms)),
            };
            if good_since.is_some_and(|(_, since)| ms >= since + 1000) {
                prop_assert_eq!(&switches.entries, &read.entries);
                continue;
            }
            let meant = |route: &&RouteSettings| {
                let mut offs = read.entries.iter().filter(|(key, said)| {
                    seen.free_of_errors() && is_plainly_off(said) && before.get(key) != Some(said)
                });
                offs.any(|(key, _)| reached(key, &routes).any(|other| other.name == route.name))
            };
            let bound: Vec<&RouteSettings> = routes.iter().filter(|route| !meant(route)).collect();
            prop_assert!(
                kills_as_much(&switches.entries, &before, &bound, now.unix),
                "`{}` then `{}` is `{}`",
                super::tests::words(&before), words, super::tests::words(&switches.entries)
            );
        }
    }

    /// A switch thrown as a whole holds at once, whatever the file is like beside it; and so does
    /// every other change that restores nothing.
    #[test]
    fn throwing_is_never_delayed(
        files in prop::collection::vec((some_file(), 0..1500u64), 1..8),
    ) {
        let routes = routes();
        let start = Clock::now();
        let mut switches = Switches::default();
        let mut ms = 0;
        for (words, wait) in files {
            ms += wait;
            let now = at(start, ms);
            let read = file(&words);
            let mut before = switches.entries.clone();
            let seen = Seen { digest: digest(&words), read: &read };
            switches.observe(Some(seen), &routes, now);
            for (key, said) in &read.entries {
                let taken = switches.entries.get(key) == Some(said);
                if is_plainly_off(said) && taken {
                    before.insert(key.clone(), said.clone());
                }
            }
            let judge = Judge { before, routes: &routes, now: now.unix };
            for (key, said) in &read.entries {
                if switches.entries.get(key) == Some(said) {
                    continue;
                }
                let whole = ["drop", "reject"].map(|word| Setting::Entries(vec![entry(word)]));
                prop_assert!(!whole.contains(said), "{} of `{}`", key, words);
                let mut entries = switches.entries.clone();
                entries.insert(key.clone(), said.clone());
                prop_assert!(judge.restores(key, &entries), "{} of `{}`", key, words);
            }
        }
    }

    #[test]
    fn a_good_file_is_all_that_holds_after_a_calm_second(
        files in prop::collection::vec(some_file(), 0..5),
        last in prop::collection::btree_set(prop::sample::select(KEYS[..9].to_vec()), 0..6),
    ) {
        let routes = routes();
        let mut switches = Switches::default();
        let now = Clock::now();
        for words in files {
            let read = file(&words);
            let seen = Seen { digest: digest(&words), read: &read };
            switches.observe(Some(seen), &routes, at(now, 0));
        }
        let words: String = last.iter().map(|key| format!("{key}=drop:50 ")).collect();
        let read = file(&words);
        let seen = Seen { digest: digest("the last"), read: &read };
        let due = switches.observe(Some(seen), &routes, at(now, 0));
        if let Some(due) = due {
            prop_assert_eq!(due, now + CALM);
            switches.observe(Some(seen), &routes, at(now, 1000));
        }
        prop_assert_eq!(switches.entries(), &read.entries);
        prop_assert!(switches.held().is_empty());
    }
}

const SHIPPED: &str = "# who threw what\n[kill]\ns1 = \"drop\"\n\
    c1 = { mode = \"reject\", reason = \"INC-42: IOPS\", owner = \"amy\", retry_after = \"20s\" }\n\
    x2 = \"off\"\n\"tier:sheddable\" = { mode = \"drop\", status = 204 }\n";

/// What the shipped file throws, then this file a moment later: nothing may come back.
fn restores_nothing(damaged: &str) {
    let text = format!("{ROUTES}\n");
    let settings = load(&[SourceFile::new("seawall.toml", &text)], &|_| None)
        .unwrap()
        .settings;
    let mut switches = Switches::default();
    let now = Clock::now();
    for (text, ms) in [(SHIPPED, 0), (damaged, 1), (damaged, 1000)] {
        let file = SourceFile::new("switches.toml", text);
        let read = crate::config::read_switch_entries(&file, &settings);
        let seen = Seen {
            digest: file.digest,
            read: &read,
        };
        switches.observe(Some(seen), &settings.routes, at(now, ms));
        for name in ["s1", "c1", "x1"] {
            let route = settings.routes.iter().find(|r| &*r.name == name).unwrap();
            let killed = killed(route, switches.entries(), EPOCH);
            assert!(!killed.contains(&false), "{name}: {damaged:?}");
        }
    }
}

const ROUTES: &str = "\
    [routes.c1]\npath = \"/c1\"\ntier = \"core\"\nrespond = { status = 204 }\n\
    [routes.s1]\npath = \"/s1\"\nrespond = { status = 204 }\n\
    [routes.x1]\npath = \"/x1\"\ntier = \"sheddable\"\nrespond = { status = 204 }\n\
    [routes.x2]\npath = \"/x2\"\ntier = \"sheddable\"\nrespond = { status = 204 }\n";

#[test]
fn a_file_cut_anywhere_restores_nothing_within_a_second() {
    for end in 0..SHIPPED.len() {
        restores_nothing(&SHIPPED[..end]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn a_corrupted_file_restores_nothing_within_a_second(
        damage in prop::collection::vec((0..SHIPPED.len(), any::<u8>()), 1..4),
    ) {
        let mut bytes = SHIPPED.as_bytes().to_vec();
        for (at, byte) in damage {
            bytes[at] = byte;
        }
        restores_nothing(&String::from_utf8_lossy(&bytes));
    }
}
