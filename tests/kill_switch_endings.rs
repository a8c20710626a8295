//! How switches begin, narrow and end: by edit, by the clock, by a plan; and what is told of it.
//!
//! What depends on time is compared with the clock around each sample, never with a fixed wait.

mod support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::*;

/// Wall-clock time. Tests measure from outside, so they read the real clock.
#[allow(clippy::disallowed_methods)]
fn unix() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
}

/// As `until` is written, to the millisecond.
fn rfc3339(at: Duration) -> String {
    let ms = i64::try_from(at.as_millis()).expect("a time");
    let time = jiff::Timestamp::from_millisecond(ms).expect("a time");
    format!("{time:.3}")
}

fn parsed(time: &Value) -> Duration {
    let time: jiff::Timestamp = time.as_str().expect("a time").parse().expect("a time");
    Duration::from_millis(u64::try_from(time.as_millisecond()).expect("after 1970"))
}

/// Whole milliseconds, as a file can say them.
fn soon(ms: u64) -> Duration {
    let at = unix() + Duration::from_millis(ms);
    Duration::from_millis(u64::try_from(at.as_millis()).expect("a time"))
}

/// One route `a` whose traffic takes this long to come back.
fn one(upstream: &Upstream, kill_switch: &str) -> Config {
    let keys = format!("path = \"/a\"\nupstream = \"u\"\nkill_switch = {kill_switch}");
    Config::new().upstream("u", upstream).route("a", &keys)
}

fn share(gateway: &Gateway) -> f64 {
    let labels = [("route", "a"), ("mode", "drop")];
    gateway.metric("seawall_kill_switch_active", &labels)
}

fn elements(gateway: &Gateway) -> Vec<Value> {
    let status = gateway.status();
    status["switches"].as_array().expect("a list").clone()
}

/// The only element of `switches`.
fn element(gateway: &Gateway) -> Value {
    let all = elements(gateway);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

fn wait_killed(gateway: &Gateway) {
    wait_for("a to be killed", || !gateway.get("/a").is_from_upstream());
}

/// Whether a share that began to fall from `full` at `since` is what it must be at some moment
/// between these two. Times are told in milliseconds.
fn is_linear(share: f64, full: f64, since: Duration, restore: Duration, between: [Duration; 2]) {
    let left = |at: Duration| {
        let ago = at.saturating_sub(since).as_secs_f64();
        full * (1.0 - ago / restore.as_secs_f64()).max(0.0)
    };
    let slack = 0.003 / restore.as_secs_f64();
    let (most, least) = (left(between[0]) + slack, left(between[1]) - slack);
    assert!(
        (least..=most).contains(&share),
        "{share} in {least}..{most}"
    );
}

/// Samples the metric and the status until traffic is back; gives how many samples lay between.
fn follow(gateway: &Gateway, full: f64, since: Duration, restore: Duration) -> usize {
    let mut between_ends = 0;
    loop {
        let before = unix();
        let share = share(gateway);
        let after = unix();
        is_linear(share, full, since, restore, [before, after]);
        if share == 0.0 {
            return between_ends;
        }
        if share < full {
            between_ends += 1;
        }
        let before = unix();
        let told = elements(gateway);
        let after = unix();
        for element in told
            .iter()
            .filter(|element| element["state"] == "restoring")
        {
            let share = element["share"].as_f64().expect("a share");
            is_linear(share, full, since, restore, [before, after]);
            assert_eq!(parsed(&element["ends"]), since + restore);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_switch_ends_at_its_time_while_requests_run() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&one(&upstream, "{ restore = \"0s\" }"));
    let until = soon(1500);
    gateway.write_switches(format!(
        "[kill]\na = {{ mode = \"drop\", until = {}, reason = \"INC-1\", owner = \"amy\" }}\n",
        rfc3339(until)
    ));
    wait_killed(&gateway);
    let expires = "seawall_kill_switch_expires_timestamp_seconds";
    if unix() < until {
        let told = gateway.metric(expires, &[("route", "a")]);
        assert!(told == until.as_secs_f64() || unix() >= until, "{told}");
    }
    let mut client = gateway.connect();
    let (mut killed, mut passed) = (0, 0);
    while passed < 20 {
        let before = unix();
        let from_upstream = client.ask(get("/a")).is_from_upstream();
        let after = unix();
        assert!(from_upstream || before < until, "killed after its end");
        assert!(!from_upstream || after >= until, "passed before its end");
        killed += usize::from(!from_upstream);
        passed += usize::from(from_upstream);
    }
    assert!(killed > 0);
    gateway.wait_metric(expires, &[("route", "a")], 0.0);
    assert_eq!(share(&gateway), 0.0);
    let entry = element(&gateway);
    assert_eq!(entry["state"], "expired", "{entry}");
    assert_eq!(entry["share"], 0.0);
    assert_eq!(parsed(&entry["expires"]), until);
    wait_for("the line of the expiry", || {
        !gateway.events("kill switch expired").is_empty()
    });
    let line = &gateway.events("kill switch expired")[0];
    for (field, value) in [
        ("key", "a"),
        ("routes", "a"),
        ("from", "drop"),
        ("to", "off"),
        ("mode", "drop"),
        ("reason", "INC-1"),
        ("owner", "amy"),
        ("source", "file"),
    ] {
        assert_eq!(line[field], value, "{field} of {line}");
    }
    assert_eq!(line["percent"], 100);
    assert_eq!(line["digest"].as_str().map(str::len), Some(16));
    // Without a slow return there is no end of one.
    assert!(gateway.events("kill switch restored").is_empty());
}

#[test]
fn traffic_comes_back_linearly_after_an_edit() {
    let upstream = Upstream::echo();
    let config = one(&upstream, "{ restore = \"2s\", sticky = \"request\" }");
    let switches = "[kill]\na = { mode = \"drop\", percent = 80 }\n";
    let gateway = Gateway::start(&config.switches(switches));
    gateway.write_switches("[kill]\n");
    wait_for("the return to begin", || {
        elements(&gateway)
            .iter()
            .any(|element| element["state"] == "restoring")
    });
    let entry = element(&gateway);
    assert_eq!(entry["percent"], 80.0);
    let since = parsed(&entry["since"]);
    let sampled = follow(&gateway, 0.8, since, Duration::from_secs(2));
    assert!(sampled > 1);
    wait_for("the end to be told", || {
        !gateway.events("kill switch restored").is_empty()
    });
    let line = &gateway.events("kill switch restored")[0];
    assert_eq!((&line["key"], &line["from"]), (&"a".into(), &"drop".into()));
    assert_eq!(line["percent"], 80);
    assert!(elements(&gateway).is_empty());
    assert!(gateway.get("/a").is_from_upstream());
}

#[test]
fn traffic_comes_back_linearly_after_an_expiry() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&one(&upstream, "{ restore = \"1500ms\" }"));
    let until = soon(700);
    gateway.write_switches(format!(
        "[kill]\na = {{ mode = \"drop\", until = {} }}\n",
        rfc3339(until)
    ));
    wait_killed(&gateway);
    follow(&gateway, 1.0, until, Duration::from_millis(1500));
    for message in ["kill switch expired", "kill switch restored"] {
        wait_for(message, || !gateway.events(message).is_empty());
        assert_eq!(gateway.events(message).len(), 1, "{message}");
    }
    assert_eq!(element(&gateway)["state"], "expired");
}

#[test]
fn off_lets_traffic_come_back_slowly_too_and_at_once_without_a_return() {
    let upstream = Upstream::echo();
    let slow = one(&upstream, "{ restore = \"2s\" }").switches("[kill]\na = \"drop\"\n");
    let gateway = Gateway::start(&slow);
    gateway.write_switches("[kill]\na = \"off\"\n");
    wait_for("both elements", || elements(&gateway).len() == 2);
    let both = elements(&gateway);
    assert_eq!(
        (&both[0]["state"], &both[0]["mode"]),
        (&"off".into(), &"off".into())
    );
    let since = parsed(&both[1]["since"]);
    follow(&gateway, 1.0, since, Duration::from_secs(2));
    drop(gateway);
    let fast = one(&upstream, "{ restore = \"0s\" }").switches("[kill]\na = \"drop\"\n");
    let gateway = Gateway::start(&fast);
    gateway.write_switches("[kill]\na = \"off\"\n");
    wait_for("a to pass", || gateway.get("/a").is_from_upstream());
    assert_eq!(share(&gateway), 0.0);
    assert_eq!(element(&gateway)["state"], "off");
}

fn killed_clients(client: &mut Client) -> Vec<usize> {
    let killed = |n: &usize| {
        let request = format!("GET /a HTTP/1.1\r\nhost: t\r\nx-player: p{n}\r\n\r\n");
        !client.ask(request).is_from_upstream()
    };
    (0..200).filter(killed).collect()
}

#[test]
fn a_larger_share_adds_clients_at_once_and_a_smaller_one_waits_a_second() {
    let upstream = Upstream::echo();
    let config = one(
        &upstream,
        "{ restore = \"30s\", sticky = \"header:x-player\" }",
    );
    let switches =
        |percent: u32| format!("[kill]\na = {{ mode = \"drop\", percent = {percent} }}\n");
    let gateway = Gateway::start(&config.switches(&switches(20)));
    let mut client = gateway.connect();
    let few = killed_clients(&mut client);
    assert!((15..=70).contains(&few.len()), "{}", few.len());
    gateway.write_switches(switches(60));
    wait_for("the larger share", || share(&gateway) == 0.6);
    let many = killed_clients(&mut client);
    assert!(few.iter().all(|client| many.contains(client)));
    assert!(many.len() > few.len());
    let start = now();
    gateway.write_switches(switches(20));
    wait_for("the smaller share", || share(&gateway) == 0.2);
    assert!(start.elapsed() >= Duration::from_millis(990));
    // With another share it is the same switch: nobody comes back slowly.
    assert_eq!(killed_clients(&mut client), few);
    assert_eq!(elements(&gateway).len(), 1);
}

#[test]
fn what_waits_is_told_with_the_time_it_takes() {
    let upstream = Upstream::echo();
    let config = one(&upstream, "{ restore = \"0s\" }").switches("[kill]\na = \"drop\"\n");
    let gateway = Gateway::start(&config);
    let digest = |status: &Value| status["switches_file"]["digest"].clone();
    let first = digest(&gateway.status());
    assert_eq!(first.as_str().map(str::len), Some(16));
    let text = "[kill]\na = { mode = \"drop\", percent = 10 }\n";
    gateway.write_switches(text);
    let mut status = Value::Null;
    wait_for("the file to be read", || {
        status = gateway.status();
        digest(&status) != first
    });
    let file = &status["switches_file"];
    let expected = seawall::config::SourceFile::new("switches.toml", text).digest;
    assert_eq!(file["digest"], format!("{expected:016x}"));
    let path = gateway.directory().join("switches.toml");
    assert_eq!(file["path"], path.display().to_string());
    // Unless the machine stood still for the second that it waits.
    if file["held"] != serde_json::json!([]) {
        assert_eq!(file["held"], serde_json::json!(["a"]));
        let left = file["settles_in_ms"].as_u64().expect("a time");
        assert!(left <= 1000, "{left}");
        assert_eq!(status["switches"][0]["held"], true);
        assert_eq!(status["switches"][0]["percent"], 100.0);
    }
    wait_for("it to hold", || element(&gateway)["percent"] == 10.0);
    let status = gateway.status();
    assert_eq!(status["switches_file"]["held"], serde_json::json!([]));
    assert_eq!(status["switches_file"]["settles_in_ms"], Value::Null);
}

#[test]
fn a_dry_run_counts_and_takes_nothing() {
    let upstream = Upstream::echo();
    let switches =
        "[kill]\na = { mode = \"reject\", dry_run = true, when = { query = { q = \"1\" } } }\n";
    let config = one(&upstream, "{ restore = \"0s\" }").switches(switches);
    let gateway = Gateway::start(&config);
    for _ in 0..3 {
        assert_passed(&gateway.get("/a?q=1"));
        assert_passed(&gateway.get("/a?q=2"));
    }
    let rehearsed = "seawall_kill_dry_run_total";
    gateway.wait_metric(rehearsed, &[("route", "a"), ("mode", "reject")], 3.0);
    assert_eq!(gateway.metric(rehearsed, &[]), 3.0);
    assert_eq!(gateway.metric("seawall_kill_switch_active", &[]), 0.0);
    let entry = element(&gateway);
    assert_eq!(
        (&entry["state"], &entry["mode"]),
        (&"dry_run".into(), &"reject".into())
    );
    assert_eq!(
        (&entry["share"], &entry["percent"]),
        (&0.0.into(), &100.0.into())
    );
    let lines = gateway.events("kill switch changed");
    assert_eq!(
        (&lines[0]["to"], &lines[0]["mode"]),
        (&"dry_run".into(), &"reject".into())
    );
}

/// Routes a, b and c, and a plan over the first two.
fn planned(upstream: &Upstream, plan: &str) -> String {
    let mut config = Config::new().upstream("u", upstream);
    for name in ["a", "b", "c"] {
        config = config.route(name, &format!("path = \"/{name}\"\nupstream = \"u\""));
    }
    format!("{}\n{plan}", config.structure())
}

const PLAN: &str =
    "[plans.night]\nkill = { a = \"drop\", b = { mode = \"reject\", percent = 100 } }\n";

fn killed(gateway: &Gateway) -> [bool; 3] {
    ["/a", "/b", "/c"].map(|target| !gateway.get(target).is_from_upstream())
}

fn start_planned(upstream: &Upstream, switches: &str) -> Gateway {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_owned();
    std::fs::write(path.join("seawall.toml"), planned(upstream, PLAN)).expect("written");
    std::fs::write(path.join("switches.toml"), switches).expect("written");
    Gateway::start_in(directory, path, &[])
}

#[test]
fn a_plan_throws_all_its_switches_and_each_is_told() {
    let upstream = Upstream::echo();
    let gateway = start_planned(&upstream, "[kill]\n\"plan:night\" = \"off\"\n");
    assert_eq!(killed(&gateway), [false; 3]);
    let entry = element(&gateway);
    assert_eq!(
        (&entry["state"], &entry["mode"]),
        (&"off".into(), &"off".into())
    );
    gateway.write_switches("[kill]\n\"plan:night\" = { mode = \"on\", reason = \"launch\" }\n");
    wait_for("the plan", || killed(&gateway) == [true, true, false]);
    let told: Vec<[Value; 6]> = elements(&gateway)
        .iter()
        .map(|told| ["key", "plan", "mode", "state", "source", "routes"].map(|f| told[f].clone()))
        .collect();
    let expected = serde_json::json!([
        ["plan:night", null, "on", "thrown", "file", ["a", "b"]],
        ["a", "night", "drop", "thrown", "plan", ["a"]],
        ["b", "night", "reject", "thrown", "plan", ["b"]],
    ]);
    assert_eq!(serde_json::json!(told), expected);
    wait_for("the lines", || {
        gateway.events("kill switch changed").len() >= 4
    });
    let lines: Vec<[Value; 6]> = gateway.events("kill switch changed")[1..]
        .iter()
        .map(|line| ["key", "plan", "from", "to", "source", "reason"].map(|f| line[f].clone()))
        .collect();
    let expected = serde_json::json!([
        ["plan:night", null, "off", "on", "file", "launch"],
        ["a", "night", "off", "drop", "plan", "launch"],
        ["b", "night", "off", "reject", "plan", "launch"],
    ]);
    assert_eq!(serde_json::json!(lines), expected);
    gateway.write_switches("[kill]\n\"plan:night\" = \"off\"\n");
    wait_for("the end of the plan", || killed(&gateway) == [false; 3]);
}

#[test]
fn a_plan_that_is_gone_from_the_structure_keeps_killing() {
    let upstream = Upstream::echo();
    let gateway = start_planned(&upstream, "[kill]\n\"plan:night\" = \"on\"\n");
    assert_eq!(killed(&gateway), [true, true, false]);
    gateway.write_file("seawall.toml", planned(&upstream, ""));
    wait_for("the entry in error", || {
        gateway.metric("seawall_switch_errors", &[]) == 1.0
    });
    holds_for(Duration::from_millis(1500), "the plan kills", || {
        killed(&gateway) == [true, true, false]
    });
    assert_eq!(
        gateway.status()["switches_file"]["held"],
        serde_json::json!(["plan:night"])
    );
    gateway.write_file("seawall.toml", planned(&upstream, PLAN));
    gateway.wait_metric("seawall_switch_errors", &[], 0.0);
    assert_eq!(killed(&gateway), [true, true, false]);
}

#[test]
fn a_structure_that_lets_something_through_waits_a_second() {
    let upstream = Upstream::echo();
    let gateway = start_planned(&upstream, "[kill]\n\"plan:night\" = \"on\"\n");
    // A plan cut short is well-formed.
    let start = now();
    gateway.write_file(
        "seawall.toml",
        planned(&upstream, "[plans.night]\nkill = { a = \"drop\" }\n"),
    );
    wait_for("b to pass", || !killed(&gateway)[1]);
    assert!(start.elapsed() >= Duration::from_millis(990));
    assert_eq!(killed(&gateway), [true, false, false]);
    // One that kills more holds at once: also the switch of a tier that a route comes to.
    gateway.write_switches("[kill]\n\"plan:night\" = \"on\"\n\"tier:sheddable\" = \"drop\"\n");
    let moved = |tier: &str| {
        planned(&upstream, PLAN).replace("[routes.c]", &format!("[routes.c]\ntier = \"{tier}\""))
    };
    gateway.write_file("seawall.toml", moved("sheddable"));
    wait_for("all to be killed", || killed(&gateway) == [true; 3]);
    let start = now();
    gateway.write_file("seawall.toml", moved("standard"));
    wait_for("c to pass", || !killed(&gateway)[2]);
    assert!(start.elapsed() >= Duration::from_millis(990));
}

#[test]
fn a_structure_that_takes_killed_requests_elsewhere_waits_a_second() {
    let upstream = Upstream::echo();
    let gateway = start_planned(&upstream, "[kill]\na = \"drop\"\n");
    let start = now();
    // The route c now takes what a took.
    let swapped = planned(&upstream, PLAN)
        .replace("path = \"/a\"", "path = \"/x\"")
        .replace("path = \"/c\"", "path = \"/a\"");
    gateway.write_file("seawall.toml", swapped);
    wait_for("requests to pass", || !killed(&gateway)[0]);
    assert!(start.elapsed() >= Duration::from_millis(990));
}

#[test]
fn the_status_says_everything_of_a_switch() {
    let upstream = Upstream::echo();
    let switches = "[kill]\na = [\n  { mode = \"reject\", when = { headers = { x-v = { prefix = \"1.\" } } } },\n  \
        { mode = \"drop\", percent = 12.5, until = 2036-11-06T09:00:00Z, reason = \"INC-42\", owner = \"amy\" },\n]\n";
    let gateway = Gateway::start(&one(&upstream, "{ restore = \"0s\" }").switches(switches));
    let all = elements(&gateway);
    let fields = [
        "key", "index", "plan", "state", "mode", "percent", "share", "when", "routes", "source",
        "reason", "owner", "expires", "ends", "held",
    ];
    let told: Vec<Vec<Value>> = all
        .iter()
        .map(|entry| fields.iter().map(|field| entry[field].clone()).collect())
        .collect();
    let expected = serde_json::json!([
        [
            "a",
            0,
            null,
            "thrown",
            "reject",
            100.0,
            1.0,
            "header x-v prefix \"1.\"",
            ["a"],
            "file",
            null,
            null,
            null,
            null,
            false
        ],
        [
            "a",
            1,
            null,
            "thrown",
            "drop",
            12.5,
            0.125,
            null,
            ["a"],
            "file",
            "INC-42",
            "amy",
            "2036-11-06T09:00:00.000Z",
            null,
            false
        ],
    ]);
    assert_eq!(serde_json::json!(told), expected);
    assert!(parsed(&all[0]["since"]) <= unix());
    let kill = gateway.admin("/api/v1/routes").json()[0]["kill"].clone();
    assert_eq!(
        (&kill["mode"], &kill["share"]),
        (&"reject".into(), &1.0.into())
    );
    assert_eq!(kill["when"], "header x-v prefix \"1.\"");
    let lines = gateway.events("kill switch changed");
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["when"], "header x-v prefix \"1.\"");
    assert_eq!(
        (&lines[1]["percent"], &lines[1]["when"]),
        (&12.5.into(), &Value::Null)
    );
}
