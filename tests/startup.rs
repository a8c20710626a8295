//! Starting, or saying in one go why not; and the commands beside `run`.

mod support;

use std::net::TcpListener;
use std::path::Path;

use support::*;

fn base() -> Config {
    Config::new().respond("ping", "/ping", "pong")
}

/// Runs a command on a configuration, to its end.
fn run_on(config: &Config, command: &str) -> Exit {
    let directory = tempfile::tempdir().expect("a directory");
    config.write(directory.path());
    run_in(directory.path(), command)
}

fn run_in(directory: &Path, command: &str) -> Exit {
    run_to_exit(&["--config", &directory.to_string_lossy(), command])
}

/// A configuration with three independent errors.
fn broken() -> Config {
    base()
        .server("idle_timout", "\"5s\"")
        .route("a", "path = \"/a\"\nupstream = \"nosuch\"")
        .route("b", "path = \"/b/{\"\nrespond = { status = 200 }")
}

#[test]
fn an_occupied_port_is_one_clear_line_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for config in [
        base().server("listen", &format!("\"{address}\"")),
        base().admin("listen", &format!("\"{address}\"")),
    ] {
        let exit = run_on(&config, "run");
        assert_eq!(exit.code, Some(1), "{}", exit.output);
        let lines = exit.output.lines().filter(|line| line.contains(&address));
        assert_eq!(lines.count(), 1, "{}", exit.output);
        assert!(!exit.output.contains("panicked"), "{}", exit.output);
    }
}

#[test]
fn a_second_gateway_on_the_same_address_is_refused() {
    let gateway = Gateway::start(&base());
    // Sharing the port is what the workers do; another process must not join them unasked.
    let address = gateway.client.to_string();
    let exit = run_on(&base().server("listen", &format!("\"{address}\"")), "run");
    assert_eq!(exit.code, Some(1), "{}", exit.output);
    assert!(exit.output.contains(&address), "{}", exit.output);
    for _ in 0..20 {
        assert_eq!(gateway.get("/ping").text(), "pong");
    }
}

#[test]
fn a_malformed_configuration_stops_the_start_with_every_error_at_once() {
    for command in ["run", "check"] {
        let exit = run_on(&broken(), command);
        assert_eq!(exit.code, Some(1), "{command}: {}", exit.output);
        for part in [
            "idle_timout",
            "idle_timeout",
            "nosuch",
            "/b/{",
            "seawall.toml",
        ] {
            assert!(exit.output.contains(part), "{command}: {part} is missing");
        }
        assert!(!exit.output.contains("panicked"), "{}", exit.output);
    }
}

#[test]
fn each_error_of_check_names_its_line() {
    let exit = run_on(&broken(), "check");
    let text = broken().structure();
    for part in ["idle_timout", "nosuch", "/b/{"] {
        let line = text.lines().position(|line| line.contains(part));
        let place = format!("seawall.toml:{}", line.expect("a line") + 1);
        assert!(exit.output.contains(&place), "{place}: {}", exit.output);
    }
}

#[test]
fn a_file_that_is_no_toml_stops_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    base().write(directory.path());
    std::fs::write(directory.path().join("seawall.toml"), "[server\n").expect("written");
    let exit = run_in(directory.path(), "run");
    assert_eq!(exit.code, Some(1), "{}", exit.output);
    assert!(exit.output.contains("seawall.toml"), "{}", exit.output);
}

#[test]
fn a_missing_configuration_is_one_clear_line() {
    let directory = tempfile::tempdir().expect("a directory");
    for command in ["run", "check"] {
        let exit = run_in(directory.path(), command);
        assert_eq!(exit.code, Some(1), "{}", exit.output);
        assert!(exit.output.contains("seawall.toml"), "{}", exit.output);
        assert!(!exit.output.contains("panicked"), "{}", exit.output);
    }
}

#[test]
fn keys_of_later_versions_are_refused_and_never_ignored() {
    for (name, keys) in [
        ("upgrade", "upgrade = [\"websocket\"]"),
        ("allow", "allow = [\"10.0.0.0/8\"]"),
        ("auth", "auth = \"game\""),
    ] {
        let keys = format!("path = \"/{name}\"\nupstream = \"u\"\n{keys}");
        let config = base().endpoints("u", &["http://127.0.0.1:9".to_owned()], "");
        let exit = run_on(&config.route(name, &keys), "check");
        assert_eq!(exit.code, Some(1), "{name}: {}", exit.output);
        let said = exit.output.contains("not supported yet");
        assert!(said, "{name}: {}", exit.output);
    }
}

#[test]
fn check_accepts_a_good_configuration() {
    let exit = run_on(&base(), "check");
    assert_eq!(exit.code, Some(0), "{}", exit.output);
}

#[test]
fn check_reports_errors_of_the_switches() {
    let exit = run_on(&base().switches("[kill]\nnosuch = \"drop\"\n"), "check");
    assert_eq!(exit.code, Some(1), "{}", exit.output);
    assert!(exit.output.contains("nosuch"), "{}", exit.output);
    assert!(exit.output.contains("switches.toml:2"), "{}", exit.output);
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [["--no-such-flag"], ["no-such-command"]] {
        let exit = run_to_exit(&arguments);
        assert_eq!(exit.code, Some(2), "{arguments:?}: {}", exit.output);
    }
}

#[test]
fn healthcheck_says_by_its_exit_code_whether_the_gateway_is_ready() {
    let config = base().admin("listen", &format!("\"{}\"", free_address()));
    let config = config.server("drain_delay", "\"10m\"");
    let gateway = Gateway::start(&config);
    let check = || run_in(gateway.directory(), "healthcheck").code;
    assert_eq!(check(), Some(0));
    gateway.signal("TERM");
    wait_for("/readyz to say 503", || {
        gateway.admin("/readyz").status == 503
    });
    assert_eq!(check(), Some(1));
}

#[test]
fn healthcheck_fails_where_no_gateway_runs() {
    let config = base().admin("listen", &format!("\"{}\"", free_address()));
    assert_eq!(run_on(&config, "healthcheck").code, Some(1));
}

#[test]
fn strings_of_the_configuration_take_values_from_the_environment() {
    let route = "path = \"/env\"\nrespond = { body = \"${SEAWALL_TEST_UNSET:-fallback}\" }";
    let gateway = Gateway::start(&base().route("env", route));
    assert_eq!(gateway.get("/env").text(), "fallback");
    let unset = "path = \"/env\"\nrespond = { body = \"${SEAWALL_TEST_UNSET}\" }";
    let exit = run_on(&base().route("env", unset), "check");
    assert_eq!(exit.code, Some(1), "{}", exit.output);
    assert!(
        exit.output.contains("SEAWALL_TEST_UNSET"),
        "{}",
        exit.output
    );
}

#[test]
fn a_problem_without_a_source_line_is_one_line() {
    let directory = tempfile::tempdir().expect("a directory");
    base().write(directory.path());
    let nowhere = directory.path().join("nosuch");
    let file = directory.path().join("seawall.toml");
    for (path, said) in [
        (&nowhere, "there is no such directory; `--config DIR`"),
        (&file, "is a file, not a directory; `--config DIR`"),
    ] {
        for command in ["run", "demo"] {
            let exit = run_in(path, command);
            assert_eq!(exit.code, Some(1), "{}", exit.output);
            assert!(exit.output.contains(said), "{}", exit.output);
            assert_eq!(exit.output.trim_end().lines().count(), 1, "{}", exit.output);
        }
    }
}

#[test]
fn switches_that_cannot_be_read_stop_the_start_with_what_to_do() {
    let directory = tempfile::tempdir().expect("a directory");
    base().write(directory.path());
    let switches = directory.path().join("switches.toml");
    std::fs::remove_file(&switches).expect("removed");
    std::fs::create_dir(&switches).expect("a directory in its place");
    for command in ["run", "check"] {
        let exit = run_in(directory.path(), command);
        assert_eq!(exit.code, Some(1), "{}", exit.output);
        let hint = "put a file in the place of this directory";
        assert!(exit.output.contains(hint), "{}", exit.output);
    }
}

#[test]
fn check_warns_of_a_configuration_without_routes() {
    let exit = run_on(&Config::new(), "check");
    assert_eq!(exit.code, Some(0), "{}", exit.output);
    assert!(exit.output.contains("there is no route"), "{}", exit.output);
}
