//! What waits asks the switch that holds now: for a connection, for the next endpoint, before it
//! is sent once more; and it is asked about what the client sent.
//!
//! The gateway is mounted as a service, so that a switch is thrown at an exact moment: after the
//! request was polled once, which leaves it waiting for its connection.

#[path = "../benches/setup/mod.rs"]
mod setup;
mod support;

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{Request, StatusCode};
use seawall::archive::{Journal, Options, RealDisk};
use seawall::config::{SourceFile, load};
use seawall::matching::{HeaderMatch, ValueTest, When};
use seawall::policy::kill::{
    AnswerSpec, KillEntry, KillKey, KillSettings, Mode, Position, Setting,
};
use seawall::policy::share::Share;
use seawall::proxy::{Gateway, Worker};
use seawall::snapshot::{Board, Live, Opened, RouteTable, Snapshot};
use support::{
    Config, Gate, Metrics, Shelf, Upstream, answer, assert_killed, assert_passed, assert_refusal,
    free_address, get, reason_of,
};
use tower::Service;

const NOTHING: &str = "[kill]\n";

/// One route, `any`, with further keys, to these endpoints.
fn structure(endpoints: &[String], keys: &str) -> String {
    format!(
        "[upstreams.u]\nendpoints = {endpoints:?}\n\
         [routes.any]\npath = \"/{{*rest}}\"\nupstream = \"u\"\n{keys}\n"
    )
}

fn entry(mode: Mode) -> KillEntry {
    KillEntry::word(Position::Thrown(Some(mode)))
}

fn about(name: &str, test: ValueTest) -> KillEntry {
    let mut entry = entry(Mode::Drop);
    entry.when = When {
        headers: vec![HeaderMatch::new(name, test).expect("a name")],
        ..When::default()
    };
    entry
}

/// `[kill]` with this entry for the route `any`.
fn kill(entry: KillEntry) -> KillSettings {
    let key = KillKey::Route("any".into());
    BTreeMap::from([(key, Setting::Entries(vec![entry]))])
}

fn throw(live: &Live, entry: KillEntry) {
    let now = live.load();
    let board = Board::compile(&now.table, kill(entry), None, Duration::ZERO);
    live.publish(now.with_board(board));
}

/// Publishes another structure, and this entry for the route `any` of it.
fn restructure(live: &Live, structure: &str, entry: KillEntry) {
    let file = SourceFile::new("seawall.toml", structure);
    let loaded = load(&[file], &|_| None).expect("a structure");
    let before = live.load();
    let table = RouteTable::compile(Arc::new(loaded.settings), Some(&before.table));
    let table = Arc::new(table);
    let settings = match table.routes.iter().any(|route| &*route.spec.name == "any") {
        true => kill(entry),
        false => KillSettings::new(),
    };
    let board = Arc::new(Board::compile(&table, settings, None, Duration::ZERO));
    live.publish(Snapshot { table, board });
}

type Answer = http::Response<seawall::proxy::ReplyBody>;
type Walk = Pin<Box<dyn Future<Output = Result<Answer, std::convert::Infallible>> + Send>>;

struct House {
    live: Arc<Live>,
    gateway: Gateway,
}

impl House {
    fn new(structure: &str) -> House {
        let live = setup::live(structure, NOTHING);
        let worker = Arc::new(Worker::new(Arc::clone(&live), None));
        let gateway = Gateway::new(worker, setup::peer());
        House { live, gateway }
    }

    fn begin(&mut self, request: Request<Body>) -> Walk {
        self.gateway.call(request)
    }

    /// Polled once, it waits for its connection.
    async fn connecting(&mut self, request: Request<Body>) -> Walk {
        let mut walk = self.begin(request);
        let first = poll_fn(|cx| Poll::Ready(walk.as_mut().poll(cx))).await;
        assert!(first.is_pending(), "a connection came at once: {first:?}");
        walk
    }

    fn count(&self, mode: &str, outcome: &str) -> f64 {
        let labels = [("route", "any"), ("mode", mode), ("outcome", outcome)];
        Metrics::parse(&self.live.metrics.exposition())
            .one("seawall_killed_requests_total", &labels)
    }

    fn in_flight(&self) -> f64 {
        Metrics::parse(&self.live.metrics.exposition()).sum("seawall_requests_in_flight", &[])
    }
}

fn request(method: &str, lines: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let start = Request::builder().method(method).uri("/a?beta=1");
    let lines = lines.iter().chain(&[("host", "test")]);
    lines
        .fold(start, |request, (name, value)| {
            request.header(*name, *value)
        })
        .body(body.into())
        .expect("a request")
}

fn journal(shelf: &Shelf) -> Journal {
    let options = Options::new(vec![shelf.path("a")]);
    Journal::open(options, Arc::new(RealDisk), Arc::new(())).expect("a journal")
}

/// The end of a walk: status, connection header, body.
async fn end(walk: Walk) -> (StatusCode, http::HeaderMap, Bytes) {
    let Ok(response) = walk.await;
    let (head, body) = response.into_parts();
    let body = to_bytes(Body::new(body), 1 << 20).await;
    (head.status, head.headers, body.expect("a whole body"))
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(support::PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waited
        .await
        .unwrap_or_else(|_| panic!("waited in vain for: {what}"));
}

#[tokio::test]
async fn a_request_that_waits_for_its_connection_gets_the_answer_of_drop() {
    let upstream = Upstream::echo();
    let mut house = House::new(&structure(&[upstream.url()], ""));
    for body in ["", "points=12"] {
        let walk = house.connecting(request("POST", &[], body)).await;
        let mut dropped = entry(Mode::Drop);
        dropped.answer = AnswerSpec {
            status: Some(StatusCode::ACCEPTED),
            body: Some(Bytes::from_static(b"later")),
            content_type: Some(http::HeaderValue::from_static("text/plain")),
        };
        throw(&house.live, dropped);
        let (status, headers, answer) = end(walk).await;
        assert_eq!((status, &answer[..]), (StatusCode::ACCEPTED, &b"later"[..]));
        assert_eq!(headers["content-type"], "text/plain");
        assert_eq!(headers["cache-control"], "no-store");
        assert!(headers.contains_key("x-request-id"));
        assert!(!headers.contains_key("connection"), "the body was read");
        house
            .live
            .publish(house.live.load().with_board(Board::default()));
    }
    assert_eq!(upstream.heads(), 0);
    assert_eq!(house.count("drop", "dropped"), 2.0);
    assert_eq!(house.in_flight(), 0.0);
    let bytes = Metrics::parse(&house.live.metrics.exposition());
    let labels = [("route", "any"), ("mode", "drop")];
    assert_eq!(bytes.one("seawall_killed_bytes_total", &labels), 9.0);
    // Nothing is left behind: the next request passes.
    let walk = house.begin(request("POST", &[], "again"));
    assert_eq!(&end(walk).await.2[..], b"again");
}

#[tokio::test]
async fn a_request_that_waits_for_its_connection_gets_the_answer_of_reject() {
    let upstream = Upstream::echo();
    let mut house = House::new(&structure(&[upstream.url()], ""));
    let walk = house.connecting(request("POST", &[], "points=12")).await;
    throw(&house.live, entry(Mode::Reject));
    let (status, headers, body) = end(walk).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(headers.contains_key("retry-after"));
    let problem: serde_json::Value = serde_json::from_slice(&body).expect("a problem");
    assert_eq!(problem["reason"], "killed");
    assert_eq!(upstream.heads(), 0);
    assert_eq!(house.count("reject", "rejected"), 1.0);
}

#[tokio::test]
async fn a_request_that_waited_is_archived_as_the_client_sent_it() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let keys = "path_rewrite = \"/other\"\nhost_rewrite = \"upstream\"\n\
                request_headers = { set = { x-a = \"edited\" }, add = { x-b = \"added\" } }";
    let mut house = House::new(&structure(&[upstream.url()], keys));
    let opened = Opened {
        journal: journal(&shelf),
        settings: house.live.load().settings().archive.clone(),
    };
    house.live.archive.put(opened).expect("the first one");
    let sent = [
        ("x-a", "one"),
        ("x-a", "two"),
        ("x-forwarded-for", "203.0.113.9"),
        ("connection", "close"),
    ];
    let mut request = request("POST", &sent, "points=12");
    *request.version_mut() = http::Version::HTTP_10;
    let walk = house.connecting(request).await;
    throw(&house.live, entry(Mode::Archive));
    assert_eq!(end(walk).await.0, StatusCode::OK);
    assert_eq!(upstream.heads(), 0);
    assert_eq!(house.count("archive", "archived"), 1.0);
    let record = &shelf.records()[0];
    assert_eq!(record.target, "/a?beta=1");
    assert_eq!(record.version, "HTTP/1.0");
    assert_eq!(record.body(), b"points=12");
    let mut headers = record.headers.clone();
    headers.sort();
    let sent = sent.iter().chain(&[("host", "test")]);
    let mut expected: Vec<_> = sent
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect();
    expected.sort();
    assert_eq!(headers, expected);
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_is_not_asked_for_its_body() {
    let upstream = Upstream::echo();
    let mut house = House::new(&structure(&[upstream.url()], ""));
    let expecting = [("expect", "100-continue"), ("content-length", "9")];
    // A body that would never come.
    let silent = Body::new(Never);
    let walk = house.connecting(request("POST", &expecting, silent)).await;
    throw(&house.live, entry(Mode::Drop));
    let (status, headers, _) = end(walk).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["connection"], "close");
    assert_eq!(upstream.heads(), 0);
}

#[tokio::test]
async fn a_route_that_was_not_thrown_goes_on_after_the_wait() {
    let upstream = Upstream::echo();
    let mut house = House::new(&structure(&[upstream.url()], ""));
    for passing in [
        about("x-version", ValueTest::Exact("2".to_owned())),
        KillEntry::word(Position::Off),
        KillEntry {
            share: Share::NONE,
            ..entry(Mode::Drop)
        },
        KillEntry {
            dry_run: true,
            ..entry(Mode::Drop)
        },
        KillEntry {
            until: Some(Duration::from_secs(1)),
            ..entry(Mode::Drop)
        },
    ] {
        let mut walk = house.begin(request("POST", &[("x-version", "1")], "points=12"));
        // One that takes a pooled connection waits for the answer instead, which is as good.
        let first = poll_fn(|cx| Poll::Ready(walk.as_mut().poll(cx))).await;
        assert!(first.is_pending());
        throw(&house.live, passing);
        let (_, headers, body) = end(walk).await;
        assert!(headers.contains_key("x-from"));
        assert_eq!(&body[..], b"points=12");
    }
    assert_eq!(upstream.heads(), 5);
}

#[tokio::test]
async fn after_an_endpoint_refused_the_next_one_is_not_tried_for_a_killed_request() {
    let upstream = Upstream::echo();
    let refusing = |_| format!("http://{}", free_address());
    // Whose turn is first does not matter: the others refuse.
    let endpoints: Vec<String> = (0..3).map(refusing).chain([upstream.url()]).collect();
    let mut house = House::new(&structure(&endpoints, ""));
    let walk = house.connecting(request("POST", &[], "points=12")).await;
    throw(&house.live, entry(Mode::Drop));
    assert_eq!(end(walk).await.0, StatusCode::OK);
    assert_eq!(upstream.heads(), 0);
    assert_eq!(house.count("drop", "dropped"), 1.0);
    let attempts = Metrics::parse(&house.live.metrics.exposition());
    let failed = attempts.sum("seawall_upstream_attempts_total", &[]);
    assert!(failed <= 1.0, "{failed} attempts");
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_is_no_502_under_a_switch() {
    let nobody = format!("http://{}", free_address());
    let mut house = House::new(&structure(&[nobody], ""));
    let walk = house.connecting(request("GET", &[], "")).await;
    throw(&house.live, entry(Mode::Drop));
    assert_eq!(end(walk).await.0, StatusCode::OK);
    house
        .live
        .publish(house.live.load().with_board(Board::default()));
    let walk = house
        .connecting(request("GET", &[("x-version", "1")], ""))
        .await;
    throw(
        &house.live,
        about("x-version", ValueTest::Exact("2".to_owned())),
    );
    assert_eq!(end(walk).await.0, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn a_route_is_found_again_by_its_name_after_the_structure_changed() {
    let upstream = Upstream::echo();
    let before = structure(&[upstream.url()], "");
    let mut house = House::new(&before);
    let walk = house.connecting(request("POST", &[], "points=12")).await;
    // `any` is no longer the first, and has another path, by which the request would not go there.
    let after = structure(&[upstream.url()], "").replace("/{*rest}", "/elsewhere");
    let after = format!("{after}[routes.a]\npath = \"/a\"\nrespond = {{ body = \"a\" }}\n");
    restructure(&house.live, &after, entry(Mode::Drop));
    assert_eq!(end(walk).await.0, StatusCode::OK);
    assert_eq!(house.count("drop", "dropped"), 1.0);
    assert_eq!(house.in_flight(), 0.0);
    assert_eq!(upstream.heads(), 0);
}

#[tokio::test]
async fn a_route_that_is_gone_ends_its_requests_under_its_old_policies() {
    let upstream = Upstream::echo();
    let before = structure(&[upstream.url()], "");
    let mut house = House::new(&before);
    let walk = house.connecting(request("POST", &[], "points=12")).await;
    let after = before.replace("routes.any", "routes.other");
    restructure(&house.live, &after, entry(Mode::Drop));
    let (status, headers, body) = end(walk).await;
    assert!(headers.contains_key("x-from"));
    assert_eq!((status, &body[..]), (StatusCode::OK, &b"points=12"[..]));
}

#[tokio::test]
async fn a_route_that_was_gone_and_is_back_counts_its_request_in_flight_once() {
    let upstream = Upstream::echo();
    let before = structure(&[upstream.url()], "");
    let mut house = House::new(&before);
    let walk = house.connecting(request("POST", &[], "points=12")).await;
    let without = before.replace("routes.any", "routes.other");
    restructure(&house.live, &without, entry(Mode::Drop));
    restructure(&house.live, &before, entry(Mode::Drop));
    assert_eq!(end(walk).await.0, StatusCode::OK);
    assert_eq!(house.count("drop", "dropped"), 1.0);
    assert_eq!(house.in_flight(), 0.0);
}

/// Everything that the way to the upstream changes, sent by the client itself.
const SENT: [(&str, &str); 14] = [
    ("connection", "keep-alive, x-hop"),
    ("keep-alive", "timeout=5"),
    ("te", "trailers"),
    ("x-hop", "1"),
    ("x-seawall-a", "1"),
    ("forwarded", "for=192.0.2.1"),
    ("x-forwarded-for", "192.0.2.1"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "example.com"),
    ("x-real-ip", "192.0.2.1"),
    ("via", "1.1 before"),
    ("x-set", "client"),
    ("x-removed", "client"),
    ("x-added", "client"),
];

const EDITS: &str = "host_rewrite = \"upstream\"\n\
     request_headers = { set = { x-set = \"gateway\", via = \"1.1 edit\" }, \
     remove = [\"x-removed\", \"x-real-ip\"], add = { x-added = \"gateway\" } }";

/// Polls a walk until it waits, throws the entry, and says whether it was killed.
async fn killed_by(house: &mut House, lines: &[(&str, &str)], thrown: KillEntry) -> bool {
    let what = thrown.when.to_string();
    let walk = house.connecting(request("GET", lines, "")).await;
    throw(&house.live, thrown);
    let (status, headers, _) = end(walk).await;
    assert_eq!(status, StatusCode::OK, "{what}");
    !headers.contains_key("x-from")
}

/// An upstream whose connections are not kept, so that each request waits for one.
fn closing() -> Upstream {
    Upstream::answering("HTTP/1.1 200 OK\r\nx-from: upstream\r\ncontent-length: 0\r\n\r\n")
}

#[tokio::test]
async fn conditions_are_asked_of_what_the_client_sent() {
    let upstream = closing();
    let trusting = "[server]\ntrusted_proxies = [\"192.0.2.0/24\"]\n";
    for server in ["", trusting] {
        let text = format!("{server}{}", structure(&[upstream.url()], EDITS));
        let exact = |value: &str| ValueTest::Exact(value.to_owned());
        for (name, value) in SENT
            .iter()
            .chain(&[("host", "test"), ("x-request-id", "two words")])
        {
            let mut lines = SENT.to_vec();
            lines.push(("x-request-id", "two words"));
            let mut house = House::new(&text);
            assert!(
                killed_by(&mut house, &lines, about(name, exact(value))).await,
                "{name}"
            );
        }
        for (name, value) in [
            ("x-set", "gateway"),
            ("x-added", "gateway"),
            ("via", "1.1 edit"),
            ("host", &upstream.address().to_string()),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-for", "192.0.2.1, 192.0.2.7"),
            ("x-real-ip", "192.0.2.7"),
        ] {
            let mut house = House::new(&text);
            assert!(
                !killed_by(&mut house, &SENT, about(name, exact(value))).await,
                "{name}"
            );
        }
        // What the client did not send is absent.
        let names = SENT.iter().map(|(name, _)| *name);
        for name in names.chain(["x-request-id"]) {
            let mut house = House::new(&text);
            let absent = about(name, ValueTest::Present(false));
            assert!(killed_by(&mut house, &[], absent).await, "{name}");
        }
    }
}

#[tokio::test]
async fn shares_and_addresses_are_those_of_the_client() {
    let upstream = closing();
    let trusting = "[server]\ntrusted_proxies = [\"192.0.2.0/24\"]\n";
    let sticky = "kill_switch = { mode = \"drop\" }";
    let text = format!("{trusting}{}", structure(&[upstream.url()], sticky));
    for client in ["203.0.113.9", "203.0.113.10"] {
        let mut thrown = entry(Mode::Drop);
        thrown.when.client_ip = vec!["203.0.113.9/32".parse().unwrap()];
        let mut house = House::new(&text);
        let lines = [("x-forwarded-for", client)];
        let killed = killed_by(&mut house, &lines, thrown).await;
        assert_eq!(killed, client == "203.0.113.9");
    }
    let half = Share::from_percent(50.0).unwrap();
    let mut fates = [0; 2];
    for client in 0..40 {
        let client = format!("203.0.113.{client}");
        let lines = [("x-forwarded-for", &*client)];
        let thrown = KillEntry {
            share: half,
            ..entry(Mode::Drop)
        };
        let mut house = House::new(&text);
        let waited = killed_by(&mut house, &lines, thrown.clone()).await;
        // The same fate as one that comes now.
        let (_, headers, _) = end(house.begin(request("GET", &lines, ""))).await;
        assert_eq!(waited, !headers.contains_key("x-from"), "{client}");
        fates[usize::from(waited)] += 1;
    }
    assert!(fates.iter().all(|fate| *fate > 5), "{fates:?}");
}

/// Takes a second request on its first connection, waits at the gate, and closes.
fn stale(gate: &Arc<Gate>) -> Upstream {
    let gate = Arc::clone(gate);
    Upstream::raw(move |connection| {
        let mut count = 0;
        while connection.request().is_some() {
            count += 1;
            if connection.number == 0 && count == 2 {
                gate.wait();
                return;
            }
            connection.write(answer(200, "ok"));
        }
    })
}

#[tokio::test]
async fn what_would_be_sent_once_more_is_asked_about_what_the_client_sent() {
    for (value, killed) in [("client", true), ("gateway", false)] {
        let gate = Arc::new(Gate::default());
        let upstream = stale(&gate);
        let mut house = House::new(&structure(&[upstream.url()], EDITS));
        let lines = [("x-set", "client")];
        assert_eq!(
            &end(house.begin(request("GET", &lines, ""))).await.2[..],
            b"ok"
        );
        let walk = tokio::spawn(end(house.begin(request("GET", &lines, ""))));
        until("the second request", || upstream.heads() == 2).await;
        throw(
            &house.live,
            about("x-set", ValueTest::Exact(value.to_owned())),
        );
        gate.open();
        let (status, headers, _) = walk.await.expect("no panic");
        assert_eq!(status, StatusCode::OK);
        assert_eq!(!headers.contains_key("x-from"), killed);
        assert_eq!(upstream.heads(), if killed { 2 } else { 3 });
        assert_eq!(house.count("drop", "dropped"), f64::from(u8::from(killed)));
    }
}

#[test]
fn what_would_be_sent_once_more_gets_the_answer_of_the_switch() {
    for mode in ["drop", "reject"] {
        let gate = Arc::new(Gate::default());
        let upstream = stale(&gate);
        // One worker, and so one pool.
        let config = Config::passing(&upstream).server("workers", "1");
        let gateway = support::Gateway::start(&config);
        let mut client = gateway.connect();
        assert_passed(&client.ask(get("/")));
        client.send(get("/"));
        upstream.wait_heads(2);
        gateway.write_switches(format!("[kill]\nany = \"{mode}\"\n"));
        let labels = [("route", "any"), ("mode", mode)];
        gateway.wait_metric("seawall_kill_switch_active", &labels, 1.0);
        gate.open();
        let response = client.read();
        match mode {
            "drop" => assert_killed(&response),
            _ => assert_refusal(&response, 503, "killed"),
        }
        assert_eq!(upstream.heads(), 2);
        gateway.wait_metric("seawall_killed_requests_total", &labels, 1.0);
        // The connection goes on.
        assert!(!client.ask(get("/")).is_from_upstream());
        assert_eq!(reason_of(&response).is_empty(), mode == "drop");
    }
}

/// A body of which nothing ever comes.
struct Never;

impl http_body::Body for Never {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        Poll::Pending
    }
}
