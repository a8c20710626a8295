//! `client_retry_budget`: requests that clients send again are held to a share of the others.

mod repeated_support;
mod support;

use repeated_support::*;
use support::*;

/// A budget that is nothing but its reserve: one a second of the ten seconds of its window.
const NONE: &str = "client_retry_budget = { percent = 0 }\nkill_switch = { mode = \"reject\" }";
const RESERVE: usize = 10;

#[test]
fn the_access_log_tells_whether_a_switch_or_the_budget_took_a_request() {
    let upstream = Upstream::echo();
    let files = tempfile::tempdir().expect("a directory");
    let log = files.path().join("access");
    let config = route(&upstream, NONE).telemetry("access_log", &format!("{log:?}"));
    let gateway = Gateway::start(&config);
    let client = &mut gateway.connect();
    let last = (0..40)
        .map(|_| send(client, "/x", (1, "y")))
        .last()
        .expect("one");
    assert_refusal(&last, 503, "killed");
    let sources = || -> Vec<String> {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        // The last line may still be on its way.
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let sources = lines
            .filter_map(|line: serde_json::Value| line["kill.source"].as_str().map(str::to_owned));
        sources.collect()
    };
    wait_for("a line", || !sources().is_empty());
    assert!(sources().iter().all(|source| source == "client-retries"));
    gateway.write_switches("[kill]\na = \"drop\"\n");
    wait_for("a line of the switch", || {
        gateway.get("/z");
        sources().last().is_some_and(|source| source == "a")
    });
}

#[test]
fn a_body_that_comes_later_is_waited_for_and_a_long_one_is_not() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&route(&upstream, NONE));
    let slowly = || {
        let mut client = gateway.connect();
        client.send("POST /x HTTP/1.1\r\nhost: t\r\ncontent-length: 8\r\n\r\nfirst");
        let before = upstream.heads();
        client.send("two");
        let response = client.read();
        assert_eq!(response.text(), "firsttwo");
        assert_eq!(upstream.heads(), before + 1);
    };
    slowly();
    slowly();
    assert_eq!(counted(&gateway), 1.0);
    let long = "x".repeat(17 * 1024);
    for _ in 0..2 {
        let response = send(&mut gateway.connect(), "/long", (1, &long));
        assert_eq!(response.text().len(), long.len());
    }
    assert_eq!(counted(&gateway), 1.0);
}

#[test]
fn a_body_without_its_length_is_counted_but_not_held_back() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&route(&upstream, NONE));
    let chunked =
        "POST /c HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    let client = &mut gateway.connect();
    for _ in 0..3 * RESERVE {
        let response = client.ask(chunked);
        assert_passed(&response);
        assert_eq!(response.text(), "ab");
    }
    assert_eq!(counted(&gateway), (3 * RESERVE - 1) as f64);
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&route(&upstream, NONE));
    for _ in 0..2 {
        let mut client = gateway.connect();
        client.send(
            "POST /x HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n",
        );
        assert_eq!(client.read().status, 100);
        client.send("ab");
        assert_eq!(client.read().text(), "ab");
    }
    assert_eq!(counted(&gateway), 1.0);
}

#[test]
fn a_retry_storm_is_held_to_its_budget_while_first_requests_pass() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&route(&upstream, NONE));
    let client = &mut gateway.connect();
    assert_passed(&send(client, "/stats", (7, "kills=3")));
    let start = now();
    let storm: Vec<Response> = (0..100)
        .map(|_| send(client, "/stats", (7, "kills=3")))
        .collect();
    let passed = storm
        .iter()
        .filter(|response| response.is_from_upstream())
        .count();
    // The window may move on by as many seconds as the storm took.
    let most = RESERVE + usize::try_from(start.elapsed().as_secs()).unwrap_or(0) + 1;
    assert!((RESERVE..=most).contains(&passed), "{passed}");
    let refused: Vec<&Response> = storm.iter().filter(|r| !r.is_from_upstream()).collect();
    for response in &refused {
        assert_refusal(response, 503, "killed");
        assert!(response.header("retry-after").is_some());
    }
    for player in 0..50 {
        assert_passed(&send(client, "/stats", (8, &format!("kills={player}"))));
    }
    assert_eq!(counted(&gateway), 100.0);
    let killed = [("route", "a"), ("mode", "reject"), ("outcome", "rejected")];
    let refused = refused.len() as f64;
    gateway.wait_metric("seawall_killed_requests_total", &killed, refused);
    // No switch is thrown for that.
    assert_eq!(
        gateway.metric("seawall_kill_switch_active", &[("route", "a")]),
        0.0
    );
}

#[test]
fn the_budget_grows_with_the_first_requests_and_outlives_a_reload() {
    let upstream = Upstream::echo();
    let keys = NONE.replace("percent = 0", "percent = 50");
    let config = route(&upstream, &keys);
    let gateway = Gateway::start(&config);
    let client = &mut gateway.connect();
    for player in 0..20 {
        assert_passed(&send(client, "/stats", (1, &format!("{player}"))));
    }
    let start = now();
    let again = |client: &mut Client| send(client, "/stats", (1, "0")).is_from_upstream();
    let passed = (0..60).filter(|_| again(client)).count();
    let moved = usize::try_from(start.elapsed().as_secs()).unwrap_or(0) + 1;
    assert!(
        (10 + RESERVE..=10 + RESERVE + moved).contains(&passed),
        "{passed}"
    );
    let limits = config.clone().respond("b", "/b", "b");
    gateway.write_structure(&limits);
    wait_for("the reload", || gateway.get("/b").text() == "b");
    let start = now();
    let passed = (0..20).filter(|_| again(client)).count();
    // Unless the window has passed meanwhile, nothing is left of the budget.
    let moved = usize::try_from(start.elapsed().as_secs()).unwrap_or(0) + 12;
    assert!(passed <= moved.min(19), "{passed}");
}

#[test]
fn what_is_beyond_the_budget_is_answered_as_the_switch_of_the_route_would() {
    let upstream = Upstream::echo();
    let switch = "kill_switch = { mode = \"drop\", status = 202, body = \"ok\", content_type = \"text/plain\" }";
    let keys = format!("client_retry_budget = {{ percent = 0 }}\n{switch}");
    let gateway = Gateway::start(&route(&upstream, &keys));
    let client = &mut gateway.connect();
    let last = (0..60)
        .map(|_| send(client, "/x", (1, "y")))
        .last()
        .expect("one");
    assert_eq!((last.status, last.text()), (202, "ok".to_owned()));
    assert!(!last.is_from_upstream());
    let labels = [("route", "a"), ("mode", "drop"), ("outcome", "dropped")];
    wait_for("it to be counted", || {
        gateway.metric("seawall_killed_requests_total", &labels) >= 30.0
    });
}

#[test]
fn records_of_repeated_requests_name_client_retries_as_their_source() {
    let upstream = Upstream::echo();
    let shelf = Shelf::new();
    let keys = "client_retry_budget = { percent = 0 }\nkill_switch = { mode = \"archive\" }";
    let gateway = Gateway::start(&shelf.used_by(route(&upstream, keys)));
    let client = &mut gateway.connect();
    let last = (0..40)
        .map(|_| send(client, "/x", (1, "save me")))
        .last()
        .expect("one");
    assert_eq!(last.status, 200);
    let records = shelf.records();
    assert!(!records.is_empty());
    for record in &records {
        assert_eq!(&*record.kill.source, "client-retries");
        assert_eq!(
            record.kill.reason.as_deref(),
            Some("client retries beyond 0 %")
        );
        assert_eq!(record.body(), b"save me");
    }
    let labels = [("route", "a"), ("outcome", "archived")];
    gateway.wait_metric(
        "seawall_killed_requests_total",
        &labels,
        records.len() as f64,
    );
}

#[test]
fn a_switch_thrown_while_the_body_comes_takes_the_request() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&route(&upstream, NONE));
    let mut client = gateway.connect();
    client.send("POST /x HTTP/1.1\r\nhost: t\r\ncontent-length: 2\r\n\r\na");
    wait_for("the request to be in flight", || {
        gateway.metric("seawall_requests_in_flight", &[("route", "a")]) == 1.0
    });
    gateway.write_switches("[kill]\na = \"drop\"\n");
    wait_for("the switch", || {
        gateway.status()["switches"][0]["state"] == "thrown"
    });
    client.send("b");
    assert_killed(&client.read());
    assert_eq!(upstream.heads(), 0);
}

#[test]
fn a_budget_needs_a_mode_for_what_is_beyond_it() {
    let upstream = Upstream::echo();
    let config = route(&upstream, "client_retry_budget = { percent = 20 }");
    let directory = tempfile::tempdir().expect("a directory");
    config.write(directory.path());
    let path = directory.path().to_str().expect("a path");
    let checked = run_to_exit(&["--config", path, "check"]);
    assert_eq!(checked.code, Some(1));
    assert!(checked.output.contains("has no mode"), "{}", checked.output);
}
