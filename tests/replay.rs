//! `seawall replay`: what mode archive kept comes to the upstream as it would have come then.

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use support::replay::{Scratch, id, ids, record};
use support::{Config, Gateway, Shelf, Upstream, answer, assert_killed, get, post};

/// An upstream that accepts everything with 204.
fn accepting() -> Upstream {
    Upstream::serving(|_| b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())
}

#[test]
fn archived_requests_come_to_the_upstream_as_the_gateway_would_have_sent_them() {
    let (upstream, shelf, scratch) = (accepting(), Shelf::new(), Scratch::new());
    let route = "path = \"/v1/{*rest}\"\nupstream = \"u\"\npath_rewrite = \"/stats/{*rest}\"\n\
                 host_rewrite = \"stats.internal\"\n\
                 request_headers = { set = { x-gateway = \"seawall\" }, remove = [\"x-debug\"] }";
    let config = Config::new()
        .upstream("u", &upstream)
        .route("stats", route)
        .switches("[kill]\nstats = \"archive\"\n");
    let gateway = Gateway::start(&shelf.used_by(config));
    let binary: Vec<u8> = (0..=255).collect();
    let long = vec![b'x'; 300_000];
    let mut sent = post("/v1/a?q=%20", &binary);
    let lines = "x-debug: 1\r\nx-seawall-replay: forged\r\nx-request-id: mine\r\nx-kept: 1\r\n\r\n";
    let end = sent
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .expect("a head")
        + 2;
    sent.splice(end..end + 2, lines.bytes());
    assert_killed(&gateway.ask(&sent));
    assert_killed(&gateway.get("/v1/b"));
    let mut client = gateway.connect();
    client.send("HEAD /v1/c HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(client.read_head().status, 200);
    assert_killed(&gateway.ask(post("/v1/d", "")));
    let chunked = "PUT /v1/e HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n\
                   3\r\nabc\r\n0\r\n\r\n";
    assert_killed(&gateway.ask(chunked));
    assert_killed(&gateway.ask(post("/v1/f", &long)));
    let records = shelf.records();
    assert_eq!(upstream.heads(), 0);

    let config = gateway.directory().to_str().expect("a path");
    let done = scratch.replay(&["--config", config, "--route", "stats", "--json"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    done.assert_adds_up();
    assert_eq!((done.total("read"), done.total("accepted")), (6, 6));
    let requests = upstream.requests();
    let found: Vec<(&str, &str, &[u8])> = requests
        .iter()
        .map(|r| (r.method.as_str(), r.target.as_str(), &r.body[..]))
        .collect();
    let expected: [(&str, &str, &[u8]); 6] = [
        ("POST", "/stats/a?q=%20", &binary),
        ("GET", "/stats/b", b""),
        ("HEAD", "/stats/c", b""),
        ("POST", "/stats/d", b""),
        ("PUT", "/stats/e", b"abc"),
        ("POST", "/stats/f", &long),
    ];
    assert_eq!(found, expected);
    for (request, record) in requests.iter().zip(&records) {
        let header = |name: &str| request.header(name);
        assert_eq!(header("x-seawall-replay"), Some(record.id.to_string()));
        let time = header("x-seawall-original-time").expect("a time");
        assert_eq!(
            time.parse::<jiff::Timestamp>().expect("a time"),
            record.time
        );
        assert_eq!(header("host").as_deref(), Some("stats.internal"));
        assert_eq!(header("x-gateway").as_deref(), Some("seawall"));
        assert_eq!(header("x-debug"), None);
        assert_eq!(header("transfer-encoding"), None);
        assert_eq!(header("x-forwarded-for").as_deref(), Some("127.0.0.1"));
        assert_eq!(header("x-request-id"), Some(record.request_id.clone()));
    }
    assert_eq!(requests[0].header("x-request-id").as_deref(), Some("mine"));
    assert_eq!(requests[0].header("x-kept").as_deref(), Some("1"));
    assert!(
        scratch.left_behind().is_empty(),
        "{:?}",
        scratch.left_behind()
    );
}

/// Puts records into a store's directory, as the uploader would.
fn store(scratch: &Scratch, numbers: std::ops::Range<usize>) -> String {
    let text: String = numbers
        .clone()
        .map(|n| format!("{}\n", record(n)))
        .collect();
    let directory = scratch.path("store/route=any/date=2025-11-06/hour=09");
    std::fs::create_dir_all(&directory).expect("a directory");
    let name = format!("gw-{}.ndjson.zst", id(numbers.start));
    let packed = zstd::encode_all(text.as_bytes(), 3).expect("packed");
    std::fs::write(directory.join(name), packed).expect("written");
    format!("file:{}", scratch.path("store").display())
}

#[test]
fn a_later_run_skips_what_the_same_target_accepted_unless_again() {
    let scratch = Scratch::new();
    let (first, other) = (accepting(), accepting());
    let url = store(&scratch, 0..40);
    let run = |to: &Upstream, more: &[&str]| {
        let to = to.url();
        let mut arguments = vec!["--store", &url, "--to", &to, "--rate", "1000/s", "--json"];
        arguments.extend(more);
        let done = scratch.replay(&arguments);
        assert_eq!(done.code, Some(0), "{done:?}");
        done.assert_adds_up();
        (done.total("accepted"), done.total("skipped"))
    };
    assert_eq!(run(&first, &[]), (40, 0));
    assert_eq!(run(&first, &[]), (0, 40));
    // Records that come into the store later, with ids on both sides of those.
    store(&scratch, 40..50);
    assert_eq!(run(&first, &[]), (10, 40));
    assert_eq!(run(&other, &[]), (50, 0));
    assert_eq!(first.heads(), 50);
    assert_eq!(run(&first, &["--again"]), (50, 0));
    assert_eq!(run(&first, &[]), (0, 50));
}

#[test]
fn a_record_in_several_places_is_sent_once() {
    let (scratch, upstream) = (Scratch::new(), accepting());
    let url = store(&scratch, 0..30);
    let from = scratch.records("records.ndjson", (20..40).map(record));
    let to = upstream.url();
    let arguments = ["--store", &url, "--from", &from, "--to", &to, "--json"];
    let done = scratch.replay(&arguments);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(done.total("accepted"), 40);
    assert_eq!(done.json()["duplicates"], 10);
    let mut sent = ids(&upstream);
    sent.sort();
    assert_eq!(sent, (0..40).map(id).collect::<Vec<_>>());
}

#[test]
fn a_journal_that_is_named_is_read_beside_the_configured_store() {
    let (scratch, upstream, shelf) = (Scratch::new(), accepting(), Shelf::new());
    let url = store(&scratch, 0..30);
    let config = shelf.used_by(Config::passing(&upstream).switches("[kill]\nany = \"archive\"\n"));
    let mut gateway = Gateway::start(&config);
    for n in 0..5 {
        assert_killed(&gateway.ask(post("/a", format!("{n}"))));
    }
    gateway.signal("KILL");
    gateway.wait_exit();
    // As another gateway of the fleet is configured, and without its journal.
    let config = Config::passing(&upstream).archive("store", &format!("{url:?}"));
    let other = Gateway::start(&config.archive("journal", &format!("{:?}", shelf.path("b"))));
    let journal = shelf.path("a");
    let done = scratch.replay(&[
        "--config",
        other.directory().to_str().expect("a path"),
        "--journal",
        journal.to_str().expect("a path"),
        "--to",
        &upstream.url(),
        "--json",
    ]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(done.total("accepted"), 35);
    assert_eq!(upstream.heads(), 35);
}

#[test]
fn the_records_of_a_client_keep_their_order_while_those_of_others_go_beside_them() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counters = (Arc::clone(&now), Arc::clone(&most));
    let upstream = Upstream::serving(move |request| {
        let under_way = counters.0.fetch_add(1, Ordering::SeqCst) + 1;
        counters.1.fetch_max(under_way, Ordering::SeqCst);
        // Some are slower, so that answers come in another order than requests.
        let slow = request.target.len() % 3 == 0 || request.target.ends_with('7');
        std::thread::sleep(Duration::from_millis(if slow { 20 } else { 1 }));
        counters.0.fetch_sub(1, Ordering::SeqCst);
        answer(200, "")
    });
    let scratch = Scratch::new();
    let clients = |number: usize| {
        let mut record = record(number);
        record["client"] = json!(format!("10.0.0.{}", number % 5));
        record
    };
    let from = scratch.records("records.ndjson", (0..300).map(clients));
    let to = upstream.url();
    let done = scratch.replay(&["--from", &from, "--to", &to, "--rate", "2000/s"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let mut by_client: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for request in upstream.requests() {
        let header = |name: &str| request.header(name).expect("a header");
        by_client
            .entry(header("x-real-ip"))
            .or_default()
            .push(header("x-seawall-replay"));
    }
    assert_eq!(by_client.len(), 5);
    for ids in by_client.values() {
        assert_eq!(ids.len(), 60);
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }
    let most = most.load(Ordering::SeqCst);
    assert!((2..=5).contains(&most), "{most} at once");
}

#[test]
fn values_that_were_left_out_are_given_or_left_out_and_never_sent() {
    let (scratch, upstream) = (Scratch::new(), accepting());
    let redacted = |number: usize| {
        let mut record = record(number);
        if number >= 5 {
            record["headers"] = json!([["host", "h"], ["authorization", "[redacted]"]]);
            record["target"] = json!(format!("/{number}?token=[redacted]&x=1"));
        }
        record
    };
    let from = scratch.records("records.ndjson", (0..10).map(redacted));
    std::fs::write(scratch.path("token"), "Bearer abc\n").expect("written");
    let to = upstream.url();
    let run = |more: &[&str]| {
        let mut arguments = vec!["--from", &from, "--to", &to, "--rate", "1000/s"];
        arguments.extend(more);
        scratch.replay(&arguments)
    };
    for more in [
        &[][..],
        &["--header", "authorization=x"],
        &["--query", "token=x"],
    ] {
        let refused = run(more);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert_eq!(upstream.heads(), 0, "{refused:?}");
    }
    let refused = run(&[]);
    for text in [
        "header authorization: in 5 records",
        "--without-redacted",
        "--header",
    ] {
        assert!(refused.messages.contains(text), "{refused:?}");
    }
    let done = run(&["--without-redacted"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let requests = upstream.requests();
    assert_eq!(requests.len(), 10);
    assert!(
        requests
            .iter()
            .all(|request| request.header("authorization").is_none())
    );
    assert!(requests.iter().any(|request| request.target == "/7?x=1"));
    let done = run(&["--header", "authorization=@token", "--query", "token=t"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let requests = upstream.requests().split_off(10);
    assert_eq!(requests.len(), 10);
    for request in &requests {
        assert_eq!(
            request.header("authorization").as_deref(),
            Some("Bearer abc")
        );
        assert!(!request.head.start.contains("redacted"));
    }
    assert!(
        requests
            .iter()
            .any(|request| request.target == "/7?token=t&x=1")
    );
}

#[test]
fn refused_records_are_in_a_file_of_which_they_can_be_sent_again() {
    let scratch = Scratch::new();
    let picky = Upstream::serving(|request| match request.target.ends_with('3') {
        true => answer(422, "no"),
        false => answer(200, ""),
    });
    let from = scratch.records("records.ndjson", (0..30).map(record));
    let to = picky.url();
    let done = scratch.replay(&["--from", &from, "--to", &to, "--rate", "1000/s", "--json"]);
    assert_eq!(done.code, Some(1), "{done:?}");
    done.assert_adds_up();
    assert_eq!((done.total("accepted"), done.total("refused")), (27, 3));
    assert_eq!(done.json()["refused_for"]["422"], 3);
    let mut refused = scratch.refused();
    refused.sort_by_key(|record| record["id"].to_string());
    assert_eq!(refused, [3, 13, 23].map(record));
    let path = done.json()["refused_file"]
        .as_str()
        .expect("a file")
        .to_owned();
    let mode = std::fs::metadata(scratch.path(&path))
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let upstream = accepting();
    let done = scratch.replay(&["--from", &path, "--to", &upstream.url(), "--json"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(done.total("accepted"), 3);
    let mut sent = ids(&upstream);
    sent.sort();
    assert_eq!(sent, [3, 13, 23].map(id));
}

#[test]
fn the_last_line_has_the_command_that_sends_refused_records_again() {
    let scratch = Scratch::new();
    let picks = Arc::new(AtomicBool::new(false));
    let state = Arc::clone(&picks);
    let upstream = Upstream::serving(move |request| {
        match state.load(Ordering::SeqCst) && request.target.ends_with('3') {
            true => answer(422, "no"),
            false => answer(200, ""),
        }
    });
    let url = store(&scratch, 0..30);
    // Where the command looks without an option.
    std::fs::create_dir(scratch.path("config")).expect("a directory");
    let config = Config::passing(&upstream).archive("store", &format!("{url:?}"));
    let config = config.archive("journal", &format!("{:?}", scratch.path("a")));
    config.write(&scratch.path("config"));
    let accepted = scratch.replay(&["--rate", "1000/s", "--json"]);
    assert_eq!((accepted.code, accepted.total("accepted")), (Some(0), 30));
    picks.store(true, Ordering::SeqCst);
    let refused = scratch.replay(&["--rate", "1000/s", "--json", "--again"]);
    assert_eq!((refused.code, refused.total("refused")), (Some(1), 3));
    picks.store(false, Ordering::SeqCst);
    let (_, command) = refused
        .messages
        .split_once("to send them again: seawall replay ")
        .expect("a command");
    let line = command.lines().next().expect("a line");
    let mut arguments: Vec<&str> = line.split(' ').collect();
    arguments.push("--json");
    let done = scratch.replay(&arguments);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!((done.total("accepted"), done.total("skipped")), (3, 0));
}

#[test]
fn records_that_an_upstream_may_have_seen_say_so() {
    let (scratch, upstream) = (Scratch::new(), accepting());
    let doubtful = |number: usize| {
        let mut record = record(number);
        record["maybe_processed"] = Value::Bool(number == 1);
        record
    };
    let from = scratch.records("records.ndjson", (0..3).map(doubtful));
    let done = scratch.replay(&["--from", &from, "--to", &upstream.url()]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.messages.contains("1 that an upstream may have seen"),
        "{done:?}"
    );
    for request in upstream.requests() {
        let marked = request.header("x-seawall-maybe-processed");
        let expected = (request.target == "/1").then_some("true");
        assert_eq!(marked.as_deref(), expected, "{}", request.target);
    }
}

#[test]
fn a_rehearsal_sends_nothing_and_a_bad_option_says_what_is_expected() {
    let (scratch, upstream) = (Scratch::new(), accepting());
    let from = scratch.records("records.ndjson", (0..3).map(record));
    let to = upstream.url();
    let rehearsed = scratch.replay(&["--from", &from, "--to", &to, "--dry-run"]);
    assert_eq!(rehearsed.code, Some(0), "{rehearsed:?}");
    assert!(
        rehearsed.messages.contains("3 records to send"),
        "{rehearsed:?}"
    );
    let mistyped = [
        "--from",
        &from,
        "--to",
        &to,
        "--dry-run",
        "--json",
        "--route",
        "ani",
    ];
    let rehearsed = scratch.replay(&mistyped);
    assert_eq!(rehearsed.code, Some(0), "{rehearsed:?}");
    let said = "nothing of the route ani is in what is read";
    assert!(rehearsed.messages.contains(said), "{rehearsed:?}");
    let found = rehearsed.json();
    assert_eq!(
        (&found["dry_run"], &found["records"]),
        (&true.into(), &0.into())
    );
    // A rehearsal of what cannot all be read fails, as the run itself would.
    let damaged = scratch.path("damaged.ndjson");
    std::fs::write(&damaged, "{\"id\": 1\n").expect("a file");
    let damaged = damaged.to_str().expect("UTF-8");
    let rehearsed = scratch.replay(&["--from", damaged, "--to", &to, "--dry-run"]);
    assert_eq!(rehearsed.code, Some(1), "{rehearsed:?}");
    let gateway = Gateway::start(&Config::passing(&upstream).respond("own", "/own", "x"));
    let config = gateway.directory().to_str().expect("a path");
    for (arguments, text) in [
        (&["--config", config, "--route", "ani"][..], "any"),
        (&["--config", config, "--rate", "fast"], "500/s"),
        (&["--from", &from, "--to", "https://a"], "http://"),
        (
            &["--from", &from, "--to", &to, "--since", "monday"],
            "--since",
        ),
        (
            &[
                "--from", &from, "--to", &to, "--since", "5m", "--until", "10m",
            ],
            "is not before --until",
        ),
        (&["--from", &from, "--to", &to, "--header", "te=1"], "te"),
        (
            &["--from", &from, "--to", &to, "--concurrency", "0"],
            "--concurrency",
        ),
    ] {
        let failed = scratch.replay(arguments);
        assert_eq!(failed.code, Some(2), "{failed:?}");
        assert!(failed.messages.contains(text), "{text}: {failed:?}");
    }
    // A route that the gateway answers itself has no upstream.
    let own = |number: usize| {
        let mut record = record(number);
        record["route"] = json!("own");
        record
    };
    let from = scratch.records("own.ndjson", (0..3).map(own));
    let failed = scratch.replay(&["--config", config, "--from", &from]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(
        failed.messages.contains("3 records of the route own"),
        "{failed:?}"
    );
    assert_eq!(upstream.heads(), 0);
    assert_eq!(gateway.ask(get("/own")).status, 200);
}
