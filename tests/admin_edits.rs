//! Switches changed over HTTP: who may, what is written, and what is answered.

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::*;

const AMY: &str = "amy-0123456789abcdef";
const BOB: &str = "bob-0123456789abcdef";
const SWITCHES: &str = "# who\n[kill]\n# an example\n";

fn config() -> Config {
    let route = |path: &str, mode: &str| {
        format!(
            "path = {path:?}\nrespond = {{ body = \"up\" }}\nkill_switch = {{ mode = {mode:?}, restore = \"0s\" }}"
        )
    };
    Config::new()
        .admin("tokens", &format!("{{ amy = {AMY:?}, bob = {BOB:?} }}"))
        .route("a", &route("/a", "drop"))
        .route("b", &route("/b", "reject"))
        .switches(SWITCHES)
}

/// One request at the admin listener, with these header lines.
fn send(gateway: &Gateway, (method, key): (&str, &str), lines: &str, body: &str) -> Response {
    let length = body.len();
    let request = format!(
        "{method} /api/v1/kill/{key} HTTP/1.1\r\n{lines}content-length: {length}\r\n\r\n{body}"
    );
    ask(gateway.admin, request)
}

fn lines(gateway: &Gateway, token: &str) -> String {
    format!(
        "host: {}\r\nauthorization: Bearer {token}\r\n",
        gateway.admin
    )
}

fn put(gateway: &Gateway, key: &str, body: &str) -> Response {
    send(gateway, ("PUT", key), &lines(gateway, AMY), body)
}

fn delete(gateway: &Gateway, key: &str) -> Response {
    send(gateway, ("DELETE", key), &lines(gateway, AMY), "")
}

fn switches(gateway: &Gateway) -> String {
    std::fs::read_to_string(gateway.directory().join("switches.toml")).expect("read")
}

#[test]
fn put_throws_and_delete_restores_before_they_answer() {
    let gateway = Gateway::start(&config());
    let said = put(&gateway, "a", "");
    assert_eq!(said.status, 200, "{}", said.text());
    assert_eq!(gateway.get("/a").text(), "");
    let said = said.json();
    assert_eq!(said["key"], "a");
    assert_eq!(said["digest"], gateway.status()["switches_file"]["digest"]);
    assert_eq!(said["switches"][0]["state"], "thrown");
    assert!(said["took_ms"].as_f64() > Some(0.0));
    assert_eq!(switches(&gateway).replace("a = \"drop\"\n", ""), SWITCHES);
    assert_eq!(delete(&gateway, "a").status, 200);
    assert_eq!(gateway.get("/a").text(), "up");
    assert_eq!(switches(&gateway), SWITCHES);
    // To end what does not hold is no error.
    assert_eq!(delete(&gateway, "a").status, 200);
    put(&gateway, "all", "\"reject\"");
    assert_eq!(delete(&gateway, "b?exempt=true").status, 200);
    let statuses = ["/a", "/b"].map(|path| gateway.get(path).status);
    assert_eq!(statuses, [503, 200]);
}

#[test]
fn a_body_is_an_entry_as_toml_has_it() {
    let gateway = Gateway::start(&config());
    let entry = json!([
        { "mode": "reject", "when": { "headers": { "x-v": { "prefix": "1." } } } },
        { "percent": 50, "until": "2999-01-01T00:00:00Z", "reason": "INC-42" },
    ]);
    let said = put(&gateway, "a", &entry.to_string());
    assert_eq!(said.status, 200, "{}", said.text());
    let switches = said.json()["switches"].clone();
    assert_eq!(switches[0]["when"], "header x-v prefix \"1.\"");
    assert_eq!(switches[1]["percent"], 50.0);
    assert_eq!(switches[1]["expires"], "2999-01-01T00:00:00.000Z");
    let killed = gateway.ask("GET /a HTTP/1.1\r\nhost: x\r\nx-v: 1.7\r\n\r\n");
    assert_eq!(killed.status, 503);
}

#[test]
fn a_wrong_body_key_or_query_is_refused_and_nothing_is_written() {
    let gateway = Gateway::start(&config());
    let invalid = put(&gateway, "a", r#"{ "mode": "dorp" }"#);
    assert_eq!(
        (invalid.status, reason_of(&invalid).as_str()),
        (400, "invalid")
    );
    let error = &invalid.json()["errors"][0];
    assert_eq!(error["key"], "kill.a.mode");
    assert_eq!(error["hint"], "did you mean `drop`?");
    assert!(error["line"].as_u64() > Some(0) && error["message"].is_string());
    for body in [
        "{",
        "7",
        "null",
        "[1]",
        r#"{ "reason": null }"#,
        r#"{ "when": {} }"#,
    ] {
        let said = put(&gateway, "a", body);
        assert_eq!(
            (said.status, reason_of(&said).as_str()),
            (400, "invalid"),
            "{body}"
        );
    }
    let unknown = put(&gateway, "tier:shedable", "");
    assert_eq!(
        (unknown.status, reason_of(&unknown).as_str()),
        (404, "unknown_key")
    );
    assert_eq!(unknown.json()["hint"], "did you mean `sheddable`?");
    assert_eq!(delete(&gateway, "c").status, 404);
    assert_eq!(delete(&gateway, "a?exempt=maybe").status, 400);
    assert_eq!(put(&gateway, "a", &" ".repeat(65 << 10)).status, 413);
    let get = send(&gateway, ("GET", "a"), &lines(&gateway, AMY), "");
    assert_eq!(get.status, 405);
    assert_eq!(switches(&gateway), SWITCHES);
}

#[test]
fn only_who_holds_a_token_and_comes_from_here_may() {
    let gateway = Gateway::start(&config());
    let host = format!("host: {}\r\n", gateway.admin);
    let bearer = format!("authorization: Bearer {AMY}\r\n");
    let refused = |lines: String, status: u16, reason: &str| {
        for method in ["PUT", "DELETE"] {
            let said = send(&gateway, (method, "a"), &lines, "");
            assert_eq!(
                (said.status, reason_of(&said).as_str()),
                (status, reason),
                "{lines}"
            );
            assert_eq!(said.head.has("www-authenticate"), status == 401);
        }
    };
    refused(host.clone(), 401, "unauthorized");
    refused(
        format!("{host}authorization: Bearer {AMY}0\r\n"),
        401,
        "unauthorized",
    );
    refused(
        format!("{host}authorization: Basic {AMY}\r\n"),
        401,
        "unauthorized",
    );
    refused(format!("host: evil.example\r\n{bearer}"), 403, "host");
    refused(
        format!("{host}{bearer}origin: http://evil.example\r\n"),
        403,
        "origin",
    );
    refused(format!("{host}{bearer}origin: null\r\n"), 403, "origin");
    assert_eq!(switches(&gateway), SWITCHES);
    let own = format!("{host}{bearer}origin: http://{}\r\n", gateway.admin);
    assert_eq!(send(&gateway, ("PUT", "a"), &own, "").status, 200);
    let log = gateway.log().join("\n");
    assert!(!log.contains(AMY), "a token in the log");
}

#[test]
fn without_tokens_the_listener_only_reads_and_they_change_without_a_restart() {
    let gateway = Gateway::start(&config().admin("tokens", "{}"));
    let said = put(&gateway, "a", "");
    assert_eq!((said.status, reason_of(&said).as_str()), (403, "no_tokens"));
    gateway.write_structure(&config());
    wait_for("amy's token", || put(&gateway, "a", "").status == 200);
    let bob = config().admin("tokens", &format!("{{ bob = {BOB:?} }}"));
    gateway.write_structure(&bob);
    wait_for("the end of amy's token", || {
        put(&gateway, "a", "").status == 401
    });
    let restart = &gateway.status()["last_reload"]["needs_restart"];
    assert_eq!(*restart, json!([]));
}

#[test]
fn the_log_names_who_did_it() {
    let gateway = Gateway::start(&config());
    put(&gateway, "a", r#"{ "reason": "INC-42" }"#);
    send(&gateway, ("PUT", "b"), &lines(&gateway, BOB), "");
    wait_for("two lines", || {
        gateway.events("kill switch changed").len() == 2
    });
    let events = gateway.events("kill switch changed");
    let fields = |event: &Value| {
        ["key", "source", "token", "reason"]
            .map(|name| event[name].as_str().unwrap_or("").to_owned())
    };
    assert_eq!(fields(&events[0]), ["a", "admin", "amy", "INC-42"]);
    assert_eq!(fields(&events[1]), ["b", "admin", "bob", ""]);
    assert_eq!(gateway.status()["switches"][0]["source"], "admin");
}

#[test]
fn a_broken_file_is_thrown_over_http_too_and_restores_nothing() {
    let gateway = Gateway::start(&config().switches("[kill]\na = \"drop\"\n"));
    gateway.write_switches("[kill]\na = \"drop\"\nc = \"drop\"\n");
    let said = delete(&gateway, "a");
    assert_eq!(
        (said.status, reason_of(&said).as_str()),
        (409, "held"),
        "{}",
        said.text()
    );
    assert_eq!(said.json()["errors"][0]["key"], "kill.c");
    assert_eq!(put(&gateway, "b", "").status, 200);
    assert_eq!(gateway.get("/a").text(), "");
}

#[test]
fn commands_and_requests_at_once_lose_nothing() {
    let route = |n: usize| format!("path = \"/{n}\"\nrespond = {{ body = \"up\" }}");
    let mut config = config();
    for n in 0..8 {
        config = config.route(&format!("r{n}"), &route(n));
    }
    let gateway = Gateway::start(&config);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let gateway = &gateway;
            scope.spawn(move || {
                let key = format!("r{n}");
                if n % 2 == 0 {
                    assert_eq!(put(gateway, &key, "\"drop\"").status, 200, "{key}");
                } else {
                    let mut command = Command::new(env!("CARGO_BIN_EXE_seawall"));
                    command.arg("--config").arg(gateway.directory());
                    command.args(["kill", &key, "--mode", "drop", "--admin"]);
                    let output = command.arg(gateway.admin.to_string()).output();
                    assert!(output.expect("it runs").status.success(), "{key}");
                }
                assert_eq!(gateway.get(&format!("/{n}")).text(), "", "{key}");
            });
        }
    });
    let text = switches(&gateway);
    assert!(
        (0..8).all(|n| text.contains(&format!("\nr{n} = "))),
        "{text}"
    );
}
