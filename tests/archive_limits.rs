//! Mode `archive` when a payload finds no room: the answer that the configuration gives, never a
//! wrong 200, and nobody else notices.

mod support;

use serde_json::Value;
use support::*;

const KILLED: &str = "seawall_killed_requests_total";

fn outcome<'a>(route: &'a str, name: &'a str) -> [(&'static str, &'a str); 3] {
    [("route", route), ("mode", "archive"), ("outcome", name)]
}

/// A route that refuses what it cannot keep, one that drops it, and one that is not killed.
fn three(upstream: &Upstream) -> Config {
    let route = |name: &str, keys: &str| format!("path = \"/{name}\"\nupstream = \"u\"\n{keys}");
    Config::new()
        .upstream("u", upstream)
        .route("usual", &route("usual", ""))
        .route("extra", &route("extra", "tier = \"sheddable\""))
        .route("other", &route("other", ""))
        .switches("[kill]\nusual = \"archive\"\nextra = \"archive\"\n")
}

fn assert_unavailable(response: &Response) {
    assert_refusal(response, 503, "archive_unavailable");
    let delay = response.header("retry-after").expect("a Retry-After");
    let delay: u32 = delay.parse().expect("seconds");
    assert!((10..=20).contains(&delay), "{delay}");
}

/// killed = dropped + archived + rejected + lost + refused + aborted, to the unit.
fn assert_ledger(gateway: &Gateway, expected: &[(&str, u64)]) {
    let ledger = || gateway.status()["ledger"].clone();
    let number = |ledger: &Value, name: &str| ledger[name].as_u64().expect(name);
    let killed: u64 = expected.iter().map(|(_, n)| n).sum();
    wait_for("the ledger", || number(&ledger(), "killed") == killed);
    let ledger = ledger();
    for name in [
        "dropped", "archived", "rejected", "lost", "refused", "aborted",
    ] {
        let known = expected.iter().find(|(known, _)| *known == name);
        assert_eq!(
            number(&ledger, name),
            known.map_or(0, |(_, n)| *n),
            "{name}"
        );
    }
}

#[test]
fn without_a_usable_directory_routes_answer_as_configured_until_one_heals() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    // A file stands where the directory should be.
    std::fs::write(shelf.path("a"), "").expect("written");
    let gateway = Gateway::start(&shelf.used_by(three(&upstream)));
    assert_eq!(
        gateway
            .events("journal directory cannot be used; trying again")
            .len(),
        1
    );
    let none = "too few journal directories can be used: mode archive answers as when_full says";
    assert_eq!(gateway.events(none).len(), 1);
    let directory = &gateway.status()["archive"]["directories"][0];
    assert_eq!(directory["usable"], false);
    assert!(directory["fault"].is_string(), "{directory}");
    let mut client = gateway.connect();
    assert_unavailable(&client.ask(post("/usual", "kept by the client")));
    assert_killed(&client.ask(post("/extra", "lost")));
    assert_passed(&client.ask(post("/other", "served")));
    gateway.wait_metric(KILLED, &outcome("usual", "refused"), 1.0);
    gateway.wait_metric(KILLED, &outcome("extra", "lost"), 1.0);
    let refusals = [("route", "usual"), ("reason", "archive_unavailable")];
    gateway.wait_metric("seawall_refusals_total", &refusals, 1.0);
    std::fs::remove_file(shelf.path("a")).expect("removed");
    let mut refused = 1;
    wait_for("the directory to be used", || {
        let response = gateway.ask(post("/usual", "x"));
        refused += u64::from(response.status == 503);
        response.status == 200
    });
    assert_eq!(shelf.records().len(), 1);
    let expected = [("archived", 1), ("lost", 1), ("refused", refused)];
    assert_ledger(&gateway, &expected);
    assert_eq!(gateway.events("journal directory is used again").len(), 1);
}

#[test]
fn a_journal_that_is_removed_under_a_gateway_is_no_200_and_is_made_anew() {
    for whole in [true, false] {
        let (upstream, shelf) = (Upstream::echo(), Shelf::new());
        let gateway = Gateway::start(&shelf.used_by(three(&upstream)));
        let mut client = gateway.connect();
        assert_killed(&client.ask(post("/usual", "gone")));
        let directory = shelf.path("a");
        match whole {
            true => std::fs::remove_dir_all(&directory).expect("removed"),
            false => {
                let files = std::fs::read_dir(&directory).expect("files");
                let paths = files.map(|file| file.expect("a file").path());
                let segment = |path: &std::path::PathBuf| path.extension() == Some("seg".as_ref());
                let segments = paths.filter(segment).map(std::fs::remove_file);
                assert_eq!(segments.map(|removed| removed.expect("removed")).count(), 1);
            }
        }
        assert_unavailable(&client.ask(post("/usual", "kept by the client")));
        assert_passed(&client.ask(post("/other", "served")));
        let mut refused = 1;
        wait_for("the directory to be used", || {
            let response = gateway.ask(post("/usual", "kept"));
            refused += u64::from(response.status == 503);
            response.status == 200
        });
        let bodies: Vec<_> = shelf.records().iter().map(|record| record.body()).collect();
        assert_eq!(bodies, [b"kept".to_vec()]);
        assert_ledger(&gateway, &[("archived", 2), ("refused", refused)]);
        let told = gateway.events("journal directory cannot be used; trying again");
        let fault = "it, or a segment in it, is not there any more";
        assert_eq!(told[0]["fault"], fault);
        let gone = gateway.events(
            "segments were removed from a journal directory in use; acknowledged records are lost \
             unless another place has them",
        );
        assert_eq!((gone.len(), &gone[0]["records"]), (1, &Value::from(1)));
    }
}

#[test]
fn of_several_directories_the_next_one_is_used() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    std::fs::write(shelf.path("a"), "").expect("written");
    let journal = format!("[{:?}, {:?}]", shelf.path("a"), shelf.path("b"));
    let gateway = Gateway::start(&three(&upstream).archive("journal", &journal));
    assert_killed(&gateway.ask(post("/usual", "x")));
    assert_eq!(records(&shelf.path("b")).len(), 1);
}

#[test]
fn a_directory_of_another_gateway_is_left_to_it() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let config = shelf.used_by(three(&upstream));
    let mut first = Gateway::start(&config);
    let second = Gateway::start(&config);
    let told = second.events("journal directory cannot be used; trying again");
    assert_eq!(told[0]["fault"], "another process uses it");
    assert_killed(&first.ask(post("/usual", "first")));
    assert_unavailable(&second.ask(post("/usual", "second")));
    assert_passed(&second.ask(post("/other", "x")));
    first.signal("INT");
    assert_eq!(first.wait_exit(), Some(0));
    // As at a binary upgrade.
    wait_for("the second to take over", || {
        second.ask(post("/usual", "second")).status == 200
    });
    let bodies: Vec<_> = shelf.records().iter().map(|record| record.body()).collect();
    assert_eq!(bodies, [b"first".to_vec(), b"second".to_vec()]);
}

#[test]
fn a_route_fills_its_quota_and_no_more() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let config = shelf
        .used_by(three(&upstream))
        .archive("max_bytes", "\"1MiB\"");
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    let payload = "x".repeat(20_000);
    let mut kept = 0;
    for _ in 0..60 {
        let response = client.ask(post("/usual", &payload));
        if response.status == 200 {
            kept += 1;
        } else {
            assert_unavailable(&response);
        }
    }
    // A quarter of 1 MiB, in records of a little more than 20,000 bytes.
    assert!((11..=13).contains(&kept), "{kept}");
    assert_killed(&client.ask(post("/extra", &payload)));
    gateway.wait_metric(KILLED, &outcome("extra", "archived"), 1.0);
    assert_eq!(shelf.records().len(), kept + 1);
    assert_ledger(
        &gateway,
        &[("archived", kept as u64 + 1), ("refused", 60 - kept as u64)],
    );
}

#[test]
fn a_full_journal_takes_no_more_and_stays_within_its_bytes() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let config = shelf
        .used_by(three(&upstream))
        .defaults(
            "kill_switch",
            "{ restore = \"0s\", archive_quota = \"1GiB\" }",
        )
        .archive("max_bytes", "\"256KiB\"");
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    let payload = "x".repeat(20_000);
    let mut answers = [0; 2];
    for _ in 0..30 {
        let kept = client.ask(post("/usual", &payload)).status == 200;
        answers[usize::from(kept)] += 1;
    }
    assert!(answers[1] > 5 && answers[0] > 5, "{answers:?}");
    assert_eq!(shelf.records().len(), answers[1]);
    assert!(gateway.metric("seawall_archive_journal_bytes", &[]) <= 262_144.0);
    // Lost, and said so.
    assert_killed(&client.ask(post("/extra", &payload)));
    gateway.wait_metric(KILLED, &outcome("extra", "lost"), 1.0);
    assert_passed(&client.ask(post("/other", "x")));
}

/// 30 clients announce 100 KB each and stop half-way; a buffer of 1 MiB takes ten of them.
#[test]
fn slow_senders_take_no_more_memory_than_the_buffer_allows() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let config = shelf
        .used_by(three(&upstream))
        .archive("max_buffer", "\"1MiB\"");
    let gateway = Gateway::start(&config);
    let half = vec![b'x'; 50_000];
    let mut within = Vec::new();
    let mut refused = 0;
    let mut begin = |within: &mut Vec<Client>| {
        let before = gateway.metric(KILLED, &outcome("usual", "refused"));
        let buffered = || gateway.status()["archive"]["buffered_bytes"].as_u64();
        let taken = buffered();
        let mut client = gateway.connect();
        client.send("POST /usual HTTP/1.1\r\nhost: test\r\ncontent-length: 100000\r\n\r\n");
        let _ = client.try_send(&half);
        wait_for("room or a refusal", || {
            buffered() > taken || gateway.metric(KILLED, &outcome("usual", "refused")) > before
        });
        match buffered() > taken {
            true => within.push(client),
            false => refused += 1,
        }
    };
    for _ in 0..30 {
        begin(&mut within);
    }
    assert_eq!(within.len(), 10);
    let buffered = gateway.status()["archive"]["buffered_bytes"].as_u64();
    assert!(buffered <= Some(1 << 20), "{buffered:?}");
    // Those who came too late do not harm those who are within.
    for client in &mut within {
        client.send(&half);
        assert_killed(&client.read());
    }
    assert_eq!(shelf.records().len(), 10);
    assert_eq!(gateway.status()["archive"]["buffered_bytes"], 0);
    assert_ledger(&gateway, &[("archived", 10), ("refused", 20)]);
    assert_eq!(refused, 20);
}

#[test]
fn a_body_of_unknown_length_takes_room_as_it_comes() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let config = shelf
        .used_by(three(&upstream))
        .archive("max_buffer", "\"64KiB\"");
    let gateway = Gateway::start(&config);
    let chunked = |route: &str, bytes: usize| {
        let head =
            format!("POST /{route} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
        let chunk = format!("{:x}\r\n{}\r\n", 1000, "x".repeat(1000));
        format!("{head}{}0\r\n\r\n", chunk.repeat(bytes / 1000))
    };
    assert_killed(&gateway.ask(chunked("usual", 40_000)));
    assert_unavailable(&gateway.ask(chunked("usual", 100_000)));
    let mut client = gateway.connect();
    assert_killed(&client.ask(chunked("extra", 100_000)));
    // All of it was read.
    assert_killed(&client.ask(post("/extra", "x")));
    gateway.wait_metric(KILLED, &outcome("extra", "lost"), 1.0);
    let records = shelf.records();
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].body().len(), 40_000);
    assert_eq!(gateway.status()["archive"]["buffered_bytes"], 0);
}
