//! `[breaker]` in switches.toml: breakers held by hand, and what a broken file cannot do to them.

mod support;

use std::time::Duration;

use serde_json::Value;
use support::*;

/// Three routes of one upstream with a breaker that would trip late.
fn config(upstream: &Upstream) -> Config {
    let config = Config::new().upstream("u", upstream);
    ["a", "b", "c"].iter().fold(config, |config, name| {
        let keys = format!(
            "path = \"/{name}\"\nupstream = \"u\"\nbreaker = {{ open_for = \"7s\", ramp = \"20ms\" }}"
        );
        config.route(name, &keys)
    })
}

fn start(switches: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::saying("up");
    let gateway = Gateway::start(&config(&upstream).switches(switches));
    (upstream, gateway)
}

/// What is held: `a=tripped`, with `!` where the file says otherwise.
fn held(gateway: &Gateway) -> String {
    let status = gateway.status();
    let all = status["breakers"].as_array().expect("a list");
    let text = |breaker: &Value, key: &str| breaker[key].as_str().expect("a text").to_owned();
    let words = all.iter().map(|breaker| {
        let mark = if breaker["held"] == true { "!" } else { "" };
        format!(
            "{mark}{}={}",
            text(breaker, "route"),
            text(breaker, "forced")
        )
    });
    words.collect::<Vec<_>>().join(" ")
}

fn wait_held(gateway: &Gateway, expected: &str) {
    wait_for(&format!("{expected:?} to be held"), || {
        held(gateway) == expected
    });
}

/// Routes without a request to spare while others are refused.
fn assert_open(gateway: &Gateway, route: &str) {
    let response = gateway.get(route);
    assert_refusal(&response, 503, "breaker_open");
    let after: u64 = response
        .header("retry-after")
        .expect("one")
        .parse()
        .expect("seconds");
    assert!((7..=14).contains(&after), "{after}");
}

#[test]
fn a_breaker_that_is_tripped_by_hand_refuses_at_once_and_lets_go_a_calm_second_later() {
    let (upstream, gateway) = start("[kill]\n");
    assert_passed(&gateway.get("/a"));
    gateway.write_switches("[kill]\n[breaker]\na = \"tripped\"\n");
    wait_held(&gateway, "a=tripped");
    let before = upstream.heads();
    assert_open(&gateway, "/a");
    assert_passed(&gateway.get("/b"));
    assert_eq!(upstream.heads(), before + 1);
    let state = [("route", "a"), ("upstream", "u")];
    assert_eq!(gateway.metrics().one("seawall_breaker_state", &state), 2.0);
    let start = now();
    gateway.write_switches("[kill]\n");
    wait_held(&gateway, "");
    assert!(
        start.elapsed() >= Duration::from_millis(900),
        "{:?}",
        start.elapsed()
    );
    wait_for("a to pass again", || gateway.get("/a").is_from_upstream());
    wait_for("the gauge to say so", || {
        gateway.metrics().one("seawall_breaker_state", &state) == 0.0
    });
}

#[test]
fn passing_lets_everything_through_although_the_breaker_trips() {
    let upstream = Upstream::closing();
    let keys = "path = \"/a\"\nupstream = \"u\"\nretry = { attempts = 1 }\n\
                breaker = { consecutive_failures = 2, open_for = \"60s\" }";
    let config = Config::new().upstream("u", &upstream).route("a", keys);
    let gateway = Gateway::start(&config.switches("[kill]\n[breaker]\na = \"passing\"\n"));
    for _ in 0..5 {
        assert_refusal(&gateway.get("/a"), 502, "upstream_reset");
    }
    // Underneath it has tripped by itself, and is found so when the hand leaves.
    gateway.write_switches("[kill]\n[breaker]\n");
    wait_for("the breaker to decide by itself", || {
        reason_of(&gateway.get("/a")) == "breaker_open"
    });
}

#[test]
fn passing_lets_retries_through_too() {
    let upstream = Upstream::closing();
    let keys = "path = \"/a\"\nupstream = \"u\"\nretry = { attempts = 4, backoff = \"1ms\" }\n\
                breaker = { consecutive_failures = 1, open_for = \"60s\" }";
    let config = Config::new().upstream("u", &upstream).route("a", keys);
    let gateway = Gateway::start(&config.switches("[kill]\n[breaker]\na = \"passing\"\n"));
    assert_refusal(&gateway.get("/a"), 502, "upstream_reset");
    assert_eq!(upstream.heads(), 4);
}

#[test]
fn a_retry_that_waits_is_not_made_once_its_breaker_is_tripped_by_hand() {
    // The large one is more than is read before anybody knows who gets it.
    let bodies = ["busy".repeat(2), "busy".repeat(50_000)];
    for (body, breaker) in bodies.iter().zip(["breaker = {}", ""]) {
        let upstream = Upstream::serving({
            let body = body.clone();
            move |_| {
                let length = body.len();
                let head = "HTTP/1.1 503 Busy\r\nx-from: u\r\nretry-after: 9\r\ncontent-length";
                format!("{head}: {length}\r\n\r\n{body}").into_bytes()
            }
        });
        let keys = format!(
            "path = \"/a\"\nupstream = \"u\"\ntimeout = \"60s\"\nretry = {{ on = [503] }}\n{breaker}"
        );
        let config = Config::new().upstream("u", &upstream).route("a", &keys);
        let gateway = Gateway::start(&config);
        let mut client = gateway.connect();
        let begun = now();
        client.send(get("/a"));
        upstream.wait_heads(1);
        gateway.write_switches("[kill]\n[breaker]\na = \"tripped\"\n");
        // It gets the failure that it had, and the connection goes on.
        let failure = client.read();
        assert!(begun.elapsed() < Duration::from_secs(9));
        assert!(failure.is_from_upstream() && failure.whole);
        assert_eq!((failure.status, failure.text() == *body), (503, true));
        assert_refusal(&client.ask(get("/a")), 503, "breaker_open");
        assert_eq!(upstream.heads(), 1);
        gateway.wait_metric("seawall_upstream_in_flight", &[], 0.0);
        assert_eq!(gateway.metric("seawall_retries_total", &[]), 0.0);
    }
}

#[test]
fn passing_is_said_outright_and_ends_a_trip_without_a_second() {
    let (_upstream, gateway) = start("[kill]\n[breaker]\na = \"tripped\"\n");
    wait_held(&gateway, "a=tripped");
    gateway.write_switches("[kill]\n[breaker]\na = \"passing\"\nb = \"tripped\n");
    wait_for("the errors to be told", || {
        gateway.status()["switch_errors"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    });
    assert_eq!(held(&gateway), "!a=tripped");
    gateway.write_switches("[kill]\n[breaker]\na = \"passing\"\n");
    wait_held(&gateway, "a=passing");
    assert_passed(&gateway.get("/a"));
}

/// A route whose breaker has tripped by itself, and nothing else that refuses.
fn tripped_by_itself(upstream: &Upstream) -> (Config, Gateway) {
    let config = |breaker: &str| {
        let keys =
            format!("path = \"/a\"\nupstream = \"u\"\nretry = {{ attempts = 1 }}\n{breaker}");
        Config::new().upstream("u", upstream).route("a", &keys)
    };
    let breaker = "breaker = { consecutive_failures = 2, open_for = \"60s\" }";
    let gateway = Gateway::start(&config(breaker));
    for _ in 0..2 {
        assert_refusal(&gateway.get("/a"), 502, "upstream_reset");
    }
    wait_for("the breaker to trip", || {
        reason_of(&gateway.get("/a")) == "breaker_open"
    });
    (config(""), gateway)
}

#[test]
fn passing_beside_an_error_ends_no_trip_of_its_own() {
    let upstream = Upstream::closing();
    let (_, gateway) = tripped_by_itself(&upstream);
    gateway.write_switches("[kill]\n[breaker]\na = \"passing\"\nzz = \"tripped\"\n");
    wait_for("the error to be told", || {
        let errors = &gateway.status()["switch_errors"];
        errors.as_array().is_some_and(|errors| errors.len() == 1)
    });
    holds_for(Duration::from_millis(1300), "a to stay refused", || {
        reason_of(&gateway.get("/a")) == "breaker_open"
    });
    gateway.write_switches("[kill]\n[breaker]\na = \"passing\"\n");
    wait_held(&gateway, "a=passing");
    assert_refusal(&gateway.get("/a"), 502, "upstream_reset");
}

#[test]
fn a_structure_without_the_breaker_that_refuses_waits_for_a_second() {
    let upstream = Upstream::closing();
    let (without, gateway) = tripped_by_itself(&upstream);
    let start = now();
    gateway.write_structure(&without);
    wait_for("a to reach its upstream again", || {
        reason_of(&gateway.get("/a")) == "upstream_reset"
    });
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(900), "{waited:?}");
}

#[test]
fn neither_table_of_a_broken_file_blocks_the_other() {
    let (_upstream, gateway) = start("[kill]\n");
    gateway.write_switches("[kill]\na = \"drop\n[breaker]\nb = \"tripped\"\n");
    wait_held(&gateway, "b=tripped");
    assert_open(&gateway, "/b");
    assert_passed(&gateway.get("/a"));
    gateway.write_switches("[breaker]\nb = tripped\nc = \"triped\"\n[kill]\na = \"drop\"\n");
    wait_for("a to be killed", || !gateway.get("/a").is_from_upstream());
    assert_killed(&gateway.get("/a"));
    assert_open(&gateway, "/b");
    // The status is told after the switches hold.
    wait_held(&gateway, "!b=tripped");
    let errors = gateway.status()["switch_errors"].clone();
    let errors = errors.as_array().expect("a list");
    let said = |key: &str, hint: &str| {
        let found = errors.iter().find(|error| error["key"] == key);
        let found = found.unwrap_or_else(|| panic!("no error about {key}: {errors:?}"));
        assert!(
            found["hint"].as_str().unwrap_or_default().contains(hint),
            "{found}"
        );
        assert!(
            found["line"].as_u64().is_some_and(|line| line > 0),
            "{found}"
        );
    };
    said("breaker.b", "");
    said("breaker.c", "did you mean `tripped`?");
    assert!(gateway.metric("seawall_switch_errors", &[]) >= 2.0);
}

#[test]
fn a_route_that_is_not_there_is_reported_with_the_nearest_name() {
    let (_upstream, gateway) = start("[kill]\n");
    let names = ["leaderboard", "submit-stats"];
    let up = Upstream::saying("up");
    let config = names.iter().fold(config(&up), |config, name| {
        config.route(name, &format!("path = \"/{name}\"\nupstream = \"u\""))
    });
    gateway.write_structure(&config);
    gateway.write_switches("[kill]\n[breaker]\nleaderbord = \"tripped\"\na = \"tripped\"\n");
    wait_for("the hint", || {
        gateway.status()["switch_errors"][0]["hint"] == "did you mean `leaderboard`?"
    });
    wait_held(&gateway, "a=tripped");
}

#[test]
fn every_change_is_one_line_with_route_positions_source_and_digest() {
    let (_upstream, gateway) = start("[kill]\n[breaker]\na = \"tripped\"\n");
    let lines = || gateway.events("breaker switch changed");
    assert_eq!(lines().len(), 1);
    gateway.write_switches("[kill]\n[breaker]\na = \"passing\"\n");
    wait_held(&gateway, "a=passing");
    gateway.write_switches("[kill]\n[breaker]\n");
    wait_held(&gateway, "");
    wait_for("three lines", || lines().len() == 3);
    let words = lines().into_iter().map(|line| {
        let text = |key: &str| line[key].as_str().expect("a text").to_owned();
        assert_eq!(
            (text("key"), text("route")),
            ("a".to_owned(), "a".to_owned())
        );
        assert_eq!(text("source"), "file");
        assert_eq!(text("digest").len(), 16);
        format!("{} {}", text("from"), text("to"))
    });
    let words: Vec<String> = words.collect();
    assert_eq!(words, ["off tripped", "tripped passing", "passing off"]);
}

#[test]
fn what_is_held_outlives_a_missing_an_empty_and_a_broken_file_and_a_reload() {
    let (upstream, gateway) = start("[kill]\n[breaker]\na = \"tripped\"\n");
    wait_held(&gateway, "a=tripped");
    let span = Duration::from_millis(1300);
    for text in [
        "",
        "[kill]\n[breaker]\na = \"trip",
        "garbage",
        "[kill]\n[breaker\n",
    ] {
        gateway.write_switches(text);
        wait_held(&gateway, "!a=tripped");
        holds_for(span, "a to stay refused", || {
            reason_of(&gateway.get("/a")) == "breaker_open"
        });
    }
    std::fs::remove_file(gateway.directory().join("switches.toml")).expect("removed");
    gateway.write_structure(&config(&upstream).respond("d", "/d", "d"));
    wait_for("the reload", || gateway.get("/d").status == 200);
    assert_eq!(reason_of(&gateway.get("/a")), "breaker_open");
    assert_eq!(held(&gateway), "!a=tripped");
}

#[test]
fn the_commands_keep_the_section_and_its_comments() {
    let text = "# by night\n[kill] # now\n# nothing yet\n\n[breaker] # by hand\n# it flaps\na = \"tripped\" # INC-7\n";
    let (_upstream, gateway) = start(text);
    let dir = gateway.directory().to_str().expect("a path").to_owned();
    let admin = format!("http://{}", gateway.admin);
    let run = |arguments: &[&str]| {
        let all = [&["--config", &dir][..], arguments, &["--admin", &admin]].concat();
        let exit = run_to_exit(&all);
        assert_eq!(exit.code, Some(0), "{}", exit.output);
        std::fs::read_to_string(gateway.directory().join("switches.toml")).expect("a file")
    };
    let killed = run(&["kill", "a", "--mode", "drop"]);
    assert_eq!(
        killed,
        text.replace("[kill] # now\n", "[kill] # now\na = \"drop\"\n"),
        "{killed}"
    );
    assert_killed(&gateway.get("/a"));
    assert_eq!(run(&["restore", "a"]), text);
    wait_for("a to be refused", || {
        reason_of(&gateway.get("/a")) == "breaker_open"
    });
    let explained = run_to_exit(&["--config", &dir, "explain", "GET", "/a"]);
    let refused = "then      refused with 503 breaker_open: [breaker] holds its breaker tripped";
    assert!(explained.output.contains(refused), "{}", explained.output);
    let status = run_to_exit(&["--config", &dir, "status", "--admin", &admin]);
    assert!(
        status.output.contains("breaker of a held tripped by hand"),
        "{}",
        status.output
    );
}
