//! Mode `archive`: what was answered 200 is in the journal, as it came.

mod support;

use support::*;

const ANY: &str = "[kill]\nany = \"archive\"\n";

fn outcome(name: &'static str) -> [(&'static str, &'static str); 3] {
    [("route", "any"), ("mode", "archive"), ("outcome", name)]
}

const KILLED: &str = "seawall_killed_requests_total";

fn archiving(upstream: &Upstream, shelf: &Shelf) -> Config {
    shelf.used_by(Config::passing(upstream).switches(ANY))
}

#[test]
fn a_killed_request_is_in_the_journal_byte_for_byte() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let gateway = Gateway::start(&archiving(&upstream, &shelf));
    let every_byte: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    let bodies = [
        b"{\"score\": 7}".to_vec(),
        "Grüße\n\"\\".as_bytes().to_vec(),
        Vec::new(),
        every_byte,
        large,
    ];
    let mut client = gateway.connect();
    for body in &bodies {
        let response = client.ask(post("/stats/7?a=b%20c&d", body));
        assert_killed(&response);
    }
    assert_killed(&client.ask(get("/motd")));
    let chunked = "PUT /chunks HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    assert_killed(&client.ask(chunked));
    let records = shelf.records();
    assert_eq!(records.len(), bodies.len() + 2);
    for (record, body) in records.iter().zip(&bodies) {
        assert!(record.body() == *body, "{} bytes", body.len());
        assert_eq!(record.method, "POST");
        assert_eq!(record.target, "/stats/7?a=b%20c&d");
    }
    let last = &records[bodies.len()..];
    assert_eq!((last[0].method.as_str(), last[0].body()), ("GET", vec![]));
    assert_eq!(last[1].method, "PUT");
    assert_eq!(last[1].body(), b"hello world");
    assert!(records.windows(2).all(|pair| pair[0].id < pair[1].id));
    let total = records.len() as f64;
    gateway.wait_metric(KILLED, &outcome("archived"), total);
    assert_eq!(gateway.metric(KILLED, &[]), total);
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_record_says_who_sent_what_and_why_it_was_kept() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let plan = "[plans.launch]\nkill = { \"tier:standard\" = \"archive\" }";
    let switches = "[kill]\n\"plan:launch\" = { reason = \"INC-42\" }\n";
    let config = shelf
        .used_by(Config::new().endpoints("u", &[upstream.url()], plan))
        .server("instance", "\"gw-7\"")
        .server("trusted_proxies", "[\"127.0.0.0/8\"]")
        .telemetry("log_headers", "[\"x-tournament-id\", \"cookie\"]")
        .route(
            "any",
            "path = \"/{*rest}\"\nupstream = \"u\"\npath_rewrite = \"/other\"\n\
             request_headers = { remove = [\"x-mine\"] }",
        )
        .switches(switches);
    let gateway = Gateway::start(&config);
    let response = gateway.ask(
        "POST /v1/a%7Eb?q=1 HTTP/1.0\r\nhost: test\r\nX-Mine: One\r\nx-mine: two\r\n\
         x-request-id: my-id\r\nx-tournament-id: t1\r\ncookie: secret\r\n\
         x-forwarded-for: 203.0.113.9\r\ncontent-length: 2\r\n\r\n{}",
    );
    assert_eq!(response.status, 200);
    assert_eq!(response.header("x-request-id").as_deref(), Some("my-id"));
    let [record] = &shelf.records()[..] else {
        panic!("one record");
    };
    assert_eq!(record.route, "any");
    assert_eq!(record.instance, "gw-7");
    assert_eq!(record.client.to_string(), "203.0.113.9");
    assert_eq!(record.request_id, "my-id");
    assert_eq!(&*record.kill.mode, "archive");
    assert_eq!(record.kill.reason.as_deref(), Some("INC-42"));
    assert_eq!(&*record.kill.source, "plan:launch");
    assert_eq!(record.target, "/v1/a%7Eb?q=1");
    assert_eq!(record.version, "HTTP/1.0");
    let of = |name: &str| {
        let headers = record.headers.iter();
        let values = headers.filter(|(found, _)| found == name);
        values.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of("x-mine"), ["One", "two"]);
    assert_eq!(of("x-forwarded-for"), ["203.0.113.9"]);
    assert_eq!(of("cookie"), ["[redacted]"]);
    assert_eq!(
        record.context.get("x-tournament-id").map(String::as_str),
        Some("t1")
    );
    assert!(
        !record.context.contains_key("cookie"),
        "{:?}",
        record.context
    );
    assert!(!record.maybe_processed);
    assert_eq!(record.subject, None);
}

#[test]
fn secrets_never_reach_the_disk() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let config = archiving(&upstream, &shelf)
        .archive("redact_headers", "[\"X-Secret\"]")
        .archive("redact_query", "[\"key\", \"token\"]");
    let mut gateway = Gateway::start(&config);
    let request = "POST /a?token=hunter2&b=1&KEY=hunter2 HTTP/1.1\r\nhost: test\r\n\
                   x-secret: hunter2\r\nauthorization: shown\r\ncontent-length: 0\r\n\r\n";
    assert_killed(&gateway.ask(request));
    let records = shelf.records();
    assert_eq!(records[0].target, "/a?token=[redacted]&b=1&KEY=[redacted]");
    assert!(records[0].has_redacted_headers());
    let shown = ("authorization".to_owned(), "shown".to_owned());
    assert!(records[0].headers.contains(&shown));
    gateway.signal("INT");
    assert_eq!(gateway.wait_exit(), Some(0));
    for entry in std::fs::read_dir(shelf.path("a")).expect("a directory") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
        let found = bytes.windows(7).any(|window| window == b"hunter2");
        assert!(!found, "a secret is on the disk");
    }
}

#[test]
fn the_answer_is_that_of_the_switch_and_the_connection_goes_on() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let keys = "path = \"/{*rest}\"\nupstream = \"u\"\nkill_switch = { mode = \"archive\", \
                status = 202, body = '{\"ok\":true}', content_type = \"application/json\" }";
    let config = Config::new().upstream("u", &upstream).route("any", keys);
    let config = shelf.used_by(config.switches("[kill]\nany = {}\n"));
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    for _ in 0..3 {
        let response = client.ask(post("/a", "x"));
        assert_eq!(
            (response.status, response.text().as_str()),
            (202, "{\"ok\":true}")
        );
        assert_eq!(
            response.header("content-type").as_deref(),
            Some("application/json")
        );
        assert_eq!(
            response.header("cache-control").as_deref(),
            Some("no-store")
        );
        assert!(!response.closes());
    }
    assert_eq!(shelf.records().len(), 3);
}

#[test]
fn a_client_that_waits_for_100_continue_is_asked_for_its_payload() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let gateway = Gateway::start(&archiving(&upstream, &shelf));
    let mut client = gateway.connect();
    let head =
        "POST /a HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
    client.send(head);
    assert_eq!(client.read().status, 100);
    client.send("hello");
    let response = client.read();
    assert_killed(&response);
    assert!(!response.closes(), "what it waited with was read");
    assert_killed(&client.ask(post("/a", "again")));
    assert_eq!(shelf.records()[0].body(), b"hello");
}

#[test]
fn a_payload_that_is_too_large_is_refused_and_never_answered_200() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    // Not even where a payload that finds no room is dropped.
    let keys = "path = \"/{*rest}\"\nupstream = \"u\"\nmax_body = \"1KiB\"\n\
                kill_switch = { when_full = \"drop\" }";
    let config = Config::new().upstream("u", &upstream).route("any", keys);
    let gateway = Gateway::start(&shelf.used_by(config.switches(ANY)));
    let announced = "POST /a HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\n\
                     content-length: 1025\r\n\r\n";
    assert_refusal(&gateway.ask(announced), 413, "body_too_large");
    let chunk = format!("401\r\n{}\r\n0\r\n\r\n", "x".repeat(1025));
    let chunked =
        format!("POST /a HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n{chunk}");
    assert_refusal(&gateway.ask(chunked), 413, "body_too_large");
    gateway.wait_metric(KILLED, &outcome("refused"), 2.0);
    assert_eq!(gateway.metric(KILLED, &[]), 2.0);
    assert!(shelf.records().is_empty());
}

#[test]
fn a_client_that_stops_sending_is_refused_and_one_that_leaves_is_aborted() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let config = archiving(&upstream, &shelf).server("body_timeout", "\"300ms\"");
    let gateway = Gateway::start(&config);
    let part = "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nhello";
    let mut silent = gateway.connect();
    silent.send(part);
    assert_refusal(&silent.read(), 408, "request_timeout");
    gateway.wait_metric(KILLED, &outcome("refused"), 1.0);
    let mut gone = gateway.connect();
    gone.send(part);
    drop(gone);
    gateway.wait_metric(KILLED, &outcome("aborted"), 1.0);
    assert!(shelf.records().is_empty());
    wait_for("the room to be given back", || {
        gateway.status()["archive"]["buffered_bytes"] == 0
    });
}

/// Clients that leave without waiting for their answer: what is counted as archived is what is
/// in the journal, and every request is counted once.
#[test]
fn who_does_not_wait_is_counted_as_what_became_of_the_payload() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let gateway = Gateway::start(&archiving(&upstream, &shelf));
    for n in 0..100 {
        let mut client = gateway.connect();
        client.send(post("/a", format!("payload {n}")));
        drop(client);
    }
    // What was sent is read, whoever left since; each worker accepts at its own pace.
    gateway.wait_metric("seawall_requests_total", &[], 100.0);
    gateway.wait_metric(KILLED, &[], 100.0);
    let archived = gateway.metric(KILLED, &outcome("archived"));
    assert_eq!(archived, shelf.records().len() as f64);
    let aborted = gateway.metric(KILLED, &outcome("aborted"));
    assert_eq!(archived + aborted, 100.0);
}

#[test]
fn a_flip_to_archive_in_a_running_gateway_opens_the_journal() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    assert_passed(&gateway.get("/"));
    assert!(gateway.status()["archive"].is_null());
    let journal = gateway.directory().join("data/journal");
    assert!(!journal.exists(), "nothing may archive yet");
    gateway.write_switches(ANY);
    wait_for("the switch", || {
        let response = gateway.ask(post("/a", "x"));
        // Never a moment in which the payload finds no journal.
        assert_eq!(response.status, 200, "{}", response.text());
        !response.is_from_upstream()
    });
    assert_eq!(records(&journal).len(), 1);
    let status = gateway.status();
    assert_eq!(status["archive"]["records"], 1);
    assert_eq!(status["archive"]["directories"][0]["path"], "data/journal");
    assert_eq!(status["archive"]["directories"][0]["usable"], true);
    assert!(gateway.metric("seawall_archive_journal_bytes", &[]) > 0.0);
    assert!(gateway.metric("seawall_archive_oldest_seconds", &[]) > 0.0);
    assert_eq!(
        gateway.metric("seawall_archive_commit_seconds_count", &[]),
        1.0
    );
    assert_eq!(gateway.status()["ledger"]["archived"], 1);
}

#[test]
fn limits_change_at_once_and_directories_after_a_restart() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let config = archiving(&upstream, &shelf);
    let gateway = Gateway::start(&config);
    assert_killed(&gateway.ask(post("/a", "x")));
    let other = config
        .archive("journal", &format!("{:?}", shelf.path("b")))
        .archive("seal_after", "\"1ms\"")
        .archive("max_buffer", "\"1MiB\"");
    gateway.write_structure(&other);
    wait_for("the segment to be sealed", || {
        !gateway.events("segment sealed").is_empty()
    });
    let status = gateway.status();
    assert_eq!(status["last_reload"]["needs_restart"][0], "archive.journal");
    assert_eq!(status["archive"]["max_buffer"], 1 << 20);
    assert_killed(&gateway.ask(post("/a", "y")));
    assert_eq!(shelf.records().len(), 2);
    assert!(!shelf.path("b").exists());
}

#[test]
fn every_copy_holds_what_was_answered() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let journal = format!("[{:?}, {:?}]", shelf.path("a"), shelf.path("b"));
    let config = archiving(&upstream, &shelf)
        .archive("journal", &journal)
        .archive("copies", "2")
        .archive("durability", "\"written\"");
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    for n in 0..20 {
        assert_killed(&client.ask(post("/a", format!("{n}"))));
        assert_eq!(records(&shelf.path("a")).len(), n + 1);
    }
    assert_eq!(records(&shelf.path("b")), records(&shelf.path("a")));
}
