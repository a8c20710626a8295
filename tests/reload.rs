//! The structure changes while the gateway runs, wholly or not at all, and costs nobody a
//! request.

mod support;

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use support::*;

fn wait_text(gateway: &Gateway, target: &str, text: &str) {
    wait_for(&format!("{target} to say {text}"), || {
        gateway.get(target).text() == text
    });
}

#[test]
fn routes_are_added_changed_and_removed_while_running() {
    let config = Config::new().respond("a", "/a", "one");
    let gateway = Gateway::start(&config);
    let config = config.respond("b", "/b", "new");
    gateway.write_structure(&config);
    wait_text(&gateway, "/b", "new");
    let config = config.respond("a", "/a", "two");
    gateway.write_structure(&config);
    wait_text(&gateway, "/a", "two");
    gateway.write_structure(&config.without_route("b"));
    wait_for("b to be gone", || gateway.get("/b").status == 404);
    assert_eq!(gateway.get("/a").text(), "two");
    let metrics = gateway.metrics();
    let applied = metrics.sum("seawall_config_reloads_total", &[("result", "applied")]);
    assert!(applied >= 3.0, "{applied}");
    assert_eq!(
        metrics.one("seawall_config_last_reload_successful", &[]),
        1.0
    );
}

#[test]
fn a_file_written_in_place_is_read_as_well() {
    let config = Config::new().respond("a", "/a", "one");
    let gateway = Gateway::start(&config);
    config.respond("a", "/a", "two").write(gateway.directory());
    wait_text(&gateway, "/a", "two");
}

#[test]
fn files_of_routes_d_are_merged_and_a_name_used_twice_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let more = directory.path().join("routes.d");
    std::fs::create_dir(&more).expect("made");
    let route = |name: &str, body: &str| {
        format!("[routes.{name}]\npath = \"/{name}\"\nrespond = {{ body = \"{body}\" }}\n")
    };
    std::fs::write(more.join("b.toml"), route("b", "one")).expect("written");
    Config::new()
        .respond("a", "/a", "one")
        .write(directory.path());
    let path = directory.path().to_owned();
    let gateway = Gateway::start_in(directory, path, &[]);
    assert_eq!(gateway.get("/b").text(), "one");

    std::fs::write(more.join("c.toml"), route("c", "one")).expect("written");
    wait_text(&gateway, "/c", "one");
    std::fs::write(more.join("d.toml"), route("a", "two")).expect("written");
    gateway.wait_metric("seawall_config_last_reload_successful", &[], 0.0);
    assert_eq!(gateway.get("/a").text(), "one");
    let status = gateway.status().to_string();
    for place in ["seawall.toml", "d.toml"] {
        assert!(status.contains(place), "{place} is not named: {status}");
    }
    std::fs::remove_file(more.join("d.toml")).expect("removed");
    gateway.wait_metric("seawall_config_last_reload_successful", &[], 1.0);
}

#[test]
fn a_rejected_reload_changes_nothing_and_says_why() {
    let upstream = Upstream::echo();
    let config = Config::passing(&upstream).respond("a", "/a", "one");
    let gateway = Gateway::start(&config);
    let bad = config
        .clone()
        .respond("a", "/a", "two")
        .route("broken", "path = \"/x\"\nupstream = \"nosuch\"")
        .route("unknown", "path = \"/y\"\nupstraem = \"u\"");
    gateway.write_structure(&bad);
    gateway.wait_metric("seawall_config_last_reload_successful", &[], 0.0);
    assert_eq!(gateway.get("/a").text(), "one");
    assert_passed(&gateway.get("/b"));
    let rejected = [("result", "rejected")];
    assert!(gateway.metric("seawall_config_reloads_total", &rejected) >= 1.0);
    let log = gateway.log().join("\n");
    let status = gateway.status().to_string();
    for part in ["nosuch", "upstraem", "seawall.toml"] {
        assert!(log.contains(part), "{part} is not in the log");
        assert!(status.contains(part), "{part} is not in the status");
    }
    gateway.write_structure(&config.respond("a", "/a", "three"));
    wait_text(&gateway, "/a", "three");
    gateway.wait_metric("seawall_config_last_reload_successful", &[], 1.0);
}

#[test]
fn a_missing_seawall_toml_changes_nothing() {
    let gateway = Gateway::start(&Config::new().respond("a", "/a", "one"));
    std::fs::remove_file(gateway.directory().join("seawall.toml")).expect("removed");
    gateway.wait_metric("seawall_config_last_reload_successful", &[], 0.0);
    assert_eq!(gateway.get("/a").text(), "one");
}

#[test]
fn counters_survive_a_reload_by_name() {
    let config = Config::new().respond("a", "/a", "one");
    let gateway = Gateway::start(&config);
    for _ in 0..5 {
        gateway.get("/a");
    }
    let labels = [("route", "a"), ("code", "200")];
    gateway.wait_metric("seawall_requests_total", &labels, 5.0);
    let moved = config.respond("a", "/moved", "one").respond("b", "/b", "b");
    gateway.write_structure(&moved);
    wait_text(&gateway, "/b", "b");
    gateway.get("/moved");
    gateway.wait_metric("seawall_requests_total", &labels, 6.0);
}

#[test]
fn a_client_connection_survives_a_reload_and_uses_it() {
    let config = Config::new().respond("a", "/a", "one");
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    assert_eq!(client.ask(get("/a")).text(), "one");
    gateway.write_structure(&config.respond("a", "/a", "two"));
    wait_for("the connection to see the reload", || {
        client.ask(get("/a")).text() == "two"
    });
}

#[test]
fn an_upstream_connection_survives_a_reload() {
    let upstream = Upstream::echo();
    let config = Config::passing(&upstream).server("workers", "1");
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    assert_passed(&client.ask(get("/")));
    gateway.write_structure(&config.respond("b", "/b", "b"));
    wait_text(&gateway, "/b", "b");
    assert_passed(&client.ask(get("/")));
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_request_in_flight_finishes_although_its_route_is_gone() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let upstream = Upstream::serving(move |_| {
        held.wait();
        answer(200, "late")
    });
    let config = Config::new().respond("b", "/b", "one");
    let route = "path = \"/slow\"\nupstream = \"u\"\ntimeout = \"60s\"";
    let gateway = Gateway::start(&config.clone().upstream("u", &upstream).route("slow", route));
    let mut client = gateway.connect();
    client.send(get("/slow"));
    upstream.wait_heads(1);
    gateway.write_structure(&config);
    // Asking the route itself would wait behind the gate for as long as it is there.
    wait_for("the route to be gone", || {
        !gateway.admin("/metrics").text().contains("route=\"slow\"")
    });
    gate.open();
    assert_eq!(client.read().text(), "late");
}

#[test]
fn traffic_moves_to_the_endpoint_that_the_reload_names() {
    let (old, new) = (Upstream::saying("old"), Upstream::saying("new"));
    let gateway = Gateway::start(&Config::passing(&old));
    let mut client = gateway.connect();
    assert_eq!(client.ask(get("/")).text(), "old");
    gateway.write_structure(&Config::passing(&new));
    wait_for("the new endpoint", || client.ask(get("/")).text() == "new");
    let heads = old.heads();
    for _ in 0..10 {
        assert_eq!(client.ask(get("/")).text(), "new");
    }
    assert_eq!(old.heads(), heads);
}

#[test]
fn what_cannot_change_while_running_is_reported_and_the_rest_applies() {
    let config = Config::new().respond("a", "/a", "one");
    let gateway = Gateway::start(&config);
    let other = format!("{:?}", free_address().to_string());
    let changed = config.server("listen", &other).respond("b", "/b", "new");
    gateway.write_structure(&changed);
    wait_text(&gateway, "/b", "new");
    assert_eq!(gateway.get("/a").text(), "one");
    wait_for("the report that a restart is needed", || {
        gateway.log().iter().any(|line| line.contains("restart"))
    });
}

#[test]
fn sighup_forces_a_reload() {
    let config = Config::new().respond("a", "/a", "one");
    let gateway = Gateway::start(&config);
    let reloads = || gateway.metric("seawall_config_reloads_total", &[]);
    let before = reloads();
    gateway.signal("HUP");
    wait_for("a reload", || reloads() > before);
    assert_eq!(gateway.get("/a").text(), "one");
}

#[test]
fn a_configuration_swapped_by_a_symlink_is_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().to_owned();
    let version = |name: &str, body: &str, switches: &str| {
        let path = root.join(name);
        std::fs::create_dir(&path).expect("made");
        let config = Config::new()
            .respond("a", "/a", body)
            .respond("b", "/b", "b");
        config.switches(switches).write(&path);
    };
    // As a mounted ConfigMap looks: files point through `..data`, which is what changes.
    version("..v1", "one", "[kill]\n");
    version("..v2", "two", "[kill]\nb = \"drop\"\n");
    symlink("..v1", root.join("..data")).expect("linked");
    for name in ["seawall.toml", "switches.toml"] {
        symlink(format!("..data/{name}"), root.join(name)).expect("linked");
    }
    let gateway = Gateway::start_in(directory, root.clone(), &[]);
    assert_eq!(gateway.get("/a").text(), "one");
    symlink("..v2", root.join("..data_tmp")).expect("linked");
    std::fs::rename(root.join("..data_tmp"), root.join("..data")).expect("swapped");
    std::fs::remove_dir_all(root.join("..v1")).expect("removed");
    wait_text(&gateway, "/a", "two");
    wait_text(&gateway, "/b", "");
}

#[test]
fn a_reload_under_load_fails_no_request() {
    let upstream = Upstream::echo();
    let config = Config::passing(&upstream);
    let gateway = Gateway::start(&config.clone().respond("version", "/version", "0"));
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..4 {
            let mut client = gateway.connect();
            let (stop, served) = (&stop, &served);
            scope.spawn(move || {
                let body = format!("client {number}");
                while !stop.load(Ordering::SeqCst) {
                    let response = client.ask(post("/echo", &body));
                    assert_passed(&response);
                    assert_eq!(response.text(), body);
                    served.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let reloads = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for number in 1..=20 {
                let version = number.to_string();
                let changed = config.clone().respond("version", "/version", &version);
                gateway.write_structure(&changed);
                gateway.write_switches(format!("[kill]\nversion = \"off\"\n# {number}\n"));
                wait_text(&gateway, "/version", &version);
            }
            wait_for("enough requests", || served.load(Ordering::SeqCst) >= 2000);
        }));
        // Whatever happened, the clients must end, or the scope would not.
        stop.store(true, Ordering::SeqCst);
        assert!(reloads.is_ok());
    });
    let total = served.load(Ordering::SeqCst) as f64;
    let passed = [("route", "any"), ("code", "200"), ("by", "upstream")];
    gateway.wait_metric("seawall_requests_total", &passed, total);
    assert_eq!(gateway.metric("seawall_refusals_total", &[]), 0.0);
    assert_eq!(gateway.metric("seawall_panics_total", &[]), 0.0);
}
