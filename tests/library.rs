//! The gateway as a library: a service among others in an axum `Router`, and one that a panic
//! in foreign code does not bring down.

#[path = "../benches/setup/mod.rs"]
mod setup;
mod support;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{Next, from_fn, map_request};
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http_body::Frame;
use seawall::proxy::{Gateway, Peer, Worker};
use seawall::snapshot::Live;
use seawall::upstream::BoxError;
use support::{Client, End, Metrics, Upstream, get, post};
use tower::ServiceExt;

/// A killed route, an answered one, and one that goes to an upstream.
fn live(upstream: &Upstream) -> Arc<Live> {
    let structure = format!(
        "[upstreams.u]\nendpoints = [\"{}\"]\n\
         [routes.stats]\npath = \"/stats/{{*rest}}\"\nupstream = \"u\"\n\
         [routes.motd]\npath = \"/motd\"\nrespond = {{ body = \"welcome\" }}\n\
         [routes.scores]\npath = \"/scores/{{*rest}}\"\nupstream = \"u\"\n",
        upstream.url()
    );
    setup::live(&structure, "[kill]\nstats = \"drop\"\n")
}

async fn name_peer(
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    request
        .extensions_mut()
        .insert(Arc::new(Peer::new(address)));
    next.run(request).await
}

fn gateway(live: &Arc<Live>) -> Gateway {
    let worker = Arc::new(Worker::new(Arc::clone(live), None));
    Gateway::new(worker, setup::peer())
}

/// The gateway beside a route of the application's own.
fn router(live: &Arc<Live>) -> Router {
    Router::new()
        .route("/about", axum::routing::get(async || "the application"))
        .fallback_service(gateway(live))
}

fn request(method: &str, target: &str, body: impl Into<Body>) -> Request {
    Request::builder()
        .method(method)
        .uri(target)
        .header("host", "test")
        .body(body.into())
        .expect("a request")
}

async fn text(response: Response) -> String {
    let bytes = to_bytes(response.into_body(), 1 << 20).await;
    String::from_utf8(bytes.expect("a whole body").into()).expect("text")
}

fn read(live: &Live) -> Metrics {
    Metrics::parse(&live.metrics.exposition())
}

#[tokio::test]
async fn mounted_in_an_axum_router_it_serves_each_kind_of_route() {
    let upstream = Upstream::echo();
    let live = live(&upstream);
    let router = router(&live);

    let own = router.clone().oneshot(request("GET", "/about", "")).await;
    assert_eq!(text(own.unwrap()).await, "the application");

    let killed = request("POST", "/stats/42", vec![b'x'; 1024]);
    let killed = router.clone().oneshot(killed).await.unwrap();
    assert_eq!(killed.status(), StatusCode::OK);
    assert_eq!(killed.headers()["cache-control"], "no-store");
    assert_eq!(text(killed).await, "");

    let answered = router.clone().oneshot(request("GET", "/motd", "")).await;
    assert_eq!(text(answered.unwrap()).await, "welcome");

    let proxied = request("POST", "/scores/7", "points=12");
    let proxied = router.clone().oneshot(proxied).await.unwrap();
    assert!(proxied.headers().contains_key("x-from"), "{proxied:?}");
    assert_eq!(text(proxied).await, "points=12");

    let refused = router.oneshot(request("GET", "/nowhere", "")).await;
    assert_eq!(refused.unwrap().status(), StatusCode::NOT_FOUND);

    let seen: Vec<String> = upstream.requests().into_iter().map(|r| r.target).collect();
    assert_eq!(seen, ["/scores/7"]);
    let metrics = read(&live);
    let dropped = [("route", "stats"), ("mode", "drop"), ("outcome", "dropped")];
    assert_eq!(metrics.one("seawall_killed_requests_total", &dropped), 1.0);
    assert_eq!(
        metrics.one("seawall_killed_bytes_total", &dropped[..2]),
        1024.0
    );
    assert_eq!(metrics.sum("seawall_requests_in_flight", &[]), 0.0);
}

/// Serves real connections on this runtime.
async fn listen(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let service = router
        .layer(from_fn(name_peer))
        .into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

#[tokio::test]
async fn mounted_it_serves_real_connections_and_knows_who_they_are() {
    let upstream = Upstream::echo();
    let address = listen(router(&live(&upstream))).await;
    let client = tokio::task::spawn_blocking(move || {
        let mut client = Client::connect(address);
        let killed = client.ask(post("/stats/42", [b'x'; 1024]));
        support::assert_killed(&killed);
        assert_eq!(client.ask(get("/motd")).text(), "welcome");
        let proxied = client.ask(post("/scores/7", "points=12"));
        support::assert_passed(&proxied);
        assert_eq!(proxied.text(), "points=12");
        support::assert_refusal(&client.ask(get("/nowhere")), 404, "no_route");
        // All of it on one connection.
        assert_eq!(client.ask(get("/about")).text(), "the application");
    });
    client.await.unwrap();
    let forwarded = upstream.last().header("x-forwarded-for");
    assert_eq!(forwarded.as_deref(), Some("127.0.0.1"));
}

/// A body from code that is not ours.
struct Panics;

impl http_body::Body for Panics {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        panic!("the body of this test panics");
    }
}

#[tokio::test]
async fn a_panic_is_answered_and_counted_and_leaves_nothing_behind() {
    let live = live(&Upstream::echo());
    let gateway = gateway(&live);
    let request = http::Request::post("/stats/42")
        .header("host", "test")
        .header("x-request-id", "from-the-client")
        .body(Panics)
        .unwrap();
    let response = gateway.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers();
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["x-request-id"], "from-the-client");
    assert_eq!(headers["connection"], "close");
    let body = text(response.map(Body::new)).await;
    let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(problem["reason"], "internal");
    assert_eq!(problem["status"], 500);
    assert_eq!(problem["request_id"], "from-the-client");

    let metrics = read(&live);
    assert_eq!(metrics.one("seawall_panics_total", &[]), 1.0);
    let internal = [("route", "stats"), ("reason", "internal")];
    assert_eq!(metrics.one("seawall_refusals_total", &internal), 1.0);
    let answered = [("route", "stats"), ("code", "500"), ("by", "gateway")];
    assert_eq!(metrics.one("seawall_requests_total", &answered), 1.0);
    let aborted = [("route", "stats"), ("mode", "drop"), ("outcome", "aborted")];
    assert_eq!(metrics.one("seawall_killed_requests_total", &aborted), 1.0);
    assert_eq!(metrics.sum("seawall_killed_requests_total", &[]), 1.0);
    assert_eq!(metrics.sum("seawall_requests_in_flight", &[]), 0.0);

    let next = http::Request::post("/stats/42").header("host", "test");
    let next = gateway.oneshot(next.body(Body::from("x")).unwrap()).await;
    let next = next.unwrap();
    assert_eq!(next.status(), StatusCode::OK);
    assert_ne!(next.headers()["x-request-id"], "from-the-client");
    assert!(!next.headers().contains_key("connection"), "{next:?}");
    drop(next);
    assert_eq!(read(&live).sum("seawall_requests_in_flight", &[]), 0.0);
}

/// Puts a body that panics in the place of one that says so.
async fn plant(request: Request) -> Request {
    match request.headers().contains_key("x-panic") {
        true => request.map(|_| Body::new(Panics)),
        false => request,
    }
}

#[tokio::test]
async fn a_panic_ends_its_own_connection_and_no_other() {
    let live = live(&Upstream::echo());
    let address = listen(router(&live).layer(map_request(plant))).await;
    let clients = tokio::task::spawn_blocking(move || {
        let mut unlucky = Client::connect(address);
        let mut other = Client::connect(address);
        support::assert_killed(&unlucky.ask(post("/stats/1", "x")));
        support::assert_killed(&other.ask(post("/stats/2", "x")));
        let panics = "POST /stats/3 HTTP/1.1\r\nhost: test\r\nx-panic: 1\r\n\
             x-request-id: from-the-client\r\ncontent-length: 1\r\n\r\nx";
        let answer = unlucky.ask(panics);
        support::assert_refusal(&answer, 500, "internal");
        assert_eq!(answer.header("x-request-id").unwrap(), "from-the-client");
        assert!(answer.closes());
        assert_ne!(unlucky.end(), End::Silent);
        support::assert_killed(&other.ask(post("/stats/4", "x")));
    });
    clients.await.unwrap();
    assert_eq!(read(&live).one("seawall_panics_total", &[]), 1.0);
}
