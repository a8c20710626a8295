//! `auto_kill`: a route that is asked for too much for too long is killed for a while, and let go.

mod support;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde_json::{Value, json};
use support::*;

fn route(upstream: &Upstream, keys: &str) -> Config {
    let keys = format!("path = \"/a\"\nupstream = \"u\"\n{keys}");
    Config::new().upstream("u", upstream).route("a", &keys)
}

/// Above 100 a second for a second.
const SOON: &str =
    "auto_kill = { above = \"100/s\", for = \"1s\", mode = \"drop\", hold = \"2s\" }";
const LONG: &str =
    "auto_kill = { above = \"100/s\", for = \"1s\", mode = \"drop\", hold = \"10m\" }";

/// Requests to `/a` from so many clients, each with such pauses, while `meanwhile` runs.
fn storm<T>(
    gateway: &Gateway,
    (clients, pause): (usize, Duration),
    meanwhile: impl FnOnce() -> T,
) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut client = gateway.connect();
                while !over.load(Relaxed) {
                    client.ask(get("/a"));
                    std::thread::sleep(pause);
                }
            });
        }
        let _ends = StopAtEnd(&over);
        meanwhile()
    })
}

/// Far above the rate, on a busy machine too, and still bounded.
const FAST: (usize, Duration) = (4, Duration::from_millis(1));
/// At most fifty a second.
const SLOW: (usize, Duration) = (1, Duration::from_millis(20));

fn element(gateway: &Gateway) -> Value {
    let status = gateway.status();
    let all = status["switches"].as_array().expect("a list");
    let found = all.iter().find(|element| element["source"] == "auto");
    found.cloned().unwrap_or(Value::Null)
}

fn wait_thrown(gateway: &Gateway) {
    wait_for("the automatic kill", || {
        element(gateway)["state"] == "thrown"
    });
}

fn changes(gateway: &Gateway) -> Vec<String> {
    let lines = gateway.events("kill switch changed").into_iter();
    let automatic = lines.filter(|line| line["source"] == "auto");
    let words = automatic.map(|line| {
        assert_eq!((&line["key"], &line["routes"]), (&json!("a"), &json!("a")));
        let text = |key: &str| line[key].as_str().expect("a text").to_owned();
        format!("{} {}", text("from"), text("to"))
    });
    words.collect()
}

#[test]
fn a_storm_is_killed_within_seconds_and_told_everywhere() {
    let upstream = Upstream::saying("up");
    let gateway = Gateway::start(&route(&upstream, LONG));
    let text = std::fs::read(gateway.directory().join("switches.toml")).expect("a file");
    storm(&gateway, FAST, || wait_thrown(&gateway));
    assert_killed(&gateway.get("/a"));
    let element = element(&gateway);
    assert_eq!(element["key"], "a");
    assert_eq!(element["routes"], json!(["a"]));
    assert_eq!(
        (&element["mode"], &element["share"]),
        (&json!("drop"), &json!(1.0))
    );
    assert_eq!(element["reason"], "more than 100/s for 1s");
    assert_eq!(element["held"], false);
    assert!(element["expires"].is_string(), "{element}");
    assert_eq!(changes(&gateway), ["off drop"]);
    let active = [("route", "a"), ("mode", "drop")];
    let metrics = gateway.metrics();
    assert_eq!(metrics.one("seawall_kill_switch_active", &active), 1.0);
    let expires = metrics.one(
        "seawall_kill_switch_expires_timestamp_seconds",
        &[("route", "a")],
    );
    assert!(expires > 1.7e9, "{expires}");
    assert!(metrics.sum("seawall_killed_requests_total", &active) >= 1.0);
    let routes: Value = gateway.admin("/api/v1/routes").json();
    let routes = routes.as_array().or_else(|| routes["routes"].as_array());
    assert_eq!(routes.expect("a list")[0]["kill"]["automatic"], true);
    let after = std::fs::read(gateway.directory().join("switches.toml")).expect("a file");
    assert_eq!(text, after, "it is never written to a file");
}

#[test]
fn what_stays_below_the_rate_is_left_alone() {
    let upstream = Upstream::saying("up");
    let gateway = Gateway::start(&route(&upstream, LONG));
    storm(&gateway, SLOW, || {
        let seen = upstream.heads();
        wait_for("some seconds of traffic", || upstream.heads() > seen + 100);
    });
    assert_eq!(element(&gateway), Value::Null);
    assert_passed(&gateway.get("/a"));
    assert_eq!(changes(&gateway), [""; 0]);
}

#[test]
fn when_the_hold_ends_traffic_comes_back_slowly() {
    let upstream = Upstream::saying("up");
    let keys = format!("{SOON}\nkill_switch = {{ restore = \"2s\" }}");
    let gateway = Gateway::start(&route(&upstream, &keys));
    storm(&gateway, FAST, || wait_thrown(&gateway));
    wait_for("it to let go", || element(&gateway)["state"] == "restoring");
    let share = || {
        let labels = [("route", "a"), ("mode", "drop")];
        gateway.metric("seawall_kill_switch_active", &labels)
    };
    wait_for("some of the traffic to be back", || {
        (0.01..0.99).contains(&share())
    });
    wait_for("all of the traffic to be back", || {
        element(&gateway) == Value::Null
    });
    assert_passed(&gateway.get("/a"));
    assert_eq!(share(), 0.0);
    for message in ["kill switch expired", "kill switch restored"] {
        wait_for(message, || {
            let lines = gateway.events(message);
            lines
                .iter()
                .any(|line| line["source"] == "auto" && line["key"] == "a")
        });
    }
}

#[test]
fn a_hold_that_ends_in_the_storm_is_renewed_and_lets_nothing_through() {
    let upstream = Upstream::saying("up");
    let gateway = Gateway::start(&route(&upstream, SOON));
    storm(&gateway, FAST, || {
        wait_thrown(&gateway);
        let renewed = || gateway.events("kill switch renewed").len();
        let killed = || {
            let labels = [("route", "a"), ("mode", "drop")];
            gateway.metric("seawall_killed_requests_total", &labels)
        };
        let (seen, before) = (upstream.heads(), killed());
        wait_for("two renewals", || renewed() >= 2);
        let (passed, killed) = (upstream.heads() - seen, killed() - before);
        // What came in the moment between the end and the look at it, if any.
        assert!(
            5.0 * passed as f64 <= killed,
            "{passed} passed, {killed} killed"
        );
    });
    assert!(gateway.events("kill switch expired").is_empty());
    assert_eq!(changes(&gateway), ["off drop"]);
}

#[test]
fn off_for_the_route_or_its_tier_ends_it() {
    for key in ["a", "\"tier:standard\""] {
        let upstream = Upstream::saying("up");
        let gateway = Gateway::start(&route(&upstream, LONG));
        storm(&gateway, FAST, || {
            wait_thrown(&gateway);
            gateway.write_switches(format!("[kill]\n{key} = \"off\"\n"));
            wait_for("it to be lifted", || element(&gateway) == Value::Null);
            let seen = upstream.heads();
            wait_for("the storm to pass for seconds", || {
                upstream.heads() > seen + 1500
            });
            assert_eq!(element(&gateway), Value::Null);
        });
        assert_eq!(changes(&gateway), ["off drop", "drop off"]);
    }
}

#[test]
fn off_beside_an_error_ends_nothing() {
    let upstream = Upstream::saying("up");
    let keys = format!("{LONG}\nkill_switch = {{ restore = \"0s\" }}");
    let gateway = Gateway::start(&route(&upstream, &keys));
    storm(&gateway, FAST, || wait_thrown(&gateway));
    for key in ["a", "\"tier:standard\""] {
        gateway.write_switches(format!("[kill]\n{key} = \"off\"\nzz = \"drop\"\n"));
        wait_for("the error to be told", || {
            let errors = &gateway.status()["switch_errors"];
            errors.as_array().is_some_and(|errors| errors.len() == 1)
        });
        holds_for(Duration::from_millis(1300), "a to stay killed", || {
            !gateway.get("/a").is_from_upstream()
        });
        assert_eq!(element(&gateway)["state"], "thrown");
    }
    assert_eq!(changes(&gateway), ["off drop"]);
    gateway.write_switches("[kill]\na = \"off\"\n");
    wait_for("a to pass", || gateway.get("/a").is_from_upstream());
    wait_for("it to be told", || {
        changes(&gateway) == ["off drop", "drop off"]
    });
}

#[test]
fn what_a_broken_file_kills_less_holds_once_the_automatic_kill_is_over() {
    let upstream = Upstream::saying("up");
    let keys = format!("{SOON}\nkill_switch = {{ restore = \"0s\" }}");
    let gateway = Gateway::start(&route(&upstream, &keys));
    storm(&gateway, FAST, || wait_thrown(&gateway));
    let part = "a = { mode = \"reject\", when = { query = { beta = \"1\" } } }";
    gateway.write_switches(format!("[kill]\n{part}\nzz = \"drop\"\n"));
    // No request meanwhile: asking as often as this would be a storm.
    wait_for("the hold to end", || element(&gateway) == Value::Null);
    wait_for("the part to be killed", || {
        gateway.get("/a?beta=1").status == 503
    });
    assert_passed(&gateway.get("/a"));
}

#[test]
fn a_core_route_is_never_killed_and_one_that_becomes_core_is_let_go() {
    let upstream = Upstream::saying("up");
    // Inherited: a route of its own may not even say so.
    let auto = LONG.strip_prefix("auto_kill = ").expect("a value");
    let core = Config::new()
        .upstream("u", &upstream)
        .defaults("auto_kill", auto);
    let of_tier = |tier: &str| {
        let keys = format!(
            "path = \"/a\"\nupstream = \"u\"\ntier = \"{tier}\"\nkill_switch = {{ restore = \"1h\" }}"
        );
        core.clone().route("a", &keys)
    };
    let gateway = Gateway::start(&of_tier("core"));
    storm(&gateway, FAST, || {
        upstream.wait_heads(2000);
        assert_eq!(element(&gateway), Value::Null);
        gateway.write_structure(&of_tier("sheddable"));
        wait_thrown(&gateway);
        gateway.write_structure(&of_tier("core"));
        wait_for("it to be lifted", || element(&gateway) == Value::Null);
        let share = gateway.metric("seawall_kill_switch_active", &[("route", "a")]);
        assert_eq!(share, 0.0, "no slow return on a core route");
        for _ in 0..20 {
            assert_passed(&gateway.get("/a"));
        }
    });
    assert_eq!(changes(&gateway), ["off drop", "drop off"]);
}

#[test]
fn a_reload_keeps_what_is_thrown() {
    let upstream = Upstream::saying("up");
    let config = route(&upstream, LONG);
    let gateway = Gateway::start(&config);
    storm(&gateway, FAST, || wait_thrown(&gateway));
    let before = element(&gateway);
    gateway.write_structure(&config.clone().respond("b", "/b", "b"));
    wait_for("the reload", || gateway.get("/b").status == 200);
    assert_killed(&gateway.get("/a"));
    let after = element(&gateway);
    assert_eq!(before["since"], after["since"]);
    assert_eq!(changes(&gateway), ["off drop"]);
    // Without `auto_kill` nothing keeps it.
    gateway.write_structure(&route(&upstream, ""));
    wait_for("a to pass", || gateway.get("/a").is_from_upstream());
    wait_for("it to be told", || {
        changes(&gateway) == ["off drop", "drop off"]
    });
}

#[test]
fn a_structure_that_would_end_it_waits_for_a_second_and_loses_nothing_until_then() {
    let upstream = Upstream::saying("up");
    let now_passing = "kill_switch = { restore = \"0s\" }";
    let kept = route(&upstream, &format!("{now_passing}\n{LONG}"));
    let gateway = Gateway::start(&kept);
    storm(&gateway, FAST, || wait_thrown(&gateway));
    let before = element(&gateway);
    let other = |path: &str, keys: &str| {
        let keys = format!("path = \"{path}\"\nupstream = \"u\"\n{now_passing}\n{keys}");
        Config::new().upstream("u", &upstream).route("a", &keys)
    };
    // The last one takes other requests.
    for structure in [
        other("/a", ""),
        other("/a", "tier = \"core\""),
        other("/{*rest}", LONG),
    ] {
        gateway.write_structure(&structure);
        holds_for(Duration::from_millis(500), "a to stay killed", || {
            let passes = gateway.get("/a").is_from_upstream();
            !passes && gateway.get("/b").status == 404
        });
        gateway.write_structure(&kept);
        wait_for("the structure to be as it was", || {
            gateway.status()["last_reload"]["result"] == "unchanged"
        });
        let after = element(&gateway);
        for key in ["since", "expires"] {
            assert_eq!(before[key], after[key]);
        }
    }
    assert_eq!(changes(&gateway), ["off drop"]);
    let start = now();
    gateway.write_structure(&other("/a", ""));
    wait_for("a to pass", || gateway.get("/a").is_from_upstream());
    assert!(start.elapsed() >= Duration::from_millis(900));
}

#[test]
fn a_written_kill_comes_first_and_the_automatic_one_stays_behind_it() {
    let upstream = Upstream::saying("up");
    let gateway = Gateway::start(&route(&upstream, LONG));
    storm(&gateway, FAST, || wait_thrown(&gateway));
    gateway.write_switches("[kill]\na = \"reject\"\n");
    wait_for("the written kill", || gateway.get("/a").status == 503);
    assert_eq!(element(&gateway)["state"], "thrown");
    let dir = gateway.directory().to_str().expect("a path");
    let admin = format!("http://{}", gateway.admin);
    let restored = run_to_exit(&["--config", dir, "restore", "a", "--admin", &admin]);
    let still = "a is still killed automatically until ";
    assert!(restored.output.contains(still), "{}", restored.output);
    wait_for("the automatic one", || gateway.get("/a").status == 200);
    assert_killed(&gateway.get("/a"));
}

#[test]
fn records_name_auto_as_their_source() {
    let upstream = Upstream::saying("up");
    let keys = LONG.replace("drop", "archive");
    let shelf = Shelf::new();
    let config = shelf.used_by(route(&upstream, &keys));
    let gateway = Gateway::start(&config);
    storm(&gateway, FAST, || {
        wait_thrown(&gateway);
        wait_for("a record", || {
            let labels = [("route", "a"), ("outcome", "archived")];
            gateway.metric("seawall_killed_requests_total", &labels) >= 1.0
        });
    });
    let records = shelf.records();
    assert!(!records.is_empty());
    for record in &records {
        assert_eq!(&*record.kill.source, "auto");
        assert_eq!(
            record.kill.reason.as_deref(),
            Some("more than 100/s for 1s")
        );
    }
}
