//! `seawall explain` shows every limit that holds for a route, and where each value comes from.

use std::process::Command;

const STRUCTURE: &str = r#"
[upstreams.stats]
endpoints = ["http://127.0.0.1:9001"]
[upstreams.next]
endpoints = ["http://127.0.0.1:9002"]
balance = "hash:header:x-player-id"
concurrency = "adaptive"
health = { path = "/healthz", panic_percent = 25 }
outlier = {}

[defaults]
rate_limit = { rate = "500/s", key = "client-ip" }
retry = { on = ["connect", 503] }
breaker = { open_for = "5s" }
auto_kill = { above = "2000/s", mode = "drop" }

[routes.plain]
path = "/plain"
upstream = "stats"
tier = "core"
owner = "stats-team"
rate_limit = "off"
retry = "off"
breaker = "off"

[routes.full]
path = "/full"
split = [{ upstream = "stats", weight = 95 }, { upstream = "next", weight = 5 }]
kill_switch = { mode = "archive" }
rate_limit = { rate = "30/m" }
concurrency = { max = 200, queue = 100 }
retry = { attempts = 3 }
breaker = { on = [500, "timeout"], failure_percent = "off" }
client_retry_budget = { percent = 12.5 }
"#;

fn explain(path: &str) -> String {
    explain_under("[kill]\n", path)
}

fn explain_under(switches: &str, path: &str) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text);
    write("seawall.toml", STRUCTURE).expect("written");
    write("switches.toml", switches).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_seawall"))
        .arg("--config")
        .arg(directory.path())
        .args(["explain", "GET", path])
        .output()
        .expect("the binary runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn limits_that_are_off_are_one_line_each() {
    insta::assert_snapshot!(explain("/plain"));
}

#[test]
fn every_key_of_every_limit_is_shown_with_its_origin() {
    insta::assert_snapshot!(explain("/full"));
}

#[test]
fn a_breaker_that_is_held_by_hand_is_told() {
    let switches = "[kill]\n[breaker]\nplain = \"tripped\"\nfull = \"passing\"\n";
    let said = explain_under(switches, "/plain");
    assert!(
        said.contains("\nbreaker   held tripped by hand\n"),
        "{said}"
    );
    let refused =
        "\nthen      refused with 503 breaker_open: [breaker] holds its breaker tripped\n";
    assert!(said.contains(refused), "{said}");
    let said = explain_under(switches, "/full");
    assert!(
        said.contains("\nbreaker   held passing by hand\n"),
        "{said}"
    );
    assert!(said.contains("\nthen      goes to one of "), "{said}");
    assert!(!explain("/plain").contains("by hand"));
}
