//! How `switches.toml` is read while running: a broken file can throw, never restore.

mod support;

use std::time::Duration;

use support::*;

/// Three routes on one upstream: `a`, `b` and `c`.
fn three(upstream: &Upstream) -> Config {
    let mut config = Config::new().upstream("u", upstream);
    for name in ["a", "b", "c"] {
        let keys = format!("path = \"/{name}\"\nupstream = \"u\"");
        config = config.route(name, &keys);
    }
    config
}

fn is_killed(gateway: &Gateway, name: &str) -> bool {
    !gateway.get(&format!("/{name}")).is_from_upstream()
}

fn wait_killed(gateway: &Gateway, name: &str) {
    wait_for(&format!("{name} to be killed"), || is_killed(gateway, name));
}

fn wait_restored(gateway: &Gateway, name: &str) {
    wait_for(&format!("{name} to be restored"), || {
        !is_killed(gateway, name)
    });
}

fn wait_errors(gateway: &Gateway) {
    wait_for("switch errors", || {
        gateway.metric("seawall_switch_errors", &[]) >= 1.0
    });
}

#[test]
fn a_switch_is_thrown_by_a_rename_and_by_writing_in_place() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&three(&upstream));
    assert!(!is_killed(&gateway, "a"));
    gateway.write_switches("[kill]\na = \"drop\"\n");
    wait_killed(&gateway, "a");
    gateway.write_switches_in_place("[kill]\na = \"drop\"\nb = \"drop\"\n");
    wait_killed(&gateway, "b");
    assert!(!is_killed(&gateway, "c"));
}

#[test]
fn a_flip_keeps_every_connection() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&three(&upstream));
    let mut client = gateway.connect();
    assert_passed(&client.ask(get("/a")));
    gateway.write_switches("[kill]\na = \"drop\"\n");
    wait_for("a to be killed", || {
        !client.ask(get("/a")).is_from_upstream()
    });
    assert_passed(&client.ask(get("/b")));
    gateway.write_switches("[kill]\n");
    wait_for("a to be restored", || {
        client.ask(get("/a")).is_from_upstream()
    });
    assert_passed(&client.ask(get("/b")));
}

#[test]
fn a_key_that_vanishes_ends_only_after_a_second_of_an_unchanged_file() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&three(&upstream).switches("[kill]\na = \"drop\"\n"));
    let start = now();
    gateway.write_switches("[kill]\n");
    // Every answer up to the first that passes was killed; that one must be late enough.
    wait_restored(&gateway, "a");
    assert!(start.elapsed() >= Duration::from_millis(990));
    gateway.wait_metric("seawall_kill_switch_active", &[], 0.0);
}

#[test]
fn an_exemption_lets_its_own_route_through_and_no_other() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&three(&upstream).switches("[kill]\nall = \"drop\"\n"));
    gateway.write_switches("[kill]\nall = \"drop\"\na = \"off\"\n");
    wait_restored(&gateway, "a");
    assert!(is_killed(&gateway, "b"));
}

#[test]
fn the_second_starts_anew_with_each_change() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&three(&upstream).switches("[kill]\na = \"drop\"\n"));
    let mut last = now();
    for number in 0..4 {
        // Another digest each time, and never a second of rest.
        let start = now();
        last = start;
        gateway.write_switches(format!("[kill]\n# {number}\n"));
        while start.elapsed() < Duration::from_millis(500) {
            let killed = is_killed(&gateway, "a");
            // Only a check made within the second says anything.
            assert!(killed || start.elapsed() >= Duration::from_millis(990));
        }
    }
    wait_restored(&gateway, "a");
    assert!(last.elapsed() >= Duration::from_millis(990));
}

#[test]
fn a_good_entry_takes_effect_beside_a_broken_one() {
    for broken in [
        "b = \"dorp\"",
        "b = ",
        "b = { mode = \"drop\"",
        "b = { mode = \"drop\", statsu = 200 }",
        "b = [1, 2",
        "b = 7",
        "\"tier:nosuch\" = \"drop\"",
        "nosuch = \"drop\"",
        "= = =",
    ] {
        let upstream = Upstream::echo();
        let gateway = Gateway::start(&three(&upstream));
        gateway.write_switches(format!("[kill]\na = \"drop\"\n{broken}\n"));
        wait_killed(&gateway, "a");
        wait_errors(&gateway);
        assert!(!is_killed(&gateway, "b"), "{broken}");
        assert!(!is_killed(&gateway, "c"), "{broken}");
    }
}

#[test]
fn a_good_entry_behind_a_broken_one_takes_effect_too() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&three(&upstream));
    gateway.write_switches("[kill]\nb = \nnosuch = \"drop\"\na = \"drop\"\n");
    wait_killed(&gateway, "a");
    assert!(!is_killed(&gateway, "b"));
}

#[test]
fn an_entry_in_error_keeps_what_its_key_had() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&three(&upstream).switches("[kill]\na = \"drop\"\n"));
    let broken = [
        "\"dorp\"",
        "",
        "{ mode = \"drop\", nosuch = 1 }",
        "\"archived\"",
    ];
    for (status, broken) in (210..).zip(broken) {
        // The good neighbour shows that this file was read.
        let good = format!("c = {{ mode = \"drop\", status = {status} }}");
        gateway.write_switches(format!("[kill]\na = {broken}\n{good}\n"));
        wait_for("the file to be read", || gateway.get("/c").status == status);
        wait_errors(&gateway);
        assert!(is_killed(&gateway, "a"), "{broken}");
    }
    // For longer than a key that vanished would last.
    holds_for(Duration::from_millis(1500), "a stays killed", || {
        is_killed(&gateway, "a")
    });
}

#[test]
fn absent_keys_keep_what_they_had_while_the_file_has_an_error() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&three(&upstream).switches("[kill]\na = \"drop\"\n"));
    gateway.write_switches("[kill]\nb = \"drop\"\nnosuch = \"drop\"\n");
    wait_killed(&gateway, "b");
    holds_for(Duration::from_millis(1500), "a stays killed", || {
        is_killed(&gateway, "a")
    });
    // Free of errors again, the file means what it says.
    gateway.write_switches("[kill]\nb = \"drop\"\n");
    wait_restored(&gateway, "a");
    assert!(is_killed(&gateway, "b"));
    assert_eq!(gateway.metric("seawall_switch_errors", &[]), 0.0);
}

#[test]
fn a_missing_empty_or_unreadable_file_restores_nothing() {
    type Harm = fn(&Gateway);
    let harms: [Harm; 5] = [
        |gateway| std::fs::remove_file(gateway.directory().join("switches.toml")).expect("gone"),
        |gateway| gateway.write_switches(""),
        |gateway| gateway.write_switches_in_place(""),
        |gateway| gateway.write_switches([0xff, 0xfe, 0x00]),
        |gateway| gateway.write_switches("# every line commented out\n# [kill]\n"),
    ];
    let upstream = Upstream::echo();
    let thrown = "[kill]\na = \"drop\"\n\"tier:core\" = \"reject\"\n";
    let gateways = harms.map(|harm| {
        let gateway = Gateway::start(&three(&upstream).switches(thrown));
        assert!(is_killed(&gateway, "a"));
        harm(&gateway);
        gateway
    });
    holds_for(Duration::from_millis(2500), "a stays killed", || {
        gateways.iter().all(|gateway| is_killed(gateway, "a"))
    });
    for gateway in &gateways {
        gateway.write_switches("[kill]\nb = \"drop\"\n");
        wait_killed(gateway, "b");
        wait_restored(gateway, "a");
    }
}

#[test]
fn of_a_repeated_key_the_last_wins_and_the_repetition_is_reported() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&three(&upstream));
    gateway.write_switches("[kill]\na = \"reject\"\na = \"drop\"\n");
    wait_for("a to be dropped", || {
        let response = gateway.get("/a");
        response.status == 200 && !response.is_from_upstream()
    });
    wait_errors(&gateway);
}

#[test]
fn a_broken_seawall_toml_never_blocks_a_flip() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&three(&upstream));
    gateway.write_file("seawall.toml", "[server\nlisten = ");
    gateway.wait_metric("seawall_config_last_reload_successful", &[], 0.0);
    gateway.write_switches("[kill]\na = \"drop\"\n");
    wait_killed(&gateway, "a");
    gateway.write_switches("[kill]\n");
    wait_restored(&gateway, "a");
    assert_passed(&gateway.get("/b"));
}

#[test]
fn a_switch_outlives_a_reload_of_the_structure() {
    let upstream = Upstream::echo();
    let config = three(&upstream).switches("[kill]\na = \"drop\"\n");
    let gateway = Gateway::start(&config);
    gateway.write_structure(&config.respond("new", "/new", "new"));
    wait_for("the new route", || {
        assert!(is_killed(&gateway, "a"));
        gateway.get("/new").status == 200
    });
    assert!(is_killed(&gateway, "a"));
}

#[test]
fn a_switch_reaches_a_route_that_is_added_later() {
    let upstream = Upstream::echo();
    let config = three(&upstream).switches("[kill]\nall = \"drop\"\n");
    let gateway = Gateway::start(&config);
    let keys = "path = \"/late\"\nupstream = \"u\"";
    gateway.write_structure(&config.route("late", keys));
    wait_for("the new route", || gateway.get("/late").status != 404);
    assert_killed(&gateway.get("/late"));
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn every_change_is_one_line_in_the_log() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&three(&upstream));
    let events = || gateway.events("kill switch changed");
    let before = events().len();
    gateway.write_switches(
        "[kill]\na = { mode = \"drop\", reason = \"INC-42: limit\", owner = \"amy\" }\n",
    );
    wait_for("the line in the log", || events().len() == before + 1);
    let event = events().pop().expect("a line");
    for field in [
        "key", "routes", "from", "to", "mode", "percent", "reason", "owner", "source", "digest",
    ] {
        assert!(event.get(field).is_some(), "{field} is missing: {event}");
    }
    for (field, value) in [
        ("key", "a"),
        ("mode", "drop"),
        ("reason", "INC-42: limit"),
        ("owner", "amy"),
        ("source", "file"),
    ] {
        assert_eq!(event[field], value, "{event}");
    }
    // The same file again is no change; the end of the switch is one.
    gateway.write_switches("[kill]\n");
    wait_for("the second line", || events().len() == before + 2);
    let event = events().pop().expect("a line");
    assert_eq!(
        (&event["key"], &event["source"]),
        (&"a".into(), &"file".into())
    );
}

#[test]
fn the_status_names_every_switch_and_every_error() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&three(&upstream));
    gateway.write_switches(
        "[kill]\na = { mode = \"drop\", reason = \"INC-42\", owner = \"amy\" }\nnosuch = \"drop\"\n",
    );
    wait_killed(&gateway, "a");
    wait_errors(&gateway);
    let status = gateway.status().to_string();
    for part in ["INC-42", "amy", "nosuch", "file"] {
        assert!(status.contains(part), "{part} is missing: {status}");
    }
    let log = gateway.log().join("\n");
    assert!(log.contains("nosuch"), "the error is not in the log");
}

#[test]
fn a_slip_of_the_pen_is_told_with_its_key_and_a_hint_and_restores_nothing() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&three(&upstream));
    for (slip, key, hint) in [
        ("b = drop", "kill.b", "write \"...\" around the value"),
        ("b = “drop”", "kill.b", "write plain quotes"),
        ("b == \"drop\"", "kill.b", "write one `=`"),
        ("b = \"drop\";", "kill.b", "remove what follows"),
        ("b: \"drop\"", "kill.b", "write KEY = VALUE"),
        (
            "b = { mode = \"drop\" percent = 5 }",
            "kill.b",
            "write a comma between",
        ),
        ("b = \"DROP\"", "kill.b", "did you mean `drop`?"),
        ("b = \"OFF\"", "kill.b", "did you mean `off`?"),
        ("ALL = \"drop\"", "kill.ALL", "did you mean `all`?"),
        ("tier:core = \"drop\"", "kill.tier:core", "around the key"),
    ] {
        gateway.write_switches("[kill]\na = \"drop\"\n");
        wait_killed(&gateway, "a");
        wait_for("no error", || {
            gateway.metric("seawall_switch_errors", &[]) == 0.0
        });
        gateway.write_switches(format!("[kill]\n{slip}\nc = \"drop\"\n"));
        wait_killed(&gateway, "c");
        wait_errors(&gateway);
        let error = gateway.status()["switch_errors"][0].clone();
        assert_eq!(error["key"], key, "{slip}: {error}");
        assert_eq!(error["line"], 2, "{slip}: {error}");
        let said = error["hint"].as_str().unwrap_or_default();
        assert!(said.contains(hint), "{slip}: {error}");
        assert!(is_killed(&gateway, "a"), "{slip}");
        assert!(!is_killed(&gateway, "b"), "{slip}");
    }
}

#[test]
fn a_header_in_upper_case_still_throws_and_restores_nothing() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&three(&upstream));
    gateway.write_switches("[kill]\na = \"drop\"\n");
    wait_killed(&gateway, "a");
    gateway.write_switches("[KILL]\nb = \"drop\"\n");
    wait_killed(&gateway, "b");
    assert!(is_killed(&gateway, "a"));
    // It is told after the switches hold.
    wait_errors(&gateway);
    let error = gateway.status()["switch_errors"][0].clone();
    assert_eq!(error["hint"], "did you mean `kill`?", "{error}");
}
