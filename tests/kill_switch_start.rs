//! Starting with switches: what is thrown holds from the first request on.

mod support;

use support::*;
use tempfile::TempDir;

fn base() -> Config {
    Config::new()
        .respond("a", "/a", "open")
        .respond("b", "/b", "open")
}

/// Starts a gateway that must not come up.
fn fails_to_start(config: &Config) -> Exit {
    let directory = tempfile::tempdir().expect("a directory");
    config.write(directory.path());
    fails_in(&directory)
}

fn fails_in(directory: &TempDir) -> Exit {
    run_to_exit(&["--config", &directory.path().to_string_lossy(), "run"])
}

#[test]
fn what_is_thrown_at_start_holds_from_the_first_request_on() {
    let gateway = Gateway::start(&base().switches("[kill]\na = \"drop\"\n"));
    assert_killed(&gateway.get("/a"));
    assert_eq!(gateway.get("/b").text(), "open");
}

#[test]
fn a_bad_entry_at_start_is_reported_and_the_rest_applies() {
    let switches = "[kill]\nb = \"dorp\"\na = \"drop\"\nnosuch = \"drop\"\n";
    let gateway = Gateway::start(&base().switches(switches));
    assert_killed(&gateway.get("/a"));
    assert_eq!(gateway.get("/b").text(), "open");
    assert_eq!(gateway.metrics().one("seawall_switch_errors", &[]), 2.0);
    let status = gateway.status().to_string();
    assert!(status.contains("nosuch"), "{status}");
    assert!(status.contains("dorp"), "{status}");
}

#[test]
fn an_unparsable_switches_file_stops_the_start() {
    for bytes in [
        &b"this is no TOML at all\n"[..],
        b"\xff\xfe\xfd",
        b"\0\0\0\0",
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        base().write(directory.path());
        std::fs::write(directory.path().join("switches.toml"), bytes).expect("written");
        let exit = fails_in(&directory);
        assert_eq!(exit.code, Some(1), "{}", exit.output);
        assert!(exit.output.contains("switches.toml"), "{}", exit.output);
    }
}

#[test]
fn a_missing_switches_file_stops_the_start_unless_that_is_asked_for() {
    let exit = fails_to_start(&base().without_switches());
    assert_eq!(exit.code, Some(1), "{}", exit.output);
    assert!(exit.output.contains("switches.toml"), "{}", exit.output);
    assert!(exit.output.contains("--no-switches"), "{}", exit.output);

    let gateway = Gateway::start_with(&base().without_switches(), &["--no-switches"]);
    assert_eq!(gateway.get("/a").text(), "open");
    // The file may still come.
    gateway.write_switches("[kill]\na = \"drop\"\n");
    wait_for("a to be killed", || gateway.get("/a").text().is_empty());
}

#[test]
fn an_empty_kill_table_is_a_good_start() {
    let gateway = Gateway::start(&base().switches("[kill]\n"));
    assert_eq!(gateway.get("/a").text(), "open");
    assert_eq!(gateway.metrics().one("seawall_switch_errors", &[]), 0.0);
}
