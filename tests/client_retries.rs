//! Requests that clients send again are counted, on every route. What holds them to a budget is in
//! `client_retry_budget.rs`.

mod repeated_support;
#[path = "../benches/setup/mod.rs"]
mod setup;
mod support;

use std::sync::Arc;

use repeated_support::*;
use seawall::proxy::{Worker, serve};
use seawall::upstream::RequestBody;
use support::*;

#[test]
fn the_same_client_method_target_and_body_again_is_a_retry_and_nothing_else_is() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&route(&upstream, ""));
    assert_eq!(counted(&gateway), 0.0, "there from the start");
    let client = &mut gateway.connect();
    let first = send(client, "/x?p=1", (1, "save"));
    assert_eq!(first.text(), "save", "the body that was looked at goes on");
    send(client, "/x?p=2", (1, "save"));
    send(client, "/x?p=1", (2, "save"));
    send(client, "/x?p=1", (1, "sav"));
    send(client, "/x?p=1", (1, ""));
    client.ask("PUT /x?p=1 HTTP/1.1\r\nhost: t\r\nx-forwarded-for: 192.0.2.1\r\ncontent-length: 4\r\n\r\nsave");
    assert_eq!(counted(&gateway), 0.0);
    let again = send(client, "/x?p=1", (1, "save"));
    assert_eq!(again.text(), "save");
    // On another connection, and so perhaps on another worker.
    send(&mut gateway.connect(), "/x?p=1", (1, "save"));
    send(&mut gateway.connect(), "/x?p=1", (1, ""));
    assert_eq!(counted(&gateway), 3.0);
}

#[test]
fn players_behind_one_address_are_told_apart_as_sticky_says() {
    let upstream = Upstream::echo();
    let keys = "kill_switch = { sticky = \"header:x-player-id\" }";
    let gateway = Gateway::start(&route(&upstream, keys));
    let client = &mut gateway.connect();
    let ask = |client: &mut Client, from: u8, player: &str| {
        let head = format!("GET /weekly HTTP/1.1\r\nhost: t\r\nx-forwarded-for: 192.0.2.{from}");
        assert_passed(&client.ask(format!("{head}\r\n{player}\r\n")));
    };
    for player in 0..5 {
        ask(client, 1, &format!("x-player-id: p{player}\r\n"));
    }
    ask(client, 1, "");
    ask(client, 2, "");
    assert_eq!(counted(&gateway), 0.0, "one network, one leaderboard");
    // On its way home, on another network.
    ask(client, 2, "x-player-id: p3\r\n");
    ask(client, 1, "");
    assert_eq!(counted(&gateway), 2.0);
}

#[test]
fn a_header_tells_a_retry_and_no_retry_is_counted_twice() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&route(&upstream, ""));
    let client = &mut gateway.connect();
    let ask = |client: &mut Client, target: &str, header: &str| {
        let head = format!("POST {target} HTTP/1.1\r\nhost: t\r\n{header}\r\n");
        assert_passed(&client.ask(format!("{head}content-length: 1\r\n\r\nx")));
    };
    for (at, header) in [
        "x-retry-count: 0",
        "x-envoy-attempt-count: 1",
        "x-other: 3",
        "x-retry-count: x",
    ]
    .iter()
    .enumerate()
    {
        ask(client, &format!("/first/{at}"), header);
    }
    assert_eq!(counted(&gateway), 0.0);
    for (at, header) in [
        "x-retry-count: 1",
        "x-envoy-attempt-count: 2",
        "grpc-previous-rpc-attempts: 1",
        "amz-sdk-request: attempt=2; max=3",
    ]
    .iter()
    .enumerate()
    {
        ask(client, &format!("/again/{at}"), header);
    }
    assert_eq!(counted(&gateway), 4.0);
    ask(client, "/again/0", "x-retry-count: 2");
    assert_eq!(counted(&gateway), 5.0, "known for two reasons");
    ask(client, "/again/1", "x-other: 1");
    assert_eq!(counted(&gateway), 6.0, "remembered although it said so");
}

fn chunked(target: &str, pieces: &[&str]) -> String {
    let head = format!("POST {target} HTTP/1.1\r\nhost: t\r\nx-forwarded-for: 192.0.2.1\r\n");
    let chunk = |piece: &&str| format!("{:x}\r\n{piece}\r\n", piece.len());
    let chunks: String = pieces.iter().map(chunk).collect();
    format!("{head}transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
}

#[test]
fn a_body_is_the_same_in_whatever_pieces_it_comes() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&route(&upstream, ""));
    let client = &mut gateway.connect();
    send(client, "/x", (1, "firsttwo"));
    for pieces in [&["firsttwo"][..], &["fir", "s", "ttwo"]] {
        assert_eq!(client.ask(chunked("/x", pieces)).text(), "firsttwo");
    }
    assert_eq!(counted(&gateway), 2.0);
    client.ask(chunked("/x", &["first", "two "]));
    assert_eq!(counted(&gateway), 2.0);
    let head = "POST /x HTTP/1.1\r\nhost: t\r\nx-forwarded-for: 192.0.2.1\r\ncontent-length: 8\r\n";
    client.send(format!("{head}expect: 100-continue\r\n\r\n"));
    assert_eq!(client.read().status, 100);
    client.send("firsttwo");
    assert_eq!(client.read().text(), "firsttwo");
    assert_eq!(counted(&gateway), 3.0);
}

#[test]
fn no_request_waits_for_its_body() {
    for keys in ["", "observe = \"client-ip\""] {
        let upstream = Upstream::echo();
        let gateway = Gateway::start(&route(&upstream, keys));
        for number in 1..=2 {
            let client = &mut gateway.connect();
            client.send("POST /x HTTP/1.1\r\nhost: t\r\ncontent-length: 8\r\n\r\nfirst");
            upstream.wait_heads(number);
            client.send("two");
            assert_eq!(client.read().text(), "firsttwo");
        }
        assert_eq!(counted(&gateway), 1.0);
    }
}

#[test]
fn of_a_long_body_nothing_is_known() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&route(&upstream, ""));
    let client = &mut gateway.connect();
    let (most, more) = ("x".repeat(16 * 1024), "x".repeat(16 * 1024 + 1));
    for _ in 0..2 {
        assert_eq!(send(client, "/l", (1, &more)).text(), more);
        assert_eq!(client.ask(chunked("/c", &[&most, "x"])).text(), more);
    }
    assert_eq!(counted(&gateway), 0.0);
    for _ in 0..2 {
        assert_eq!(send(client, "/l", (1, &most)).text(), most);
        assert_eq!(client.ask(chunked("/c", &[&most])).text(), most);
    }
    assert_eq!(counted(&gateway), 2.0);
}

#[test]
fn what_a_limit_refuses_was_sent_all_the_same() {
    let upstream = Upstream::echo();
    let keys = "rate_limit = { rate = \"1/h\", burst = 1, key = \"route\" }\nmax_body = \"8B\"";
    let gateway = Gateway::start(&route(&upstream, keys));
    let client = &mut gateway.connect();
    let get = "GET /x HTTP/1.1\r\nhost: t\r\n\r\n";
    assert_passed(&client.ask(get));
    assert_refusal(&client.ask(get), 429, "rate_limited");
    assert_eq!(counted(&gateway), 1.0);
    for body in ["short", "too long for it"] {
        for _ in 0..2 {
            let response = send(client, "/x", (1, body));
            assert_refusal(&response, 429, "rate_limited");
        }
    }
    assert_eq!(counted(&gateway), 3.0);
    let unlimited = keys.replace("1/h", "1000/s");
    let applied = [("result", "applied")];
    let before = gateway.metric("seawall_config_reloads_total", &applied);
    gateway.write_structure(&route(&upstream, &unlimited));
    gateway.wait_metric("seawall_config_reloads_total", &applied, before + 1.0);
    assert_passed(&send(client, "/x", (1, "short")));
    assert_eq!(counted(&gateway), 4.0, "the memory outlives a reload");
}

#[test]
fn a_request_that_the_gateway_sends_again_itself_came_once() {
    let upstream = Upstream::raw(|connection| {
        while let Some(request) = connection.request() {
            if request.header("x-seawall-attempt").is_none() {
                return;
            }
            connection.write(answer(200, &request.body));
        }
    });
    let keys = "retry = { attempts = 2, on = [\"reset\"], backoff = \"1ms\" }";
    let gateway = Gateway::start(&route(&upstream, keys));
    let client = &mut gateway.connect();
    let put = "PUT /x HTTP/1.1\r\nhost: t\r\ncontent-length: 4\r\n\r\nsave";
    for retries in 0..2 {
        assert_eq!(client.ask(put).text(), "save");
        assert_eq!(upstream.heads(), 2 * (retries + 1));
        assert_eq!(counted(&gateway), retries as f64);
    }
    for retries in 0..2 {
        assert_passed(&client.ask("GET /x HTTP/1.1\r\nhost: t\r\n\r\n"));
        assert_eq!(counted(&gateway), 1.0 + f64::from(retries));
    }
}

#[test]
fn a_request_whose_client_has_gone_is_counted_too() {
    let upstream = Upstream::hanging();
    let gateway = Gateway::start(&route(&upstream, "timeout = \"60s\""));
    let gone = [("route", "a"), ("code", "499")];
    for number in 1..=2 {
        let mut client = gateway.connect();
        client.send("POST /x HTTP/1.1\r\nhost: t\r\ncontent-length: 4\r\n\r\nsave");
        wait_for("the whole request at the upstream", || {
            upstream.requests().len() == number
        });
        drop(client);
        gateway.wait_metric("seawall_requests_total", &gone, number as f64);
    }
    gateway.wait_metric(TOTAL, &[("route", "a")], 1.0);
    // This one leaves amid its body.
    let mut client = gateway.connect();
    client.send("POST /x HTTP/1.1\r\nhost: t\r\ncontent-length: 4\r\n\r\nsa");
    upstream.wait_heads(3);
    drop(client);
    gateway.wait_metric("seawall_requests_total", &gone, 3.0);
    assert_eq!(counted(&gateway), 1.0);
}

#[tokio::test]
async fn a_request_is_counted_that_was_dropped_before_its_turn_came() {
    let route = "[routes.a]\npath = \"/a\"\nrespond = { body = \"pong\" }\n";
    let live = setup::live(route, "[kill]\n");
    for _ in 0..3 {
        let worker = Arc::new(Worker::new(Arc::clone(&live), None));
        let head = http::Request::get("/a").header("host", "t");
        let request = head.body(RequestBody::empty()).expect("a request");
        drop(serve(worker, setup::peer(), request));
    }
    let metrics = Metrics::parse(&live.metrics.exposition());
    let gone = [("route", "a"), ("code", "499")];
    assert_eq!(metrics.sum("seawall_requests_total", &gone), 3.0);
    assert_eq!(metrics.one(TOTAL, &[("route", "a")]), 2.0);
}

#[test]
fn routes_of_every_kind_count() {
    let shelf = Shelf::new();
    let (one, other) = (Upstream::echo(), Upstream::echo());
    let nobody = format!("http://{}", free_address());
    let split = "path = \"/split\"\nsplit = [{ upstream = \"u\", weight = 1 }, \
                 { upstream = \"v\", weight = 1 }]";
    let open = "path = \"/open\"\nupstream = \"n\"\non_failure = \"open\"\n\
                kill_switch = { mode = \"archive\" }";
    let config = Config::new()
        .upstream("u", &one)
        .upstream("v", &other)
        .endpoints("n", &[nobody], "")
        .respond("respond", "/respond", "pong")
        .route("split", split)
        .route("open", open)
        .route("fails", "path = \"/fails\"\nupstream = \"n\"");
    let gateway = Gateway::start(&shelf.used_by(config));
    let client = &mut gateway.connect();
    for (name, status) in [
        ("respond", 200),
        ("split", 200),
        ("open", 200),
        ("fails", 502),
    ] {
        let target = format!("/{name}");
        for body in ["save", ""] {
            for _ in 0..3 {
                assert_eq!(send(client, &target, (1, body)).status, status, "{name}");
            }
        }
        assert_eq!(client.ask(chunked(&target, &["sa", "ve"])).status, status);
        // That of a refused request is not read.
        let wanted = if name == "fails" { 4.0 } else { 5.0 };
        let labels = [("route", name)];
        assert_eq!(gateway.metrics().one(TOTAL, &labels), wanted, "{name}");
        *client = gateway.connect();
    }
}

#[test]
fn what_a_switch_takes_is_not_looked_at() {
    let upstream = Upstream::echo();
    let config = route(&upstream, "").switches("[kill]\na = \"drop\"\n");
    let gateway = Gateway::start(&config);
    let client = &mut gateway.connect();
    let ask = |client: &mut Client| {
        let get = client.ask("GET /x HTTP/1.1\r\nhost: t\r\nx-retry-count: 1\r\n\r\n");
        [get, send(client, "/x", (1, "save"))]
    };
    for _ in 0..2 {
        ask(client).iter().for_each(assert_killed);
    }
    assert_eq!(counted(&gateway), 0.0);
    gateway.write_switches("[kill]\n");
    wait_for("the end of the switch", || {
        gateway.get("/other").is_from_upstream()
    });
    let before = counted(&gateway);
    ask(client).iter().for_each(assert_passed);
    assert_eq!(counted(&gateway), before + 1.0, "the one that says so");
}

#[test]
fn the_share_is_told_by_routes_status_and_command() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&route(&upstream, ""));
    let client = &mut gateway.connect();
    // Samples are taken once a second; what came before the first is in none of them.
    wait_for("the share in the status", || {
        send(client, "/x", (1, "y"));
        let share = gateway.status()["client_retries"]["a"]["share"].as_f64();
        share.is_some_and(|share| share > 0.5 && share <= 1.0)
    });
    let routes = gateway.admin("/api/v1/routes").json();
    let routes = routes.as_array().or_else(|| routes["routes"].as_array());
    let figures = &routes.expect("a list")[0]["figures"];
    assert!(
        figures["client_retries_per_second"]
            .as_f64()
            .is_some_and(|rate| rate > 0.0)
    );
    let dir = gateway.directory().to_str().expect("a path");
    let admin = format!("http://{}", gateway.admin);
    let status = run_to_exit(&["--config", dir, "status", "--admin", &admin]);
    assert!(
        status.output.contains("clients of a send "),
        "{}",
        status.output
    );
}
