//! Names of endpoints over real sockets: a name server whose answers change while requests pass.

mod support;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;
use support::{
    Config, Gate, Gateway, Mood, NameServer, StopAtEnd, Upstream, answer, get, holds_for, now,
    wait_for,
};

const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 91, 1);
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 91, 2);

/// A port that is free on both addresses.
fn port() -> u16 {
    let first = TcpListener::bind((ONE, 0)).expect("a free port");
    first.local_addr().expect("an address").port()
}

fn at(ip: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::from((ip, port))
}

fn saying(ip: Ipv4Addr, port: u16, body: &'static str) -> Upstream {
    Upstream::raw_at(at(ip, port), move |connection| {
        while connection.request().is_some() && connection.write(answer(200, body)) {}
    })
}

/// A catch-all route to one endpoint, resolved at this name server.
fn config(names: &NameServer, endpoint: &str, keys: &str) -> Config {
    Config::new()
        .server("resolvers", &names.resolvers())
        .endpoints("u", &[endpoint.to_owned()], keys)
        .route("any", "path = \"/{*rest}\"\nupstream = \"u\"")
}

/// The rows of the status for the upstream `u`.
fn rows(gateway: &Gateway) -> Vec<Value> {
    let status = gateway.status();
    let all = status["endpoints"].as_array().expect("rows");
    all.iter()
        .filter(|row| row["upstream"] == "u")
        .cloned()
        .collect()
}

fn addresses(gateway: &Gateway) -> Vec<String> {
    let rows = rows(gateway);
    let address = |row: &Value| row["address"].as_str().map(str::to_owned);
    rows.iter().filter_map(address).collect()
}

fn wait_addresses(gateway: &Gateway, wanted: &[SocketAddr]) {
    let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    wait_for(&format!("the addresses {wanted:?}"), || {
        addresses(gateway) == wanted
    });
}

#[test]
fn every_address_of_a_name_is_an_endpoint() {
    let names = NameServer::start();
    names.point("stats.test", &[ONE, TWO]);
    let port = port();
    let (one, two) = (saying(ONE, port, "one"), saying(TWO, port, "two"));
    let url = format!("http://stats.test:{port}");
    let gateway = Gateway::start(&config(&names, &url, ""));
    // Resolved before anything was served.
    assert_eq!(gateway.get("/").status, 200);
    wait_for("requests at both", || {
        gateway.get("/");
        one.heads() > 0 && two.heads() > 0
    });
    assert_eq!(addresses(&gateway).len(), 2);
    let up = [("upstream", "u"), ("endpoint", url.as_str())];
    let metrics = gateway.metrics();
    assert_eq!(metrics.one("seawall_upstream_endpoint_up", &up), 1.0);
    // One of them is gone: half of the name is up, at least until it is tried again.
    two.stop();
    wait_for("half of the addresses up", || {
        gateway.get("/");
        gateway.metrics().one("seawall_upstream_endpoint_up", &up) == 0.5
    });
}

#[test]
fn an_answer_that_changes_under_load_fails_no_request() {
    let names = NameServer::start();
    names.point("stats.test", &[ONE]);
    let port = port();
    let (one, two) = (saying(ONE, port, "one"), saying(TWO, port, "two"));
    let url = format!("http://stats.test:{port}");
    let gateway = Gateway::start(&config(&names, &url, ""));
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failed = thread::scope(|scope| {
        let ends = StopAtEnd(&stop);
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = gateway.connect();
                    let mut failed = Vec::new();
                    while !stop.load(Ordering::SeqCst) {
                        let answer = client.ask(get("/"));
                        sent.fetch_add(1, Ordering::SeqCst);
                        if answer.status != 200 || answer.body.len() != 3 {
                            failed.push(answer.status);
                        }
                    }
                    failed
                })
            })
            .collect();
        for turn in 0..4 {
            let (ip, upstream) = if turn % 2 == 0 {
                (TWO, &two)
            } else {
                (ONE, &one)
            };
            names.point("stats.test", &[ip]);
            let before = upstream.heads();
            wait_for("traffic at the new address", || {
                upstream.heads() > before + 20
            });
            wait_addresses(&gateway, &[at(ip, port)]);
        }
        drop(ends);
        let ended = clients
            .into_iter()
            .map(|client| client.join().expect("a client"));
        ended.flatten().collect::<Vec<_>>()
    });
    assert!(sent.load(Ordering::SeqCst) > 80);
    assert_eq!(failed, Vec::<u16>::new());
    // Nothing leads to the address that left: its idle connections are closed.
    wait_for("no connection to the old address", || {
        two.open_connections() == 0
    });
}

#[test]
fn a_request_in_flight_at_an_address_that_left_finishes() {
    let names = NameServer::start();
    names.point("stats.test", &[ONE]);
    let port = port();
    let gate = std::sync::Arc::new(Gate::default());
    let held = std::sync::Arc::clone(&gate);
    let one = Upstream::raw_at(at(ONE, port), move |connection| {
        while connection.request().is_some() {
            connection.write("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhal");
            held.wait();
            connection.write("ves");
        }
    });
    let _two = saying(TWO, port, "two");
    let url = format!("http://stats.test:{port}");
    let gateway = Gateway::start(&config(&names, &url, ""));
    let mut client = gateway.connect();
    client.send(get("/"));
    one.wait_heads(1);
    names.point("stats.test", &[TWO]);
    wait_addresses(&gateway, &[at(TWO, port)]);
    assert_eq!(gateway.get("/").text(), "two");
    gate.open();
    let answer = client.read();
    assert_eq!((answer.status, &*answer.body), (200, &b"halves"[..]));
    // Its connection is not kept for anybody.
    wait_for("no connection to the old address", || {
        one.open_connections() == 0
    });
    assert_eq!(one.heads(), 1);
}

#[test]
fn addresses_stay_while_the_name_server_fails_is_silent_or_forgot_the_name() {
    let names = NameServer::start();
    names.point("stats.test", &[ONE]);
    let port = port();
    let _one = saying(ONE, port, "one");
    let url = format!("http://stats.test:{port}");
    let gateway = Gateway::start(&config(&names, &url, ""));
    assert_eq!(gateway.get("/").text(), "one");
    let said = "name cannot be resolved; its addresses stay, and it is tried again";
    for (turn, mood) in [Mood::Failing, Mood::Silent].into_iter().enumerate() {
        names.set_mood(mood);
        wait_for("the failure to be told", || {
            rows(&gateway)[0]["resolution_error"].is_string()
        });
        assert_eq!(addresses(&gateway), [at(ONE, port).to_string()]);
        assert_eq!(gateway.get("/").text(), "one");
        let asked = names.asked();
        wait_for("another try", || names.asked() > asked);
        // Once for each time that it begins.
        assert_eq!(gateway.events(said).len(), turn + 1);
        names.set_mood(Mood::Answering);
        wait_for("the end of the failure to be told", || {
            rows(&gateway)[0]["resolution_error"].is_null()
        });
    }
    // A service without a machine ready has no name in some systems: as good as a failure.
    names.point("stats.test", &[]);
    wait_for("the failure to be told", || {
        rows(&gateway)[0]["resolution_error"] == "the name has no address"
    });
    assert_eq!(gateway.get("/").text(), "one");
}

#[test]
fn a_name_that_is_not_known_yet_gets_503_and_is_served_once_it_is() {
    let names = NameServer::start();
    let port = port();
    let _one = saying(ONE, port, "one");
    let url = format!("http://stats.test:{port}");
    let config = config(&names, &url, "").respond("ping", "/ping", "pong");
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.get("/ping").text(), "pong");
    let refused = gateway.get("/");
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json()["reason"], "no_endpoint");
    let row = &rows(&gateway)[0];
    assert_eq!(
        (&row["address"], &row["down"]),
        (&Value::Null, &Value::from("unresolved"))
    );
    assert_eq!(row["resolution_error"], "no such name");
    let up = [("upstream", "u"), ("endpoint", url.as_str())];
    assert_eq!(
        gateway.metrics().one("seawall_upstream_endpoint_up", &up),
        0.0
    );
    names.point("stats.test", &[ONE]);
    wait_for("the name to be served", || gateway.get("/").status == 200);
}

#[test]
fn a_silent_name_server_does_not_hold_up_the_start_for_long() {
    let names = NameServer::start();
    names.set_mood(Mood::Silent);
    names.point("stats.test", &[ONE]);
    let port = port();
    let _one = saying(ONE, port, "one");
    let url = format!("http://stats.test:{port}");
    let begun = now();
    // A request that comes meanwhile waits for the first answer, within `connect_timeout`.
    let config = config(&names, &url, "connect_timeout = \"9s\"")
        .defaults("timeout", "\"9s\"")
        .respond("ping", "/ping", "pong");
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.get("/ping").text(), "pong");
    // Bounded by one second; the rest is for a busy machine.
    assert!(begun.elapsed().as_secs() < 8);
    let mut client = gateway.connect();
    client.send(get("/"));
    names.set_mood(Mood::Answering);
    let answer = client.read();
    // If the first try had failed by then, it was refused at once; else it waited.
    assert!(matches!(answer.status, 200 | 503), "{}", answer.status);
    wait_for("the name to be served", || gateway.get("/").status == 200);
}

#[test]
fn a_reload_that_brings_a_name_fails_no_request() {
    let names = NameServer::start();
    names.point("stats.test", &[ONE]);
    names.point("other.test", &[TWO]);
    let port = port();
    let (_one, two) = (saying(ONE, port, "one"), saying(TWO, port, "two"));
    let before = config(&names, &format!("http://stats.test:{port}"), "");
    let gateway = Gateway::start(&before);
    let mut client = gateway.connect();
    assert_eq!(client.ask(get("/")).text(), "one");
    gateway.write_structure(&config(&names, &format!("http://other.test:{port}"), ""));
    wait_for("traffic at the new name", || {
        assert_eq!(client.ask(get("/")).status, 200);
        two.heads() > 0
    });
}

#[test]
fn a_reload_keeps_what_was_resolved() {
    let names = NameServer::start();
    names.point("stats.test", &[ONE]);
    let port = port();
    let one = saying(ONE, port, "one");
    let url = format!("http://stats.test:{port}");
    let gateway = Gateway::start(&config(&names, &url, ""));
    assert_eq!(gateway.get("/").status, 200);
    names.set_mood(Mood::Silent);
    // Another upstream by its keys, with the same endpoint.
    let other = config(&names, &url, "connect_timeout = \"2s\"").respond("new", "/new", "new");
    gateway.write_structure(&other);
    wait_for("the reload", || gateway.get("/new").text() == "new");
    assert_eq!(gateway.get("/").text(), "one");
    assert_eq!(addresses(&gateway), [at(ONE, port).to_string()]);
    // The pool was kept with it.
    assert!(one.connections() <= 2, "one for each worker");
    // And it is still followed.
    names.point("stats.test", &[TWO]);
    names.set_mood(Mood::Answering);
    wait_addresses(&gateway, &[at(TWO, port)]);
}

#[test]
fn a_service_is_found_by_its_srv_records() {
    let names = NameServer::start();
    let ports = [port(), port(), port()];
    let service = "_stats._tcp.test";
    names.offer(
        service,
        &[
            (10, ports[0], "a.test"),
            (10, ports[1], "b.test"),
            (20, ports[2], "a.test"),
        ],
    );
    names.point("a.test", &[ONE]);
    names.point("b.test", &[TWO]);
    let one = saying(ONE, ports[0], "one");
    let two = saying(TWO, ports[1], "two");
    let last = saying(ONE, ports[2], "last");
    let url = format!("http+srv://{service}");
    let route = "path = \"/{*rest}\"\nupstream = \"u\"\nhost_rewrite = \"upstream\"";
    let gateway = Gateway::start(&config(&names, &url, "").route("any", route));
    wait_for("requests at both of the best priority", || {
        assert_eq!(gateway.get("/").status, 200);
        one.heads() > 0 && two.heads() > 0
    });
    assert_eq!(last.heads(), 0);
    // Its machine's own name and port.
    let host = one.last().header("host");
    assert_eq!(host, Some(format!("a.test:{}", ports[0])));
    // The others failed: the next priority is all that is left in the records.
    names.offer(service, &[(20, ports[2], "a.test")]);
    wait_addresses(&gateway, &[at(ONE, ports[2])]);
    assert_eq!(gateway.get("/").text(), "last");
}

#[test]
fn many_changes_of_address_leave_nothing_behind() {
    let names = NameServer::start();
    let port = port();
    names.point("stats.test", &[ONE]);
    let (one, two) = (saying(ONE, port, "one"), saying(TWO, port, "two"));
    let url = format!("http://stats.test:{port}");
    let gateway = Gateway::start(&config(&names, &url, ""));
    for turn in 0..3 {
        let (ip, here, gone) = match turn % 2 {
            0 => (TWO, &two, &one),
            _ => (ONE, &one, &two),
        };
        names.point("stats.test", &[ip]);
        wait_for("traffic at the new address", || {
            let before = here.heads();
            gateway.get("/");
            here.heads() > before
        });
        wait_for("no connection to the old", || gone.open_connections() == 0);
    }
    assert_eq!(rows(&gateway).len(), 1);
}

#[test]
fn an_address_is_never_looked_up_and_localhost_needs_no_name_server() {
    let names = NameServer::start();
    names.set_mood(Mood::Silent);
    let here = Upstream::saying("here");
    let literal = config(&names, &here.url(), "");
    let gateway = Gateway::start(&literal);
    assert_eq!(gateway.get("/").text(), "here");
    let url = format!("http://localhost:{}", here.address().port());
    gateway.write_structure(&config(&names, &url, ""));
    wait_for("the reload", || {
        rows(&gateway)[0]["endpoint"] == url.as_str()
    });
    assert_eq!(gateway.get("/").text(), "here");
    assert_eq!(addresses(&gateway), [here.address().to_string()]);
    holds_for(
        std::time::Duration::from_millis(1500),
        "no question",
        || names.asked() == 0,
    );
}
