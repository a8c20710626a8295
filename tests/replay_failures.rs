//! `seawall replay` with a target that fails, and replays that end early: no record is lost.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use support::replay::{Scratch, id, ids, record};
use support::{Config, Gateway, Upstream, answer, free_address, now, wait_for};

/// Fails unless the upstream has seen each of so many records; gives how many came twice.
fn assert_all(seen: &[String], records: usize) -> usize {
    let distinct: BTreeSet<&String> = seen.iter().collect();
    let missing: Vec<usize> = (0..records)
        .filter(|n| !distinct.contains(&id(*n)))
        .collect();
    assert!(missing.is_empty(), "lost: {missing:?}");
    assert_eq!(distinct.len(), records);
    seen.len() - records
}

/// A record like all of a balancer that is not trusted to name its clients.
fn of_one_client(number: usize) -> Value {
    let mut record = record(number);
    record["client"] = "10.0.0.1".into();
    record
}

#[test]
fn a_target_that_is_down_for_a_while_loses_none_and_gets_none_twice() {
    let up = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&up);
    let upstream = Upstream::serving(move |_| match state.load(Ordering::SeqCst) {
        true => answer(200, ""),
        false => answer(503, "down"),
    });
    let scratch = Scratch::new();
    let from = scratch.records("records.ndjson", (0..400).map(record));
    let to = upstream.url();
    let replay = scratch.start(&["--from", &from, "--to", &to, "--rate", "200/s", "--json"]);
    upstream.wait_heads(50);
    up.store(false, Ordering::SeqCst);
    wait_for("the replay to wait", || {
        replay.messages().contains("waiting for the target")
    });
    let before = upstream.heads();
    up.store(true, Ordering::SeqCst);
    let done = replay.end();
    assert_eq!(done.code, Some(0), "{done:?}");
    done.assert_adds_up();
    assert_eq!(done.total("accepted"), 400);
    let retries = done.total("retries") as usize;
    assert!(retries > 0 && before >= 50, "{done:?}");
    // What is more than the records is what was answered 503.
    assert_eq!(assert_all(&ids(&upstream), 400), retries);
}

#[test]
fn retry_after_is_waited_for() {
    let answers = AtomicUsize::new(0);
    let upstream = Upstream::serving(move |_| match answers.fetch_add(1, Ordering::SeqCst) {
        0 => b"HTTP/1.1 429 Slow\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n".to_vec(),
        _ => answer(200, ""),
    });
    let scratch = Scratch::new();
    let from = scratch.records("records.ndjson", (0..3).map(of_one_client));
    let start = now();
    let done = scratch.replay(&["--from", &from, "--to", &upstream.url()]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(start.elapsed() >= Duration::from_secs(2), "{done:?}");
    assert_eq!(ids(&upstream), [0, 0, 1, 2].map(id));
}

#[test]
fn connections_that_end_or_hang_or_speak_no_http_are_tried_again() {
    let upstream = Upstream::raw(|connection| match connection.number {
        // One that never answers, one that closes, one that is no server.
        0 => {
            connection.request();
            connection.until_gone();
        }
        1 => drop(connection.request()),
        2 => {
            connection.request();
            connection.write("SSH-2.0-x\r\n\r\n");
        }
        _ => {
            while let Some(request) = connection.request() {
                if !request.whole || !connection.write(answer(200, "")) {
                    return;
                }
            }
        }
    });
    let scratch = Scratch::new();
    let from = scratch.records("records.ndjson", (0..60).map(record));
    let to = upstream.url();
    let arguments = [
        "--from",
        &from,
        "--to",
        &to,
        "--timeout",
        "1s",
        "--rate",
        "200/s",
        "--json",
    ];
    let done = scratch.replay(&arguments);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!((done.total("accepted"), done.total("left")), (60, 0));
    assert!(assert_all(&ids(&upstream), 60) <= 3);
}

#[test]
fn twenty_answers_that_deny_end_the_run_and_nothing_counts_as_refused() {
    let open = Arc::new(AtomicBool::new(false));
    let state = Arc::clone(&open);
    let upstream = Upstream::serving(move |_| match state.load(Ordering::SeqCst) {
        true => answer(200, ""),
        false => answer(401, ""),
    });
    let scratch = Scratch::new();
    let from = scratch.records("records.ndjson", (0..100).map(record));
    let to = upstream.url();
    let arguments = [
        "--from",
        &from,
        "--to",
        &to,
        "--rate",
        "500/s",
        "--concurrency",
        "4",
        "--json",
    ];
    let denied = scratch.replay(&arguments);
    assert_eq!(denied.code, Some(1), "{denied:?}");
    denied.assert_adds_up();
    assert_eq!((denied.total("read"), denied.total("left")), (100, 100));
    assert!(denied.messages.contains("answers 401"), "{denied:?}");
    assert!(
        (20..=24).contains(&upstream.heads()),
        "{}",
        upstream.heads()
    );
    assert!(scratch.refused().is_empty());
    open.store(true, Ordering::SeqCst);
    let done = scratch.replay(&arguments);
    assert_eq!(done.code, Some(0), "{done:?}");
    done.assert_adds_up();
    assert_eq!((done.total("read"), done.total("accepted")), (100, 100));
    assert!(assert_all(&ids(&upstream), 100) <= 24);
}

/// Records that were denied wait for what others are answered, and must leave them room.
#[test]
fn answers_that_deny_records_too_large_for_each_other_end_the_run_too() {
    let upstream = Upstream::serving(|_| answer(401, ""));
    let scratch = Scratch::new();
    let large = |number: usize| {
        let mut record = record(number);
        // As long as a record with such a body, and quicker to send.
        record["padding"] = "x".repeat(17 << 20).into();
        record
    };
    let from = scratch.records("records.ndjson", (0..2).map(large));
    let denied = scratch.replay(&["--from", &from, "--to", &upstream.url(), "--json"]);
    assert_eq!(denied.code, Some(1), "{denied:?}");
    assert_eq!((denied.total("read"), denied.total("left")), (2, 2));
    assert_eq!(upstream.heads(), 2);
}

#[test]
fn single_answers_that_deny_refuse_these_records() {
    let upstream = Upstream::serving(|request| match request.target.ends_with('5') {
        true => answer(403, ""),
        false => answer(200, ""),
    });
    let scratch = Scratch::new();
    let from = scratch.records("records.ndjson", (0..100).map(record));
    let to = upstream.url();
    let done = scratch.replay(&["--from", &from, "--to", &to, "--rate", "500/s", "--json"]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert_eq!((done.total("accepted"), done.total("refused")), (90, 10));
    assert_eq!(scratch.refused().len(), 10);
}

#[test]
fn a_record_that_the_target_breaks_on_holds_up_no_other_and_is_refused() {
    let upstream = Upstream::serving(|request| match request.target == "/10" {
        true => answer(500, ""),
        false => answer(200, ""),
    });
    let scratch = Scratch::new();
    let from = scratch.records("records.ndjson", (0..600).map(record));
    let to = upstream.url();
    let done = scratch.replay(&["--from", &from, "--to", &to, "--rate", "100/s", "--json"]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert_eq!((done.total("accepted"), done.total("refused")), (599, 1));
    assert_eq!(scratch.refused(), [record(10)]);
    // The next one of the client waited for it.
    let seen = ids(&upstream);
    let place = |number: usize| seen.iter().rposition(|seen| *seen == id(number));
    assert!(place(10) < place(60));
}

#[test]
fn records_that_the_target_breaks_on_are_passed_over_where_all_are_of_one_client() {
    let upstream = Upstream::serving(|request| match &*request.target {
        "/3" | "/4" | "/9" => answer(500, ""),
        _ => answer(200, ""),
    });
    let scratch = Scratch::new();
    let from = scratch.records("records.ndjson", (0..10).map(of_one_client));
    let to = upstream.url();
    let arguments = ["--from", &from, "--to", &to, "--json"];
    let done = scratch.replay(&[&arguments[..], &["--give-up-after", "2s"]].concat());
    assert_eq!(done.code, Some(1), "{done:?}");
    done.assert_adds_up();
    assert_eq!((done.total("accepted"), done.total("refused")), (7, 3));
    assert_eq!(scratch.refused(), [3, 4, 9].map(of_one_client));
    // None was sent after a later one of the client.
    let mut seen = ids(&upstream);
    assert!(seen.is_sorted(), "{seen:?}");
    seen.dedup();
    assert_eq!(seen, (0..10).map(id).collect::<Vec<_>>());
}

#[test]
fn a_target_that_answers_500_to_all_refuses_none_even_of_one_client() {
    let broken = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&broken);
    let upstream = Upstream::serving(move |_| match state.load(Ordering::SeqCst) {
        true => answer(500, ""),
        false => answer(200, ""),
    });
    let scratch = Scratch::new();
    let from = scratch.records("records.ndjson", (0..4).map(of_one_client));
    let to = upstream.url();
    let arguments = ["--from", &from, "--to", &to, "--json"];
    let ended = scratch.replay(&[&arguments[..], &["--give-up-after", "1s"]].concat());
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ended.assert_adds_up();
    assert_eq!(ended.json()["ended"], "gave_up");
    assert_eq!((ended.total("refused"), ended.total("left")), (0, 4));
    assert!(scratch.refused().is_empty());
    broken.store(false, Ordering::SeqCst);
    let before = upstream.heads();
    let done = scratch.replay(&arguments);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(ids(&upstream)[before..], [0, 1, 2, 3].map(id));
}

#[test]
fn kill_9_loses_none_and_sends_at_most_a_batch_twice_each_time() {
    const RECORDS: usize = 2500;
    const BATCH: usize = 500;
    let upstream = Upstream::echo();
    let scratch = Scratch::new();
    let from = scratch.records("records.ndjson", (0..RECORDS).map(record));
    let to = upstream.url();
    let arguments = ["--from", &from, "--to", &to, "--rate", "500/s", "--json"];
    let mut kills = 0;
    for heads in [300, 1100, 1900] {
        let mut replay = scratch.start(&arguments);
        wait_for("the replay to be amid it", || {
            upstream.heads() >= heads || !replay.runs()
        });
        replay.signal("KILL");
        assert_eq!(replay.end().code, None);
        kills += 1;
    }
    let done = scratch.replay(&arguments);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.messages.contains("goes on with the replay of"),
        "{done:?}"
    );
    done.assert_adds_up();
    assert_eq!(
        (done.total("read"), done.total("accepted")),
        (RECORDS as u64, RECORDS as u64)
    );
    let twice = assert_all(&ids(&upstream), RECORDS);
    assert!(twice <= kills * BATCH, "{twice} twice after {kills} kills");
    assert!(
        scratch.left_behind().is_empty(),
        "{:?}",
        scratch.left_behind()
    );
}

#[test]
fn a_signal_ends_the_run_in_order_and_the_next_one_sends_nothing_twice() {
    for signal in ["INT", "TERM"] {
        let upstream = Upstream::echo();
        let scratch = Scratch::new();
        let from = scratch.records("records.ndjson", (0..600).map(record));
        let to = upstream.url();
        let arguments = ["--from", &from, "--to", &to, "--rate", "300/s", "--json"];
        let replay = scratch.start(&arguments);
        upstream.wait_heads(100);
        replay.signal(signal);
        let ended = replay.end();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        ended.assert_adds_up();
        assert_eq!(ended.json()["ended"], "interrupted");
        assert_eq!(ended.total("read"), 600);
        assert_eq!(ended.total("accepted") as usize, upstream.heads());
        assert!(
            ended.messages.contains("goes on where this one ended"),
            "{ended:?}"
        );
        let done = scratch.replay(&arguments);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert_eq!(done.total("accepted"), 600);
        assert_eq!(assert_all(&ids(&upstream), 600), 0);
    }
}

#[test]
fn a_target_that_does_not_come_back_is_given_up_and_everything_is_left() {
    let scratch = Scratch::new();
    let from = scratch.records("records.ndjson", (0..20).map(record));
    let to = format!("http://{}", free_address());
    let arguments = [
        "--from",
        &from,
        "--to",
        &to,
        "--give-up-after",
        "1s",
        "--json",
    ];
    let ended = scratch.replay(&arguments);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.json()["ended"], "gave_up");
    assert_eq!((ended.total("read"), ended.total("left")), (20, 20));
    assert!(
        ended.messages.contains("no connection can be made"),
        "{ended:?}"
    );
}

#[test]
fn an_endpoint_that_is_down_is_passed_over() {
    let upstream = Upstream::echo();
    let urls = [format!("http://{}", free_address()), upstream.url()];
    let config = Config::new()
        .endpoints("u", &urls, "")
        .route("any", "path = \"/{*rest}\"\nupstream = \"u\"");
    let gateway = Gateway::start(&config);
    let scratch = Scratch::new();
    let from = scratch.records("records.ndjson", (0..50).map(record));
    let directory = gateway.directory().to_str().expect("a path");
    let done = scratch.replay(&["--config", directory, "--from", &from, "--json"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!((done.total("accepted"), done.total("retries")), (50, 0));
    assert_eq!(assert_all(&ids(&upstream), 50), 0);
}

#[test]
fn two_replays_of_the_same_records_do_not_run_at_once() {
    let upstream = Upstream::hanging();
    let scratch = Scratch::new();
    let from = scratch.records("records.ndjson", (0..5).map(record));
    let to = upstream.url();
    let first = scratch.start(&["--from", &from, "--to", &to]);
    upstream.wait_heads(1);
    let second = Scratch::new();
    let checkpoint = scratch
        .left_behind()
        .into_iter()
        .find(|name| name.ends_with(".lock"));
    let checkpoint = checkpoint.expect("a lock").replace(".lock", "");
    let checkpoint = scratch.path("data/replay").join(checkpoint);
    let path = checkpoint.to_str().expect("a path");
    let refused = second.replay(&["--from", &from, "--to", &to, "--checkpoint", path]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.messages.contains("another replay"), "{refused:?}");
    drop(first);
}
