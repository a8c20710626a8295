//! What the admin and probe listeners serve.

mod support;

use support::*;

fn base() -> Config {
    let keys = "path = \"/ping\"\nrespond = { status = 200, body = \"pong\" }\n\
                tier = \"core\"\nowner = \"stats-team\"\nimpact = \"players lose progress\"";
    Config::new().route("ping", keys)
}

fn kind(response: &Response) -> String {
    response.header("content-type").unwrap_or_default()
}

#[test]
fn livez_and_readyz_answer_200_once_the_gateway_is_ready() {
    let gateway = Gateway::start(&base());
    assert_eq!(gateway.admin("/livez").status, 200);
    assert_eq!(gateway.admin("/readyz").status, 200);
}

#[test]
fn what_the_admin_listener_does_not_serve_is_a_404() {
    let gateway = Gateway::start(&base());
    assert_eq!(gateway.admin("/ping").status, 404);
    assert_eq!(gateway.admin("/api/v1/nosuch").status, 404);
    // Nor does the client listener serve what is the admin's.
    assert_refusal(&gateway.get("/metrics"), 404, "no_route");
    assert_refusal(&gateway.get("/api/v1/status"), 404, "no_route");
}

#[test]
fn the_admin_listener_only_reads() {
    let gateway = Gateway::start(&base());
    let put = "PUT /api/v1/kill/ping HTTP/1.1\r\nhost: test\r\ncontent-length: 6\r\n\r\n\"drop\"";
    let status = ask(gateway.admin, put).status;
    assert!((400..500).contains(&status), "{status}");
    assert_eq!(gateway.get("/ping").text(), "pong");
}

#[test]
fn the_status_is_json_and_names_version_reload_and_switches() {
    let switches = "[kill]\nping = { mode = \"reject\", reason = \"INC-7\", owner = \"amy\" }\n";
    let gateway = Gateway::start(&base().switches(switches));
    let response = gateway.admin("/api/v1/status");
    assert_eq!(response.status, 200);
    assert!(kind(&response).starts_with("application/json"));
    let status = response.json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"), "{status}");
    let text = status.to_string();
    for part in ["ping", "reject", "INC-7", "amy", "file"] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
}

#[test]
fn the_routes_are_json_and_name_their_policies() {
    let gateway = Gateway::start(&base());
    let response = gateway.admin("/api/v1/routes");
    assert_eq!(response.status, 200);
    assert!(kind(&response).starts_with("application/json"));
    let text = response.json().to_string();
    for part in [
        "ping",
        "/ping",
        "core",
        "stats-team",
        "players lose progress",
    ] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
}

#[test]
fn the_probe_listener_serves_probes_and_metrics_alone() {
    let gateway = Gateway::start(&base().admin("probe_listen", "\"127.0.0.1:0\""));
    let probe = gateway.listener("probe");
    assert_ne!(probe, gateway.admin);
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(ask(probe, get(path)).status, 200, "{path}");
    }
    for path in ["/", "/api/v1/status", "/api/v1/routes", "/ping"] {
        assert_eq!(ask(probe, get(path)).status, 404, "{path}");
    }
}

#[test]
fn every_series_of_a_route_is_there_before_its_first_request() {
    let gateway = Gateway::start(&base());
    let metrics = gateway.metrics();
    let route = [("route", "ping")];
    for name in [
        "seawall_requests_in_flight",
        "seawall_request_bytes_total",
        "seawall_response_bytes_total",
        "seawall_kill_switch_active",
        "seawall_killed_requests_total",
        "seawall_killed_bytes_total",
        "seawall_refusals_total",
    ] {
        assert!(metrics.has(name, &route), "{name} is missing");
        assert_eq!(metrics.sum(name, &route), 0.0, "{name}");
    }
    for name in [
        "seawall_build_info",
        "seawall_config_hash",
        "seawall_config_last_reload_successful",
        "seawall_config_last_reload_success_timestamp_seconds",
        "seawall_panics_total",
        "seawall_switch_errors",
        "process_resident_memory_bytes",
    ] {
        assert!(metrics.has(name, &[]), "{name} is missing");
    }
}

#[test]
fn bytes_and_durations_are_counted() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    for _ in 0..4 {
        assert_passed(&gateway.ask(post("/", "12345")));
    }
    let route = [("route", "any")];
    gateway.wait_metric("seawall_requests_total", &route, 4.0);
    let metrics = gateway.metrics();
    assert!(metrics.sum("seawall_request_bytes_total", &route) >= 20.0);
    assert!(metrics.sum("seawall_response_bytes_total", &route) >= 20.0);
    let labels = [("route", "any"), ("by", "upstream")];
    let count = metrics.sum("seawall_request_duration_seconds_count", &labels);
    assert_eq!(count, 4.0);
    let labels = [("upstream", "u")];
    let count = metrics.sum("seawall_upstream_duration_seconds_count", &labels);
    assert_eq!(count, 4.0);
    let labels = [("upstream", "u"), ("outcome", "2xx")];
    gateway.wait_metric("seawall_upstream_attempts_total", &labels, 4.0);
}
