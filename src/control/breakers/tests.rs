use super::*;
use crate::config::{BreakersRead, Problem, SwitchesRead};

/// What a file of words says: `a=tripped`, `!a` (an entry in error), `!` (an error elsewhere),
/// `-` (neither table).
fn file(words: &str) -> SwitchesRead {
    let mut read = SwitchesRead {
        parsed: true,
        breakers: BreakersRead {
            has_table: true,
            ..BreakersRead::default()
        },
        ..SwitchesRead::default()
    };
    let problem = || Problem::placeless("switches.toml", "wrong");
    for word in words.split_whitespace() {
        match word.split_once('=') {
            Some((route, forced)) => {
                let forced = Forced::from_name(forced).unwrap();
                read.breakers.entries.insert(route.into(), forced);
            }
            None if word == "-" => read.breakers.has_table = false,
            None => {
                read.problems.push(problem());
                let route = word.trim_start_matches('!');
                if !route.is_empty() {
                    read.breakers.in_error.insert(route.into());
                }
            }
        }
    }
    read
}

fn said(breakers: &Breakers) -> String {
    let words = breakers.entries().iter();
    let words = words.map(|(route, forced)| format!("{route}={}", forced.as_str()));
    words.collect::<Vec<_>>().join(" ")
}

/// Each step: milliseconds, the file's words or `gone`, what holds then, and the routes that are
/// held although the file says otherwise. Routes whose names end in `t` have tripped by
/// themselves.
fn case(steps: &[(u64, &str, &str, &str)]) {
    let start = Clock::now();
    let mut breakers = Breakers::default();
    for (ms, words, holds, held) in steps {
        let read = file(words);
        let seen = (*words != "gone").then(|| Seen {
            digest: u64::from(crc32c::crc32c(words.as_bytes())),
            read: &read,
        });
        let now = start + Duration::from_millis(*ms);
        let due = breakers.observe(seen, |route| route.ends_with('t'), now);
        assert_eq!(said(&breakers), *holds, "{words} at {ms}");
        let names: Vec<&str> = breakers.held().iter().map(|route| &**route).collect();
        assert_eq!(names.join(" "), *held, "{words} at {ms}");
        if let Some(due) = due {
            assert!(due > now && due <= now + CALM && !held.is_empty());
        }
    }
}

#[test]
fn a_hand_holds_at_once_and_lets_go_after_a_calm_second() {
    case(&[
        (0, "a=tripped b=passing", "a=tripped b=passing", ""),
        (10, "", "a=tripped b=passing", "a b"),
        (1009, "", "a=tripped b=passing", "a b"),
        (1010, "", "", ""),
    ]);
}

#[test]
fn passing_is_said_outright_and_waits_for_nothing_but_a_file_without_errors() {
    case(&[
        (0, "a=tripped", "a=tripped", ""),
        (10, "a=passing !", "a=tripped", "a"),
        (5000, "a=passing !", "a=tripped", "a"),
        (5010, "a=passing", "a=passing", ""),
        (5020, "a=tripped !", "a=tripped", ""),
    ]);
}

#[test]
fn passing_ends_no_trip_of_its_own_in_a_file_with_an_error() {
    case(&[
        (0, "at=passing b=passing !", "b=passing", "at"),
        (5000, "at=passing b=passing !", "b=passing", "at"),
        (5010, "at=passing b=passing", "at=passing b=passing", ""),
        // It was let pass before the error, and had tripped all the time.
        (5020, "at=passing b=passing !", "at=passing b=passing", ""),
        (5030, "at=passing !b", "at=passing b=passing", "b"),
        (5040, "at=tripped !", "at=tripped b=passing", "b"),
        (5050, "at=passing !", "at=tripped b=passing", "at b"),
    ]);
}

#[test]
fn a_file_with_an_error_trips_and_restores_nothing() {
    case(&[
        (0, "a=tripped b=passing", "a=tripped b=passing", ""),
        (10, "! c=tripped", "a=tripped b=passing c=tripped", "a b"),
        (
            9000,
            "!a c=tripped d=passing",
            "a=tripped b=passing c=tripped d=passing",
            "a b",
        ),
        (
            9010,
            "gone",
            "a=tripped b=passing c=tripped d=passing",
            "a b c d",
        ),
        (
            20000,
            "-",
            "a=tripped b=passing c=tripped d=passing",
            "a b c d",
        ),
        (
            30000,
            "-",
            "a=tripped b=passing c=tripped d=passing",
            "a b c d",
        ),
    ]);
}

#[test]
fn the_second_begins_anew_with_each_change_of_the_file() {
    case(&[
        (0, "a=tripped b=tripped", "a=tripped b=tripped", ""),
        (10, "b=tripped", "a=tripped b=tripped", "a"),
        (900, "", "a=tripped b=tripped", "a b"),
        (1100, "", "a=tripped b=tripped", "a b"),
        (1500, "gone", "a=tripped b=tripped", "a b"),
        (1910, "", "a=tripped b=tripped", "a b"),
        (2910, "", "", ""),
    ]);
}
