//! Properties over random files, and over the shipped one with damage.

use std::net::IpAddr;

use http::HeaderMap;
use proptest::prelude::*;

use super::super::*;
use super::words::*;
use crate::config::{SourceFile, load};
use crate::matching::Asker;
use crate::policy::rules::Verdict;
use crate::vocab::Clock;

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

/// Automatic kills of some routes, for longer than a case lasts, or until within it.
fn some_automatic() -> impl Strategy<Value = AutoEntries> {
    let thrown = prop::sample::subsequence(vec!["s1@2500", "s2@90000", "x1@90000"], 0..=3);
    thrown.prop_map(automatic)
}

/// Who is killed on a route: one bit for each of some clients, with and without each parameter.
fn killed(
    route: &RouteSettings,
    (entries, auto): (&Entries, &AutoEntries),
    now: Duration,
) -> Vec<bool> {
    let routes = &[];
    let rules = Ground { routes, auto }.compile(route, entries, now);
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
    (routes, auto): (&[&RouteSettings], &AutoEntries),
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
            let [before, after] = [before, after].map(|all| killed(&route, (all, auto), *now));
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
        auto in some_automatic(),
    ) {
        let routes = routes();
        let ground = Ground { routes: &routes, auto: &auto };
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
            switches.observe(Some(seen), ground, now);
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
                kills_as_much(&switches.entries, &before, (&bound, &auto), now.unix),
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
        auto in some_automatic(),
    ) {
        let routes = routes();
        let ground = Ground { routes: &routes, auto: &auto };
        let start = Clock::now();
        let mut switches = Switches::default();
        let mut ms = 0;
        for (words, wait) in files {
            ms += wait;
            let now = at(start, ms);
            let read = file(&words);
            let mut before = switches.entries.clone();
            let seen = Seen { digest: digest(&words), read: &read };
            switches.observe(Some(seen), ground, now);
            for (key, said) in &read.entries {
                let taken = switches.entries.get(key) == Some(said);
                if is_plainly_off(said) && taken {
                    before.insert(key.clone(), said.clone());
                }
            }
            let judge = Judge { before, ground, now: now.unix };
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
            switches.observe(Some(seen), ground(&routes), at(now, 0));
        }
        let words: String = last.iter().map(|key| format!("{key}=drop:50 ")).collect();
        let read = file(&words);
        let seen = Seen { digest: digest("the last"), read: &read };
        let due = switches.observe(Some(seen), ground(&routes), at(now, 0));
        if let Some(due) = due {
            prop_assert_eq!(due, now + CALM);
            switches.observe(Some(seen), ground(&routes), at(now, 1000));
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
        switches.observe(Some(seen), ground(&settings.routes), at(now, ms));
        for name in ["s1", "c1", "x1"] {
            let route = settings.routes.iter().find(|r| &*r.name == name).unwrap();
            let none = AutoEntries::new();
            let killed = killed(route, (switches.entries(), &none), EPOCH);
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
