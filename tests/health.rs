//! Active health checks over real sockets.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use support::{Config, Gateway, Request, Upstream, answer, get, holds_for, now, wait_for};

/// An upstream that answers its checks by a switch, and counts them apart from its requests.
struct Patient {
    upstream: Upstream,
    well: Arc<AtomicBool>,
    checks: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

fn is_check(request: &Request) -> bool {
    request.target.starts_with("/healthz")
}

impl Patient {
    fn start(body: &'static str) -> Patient {
        let well = Arc::new(AtomicBool::new(true));
        let (checks, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (is_well, checked, requested) = (
            Arc::clone(&well),
            Arc::clone(&checks),
            Arc::clone(&requests),
        );
        let upstream = Upstream::serving(move |request| {
            if !is_check(request) {
                requested.fetch_add(1, Ordering::SeqCst);
                return answer(200, body);
            }
            checked.fetch_add(1, Ordering::SeqCst);
            let status = if is_well.load(Ordering::SeqCst) {
                200
            } else {
                503
            };
            answer(status, "checked")
        });
        Patient {
            upstream,
            well,
            checks,
            requests,
        }
    }

    fn set_well(&self, well: bool) {
        self.well.store(well, Ordering::SeqCst);
    }

    fn checks(&self) -> usize {
        self.checks.load(Ordering::SeqCst)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

const HEALTH: &str = "health = { path = \"/healthz?from=gateway\", interval = \"250ms\", \
                      healthy = 2, unhealthy = 3 }";

const INTERVAL: Duration = Duration::from_millis(250);

fn config(patients: &[&Patient], keys: &str) -> Config {
    let urls: Vec<String> = patients
        .iter()
        .map(|patient| patient.upstream.url())
        .collect();
    Config::new()
        .endpoints("u", &urls, keys)
        .route("any", "path = \"/{*rest}\"\nupstream = \"u\"")
}

fn down(gateway: &Gateway, patient: &Patient) -> Value {
    let status = gateway.status();
    let rows = status["endpoints"].as_array().expect("rows");
    let row = rows
        .iter()
        .find(|row| row["endpoint"] == patient.upstream.url());
    row.expect("a row")["down"].clone()
}

#[test]
fn an_endpoint_that_fails_its_checks_gets_no_request_until_it_passes_again() {
    let (good, bad) = (Patient::start("good"), Patient::start("bad"));
    let gateway = Gateway::start(&config(&[&good, &bad], HEALTH));
    wait_for("requests at both", || {
        gateway.get("/");
        good.requests() > 0 && bad.requests() > 0
    });
    bad.set_well(false);
    wait_for("the endpoint to be out", || {
        down(&gateway, &bad) == "unhealthy"
    });
    let before = bad.requests();
    let mut client = gateway.connect();
    for _ in 0..50 {
        assert_eq!(client.ask(get("/")).text(), "good");
    }
    assert_eq!(bad.requests(), before);
    let url = bad.upstream.url();
    let up = [("upstream", "u"), ("endpoint", url.as_str())];
    assert_eq!(
        gateway.metrics().one("seawall_upstream_endpoint_up", &up),
        0.0
    );
    let said = gateway.events("endpoint is unhealthy; it gets no requests while others are up");
    assert_eq!(said.len(), 1, "one line, not one for each check");
    assert_eq!(said[0]["why"], "it answers 503");
    bad.set_well(true);
    wait_for("requests at both again", || {
        gateway.get("/");
        bad.requests() > before
    });
    assert_eq!(
        gateway.metrics().one("seawall_upstream_endpoint_up", &up),
        1.0
    );
    assert_eq!(gateway.events("endpoint is healthy again").len(), 1);
}

#[test]
fn checks_are_asked_of_the_endpoint_by_name_on_connections_of_their_own() {
    let patient = Patient::start("body");
    let gateway = Gateway::start(&config(&[&patient], HEALTH));
    wait_for("some checks", || patient.checks() > 3);
    let check = patient.upstream.last();
    assert_eq!(check.method, "GET");
    assert_eq!(check.target, "/healthz?from=gateway");
    assert_eq!(
        check.header("host"),
        Some(patient.upstream.address().to_string())
    );
    assert_eq!(
        check.header("user-agent"),
        Some("seawall-health".to_owned())
    );
    assert_eq!(check.header("connection"), Some("close".to_owned()));
    assert!(patient.upstream.connections() > 3, "a connection for each");
    // They are no requests of a route, nor attempts.
    let metrics = gateway.metrics();
    assert_eq!(
        metrics.sum("seawall_requests_total", &[("route", "any")]),
        0.0
    );
    assert_eq!(metrics.sum("seawall_upstream_attempts_total", &[]), 0.0);
}

#[test]
fn an_endpoint_is_checked_once_an_interval_whatever_the_workers_and_routes() {
    let patient = Patient::start("body");
    let config = config(&[&patient], HEALTH)
        .server("workers", "4")
        .route("other", "path = \"/other\"\nupstream = \"u\"");
    let gateway = Gateway::start(&config);
    wait_for("the first check", || patient.checks() > 0);
    let (begun, before) = (now(), patient.checks());
    for turn in 0..3 {
        gateway.write_structure(&config.clone().respond("new", "/new", &turn.to_string()));
        wait_for("the reload", || {
            gateway.get("/new").text() == turn.to_string()
        });
    }
    wait_for("more checks", || patient.checks() > before + 8);
    let intervals = begun.elapsed().as_secs_f64() / INTERVAL.as_secs_f64();
    // A tenth less than the interval is the shortest wait.
    let most = (intervals / 0.9) as usize + 2;
    let checks = patient.checks() - before;
    assert!(checks <= most, "{checks} checks in {intervals} intervals");
}

#[test]
fn when_all_are_unhealthy_all_are_used() {
    let (one, two) = (Patient::start("one"), Patient::start("two"));
    one.set_well(false);
    two.set_well(false);
    let gateway = Gateway::start(&config(&[&one, &two], HEALTH));
    wait_for("both to be out", || {
        down(&gateway, &one) == "unhealthy" && down(&gateway, &two) == "unhealthy"
    });
    wait_for("requests at both", || {
        assert_eq!(gateway.get("/").status, 200);
        one.requests() > 0 && two.requests() > 0
    });
}

#[test]
fn an_upstream_that_is_no_longer_checked_forgets_what_the_checks_said() {
    let (good, bad) = (Patient::start("good"), Patient::start("bad"));
    bad.set_well(false);
    let gateway = Gateway::start(&config(&[&good, &bad], HEALTH));
    wait_for("the endpoint to be out", || {
        down(&gateway, &bad) == "unhealthy"
    });
    gateway.write_structure(&config(&[&good, &bad], ""));
    wait_for("requests at both", || {
        gateway.get("/");
        bad.requests() > 0
    });
    wait_for("nothing to be told", || down(&gateway, &bad).is_null());
    let checks = bad.checks();
    holds_for(4 * INTERVAL, "no check more", || bad.checks() <= checks + 1);
}

#[test]
fn a_reload_keeps_what_the_checks_said_and_follows_another_path() {
    let (good, bad) = (Patient::start("good"), Patient::start("bad"));
    bad.set_well(false);
    let gateway = Gateway::start(&config(&[&good, &bad], HEALTH));
    wait_for("the endpoint to be out", || {
        down(&gateway, &bad) == "unhealthy"
    });
    let other = HEALTH.replace("/healthz?from=gateway", "/healthz/other");
    gateway.write_structure(&config(&[&good, &bad], &other));
    wait_for("checks of the other path", || {
        assert_eq!(down(&gateway, &bad), "unhealthy");
        bad.upstream.last().target == "/healthz/other"
    });
}

#[test]
fn an_endpoint_that_does_not_answer_its_checks_in_time_is_unhealthy() {
    let good = Patient::start("good");
    // It takes requests, and hangs when it is checked.
    let hanging = Upstream::raw(|connection| {
        while let Some(request) = connection.request() {
            match is_check(&request) {
                true => drop(connection.until_gone()),
                false => drop(connection.write(answer(200, "hanging"))),
            }
        }
    });
    let urls = [good.upstream.url(), hanging.url()];
    let config = Config::new()
        .endpoints("u", &urls, HEALTH)
        .route("any", "path = \"/{*rest}\"\nupstream = \"u\"");
    let gateway = Gateway::start(&config);
    let said = "endpoint is unhealthy; it gets no requests while others are up";
    wait_for("the line", || !gateway.events(said).is_empty());
    let event = &gateway.events(said)[0];
    assert_eq!(
        (&event["endpoint"], &event["why"]),
        (&urls[1].as_str().into(), &"no answer in time".into())
    );
    for _ in 0..20 {
        assert_eq!(gateway.get("/").text(), "good");
    }
}

#[test]
fn with_a_panic_percent_of_0_a_sick_endpoint_gets_nothing() {
    let keys = HEALTH.replace(" }", ", panic_percent = 0 }");
    let patients = [Patient::start("a"), Patient::start("b")];
    for count in [1, 2] {
        let sick: Vec<&Patient> = patients[..count].iter().collect();
        sick.iter().for_each(|patient| patient.set_well(true));
        let gateway = Gateway::start(&config(&sick, &keys));
        wait_for("requests to pass", || gateway.get("/").status == 200);
        sick.iter().for_each(|patient| patient.set_well(false));
        wait_for("all to be out", || {
            sick.iter().all(|one| down(&gateway, one) == "unhealthy")
        });
        let before: usize = sick.iter().map(|patient| patient.requests()).sum();
        let refused = gateway.get("/");
        assert_eq!(refused.status, 503);
        assert_eq!(refused.json()["reason"], "no_endpoint");
        let after: usize = sick.iter().map(|patient| patient.requests()).sum();
        assert_eq!(after, before);
        sick[0].set_well(true);
        wait_for("requests to pass again", || gateway.get("/").status == 200);
    }
}
