//! How many connections there are, and what becomes of them when an upstream goes away.

mod support;

use support::*;

#[test]
fn a_connection_too_many_is_told_so_and_closed() {
    let upstream = Upstream::echo();
    let config = Config::passing(&upstream)
        .server("workers", "1")
        .server("max_connections", "2");
    let gateway = Gateway::start(&config);
    let mut first = gateway.connect();
    let mut second = gateway.connect();
    assert_passed(&first.ask(get("/")));
    assert_passed(&second.ask(get("/")));

    // It may be told before it asks: the answer is there whether or not the request is read.
    let mut third = gateway.connect();
    let _ = third.try_send(get("/"));
    let response = third.read();
    assert_refusal(&response, 503, "too_many_connections");
    assert!(response.closes());
    assert!(response.head.has("retry-after"));
    assert_ne!(third.end(), End::Silent);
    let labels = [("route", "none"), ("reason", "too_many_connections")];
    gateway.wait_metric("seawall_refusals_total", &labels, 1.0);

    // Those that were there first go on, and a place that is given up can be taken.
    assert_passed(&first.ask(get("/")));
    drop(second);
    let labels = [("listener", "client")];
    gateway.wait_metric("seawall_connections", &labels, 1.0);
    assert_passed(&gateway.get("/"));
}

#[test]
fn the_bound_on_connections_holds_for_all_workers_together() {
    let upstream = Upstream::echo();
    let config = Config::passing(&upstream)
        .server("workers", "4")
        .server("max_connections", "4");
    let gateway = Gateway::start(&config);
    let mut served = 0;
    let mut clients = Vec::new();
    for _ in 0..12 {
        let mut client = gateway.connect();
        let _ = client.try_send(get("/"));
        let response = client.read();
        if response.is_from_upstream() {
            served += 1;
        } else {
            assert_refusal(&response, 503, "too_many_connections");
        }
        clients.push(client);
    }
    assert_eq!(served, 4);
}

#[test]
fn the_gauge_of_connections_returns_to_zero() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = gateway.connect();
        assert_passed(&client.ask(get("/")));
        clients.push(client);
    }
    let labels = [("listener", "client")];
    gateway.wait_metric("seawall_connections", &labels, 10.0);
    drop(clients);
    gateway.wait_metric("seawall_connections", &labels, 0.0);
    let in_flight = [("route", "any")];
    gateway.wait_metric("seawall_requests_in_flight", &in_flight, 0.0);
}

#[test]
fn an_upstream_dies_and_comes_back_without_a_lost_client_or_a_leaked_connection() {
    const CLIENTS: usize = 8;
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        assert_passed(&client.ask(post("/", "x")));
    }
    upstream.stop();
    for client in &mut clients {
        // The first may still find a pooled connection that is dead.
        let response = client.ask(post("/", "x"));
        let reason = reason_of(&response);
        assert_refusal(&response, 502, &reason);
        assert!(
            ["connect_failed", "upstream_reset"].contains(&reason.as_str()),
            "{reason}"
        );
    }
    let again = Upstream::echo_at(upstream.address());
    for client in &mut clients {
        wait_for("the upstream to be back", || {
            client.ask(post("/", "x")).is_from_upstream()
        });
    }
    for _ in 0..5 {
        for client in &mut clients {
            assert_passed(&client.ask(post("/", "x")));
        }
    }
    // Asked one after the other, each worker needs one connection.
    assert!(again.connections() <= 2, "{}", again.connections());
    let labels = [("listener", "client")];
    gateway.wait_metric("seawall_connections", &labels, CLIENTS as f64);
}

#[test]
fn one_dead_endpoint_of_two_leaves_the_other_serving() {
    let (dead, alive) = (Upstream::echo(), Upstream::echo());
    let urls = [dead.url(), alive.url()];
    let gateway = Gateway::start(&Config::passing(&alive).endpoints("u", &urls, ""));
    dead.stop();
    let mut client = gateway.connect();
    // Nothing was sent to the one that refused, so the next is asked, whatever the method.
    for _ in 0..10 {
        assert_passed(&client.ask(get("/")));
        assert_passed(&client.ask(post("/", "body")));
    }
}

#[test]
fn several_listen_addresses_serve_the_same() {
    let listen = "[\"127.0.0.1:0\", \"127.0.0.1:0\"]";
    let config = Config::new().respond("ping", "/ping", "pong");
    let gateway = Gateway::start(&config.server("listen", listen));
    let events = gateway.events("listening");
    let addresses: Vec<std::net::SocketAddr> = events
        .iter()
        .filter(|event| event["listener"] == "client")
        .filter_map(|event| event["address"].as_str()?.parse().ok())
        .collect();
    assert_eq!(addresses.len(), 2, "{events:?}");
    assert_ne!(addresses[0], addresses[1]);
    for address in addresses {
        assert_eq!(ask(address, get("/ping")).text(), "pong");
    }
}

#[test]
fn the_gauge_of_an_endpoint_says_whether_it_could_be_reached() {
    let (alive, dead) = (Upstream::echo(), Upstream::echo());
    let (address, url) = (dead.address(), dead.url());
    let urls = [alive.url(), url.clone()];
    let gateway = Gateway::start(
        &Config::new()
            .endpoints("u", &urls, "")
            .route("any", "path = \"/{*rest}\"\nupstream = \"u\"")
            .server("workers", "1"),
    );
    let up = |url: &str| {
        let labels = [("upstream", "u"), ("endpoint", url)];
        gateway.metric("seawall_upstream_endpoint_up", &labels)
    };
    assert_eq!((up(&urls[0]), up(&urls[1])), (1.0, 1.0));
    dead.stop();
    wait_for("the endpoint to be found dead", || {
        assert_passed(&gateway.get("/"));
        up(&url) == 0.0
    });
    assert_eq!(up(&urls[0]), 1.0);
    let _returned = Upstream::echo_at(address);
    wait_for("the endpoint to be found again", || {
        assert_passed(&gateway.get("/"));
        up(&url) == 1.0
    });
}
