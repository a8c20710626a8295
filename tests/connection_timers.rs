//! What a connection's timers must not take for idleness, and what a client may not pile up.

mod support;

use std::time::Duration;

use support::*;

const ENDLESS: &str =
    "path = \"/{*rest}\"\nupstream = \"u\"\ntimeout = \"60s\"\nmax_body = \"none\"";

/// A route that the gateway answers itself with a body of this size, for answers to pile up.
fn responding(bytes: usize) -> Config {
    Config::new().respond("big", "/big", &"a".repeat(bytes))
}

#[test]
fn a_connection_on_which_requests_come_is_not_idle() {
    let config = responding(4).server("idle_timeout", "\"400ms\"");
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    // Each is read and answered in one go: a look at the connection finds it quiet every time.
    holds_for(Duration::from_millis(1500), "the connection stays", || {
        client.try_send(get("/big")).is_ok() && client.try_read().is_ok_and(|r| r.whole)
    });
}

#[test]
fn idleness_counts_from_the_last_answer_on() {
    let config = responding(4).server("idle_timeout", "\"400ms\"");
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    holds_for(Duration::from_millis(300), "the connection stays", || {
        client.ask(get("/big")).whole
    });
    let start = now();
    assert_eq!(client.end(), End::Eof);
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[test]
fn each_head_has_its_own_header_timeout() {
    let config = responding(4).server("header_timeout", "\"400ms\"");
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    let request = get("/big");
    let (half, rest) = request.split_at(10);
    client.send(half);
    // One head is always half here, and never the same one.
    holds_for(Duration::from_millis(1500), "each head is served", || {
        client.send([rest, half].concat());
        client
            .try_read()
            .is_ok_and(|response| response.status == 200)
    });
}

#[test]
fn an_empty_line_after_a_body_is_no_head_that_is_late() {
    let upstream = Upstream::echo();
    let config = Config::passing(&upstream)
        .server("header_timeout", "\"300ms\"")
        .server("idle_timeout", "\"900ms\"");
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    client.send([post("/", "x"), b"\r\n".to_vec()].concat());
    assert_passed(&client.read());
    let start = now();
    // Closed quietly, as idle; not with a 408.
    assert!(matches!(client.try_read(), Err(End::Eof)));
    assert!(start.elapsed() >= Duration::from_millis(600));
}

#[test]
fn a_client_that_reads_slowly_but_reads_is_not_given_up() {
    let upstream = Upstream::raw(|connection| {
        if connection.request().is_some() {
            connection.write("HTTP/1.1 200 OK\r\nx-from: u\r\ntransfer-encoding: chunked\r\n\r\n");
            let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
            while connection.write(&chunk) {}
        }
    });
    let config = Config::passing(&upstream).server("write_timeout", "\"700ms\"");
    let gateway = Gateway::start(&config.route("any", ENDLESS));
    let mut client = gateway.connect();
    client.send(get("/"));
    client.read_head();
    holds_for(Duration::from_millis(2500), "the answer goes on", || {
        client.exactly(24 * 1024, &mut Vec::new())
    });
}

/// Sends requests without reading an answer, until the gateway takes no more of them.
fn pile_up(client: &mut Client, request: &str, most: usize) {
    client.set_patience(Duration::from_millis(300));
    let block = request.repeat(100);
    for _ in 0..most / 100 {
        if client.try_send(&block).is_err() {
            break;
        }
    }
    client.set_patience(PATIENCE);
}

#[test]
fn answers_do_not_pile_up_for_a_client_that_pipelines_and_does_not_read() {
    let gateway = Gateway::start(&responding(64 * 1024));
    let mut client = gateway.connect();
    // 4 GiB of answers.
    pile_up(&mut client, &get("/big"), 65_536);
    let resident = gateway.metrics().one("process_resident_memory_bytes", &[]);
    assert!(resident < f64::from(64 << 20), "{resident} bytes resident");
}

#[test]
fn pipelined_requests_are_all_answered_once_the_client_reads() {
    let gateway = Gateway::start(&responding(64 * 1024));
    let mut client = gateway.connect();
    let mut sender = client.split();
    let bad = "GET /big HTTP/1.1\r\nhost: test\r\nfolded: 1\r\n 2\r\n\r\n";
    let sending = std::thread::spawn(move || {
        sender.send(get("/big").repeat(400));
        sender.send(bad);
    });
    for number in 0..400 {
        let response = client.read();
        assert!(response.status == 200 && response.whole, "answer {number}");
    }
    assert_refusal(&client.read(), 400, "bad_request");
    sending.join().expect("sent");
}

#[test]
fn a_late_head_does_not_break_into_an_answer_that_is_not_taken_yet() {
    let config = responding(64 * 1024)
        .server("header_timeout", "\"300ms\"")
        .server("idle_timeout", "\"300ms\"");
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    client.send(get("/big").repeat(400));
    client.send("GET /big HTTP/1.1\r\nho");
    let start = now();
    wait_for("both timeouts to pass", || {
        start.elapsed() > Duration::from_millis(700)
    });
    for number in 0..400 {
        let response = client.read();
        assert!(response.status == 200 && response.whole, "answer {number}");
    }
    assert_refusal(&client.read(), 408, "request_timeout");
}

#[test]
fn an_answer_that_is_not_taken_yet_is_not_cut_by_the_end_of_the_process() {
    let config = responding(64 * 1024).server("shutdown_grace", "\"60s\"");
    let mut gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    pile_up(&mut client, &get("/big"), 10_000);
    wait_for("some answers", || {
        gateway.metric("seawall_requests_total", &[("route", "big")]) > 20.0
    });
    gateway.signal("INT");
    wait_for("the port to be closed", || {
        std::net::TcpStream::connect(gateway.client).is_err()
    });
    let mut answered = 0;
    let end = loop {
        match client.try_read() {
            Ok(response) => assert!(response.whole, "answer {answered} was cut"),
            Err(end) => break end,
        }
        answered += 1;
    };
    assert!(
        client.nothing_came(),
        "a head was cut: {end:?} after {answered}"
    );
    assert_eq!(end, End::Eof, "after {answered} answers");
    assert!(answered > 10, "{answered}");
    assert_eq!(gateway.wait_exit(), Some(0));
}

#[test]
fn a_head_that_is_half_here_is_served_before_the_end_of_the_process() {
    let config = responding(4).server("workers", "1");
    for first in [false, true] {
        let mut gateway = Gateway::start(&config);
        let mut client = gateway.connect();
        if !first {
            assert_eq!(client.ask(get("/big")).status, 200);
        }
        let request = get("/big");
        let (half, rest) = request.split_at(10);
        client.send(half);
        // The only worker has read that when it answers this.
        gateway.get("/big");
        gateway.signal("INT");
        wait_for("the port to be closed", || {
            std::net::TcpStream::connect(gateway.client).is_err()
        });
        let response = client.ask(rest);
        assert_eq!(response.status, 200, "first: {first}");
        assert!(response.closes());
        assert_eq!(client.end(), End::Eof);
        assert_eq!(gateway.wait_exit(), Some(0));
    }
}

#[test]
fn a_connection_that_waits_to_be_accepted_is_served_before_the_end_of_the_process() {
    for _ in 0..5 {
        let mut gateway = Gateway::start(&responding(4));
        // Answered when the gateway listens to signals too.
        assert_eq!(gateway.admin("/readyz").status, 200);
        let clients = [0; 20].map(|_| {
            let mut client = gateway.connect();
            client.send(get("/big"));
            client
        });
        gateway.signal("INT");
        for mut client in clients {
            assert_eq!(client.read().status, 200);
        }
        assert_eq!(gateway.wait_exit(), Some(0));
    }
}
