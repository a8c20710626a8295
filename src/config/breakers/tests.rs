use super::*;
use crate::config::{SourceFile, SwitchesRead, load, read_switch_entries};
use crate::policy::kill::KillKey;

fn settings() -> Settings {
    let mut text = "[upstreams.up]\nendpoints = [\"http://127.0.0.1:1\"]\n".to_owned();
    for name in ["ping", "pong", "\"a.b\"", "mode"] {
        let path = name.trim_matches('"');
        text += &format!("[routes.{name}]\npath = \"/{path}\"\nupstream = \"up\"\n");
    }
    text += "[routes.mock]\npath = \"/mock\"\nrespond = {}\n";
    load(&[SourceFile::new("seawall.toml", &text)], &|_| None)
        .unwrap()
        .settings
}

fn read(text: &str) -> SwitchesRead {
    read_switch_entries(&SourceFile::new("switches.toml", text), &settings())
}

/// What is held, and what is in error.
fn told(read: &SwitchesRead) -> String {
    let entries = read.breakers.entries.iter();
    let entries = entries.map(|(route, forced)| format!("{route}={}", forced.as_str()));
    let errors = read
        .breakers
        .in_error
        .iter()
        .map(|route| format!("!{route}"));
    entries.chain(errors).collect::<Vec<_>>().join(" ")
}

fn kills(read: &SwitchesRead) -> String {
    let keys = read.entries.keys().map(KillKey::to_string);
    let errors = read.in_error.iter().map(|key| format!("!{key}"));
    keys.chain(errors).collect::<Vec<_>>().join(" ")
}

fn complaints(read: &SwitchesRead) -> Vec<String> {
    let problems = read.problems.iter();
    problems
        .map(|problem| {
            let hint = problem.hint.as_deref().unwrap_or("-");
            format!(
                "{}: {}: {}; {hint}",
                problem.line, problem.key, problem.message
            )
        })
        .collect()
}

#[test]
fn both_words_in_both_forms() {
    for text in [
        "[kill]\n[breaker]\nping = \"tripped\"\n\"a.b\" = \"passing\"\n",
        "breaker = { ping = \"tripped\", \"a.b\" = \"passing\" }\n[kill]\n",
        "breaker.ping = \"tripped\"\nbreaker.\"a.b\" = \"passing\"\n",
    ] {
        let read = read(text);
        assert_eq!(told(&read), "a.b=passing ping=tripped", "{text}");
        assert_eq!(complaints(&read), [""; 0], "{text}");
        assert!(read.breakers.has_table);
    }
}

#[test]
fn each_error_names_its_line_its_key_and_what_was_meant() {
    let text = "[breaker]\nping = \"triped\"\npnog = \"tripped\"\nall = \"tripped\"\n\
                pong = \"off\"\na.b = \"tripped\"\nmock = \"tripped\"\nmode = \"passing\"\n";
    let read = read(text);
    assert_eq!(told(&read), "mock=tripped mode=passing !a.b !ping !pong");
    assert_eq!(
        complaints(&read),
        [
            "2: breaker.ping: expected \"tripped\" or \"passing\", found \"triped\"; did you mean `tripped`?",
            "3: breaker.pnog: there is no route `pnog`; did you mean `pong`?",
            "4: breaker.all: there is no route `all`; breakers are held one route at a time",
            "5: breaker.pong: expected \"tripped\" or \"passing\", found \"off\"; remove the line to let the breaker decide by itself",
            "6: breaker.a: there is no route `a`; a name with a dot goes in quotes: \"a.b\"",
        ]
    );
    let warnings = read.warnings.iter().map(|problem| &*problem.key);
    let warnings: Vec<&str> = warnings.filter(|key| !key.is_empty()).collect();
    assert_eq!(warnings, ["breaker.mock", "breaker.mode"]);
}

#[test]
fn neither_table_costs_the_other_its_entries() {
    for (text, breakers, killed) in [
        (
            "[kill]\nping = \"drop\"\n[breaker]\npong = tripped\nping = \"tripped\"\n",
            "ping=tripped !pong",
            "ping",
        ),
        (
            "[breaker]\npong = \"tripped\"\n[kill]\nping = \"drop\npong = \"reject\"\n",
            "pong=tripped",
            "pong !ping",
        ),
        (
            "[kill]\nping = [\n{ mode = \"drop\" },\n[breaker]\npong = \"tripped\"\n",
            "pong=tripped",
            "!ping",
        ),
        (
            "[kill]\nping = \"drop\"\n[breaker\npong = \"tripped\"\n",
            "pong=tripped",
            "ping",
        ),
        (
            "[kill]\nping = \"drop\"\nbreaker]\npong = \"tripped\"\n",
            "pong=tripped",
            "ping",
        ),
        (
            "[kill]\nping = \"drop\"\n[braker]\npong = \"tripped\"\n",
            "pong=tripped",
            "ping",
        ),
        (
            "[kill]\nping = \"drop\"\n[[breaker]]\npong = \"tripped\"\n",
            "pong=tripped",
            "ping",
        ),
        (
            "[[kill.ping]]\nmode = \"drop\"\nbreaker]\npong = \"tripped\"\n",
            "pong=tripped",
            "ping",
        ),
        // The header of the switches is gone.
        (
            "[breaker]\npong = \"tripped\"\n#[kill]\nping = \"drop\"\n",
            "pong=tripped",
            "ping",
        ),
        (
            "[breaker]\npong = \"tripped\"\nkill]\nping = \"drop\"\n",
            "pong=tripped !kill",
            "ping",
        ),
        // That of the breakers is.
        (
            "[kill]\nping = \"drop\"\n#[breaker]\npong = \"tripped\"\n",
            "pong=tripped",
            "ping",
        ),
        (
            "[kill]\nping = \"drop\"\nping = \"tripped\"\n",
            "ping=tripped",
            "ping",
        ),
        ("pong = \"tripped\"\n[kill]\n", "pong=tripped", ""),
    ] {
        let read = read(text);
        let told = told(&read).replace(" !kill", "");
        assert_eq!(told, breakers.replace(" !kill", ""), "{text}");
        assert_eq!(kills(&read), killed, "{text}");
        assert!(!read.problems.is_empty(), "{text}");
    }
}

#[test]
fn what_does_not_stand_where_it_should_may_trip_and_never_restore() {
    for (text, expected) in [
        (
            "[braker]\nping = \"passing\"\npong = \"tripped\"\n",
            "pong=tripped !ping",
        ),
        ("[kill]\nping = \"passing\"\n", "!ping"),
        (
            "[breaker]\nping = \"tripped\"\nping = \"passing\n",
            "ping=tripped",
        ),
        (
            "[breaker]\nping = \"tripped\"\nping = \"passing\"\n",
            "ping=passing",
        ),
        (
            "[breaker]\nping = \"passing\"\nping = \"tripped\"\n",
            "ping=tripped",
        ),
        ("[breaker]\nping = \"passing\"\nping = \n", "!ping"),
    ] {
        let read = read(text);
        assert_eq!(told(&read), expected, "{text}");
        assert!(!read.problems.is_empty(), "{text}");
    }
}

/// Every truncation of a file: what is left of `[breaker]` is held as written, or in error, or
/// not there; no other word comes of it.
#[test]
fn no_truncation_makes_another_word() {
    let text = "[kill]\nping = \"drop\"\n[breaker]\nping = \"tripped\"\npong = \"passing\"\n";
    for end in 0..text.len() {
        let read = read(&text[..end]);
        for (route, forced) in &read.breakers.entries {
            let line = format!("{route} = \"{}\"", forced.as_str());
            assert!(text[..end].contains(&line), "{end}: {line}");
        }
    }
}
