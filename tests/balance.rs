//! Which endpoint takes a request: the idle one, the one of its client, never an ejected one.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use support::*;

/// One route, `any`, to an upstream with these endpoints and keys.
fn config(upstreams: &[&Upstream], keys: &str) -> Config {
    let urls: Vec<String> = upstreams.iter().map(|upstream| upstream.url()).collect();
    Config::new()
        .defaults("timeout", "\"60s\"")
        .endpoints("u", &urls, keys)
        .route("any", "path = \"/{*rest}\"\nupstream = \"u\"")
}

/// Holds what asks for `/hold` until the gate opens: before its head, or amid its body.
fn holding(gate: &Arc<Gate>, early: &'static str, late: &'static str) -> Upstream {
    let gate = Arc::clone(gate);
    Upstream::raw(move |connection| {
        while let Some(request) = connection.request() {
            if request.target == "/hold" {
                connection.write(early);
                gate.wait();
                connection.write(late);
            } else {
                connection.write(answer(200, ""));
            }
        }
    })
}

/// Requests in flight at all endpoints.
fn in_flight(gateway: &Gateway) -> u64 {
    let status = gateway.status();
    let rows = status["endpoints"].as_array().expect("rows");
    rows.iter()
        .filter_map(|row| row["in_flight"].as_u64())
        .sum()
}

#[test]
fn the_idle_endpoint_is_preferred_until_a_response_body_has_ended() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";
    let whole = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhellohello";
    for (early, late) in [("", whole), (head, "hellohello")] {
        let gate = Arc::new(Gate::default());
        let both = [holding(&gate, early, late), holding(&gate, early, late)];
        let gateway = Gateway::start(&config(&[&both[0], &both[1]], ""));
        let mut held = gateway.connect();
        held.send(get("/hold"));
        wait_for("it to be held", || both[0].heads() + both[1].heads() == 1);
        if !early.is_empty() {
            held.set_patience(PATIENCE);
            assert_eq!(held.read_head().status, 200);
        }
        let busy = usize::from(both[1].heads() == 1);
        for _ in 0..40 {
            assert_eq!(gateway.get("/").status, 200);
            // Its place is free a moment after its client has the answer.
            wait_for("the other endpoint to be idle", || in_flight(&gateway) == 1);
        }
        assert_eq!(both[busy].heads(), 1);
        gate.open();
        wait_for("both to be used again", || {
            gateway.get("/");
            both[busy].heads() > 1
        });
    }
}

/// Where each client's requests went.
fn places(upstreams: &[Upstream], name: &str) -> BTreeMap<String, BTreeSet<usize>> {
    let mut places: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for (place, upstream) in upstreams.iter().enumerate() {
        for request in upstream.requests() {
            if let Some(client) = request.header(name) {
                places.entry(client).or_default().insert(place);
            }
        }
    }
    places
}

#[test]
fn by_hash_a_client_stays_with_its_endpoint_also_over_a_reload() {
    let three = [Upstream::echo(), Upstream::echo(), Upstream::echo()];
    let all: Vec<&Upstream> = three.iter().collect();
    let keys = "balance = \"hash:header:x-player\"";
    let gateway = Gateway::start(&config(&all, keys));
    let ask = |player: u32| {
        let head = format!("GET / HTTP/1.1\r\nhost: t\r\nx-player: p{player}\r\n\r\n");
        assert_passed(&gateway.ask(head));
    };
    (0..60).for_each(ask);
    // The same endpoints in another order, and other keys.
    let turned: Vec<&Upstream> = three.iter().rev().collect();
    let keys = format!("{keys}\nread_timeout = \"9s\"");
    gateway.write_structure(&config(&turned, &keys).respond("new", "/new", "new"));
    wait_for("the reload", || gateway.get("/new").text() == "new");
    (0..60).for_each(ask);
    let places = places(&three, "x-player");
    assert_eq!(places.len(), 60);
    assert!(
        places.values().all(|places| places.len() == 1),
        "{places:?}"
    );
    assert!(three.iter().all(|upstream| upstream.heads() >= 2 * 5));
}

#[test]
fn the_address_that_is_hashed_is_the_clients() {
    let three = [Upstream::echo(), Upstream::echo(), Upstream::echo()];
    let all: Vec<&Upstream> = three.iter().collect();
    let config =
        config(&all, "balance = \"hash:client-ip\"").server("trusted_proxies", "[\"127.0.0.0/8\"]");
    let gateway = Gateway::start(&config);
    for round in 0..2 {
        for client in 0..60 {
            let head = format!(
                "GET / HTTP/1.1\r\nhost: t\r\nx-forwarded-for: 203.0.113.{client}\r\nx-round: {round}\r\n\r\n"
            );
            assert_passed(&gateway.ask(head));
        }
    }
    let places = places(&three, "x-real-ip");
    assert_eq!(places.len(), 60);
    assert!(
        places.values().all(|places| places.len() == 1),
        "{places:?}"
    );
    assert!(three.iter().all(|upstream| upstream.heads() > 0));
}

#[test]
fn an_endpoint_that_fails_in_a_row_is_ejected_and_returns() {
    let status = Arc::new(AtomicU16::new(503));
    let fails = Upstream::serving({
        let status = Arc::clone(&status);
        move |_| answer(status.load(Ordering::SeqCst), "")
    });
    let serves = Upstream::echo();
    let keys = "slow_start = \"0s\"\n\
                outlier = { consecutive_failures = 3, ejection = \"4s\", max_ejected_percent = 50 }";
    let gateway = Gateway::start(&config(&[&fails, &serves], keys));
    let ejected = || gateway.events("endpoint ejected");
    wait_for("the ejection", || {
        gateway.get("/");
        !ejected().is_empty()
    });
    // Three in a row were enough, and those already on their way cannot be many.
    assert_eq!(fails.heads(), 3);
    for _ in 0..20 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert_eq!(fails.heads(), 3);
    let event = &ejected()[0];
    assert_eq!(event["upstream"], "u");
    assert_eq!(event["endpoint"], fails.url());
    assert_eq!(event["ejection_ms"], 4000);
    status.store(200, Ordering::SeqCst);
    wait_for("its return", || {
        assert_eq!(gateway.get("/").status, 200);
        fails.heads() > 3
    });
    wait_for("the word of it", || {
        gateway.events("endpoint is back").len() == 1
    });
    assert_eq!(ejected().len(), 1);
}

#[test]
fn the_only_endpoint_is_never_ejected() {
    let fails = Upstream::serving(|_| answer(503, ""));
    let keys = "outlier = { consecutive_failures = 1, max_ejected_percent = 99 }";
    let gateway = Gateway::start(&config(&[&fails], keys));
    for _ in 0..10 {
        assert!(gateway.get("/").is_from_upstream());
    }
    assert!(gateway.events("endpoint ejected").is_empty());
}

#[test]
fn when_no_endpoint_is_up_all_are_tried_and_the_log_says_so_once() {
    let gone = [Upstream::echo(), Upstream::echo()];
    let gateway = Gateway::start(&config(&[&gone[0], &gone[1]], ""));
    gone.iter().for_each(Upstream::stop);
    for _ in 0..8 {
        assert_refusal(&gateway.get("/"), 502, "connect_failed");
    }
    let panics = || {
        let log = gateway.log();
        let lines = log
            .iter()
            .filter(|line| line.contains("too few endpoints are up"));
        lines.count()
    };
    wait_for("the word of it", || panics() == 1);
    let back = Upstream::echo_at(gone[1].address());
    wait_for("the one that is back", || gateway.get("/").status == 200);
    assert_eq!(panics(), 1);
    drop(back);
}

#[test]
fn with_a_panic_percent_of_0_what_is_ejected_gets_nothing_either() {
    let upstream = Upstream::serving(|request| match &*request.target {
        "/healthz" => answer(200, ""),
        _ => answer(503, ""),
    });
    let keys = "health = { path = \"/healthz\", interval = \"60s\", panic_percent = 0 }\n\
                outlier = { consecutive_failures = 2, max_ejected_percent = 100 }";
    let gateway = Gateway::start(&config(&[&upstream], keys));
    for _ in 0..2 {
        assert!(gateway.get("/").is_from_upstream());
    }
    assert_refusal(&gateway.get("/"), 503, "no_endpoint");
}

#[test]
fn with_a_panic_percent_of_0_a_connection_that_failed_is_tried_again() {
    let gone = Upstream::serving(|_| answer(200, ""));
    let keys = "health = { path = \"/healthz\", interval = \"60s\", panic_percent = 0 }";
    let gateway = Gateway::start(&config(&[&gone], keys));
    wait_for("its check", || {
        gone.heads() > 0 && gone.open_connections() == 0
    });
    gone.stop();
    for _ in 0..3 {
        assert_refusal(&gateway.get("/"), 502, "connect_failed");
    }
}
