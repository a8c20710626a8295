//! The admin and probe listeners, over real sockets.

#![allow(clippy::unwrap_used)]

mod control_support;

use std::time::Duration;

use control_support::{Gateway, request, route, wait_for};
use seawall::snapshot::Phase;
use seawall::telemetry::{KillOutcome, ListenerKind};
use seawall::vocab::By;

fn get(address: std::net::SocketAddr, path: &str) -> (u16, String, String) {
    let (head, body) = request(address, "GET", path);
    (status(&head), head, body)
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn probes_and_metrics_are_served_on_both_listeners() {
    let gateway = Gateway::start(&route("probe-a", "core"), "[kill]\n");
    for address in [gateway.admin, gateway.probe] {
        assert_eq!(get(address, "/livez").0, 200);
        assert_eq!(get(address, "/readyz").0, 200);
        let (status, head, body) = get(address, "/metrics");
        assert_eq!(status, 200);
        assert!(
            head.contains("content-type: text/plain; version=0.0.4"),
            "{head}"
        );
        assert!(body.contains("seawall_config_last_reload_successful 1"));
        let (head, body) = request(address, "HEAD", "/livez");
        assert!(
            head.starts_with("HTTP/1.1 200") && body.is_empty(),
            "{head}{body}"
        );
    }
    gateway.live.advance(Phase::Draining);
    assert_eq!(get(gateway.probe, "/readyz").0, 503);
    assert_eq!(get(gateway.probe, "/livez").0, 200);
}

#[test]
fn other_paths_are_404_and_other_methods_405() {
    let gateway = Gateway::start(&route("other-a", "core"), "[kill]\n");
    assert_eq!(get(gateway.probe, "/api/v1/status").0, 404);
    let (status_code, head, body) = get(gateway.admin, "/nothing");
    assert_eq!(status_code, 404);
    assert!(head.contains("application/problem+json") && body.contains("not_found"));
    for (method, path) in [("POST", "/livez"), ("DELETE", "/api/v1/status")] {
        let (head, _) = request(gateway.admin, method, path);
        assert_eq!(status(&head), 405);
        assert!(head.to_lowercase().contains("allow: get,head"), "{head}");
    }
}

#[test]
fn status_lists_switches_and_the_ledger() {
    let routes = route("ledger-a", "sheddable") + &route("ledger-b", "sheddable");
    let switches = "[kill]\n\"tier:sheddable\" = { mode = \"drop\", reason = \"INC-7\" }\n";
    let gateway = Gateway::start(&routes, switches);
    let snapshot = gateway.live.load();
    snapshot.table.routes[0]
        .metrics
        .killed(0, KillOutcome::Dropped, 10);
    snapshot.table.routes[1]
        .metrics
        .killed(2, KillOutcome::Rejected, 0);
    let (code, _, body) = get(gateway.admin, "/api/v1/status");
    assert_eq!(code, 200);
    let status: serde_json::Value = serde_json::from_str(&body).unwrap();
    let switch = &status["switches"][0];
    assert_eq!(switch["key"], "tier:sheddable");
    assert_eq!(switch["mode"], "drop");
    assert_eq!(
        switch["routes"],
        serde_json::json!(["ledger-a", "ledger-b"])
    );
    assert_eq!(switch["reason"], "INC-7");
    assert_eq!(switch["held"], false);
    assert_eq!(switch["share"], 1.0);
    assert!(switch["expires"].is_null());
    assert_eq!(status["ledger"]["killed"], 2);
    assert_eq!(status["ledger"]["dropped"], 1);
    assert_eq!(status["last_reload"]["result"], "applied");
    assert_eq!(status["phase"], "serving");
    assert_eq!(status["config_hash"].as_str().unwrap().len(), 8);
}

#[test]
fn routes_show_policies_their_switch_and_live_figures() {
    let gateway = Gateway::start(
        &route("figures-a", "core"),
        "[kill]\nfigures-a = \"reject\"\n",
    );
    let metrics = gateway.live.load().table.routes[0].metrics.clone();
    for _ in 0..10 {
        metrics.begin();
        metrics.end(By::Kill, 503, Duration::from_millis(1));
    }
    let first = || {
        let (_, _, body) = get(gateway.admin, "/api/v1/routes");
        let routes: serde_json::Value = serde_json::from_str(&body).unwrap();
        routes[0].clone()
    };
    wait_for("figures", || {
        first()["figures"]["requests_per_second"].as_f64() > Some(0.0)
    });
    let route = first();
    assert_eq!(route["name"], "figures-a");
    assert_eq!(route["match"]["path"], "/figures-a");
    assert_eq!(route["respond"]["status"], 200);
    assert_eq!(route["kill"]["mode"], "reject");
    assert_eq!(route["kill"]["key"], "figures-a");
    assert_eq!(route["figures"]["by"]["kill"], 1.0);
    assert_eq!(route["figures"]["error_share"], 0.0);
    assert!(route["policies"]["timeout_ms"].as_u64() > Some(0));
}

#[test]
fn routes_show_what_limits_them() {
    let limits = "rate_limit = { rate = \"30/m\", key = \"route\" }\n\
                  concurrency = { max = 5, queue = 2 }\n\
                  retry = { on = [\"timeout\", 503], backoff = \"0s\" }\n\
                  retry_budget = { percent = 12.5 }\n\
                  breaker = { on = [\"timeout\", 500], failure_percent = \"off\", ramp = \"1s\" }\n\
                  auto_kill = { above = \"2000/s\", mode = \"drop\" }\n";
    let structure = route("limits-a", "standard") + limits + &route("limits-b", "core");
    let gateway = Gateway::start(&structure, "[kill]\n");
    let (_, _, body) = get(gateway.admin, "/api/v1/routes");
    let routes: serde_json::Value = serde_json::from_str(&body).unwrap();
    let limited = &routes[0]["policies"];
    let expected = serde_json::json!({
        "rate_limit": { "rate": "30/m", "burst": 1, "key": "route", "max_keys": null, "dry_run": false },
        "concurrency": { "max": 5, "queue": 2, "queue_timeout_ms": 100 },
        "retry": {
            "attempts": 2, "on": ["timeout", "503"], "backoff_ms": 0, "max_backoff_ms": 250,
            "non_idempotent": false,
        },
        "retry_budget": { "percent": 12.5, "min_per_second": 1, "window_ms": 10_000 },
        "breaker": {
            "on": ["timeout", "500"],
            "consecutive_failures": 10, "failure_percent": null, "min_requests": null,
            "window_ms": null, "open_for_ms": 30_000, "ramp_ms": 1000,
        },
        "client_retry_budget": null,
        "auto_kill": { "above": "2000/s", "for_ms": 5000, "mode": "drop", "hold_ms": 600_000 },
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&limited[key], value, "{key}");
    }
    let free = &routes[1]["policies"];
    for key in [
        "rate_limit",
        "concurrency",
        "breaker",
        "client_retry_budget",
        "auto_kill",
    ] {
        assert!(free[key].is_null(), "{key}");
    }
}

#[test]
fn connections_are_counted() {
    let gateway = Gateway::start(&route("count-a", "core"), "[kill]\n");
    let open = || gateway.live.metrics.open_connections(ListenerKind::Admin);
    let streams: Vec<_> = (0..3)
        .map(|_| std::net::TcpStream::connect(gateway.admin).unwrap())
        .collect();
    wait_for("three connections", || open() == 3);
    drop(streams);
    wait_for("none", || open() == 0);
}

#[test]
fn a_change_by_a_token_is_told_under_its_name() {
    control_support::capture_logs();
    let gateway = Gateway::start(&route("edited", "core"), "[kill]\n");
    let text = "[kill]\nedited = \"drop\"\n";
    let digest = seawall::config::SourceFile::new("switches.toml", text).digest;
    // Edits that never came to be read are forgotten, not this one.
    gateway.shared.note_edit(digest, "amy".into());
    for other in 0..40 {
        gateway.shared.note_edit(other, "bob".into());
    }
    gateway.write("switches.toml", text);
    wait_for("the throw", || gateway.killed("edited").is_some());
    wait_for("the source", || {
        gateway.status()["switches"][0]["source"] == "admin"
    });
    let lines = control_support::lines_with("kill switch changed", "edited");
    assert_eq!(lines[0]["source"], "admin", "{lines:?}");
    assert_eq!(lines[0]["token"], "amy", "{lines:?}");
    // By hand, with other bytes: nobody's token.
    gateway.write("switches.toml", "[kill]\nedited = \"reject\"\n");
    wait_for("the source", || {
        gateway.status()["switches"][0]["source"] == "file"
    });
}

#[test]
fn the_status_tells_the_switches_alone_on_request() {
    let structure = route("only-a", "core") + &route("only-b", "core");
    let gateway = Gateway::start(&structure, "[kill]\nonly-a = \"drop\"\n");
    let told = |query: &str| -> serde_json::Value {
        let (code, _, body) = get(gateway.admin, &format!("/api/v1/status{query}"));
        assert_eq!(code, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    };
    let (whole, switches) = (told(""), told("?only=switches"));
    let keys: Vec<&String> = switches.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["breakers", "switch_errors", "switches", "switches_file"]
    );
    for key in keys {
        // All but ages, which go on.
        let shape = |status: &serde_json::Value| {
            let mut part = status[key].clone();
            for element in part.as_array_mut().into_iter().flatten() {
                element["age_seconds"].take();
            }
            part
        };
        assert_eq!(shape(&switches), shape(&whole), "{key}");
    }
    assert_eq!(switches["switches"][0]["key"], "only-a");
    assert_eq!(get(gateway.admin, "/api/v1/status?only=swiches").0, 400);
    assert!(told("?x=1")["ledger"].is_object());
}
