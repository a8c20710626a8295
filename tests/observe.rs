//! Who is it? `observe`, the status and `seawall top`.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::*;

const VERSION: &str = "header:x-client-version";

fn observing(name: &str) -> String {
    format!(
        "path = \"/{name}\"\nrespond = {{ body = \"ok\" }}\nobserve = [\"client-ip\", \"{VERSION}\"]"
    )
}

fn base() -> Config {
    Config::new().route("submit", &observing("submit"))
}

fn of_version(version: &str) -> String {
    format!("GET /submit HTTP/1.1\r\nhost: test\r\nx-client-version: {version}\r\n\r\n")
}

/// Two requests of the version 4.2.1, one of 4.1.0, one without any.
fn mixed(client: &mut Client) {
    for _ in 0..2 {
        client.ask(of_version("4.2.1"));
    }
    client.ask(of_version("4.1.0"));
    client.ask(get("/submit"));
}

/// The values of a key that the status tells, most frequent first.
fn values(gateway: &Gateway, key: &str) -> Vec<Value> {
    let status = gateway.status();
    let values = status["observed"]["submit"][key].as_array();
    values.cloned().unwrap_or_default()
}

/// How often a value came, as far as the status knows.
fn count(gateway: &Gateway, value: &str) -> u64 {
    let values = values(gateway, VERSION);
    let found = values.iter().find(|found| found["value"] == value);
    found.and_then(|found| found["count"].as_u64()).unwrap_or(0)
}

/// Runs `seawall top` beside the gateway.
fn top(gateway: &Gateway, arguments: &[&str]) -> Exit {
    let admin = format!("http://{}", gateway.admin);
    run_to_exit(&[&["top", "--admin", &admin], arguments].concat())
}

#[test]
fn the_busiest_client_version_is_told_first() {
    let gateway = Gateway::start(&base().respond("quiet", "/quiet", "ok"));
    assert_eq!(gateway.status()["observed"], serde_json::json!({}));
    let mut client = gateway.connect();
    let mut versions = Vec::new();
    wait_for("three versions to be told", || {
        mixed(&mut client);
        versions = values(&gateway, VERSION);
        versions.len() == 3 && versions[0]["count"].as_u64() > Some(6)
    });
    assert_eq!(versions[0]["value"], "4.2.1");
    let share = versions[0]["share"].as_f64().expect("a share");
    assert!((0.4..0.6).contains(&share), "{versions:?}");
    assert!(versions[0]["per_second"].as_f64() > Some(0.0));
    assert_eq!(versions[0]["count"], versions[0]["at_most"]);
    let others: Vec<_> = versions[1..].iter().map(|other| &other["value"]).collect();
    assert!(others.contains(&&Value::Null), "{others:?}");
    assert!(others.contains(&&Value::from("4.1.0")), "{others:?}");
    let clients = values(&gateway, "client-ip");
    assert_eq!(clients.len(), 1);
    assert_eq!(clients[0]["value"], "127.0.0.1");
    assert_eq!(clients[0]["share"], 1.0);
    // Never in the metrics: their labels come from the configuration alone.
    assert!(!gateway.admin("/metrics").text().contains("4.2.1"));
}

#[test]
fn the_client_is_whom_a_trusted_proxy_names() {
    let config = base().server("trusted_proxies", "[\"127.0.0.1\"]");
    let gateway = Gateway::start(&config);
    let request = "GET /submit HTTP/1.1\r\nhost: test\r\nx-forwarded-for: 2001:db8::7\r\n\r\n";
    let mut client = gateway.connect();
    wait_for("the client to be told", || {
        client.ask(request);
        let clients = values(&gateway, "client-ip");
        clients
            .first()
            .is_some_and(|first| first["value"] == "2001:db8::7")
    });
}

#[test]
fn killed_requests_are_seen() {
    for (mode, status) in [("drop", 200), ("reject", 503)] {
        let switches = format!("[kill]\nsubmit = \"{mode}\"\n");
        let gateway = Gateway::start(&base().switches(&switches));
        let mut client = gateway.connect();
        wait_for("killed requests to be told", || {
            let answer = client.ask(of_version("4.2.1"));
            assert_eq!(answer.status, status);
            assert_ne!(answer.text(), "ok");
            count(&gateway, "4.2.1") > 0
        });
    }
}

/// A request with four values that no other has; one in ten is of the client looked for.
fn distinct(n: u32) -> String {
    let version = match n % 10 {
        0 => "the-storm".to_owned(),
        _ => format!("{n:0>100}"),
    };
    let others = ["a", "b", "c"].map(|name| format!("x-{name}: {name}{n:0>100}\r\n"));
    let others = others.concat();
    format!("GET /submit HTTP/1.1\r\nhost: test\r\nx-client-version: {version}\r\n{others}\r\n")
}

#[test]
fn a_hundred_thousand_values_take_bounded_memory_and_hide_nobody() {
    const BATCH: u32 = 50;
    let keys = "\"header:x-a\", \"header:x-b\", \"header:x-c\"";
    let observing = observing("submit").replace("\"client-ip\"", keys);
    let gateway = Gateway::start(&Config::new().route("submit", &observing));
    let resident = || gateway.metrics().one("process_resident_memory_bytes", &[]);
    let mut client = gateway.connect();
    let mut warm = None;
    for batch in 0..25_000 / BATCH {
        // Pipelined.
        let requests = (0..BATCH).map(|n| distinct(batch * BATCH + n));
        client.send(requests.collect::<String>());
        for _ in 0..BATCH {
            assert_eq!(client.read().status, 200);
        }
        if batch % 50 == 49 {
            // The first batches bring code and buffers into memory; the values of the others
            // are 13 MB.
            let now = resident();
            let grown = now - *warm.get_or_insert(now);
            assert!(grown < f64::from(8 << 20), "{grown} bytes more");
        }
    }
    wait_for("the storm to be told first", || {
        client.ask(distinct(0));
        let versions = values(&gateway, VERSION);
        assert!(versions.len() <= 10, "{versions:?}");
        let first = versions.first();
        first.is_some_and(|first| first["value"] == "the-storm")
    });
}

#[test]
fn a_reload_keeps_the_window_and_other_keys_begin_anew() {
    let gateway = Gateway::start(&base());
    let mut client = gateway.connect();
    let applied = [("result", "applied")];
    // On a machine that stands still for ten seconds the window itself ends meanwhile.
    let kept = (1..4).any(|turn| {
        let version = format!("4.{turn}");
        wait_for("the version to be told", || {
            client.ask(of_version(&version));
            count(&gateway, &version) > 0
        });
        let reloads = gateway.metric("seawall_config_reloads_total", &applied);
        gateway.write_structure(&base().respond("more", "/more", &version));
        wait_for("the reload", || {
            gateway.metric("seawall_config_reloads_total", &applied) > reloads
        });
        count(&gateway, &version) > 0
    });
    assert!(kept, "the window began anew with every reload");
    let other = observing("submit").replace("\"client-ip\", ", "");
    gateway.write_structure(&Config::new().route("submit", &other));
    wait_for("the new keys", || {
        client.ask(of_version("4.2.1"));
        count(&gateway, "4.2.1") > 0 && values(&gateway, "client-ip").is_empty()
    });
}

#[test]
fn top_prints_what_is_observed() {
    let config = base().admin("listen", &format!("\"{}\"", free_address()));
    let gateway = Gateway::start(&config);
    let idle = top(&gateway, &["submit"]);
    assert_eq!(idle.code, Some(0), "{}", idle.output);
    assert_eq!(idle.output, "submit: no requests in the last 10 s\n");
    let mut client = gateway.connect();
    let directory = gateway.directory().to_string_lossy().into_owned();
    wait_for("top to list the versions", || {
        mixed(&mut client);
        // The address comes from the configuration.
        let exit = run_to_exit(&["--config", &directory, "top", "submit"]);
        assert_eq!(exit.code, Some(0), "{}", exit.output);
        let lines: Vec<&str> = exit.output.lines().collect();
        let Some(at) = lines.iter().position(|line| line.starts_with(VERSION)) else {
            return false;
        };
        lines[at].contains("per second")
            && lines[at + 1].starts_with("4.2.1 ")
            && lines[at + 1].ends_with('%')
            && lines[at + 2..]
                .iter()
                .any(|line| line.starts_with("(absent)"))
            && lines.iter().any(|line| line.starts_with("127.0.0.1 "))
    });
    let exit = top(&gateway, &["submit", "--json"]);
    let document: Value = serde_json::from_str(&exit.output).expect("JSON");
    assert!(document[VERSION].is_array(), "{document}");
    assert!(document["client-ip"].is_array(), "{document}");
}

#[test]
fn top_says_what_is_wrong() {
    let gateway = Gateway::start(&base().respond("quiet", "/quiet", "ok"));
    for (route, said) in [
        ("submti", "no route `submti`; did you mean `submit`?"),
        ("nothing", "its routes: quiet, submit"),
        (
            "quiet",
            "add observe = [\"client-ip\"] below [routes.quiet]",
        ),
    ] {
        let exit = top(&gateway, &[route]);
        assert_eq!(exit.code, Some(1), "{}", exit.output);
        assert!(exit.output.contains(said), "{}", exit.output);
    }
    let nobody = format!("http://{}", free_address());
    let client = format!("http://{}", gateway.client);
    for (url, said) in [
        (nobody.as_str(), "is the gateway running?"),
        (&client, "is it the admin listener of a gateway?"),
        (
            "https://localhost:1",
            "expected HOST:PORT or http://HOST:PORT",
        ),
    ] {
        let exit = run_to_exit(&["top", "submit", "--admin", url]);
        assert_eq!(exit.code, Some(1), "{}", exit.output);
        assert!(exit.output.contains(said), "{}", exit.output);
        assert_eq!(exit.output.trim_end().lines().count(), 1, "{}", exit.output);
    }
}

#[test]
fn top_goes_on_until_its_reader_has_seen_enough() {
    let gateway = Gateway::start(&base());
    let admin = gateway.admin.to_string();
    let mut child = Command::new(env!("CARGO_BIN_EXE_seawall"))
        .args(["top", "submit", "--watch", "--json", "--admin", &admin])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    for line in lines.take(2) {
        let line = line.expect("a line");
        let document: Value = serde_json::from_str(&line).expect("one document a line");
        assert_eq!(document[VERSION], serde_json::json!([]));
    }
    // The pipe is closed by now.
    let mut status = None;
    wait_for("top to end", || {
        status = child.try_wait().expect("a child");
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}
