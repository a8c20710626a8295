//! A table of cases in a small language, and properties over random files.
//!
//! A case is a list of steps `TIME FILE => KEYS`. A file is words: `a=drop`, `a=off`,
//! `a=inert` (thrown without a mode, on routes that have none), `!a` (an entry in error), `!!`
//! (an error elsewhere), `-kill` (no such table), `garbage` (unparsable); or `gone`. A second
//! look at the same words is a look at the same file.

use proptest::prelude::*;

use super::*;
use crate::config::{SourceFile, load};
use crate::policy::kill::{AnswerSpec, Mode};
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

fn key(name: &str) -> KillKey {
    match name {
        "all" => KillKey::All,
        _ => match name.strip_prefix("tier:") {
            Some(tier) => KillKey::Tier(Tier::from_name(tier).unwrap()),
            None => KillKey::Route(name.into()),
        },
    }
}

fn entry(value: &str) -> KillEntry {
    KillEntry {
        position: match value {
            "off" => Position::Off,
            "inert" => Position::Thrown(None),
            mode => Position::Thrown(Some(Mode::from_name(mode).unwrap())),
        },
        answer: AnswerSpec::default(),
        retry_after: None,
        reason: None,
        owner: None,
    }
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
            read.entries.insert(key(name), entry(value));
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

/// The effective entries as words.
fn words(entries: &Entries) -> String {
    let word = |(key, entry): (&KillKey, &KillEntry)| match entry.position {
        Position::Off => format!("{key}=off"),
        Position::Thrown(None) => format!("{key}=inert"),
        Position::Thrown(Some(mode)) => format!("{key}={mode}"),
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
        let now = start + Duration::from_millis(time.parse().unwrap());
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
        assert!(
            due.is_none_or(|due| due > now && due <= now + CALM),
            "{step}"
        );
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
        let at = now + Duration::from_millis(ms);
        switches.observe(Some(seen), &routes, at);
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
         2 x1=inert !! => tier:sheddable=drop
         3 tier:sheddable=inert => tier:sheddable=inert",
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
    ] {
        let read = file(words);
        let seen = Seen {
            digest: digest(words),
            read: &read,
        };
        switches.observe(Some(seen), &routes, now);
        let names: Vec<String> = switches.held().iter().map(ToString::to_string).collect();
        assert_eq!(names, held, "{words}");
    }
    switches.observe(None, &routes, now);
    assert_eq!(switches.held().len(), 3);
}

const KEYS: [&str; 9] = [
    "c1",
    "c2",
    "s1",
    "s2",
    "x1",
    "x2",
    "tier:core",
    "tier:sheddable",
    "all",
];

fn some_file() -> impl Strategy<Value = String> {
    let values = prop::sample::select(vec!["drop", "reject", "off", "inert"]);
    let entry = (prop::sample::select(KEYS.to_vec()), values, 0..8u8);
    let extra = prop::sample::select(vec!["", "", "", "!!", "-kill"]);
    (prop::collection::vec(entry, 0..6), extra).prop_map(|(entries, extra)| {
        let mut words = extra.to_owned();
        for (key, value, broken) in entries {
            words += &match broken {
                0 => format!(" !{key}"),
                _ => format!(" {key}={value}"),
            };
        }
        words
    })
}

proptest! {
    #[test]
    fn a_broken_file_throws_what_it_can_and_restores_nothing(
        files in prop::collection::vec((some_file(), 0..1500u64), 1..8),
    ) {
        let routes = routes();
        let mut switches = Switches::default();
        let mut now = Clock::now();
        for (words, wait) in files {
            now += Duration::from_millis(wait);
            let read = file(&words);
            let before = switches.entries.clone();
            let seen = Seen { digest: digest(&words), read: &read };
            switches.observe(Some(seen), &routes, now);
            for (key, entry) in &read.entries {
                if matches!(entry.position, Position::Thrown(Some(_))) {
                    prop_assert_eq!(switches.entries.get(key), Some(entry));
                }
            }
            if !read.problems.is_empty() {
                for route in &routes {
                    let lost = is_killed(route, &before) && !is_killed(route, &switches.entries);
                    prop_assert!(!lost, "{} came back under `{}`", route.name, words);
                }
                for key in before.keys() {
                    prop_assert!(switches.entries.contains_key(key));
                }
            }
        }
    }

    #[test]
    fn a_good_file_is_all_that_holds_after_a_calm_second(
        files in prop::collection::vec(some_file(), 0..5),
        last in prop::collection::btree_set(prop::sample::select(KEYS.to_vec()), 0..6),
    ) {
        let routes = routes();
        let mut switches = Switches::default();
        let now = Clock::now();
        for words in files {
            let read = file(&words);
            switches.observe(Some(Seen { digest: digest(&words), read: &read }), &routes, now);
        }
        let words: String = last.iter().map(|key| format!("{key}=drop ")).collect();
        let read = file(&words);
        let seen = Seen { digest: digest("the last"), read: &read };
        let due = switches.observe(Some(seen), &routes, now);
        if let Some(due) = due {
            prop_assert_eq!(due, now + CALM);
            switches.observe(Some(seen), &routes, due);
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
        let at = now + Duration::from_millis(ms);
        switches.observe(Some(seen), &settings.routes, at);
        for name in ["s1", "c1", "x1"] {
            let route = settings.routes.iter().find(|r| &*r.name == name).unwrap();
            assert!(is_killed(route, switches.entries()), "{name}: {damaged:?}");
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
