//! The one table of refusals: the README prints it, and every answer is made from it.

#[path = "../benches/setup/mod.rs"]
mod setup;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use axum::body::to_bytes;
use bytes::Bytes;
use http::{HeaderMap, Request, request};
use seawall::proxy::{Worker, raw_refusal, serve};
use seawall::upstream::RequestBody;
use seawall::vocab::Reason;

/// The cells of the rows under the README's heading "Refusals".
fn readme_rows() -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(path).expect("a README");
    let (_, section) = readme.split_once("\n## Refusals\n").expect("the heading");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = |row: &str| row.trim_matches('|').split('|').map(trimmed).collect();
    rows.map(cells).collect()
}

fn trimmed(cell: &str) -> String {
    cell.trim().to_owned()
}

#[test]
fn the_readme_prints_the_table_as_it_is() {
    let documented = readme_rows();
    for (row, cells) in Reason::TABLE.iter().zip(&documented) {
        let expected = [
            format!("`{}`", row.name),
            row.status.to_string(),
            row.title.to_owned(),
        ];
        assert_eq!(cells, &expected, "the README's row of {}", row.name);
    }
    assert_eq!(documented.len(), Reason::COUNT, "rows in the README");
}

/// What the README says below its table.
#[test]
fn the_readme_names_who_ends_the_connection_and_who_says_when_to_come_back() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(path).expect("a README");
    let text = readme.split_whitespace().collect::<Vec<_>>().join(" ");
    let list = |chosen: fn(&seawall::vocab::Row) -> bool| {
        let rows = Reason::TABLE.iter().filter(|row| chosen(row));
        let names: Vec<_> = rows.map(|row| format!("`{}`", row.name)).collect();
        let (last, first) = names.split_last().expect("a name");
        format!("{} and {last}", first.join(", "))
    };
    let later = list(|row| row.retry_after == seawall::vocab::RetryAfter::Sent);
    assert!(
        text.contains(&format!("{later} carry `Retry-After`")),
        "{later}"
    );
    let ends = list(|row| row.closes);
    assert!(
        text.contains(&format!("{ends} end the connection")),
        "{ends}"
    );
}

/// What differs from answer to answer.
fn redacted(name: &str, value: &str) -> String {
    match name {
        "x-request-id" => "[id]".to_owned(),
        "retry-after" => "[seconds]".to_owned(),
        "ratelimit" => "[seconds]".to_owned(),
        "date" => "[date]".to_owned(),
        _ => value.to_owned(),
    }
}

fn with_id_hidden(body: &[u8]) -> String {
    let mut problem: serde_json::Value = serde_json::from_slice(body).expect("JSON");
    problem["request_id"] = "[id]".into();
    problem.to_string()
}

fn worker() -> Arc<Worker> {
    let structure = "[upstreams.nobody]\nendpoints = [\"http://127.0.0.1:1\"]\n\
         [routes.scores]\npath = \"/scores\"\nmethods = [\"GET\", \"POST\"]\n\
         max_body = \"4B\"\nupstream = \"nobody\"\n\
         [routes.limited]\npath = \"/limited\"\nrespond = {}\n\
         rate_limit = { rate = \"1/h\", burst = 1, key = \"route\" }\n\
         [routes.stats]\npath = \"/stats\"\nupstream = \"nobody\"\n";
    setup::worker(structure, "[kill]\nstats = \"reject\"\n")
}

#[test]
fn every_refusal_below_http_has_the_shape_of_the_table() {
    let worker = worker();
    let mut all = String::new();
    for row in &Reason::TABLE {
        let bytes = raw_refusal(&worker, row.reason);
        let answer = std::str::from_utf8(&bytes).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let mut lines = head.lines();
        let _ = writeln!(all, "{}", lines.next().expect("a status line"));
        for line in lines {
            let (name, value) = line.split_once(": ").expect("a field");
            if name == "content-length" {
                assert_eq!(value, body.len().to_string(), "{answer}");
            }
            let _ = writeln!(all, "{name}: {}", redacted(name, value));
        }
        let _ = writeln!(all, "\n{}\n", with_id_hidden(body.as_bytes()));
    }
    insta::assert_snapshot!(all);
}

fn ask(target: &str) -> request::Builder {
    Request::builder().uri(target).header("host", "test")
}

fn plain(request: request::Builder) -> Request<RequestBody> {
    request.body(RequestBody::empty()).expect("a request")
}

/// Requests that the walk itself refuses, without an upstream to help.
fn refused() -> Vec<Request<RequestBody>> {
    let large = ask("/scores").method("POST").header("content-length", "5");
    let large = large.body(setup::arrived(Bytes::from_static(b"12345")));
    let upgrade = ask("/scores").header("connection", "upgrade");
    let missing_host = Request::builder().uri("/scores");
    vec![
        plain(ask("/nowhere")),
        plain(ask("/scores").method("PUT")),
        plain(missing_host),
        large.expect("a request"),
        plain(upgrade.header("upgrade", "websocket")),
        plain(ask("/scores")),
        plain(ask("/stats")),
        plain(ask("/limited")),
    ]
}

fn fields(headers: &HeaderMap) -> String {
    let mut text = String::new();
    for (name, value) in headers {
        let value = value.to_str().expect("text");
        let _ = writeln!(text, "{name}: {}", redacted(name.as_str(), value));
    }
    text
}

#[tokio::test]
async fn refusals_of_the_walk_have_the_shape_of_the_table() {
    let worker = worker();
    let peer = setup::peer();
    let burst = serve(
        Arc::clone(&worker),
        Arc::clone(&peer),
        plain(ask("/limited")),
    )
    .await;
    assert_eq!(burst.expect("never fails").status(), 200);
    let mut all = String::new();
    for request in refused() {
        let asked = format!("{} {}", request.method(), request.uri());
        let served = serve(Arc::clone(&worker), Arc::clone(&peer), request).await;
        let (head, body) = served.expect("never fails").into_parts();
        let body = to_bytes(axum::body::Body::new(body), 1 << 16).await;
        let body = with_id_hidden(&body.expect("a body"));
        let fields = fields(&head.headers);
        let _ = writeln!(all, "> {asked}\n{}\n{fields}\n{body}\n", head.status);
    }
    insta::assert_snapshot!(all);
}
