//! Errors of limits, attempts, breakers and balancing, as `check` prints them, and its warnings.

use seawall::config::{Problem, Settings, SourceFile, load};

fn render(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems
        .iter()
        .map(|problem| problem.render(false))
        .collect();
    texts.join("\n\n")
}

const UP: &str = "[upstreams.up]\nendpoints = [\"http://a\"]\n";

fn read(text: &str) -> Result<Settings, Vec<Problem>> {
    let text = format!("{UP}{text}");
    let files = [SourceFile::new("config/seawall.toml", &text)];
    load(&files, &|_| None).map(|loaded| loaded.settings)
}

/// What is said of a `seawall.toml` that begins with `UP`.
fn errors(text: &str) -> String {
    render(&read(text).expect_err("it has errors"))
}

#[test]
fn limits() {
    insta::assert_snapshot!(errors(
        r#"[routes.values]
path = "/a"
upstream = "up"
rate_limit = { rate = "500", burst = 0, key = "clientip", dry_run = 1, max_keys = 99999999 }
concurrency = { max = 0, queue = -1, queue_timeout = "0s" }
[routes.incomplete]
path = "/b"
upstream = "up"
rate_limit = { burst = 5, ky = "route" }
concurrency = {}
[routes.forms]
path = "/c"
upstream = "up"
rate_limit = "500/s"
concurrency = 100
[routes.keys]
path = "/d"
upstream = "up"
rate_limit = { rate = "5/s", key = "header:" }
[routes.near]
path = "/e"
upstream = "up"
rate_limit = { rate = "0/s", key = "x-player" }
"#
    ));
}

#[test]
fn incomplete_tables_of_the_defaults_are_errors_of_the_routes_that_have_them() {
    insta::assert_snapshot!(errors(
        r#"[defaults]
rate_limit = { burst = 5 }
concurrency = { queue = 5 }
[routes.adds]
path = "/a"
upstream = "up"
rate_limit = { rate = "5/s" }
concurrency = { max = 5 }
[routes.without]
path = "/b"
upstream = "up"
rate_limit = "off"
concurrency = "off"
[routes.incomplete]
path = "/c"
upstream = "up"
"#
    ));
}

#[test]
fn attempts() {
    insta::assert_snapshot!(errors(
        r#"[routes.values]
path = "/a"
upstream = "up"
retry = { attempts = 0, on = ["conect", 500, "5xx", true], backoff = 25, max_backoff = "1 year", non_idempotent = "yes" }
retry_budget = { percent = 120, min_per_second = -1, window = "500ms" }
[routes.relations]
path = "/b"
upstream = "up"
retry = { attempts = 11, on = [], backoff = "1s", max_backoff = "100ms" }
retry_budget = { window = "2m" }
[routes.forms]
path = "/c"
upstream = "up"
retry = 3
retry_budget = "off"
[routes.list]
path = "/d"
upstream = "up"
retry = { on = "connect", tries = 3 }
"#
    ));
}

#[test]
fn breaker() {
    insta::assert_snapshot!(errors(
        r#"[routes.values]
path = "/a"
upstream = "up"
breaker = { on = ["conect", 505, "5xx", true], consecutive_failures = 0, failure_percent = 0, min_requests = 0, window = "0s", open_for = "0s", ramp = "2d" }
[routes.words]
path = "/b"
upstream = "up"
breaker = { consecutive_failures = "of", failure_percent = "50%" }
[routes.never]
path = "/c"
upstream = "up"
breaker = { consecutive_failures = "off", failure_percent = "off" }
[routes.forms]
path = "/d"
upstream = "up"
breaker = "on"
[routes.unknown]
path = "/e"
upstream = "up"
breaker = { failures = 5 }
[routes.empty]
path = "/f"
upstream = "up"
breaker = { on = [] }
[routes.list]
path = "/g"
upstream = "up"
breaker = { on = "500" }
"#
    ));
}

#[test]
fn client_retry_budget_and_auto_kill() {
    insta::assert_snapshot!(errors(
        r#"[routes.without_mode]
path = "/a"
upstream = "up"
client_retry_budget = { percent = 20 }
auto_kill = { above = "2000/s" }
[routes.values]
path = "/b"
upstream = "up"
kill_switch = { mode = "drop" }
client_retry_budget = { percent = -1 }
auto_kill = { above = 2000, for = "0s", mode = "off", hold = "0s" }
[routes.incomplete]
path = "/c"
upstream = "up"
kill_switch = { mode = "drop" }
client_retry_budget = {}
auto_kill = { mode = "drop" }
[routes.core]
path = "/d"
upstream = "up"
tier = "core"
owner = "core-team"
auto_kill = { above = "2000/s", mode = "drop" }
[routes.mode_is_wrong]
path = "/e"
upstream = "up"
kill_switch = { mode = "dorp" }
client_retry_budget = { percent = 20 }
auto_kill = { above = "2000/s" }
"#
    ));
}

#[test]
fn split() {
    insta::assert_snapshot!(errors(
        r#"[routes.values]
path = "/a"
split = [{ upstream = "upp", weight = 1 }, { upstream = "up", weight = -1 }]
[routes.incomplete]
path = "/b"
split = [{ upstream = "up" }, { weight = 1 }, "up", { upstream = "up", weight = 1, wieght = 2 }]
[routes.twice]
path = "/c"
split = [{ upstream = "up", weight = 1 }, { upstream = "up", weight = 2 }]
[routes.nothing]
path = "/d"
split = [{ upstream = "up", weight = 0 }]
[routes.empty]
path = "/e"
split = []
[routes.form]
path = "/f"
split = { up = 95 }
[routes.both]
path = "/g"
upstream = "up"
split = [{ upstream = "up", weight = 1 }]
[routes.every]
path = "/h"
upstream = "up"
split = [{ upstream = "up", weight = 1 }]
respond = {}
"#
    ));
}

#[test]
fn split_of_the_defaults() {
    insta::assert_snapshot!(errors(
        r#"[defaults]
split = [{ upstream = "other", weight = 1 }, { upstream = "up", weight = 1 }]
upstream = "up"
[routes.mock]
path = "/a"
respond = {}
"#
    ));
}

#[test]
fn upstream_policies() {
    insta::assert_snapshot!(errors(
        r#"[upstreams.values]
endpoints = ["http://a"]
balance = "least-requests"
slow_start = 10
health = { path = "healthz", interval = "10ms", healthy = 0, unhealthy = 2000, panic_percent = "50%" }
outlier = { consecutive_failures = 0, ejection = "0s", max_ejected_percent = 101 }
concurrency = "adaptiv"
[upstreams.near]
endpoints = ["http://a"]
balance = "header:x-player-id"
health = { interval = "2s" }
outlier = "on"
concurrency = 0
[upstreams.header]
endpoints = ["http://a"]
balance = "hash:header:"
health = { path = "http://a/healthz", timeout = "1s" }
concurrency = "50"
[upstreams.number]
endpoints = ["http://a"]
balance = 1
health = {}
concurrency = true
"#
    ));
}

#[test]
fn srv_endpoints() {
    insta::assert_snapshot!(errors(
        r#"[upstreams.port]
endpoints = ["http+srv://_stats._tcp.internal:80"]
[upstreams.path]
endpoints = ["http+srv://_stats._tcp.internal/stats"]
[upstreams.address]
endpoints = ["http+srv://127.0.0.1", "http+srv://[::1]"]
[upstreams.twice]
endpoints = ["http+srv://_a._tcp.b", "http+srv://_a._tcp.b", "http://_a._tcp.b"]
[upstreams.scheme]
endpoints = ["srv://_a._tcp.b"]
"#
    ));
}

#[test]
fn more_endpoints_than_can_be_chosen_are_an_error() {
    let endpoints = |number: usize| {
        let all: Vec<String> = (0..number).map(|n| format!("\"http://e{n}\"")).collect();
        format!("[upstreams.many]\nendpoints = [{}]\n", all.join(", "))
    };
    assert_eq!(
        read(&endpoints(1024)).unwrap().upstreams["many"]
            .endpoints
            .len(),
        1024
    );
    let said = read(&endpoints(1025)).unwrap_err();
    assert_eq!(said.len(), 1);
    assert_eq!(
        said[0].message,
        "expected at most 1024 endpoints, found 1025"
    );
}

/// What is warned of in a `seawall.toml` that begins with `UP` and has no errors.
fn warnings(text: &str) -> String {
    let text = format!("{UP}{text}");
    let files = [SourceFile::new("config/seawall.toml", &text)];
    render(&load(&files, &|_| None).expect("only warnings").warnings)
}

#[test]
fn warnings_say_which_limits_do_not_do_what_they_seem_to() {
    insta::assert_snapshot!(warnings(
        r#"[routes.never]
path = "/a"
upstream = "up"
retry = { on = ["timeout"] }
[routes.as_long]
path = "/b"
upstream = "up"
timeout = "2s"
attempt_timeout = "2s"
retry = { on = ["reset", "timeout"] }
[routes.mock]
path = "/c"
respond = {}
retry = {}
breaker = {}
retry_budget = { percent = 5 }
[routes.hollow]
path = "/d"
upstream = "up"
auto_kill = { above = "2000/s", mode = "drop" }
"#
    ));
}

#[test]
fn what_does_what_it_says_is_not_warned_of() {
    let text = r#"[defaults]
retry = { on = ["timeout"] }
breaker = {}
auto_kill = { above = "2000/s", mode = "reject" }
rate_limit = { rate = "5/s" }
[routes.short]
path = "/a"
upstream = "up"
attempt_timeout = "1s"
[routes.once]
path = "/b"
upstream = "up"
retry = { attempts = 1 }
[routes.mock]
path = "/c"
respond = {}
breaker = "off"
"#;
    assert_eq!(warnings(text), "");
}

#[test]
fn rate_limits_that_take_much_memory_together_are_warned_of() {
    let text = |number: usize, limit: &str| {
        let mut text = format!("[defaults]\nupstream = \"up\"\nrate_limit = {limit}\n");
        for route in 0..number {
            text += &format!("[routes.r{route}]\npath = \"/r{route}\"\n");
        }
        text
    };
    let keyed = "{ rate = \"5/s\", max_keys = 4000000 }";
    assert_eq!(warnings(&text(4, keyed)), "");
    let said = warnings(&text(5, keyed));
    let expected = "the rate limits of 5 routes take up to 305MiB of memory together";
    assert!(said.contains(expected), "{said}");
    assert_eq!(
        warnings(&text(5, "{ rate = \"5/s\", key = \"route\" }")),
        ""
    );
}
