//! What a request costs in the walk, apart from the client's connection: no socket on that side,
//! so that the figures are the gateway's own. One thread, as a worker is.
//!
//! `cargo bench --bench walk`; `-- killed` runs those with that in their name.

#[path = "../setup/mod.rs"]
mod setup;
mod upstream;

use std::fmt::Write as _;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use divan::{Bencher, black_box};
use http::{Method, Request};
use http_body::Body as _;
use seawall::proxy::{Peer, Worker, serve};
use seawall::upstream::RequestBody;
use tokio::runtime::Runtime;

/// The product's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

const KIBIBYTE: Bytes = Bytes::from_static(&[b'x'; 1024]);
const ROUTES: [usize; 3] = [10, 1_000, 10_000];

/// Requests in a row of one sample. Left to itself divan takes one, and with it mostly the
/// caches as its own bookkeeping leaves them; many more would not fit the caches themselves.
const ROW: u32 = 64;
const SAMPLES: u32 = 2_000;
/// A request to an upstream takes longer: fewer are as good.
const PROXIED_SAMPLES: u32 = 400;

/// As many routes as asked for, which the gateway answers itself; the switches decide whether a
/// request gets that far.
fn answering(routes: usize) -> String {
    let mut text = String::new();
    for n in 0..routes {
        let path = format!("/r{n}/{{*rest}}");
        let _ = writeln!(
            text,
            "[routes.r{n}]\npath = \"{path}\"\nrespond = {{ body = \"hello\" }}"
        );
    }
    text
}

/// What `switches.toml` says.
#[derive(Clone, Copy)]
enum Switch {
    Untouched,
    Drop,
    Reject,
    /// Everybody, until a far day.
    Until,
    /// Half of the clients, this one among them.
    Share,
    /// Half of those with a header that begins so.
    WhenShare,
    /// A header that this client has not.
    WhenNot,
    /// The route is exempt, and nothing is thrown.
    Off,
}

impl Switch {
    fn text(self) -> &'static str {
        match self {
            Switch::Untouched => "[kill]\n",
            Switch::Drop => "[kill]\nall = \"drop\"\n",
            Switch::Reject => "[kill]\nall = \"reject\"\n",
            Switch::Until => {
                "[kill]\nall = { mode = \"drop\", status = 202, until = 2999-01-01T00:00:00Z }\n"
            }
            Switch::Share => "[kill]\nall = { mode = \"drop\", status = 202, percent = 50 }\n",
            Switch::WhenShare => {
                "[kill]\nall = { mode = \"drop\", status = 202, percent = 50, \
                 when = { headers = { user-agent = { prefix = \"game/4.\" } } } }\n"
            }
            Switch::WhenNot => {
                "[kill]\nall = { mode = \"drop\", status = 202, \
                 when = { headers = { user-agent = { prefix = \"game/5.\" } } } }\n"
            }
            Switch::Off => "[kill]\nr5 = \"off\"\n",
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Get,
    PostKibibyte,
}

fn request(kind: Kind, target: &str) -> Request<RequestBody> {
    let request = Request::builder()
        .uri(target)
        .header("host", "stats.example.com")
        .header("user-agent", "game/4.2.1")
        .header("accept", "*/*");
    let built = match kind {
        Kind::Get => request.body(RequestBody::empty()),
        Kind::PostKibibyte => request
            .method(Method::POST)
            .header("content-type", "application/json")
            .header("content-length", "1024")
            .body(setup::arrived(KIBIBYTE)),
    };
    built.expect("a request")
}

/// From the request to the end of the response body, and so to the end of its record.
async fn whole(worker: &Arc<Worker>, peer: &Arc<Peer>, request: Request<RequestBody>) -> u16 {
    let served = serve(Arc::clone(worker), Arc::clone(peer), request).await;
    let Ok(response) = served;
    let status = response.status().as_u16();
    let mut body = pin!(response.into_body());
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        black_box(frame.expect("a whole body"));
    }
    status
}

/// An answer that waits for nothing: polled once, without a runtime's part in the figure.
fn at_once(future: impl Future<Output = u16>) -> u16 {
    let mut future: Pin<&mut _> = pin!(future);
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(status) => status,
        Poll::Pending => panic!("there was something to wait for"),
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// One route of many, always the same.
fn one_route(bencher: Bencher, routes: usize, switch: Switch, kind: Kind, status: u16) {
    let worker = setup::worker(&answering(routes), switch.text());
    let peer = setup::peer();
    bencher
        .with_inputs(|| request(kind, "/r5/items/42"))
        .bench_local_values(|request| {
            assert_eq!(at_once(whole(&worker, &peer, request)), status);
        });
}

/// Another route each time, so that the caches hold no more of them than they would.
fn all_in_turn(bencher: Bencher, routes: usize, switch: Switch, kind: Kind) {
    let worker = setup::worker(&answering(routes), switch.text());
    let peer = setup::peer();
    let mut turn = 0;
    bencher
        .with_inputs(|| {
            // A prime, so that neighbours in memory do not follow each other.
            turn = (turn + 7_919) % routes;
            request(kind, &format!("/r{turn}/items/42"))
        })
        .bench_local_values(|request| {
            assert_eq!(at_once(whole(&worker, &peer, request)), 200);
        });
}

/// Whose version the observed requests name.
#[derive(Clone, Copy)]
enum Versions {
    /// Ten in turn.
    Few,
    /// Another each time: the most that counting costs, since each pushes one out.
    Distinct,
}

/// The requests of `respond_get` on ten routes, with a version; on routes that observe it and
/// the client's address, or on routes that do not.
fn versions(bencher: Bencher, versions: Versions, keys: &str) {
    let structure = answering(10).replace("respond =", &format!("{keys}respond ="));
    let worker = setup::worker(&structure, Switch::Untouched.text());
    let peer = setup::peer();
    let mut turn = 0;
    bencher
        .with_inputs(|| {
            let mut request = request(Kind::Get, "/r5/items/42");
            turn += 1;
            let version = match versions {
                Versions::Few => format!("4.2.{}", turn % 10),
                Versions::Distinct => format!("4.2.{turn}"),
            };
            let version = version.parse().expect("a header value");
            request.headers_mut().insert("x-client-version", version);
            request
        })
        .bench_local_values(|request| {
            assert_eq!(at_once(whole(&worker, &peer, request)), 200);
        });
}

const OBSERVE: &str = "observe = [\"client-ip\", \"header:x-client-version\"]\n";

#[divan::bench(sample_count = SAMPLES, sample_size = ROW)]
fn observe_nothing(bencher: Bencher) {
    versions(bencher, Versions::Few, "");
}

#[divan::bench(sample_count = SAMPLES, sample_size = ROW)]
fn observe_two_keys(bencher: Bencher) {
    versions(bencher, Versions::Few, OBSERVE);
}

#[divan::bench(sample_count = SAMPLES, sample_size = ROW)]
fn observe_two_keys_of_distinct_values(bencher: Bencher) {
    versions(bencher, Versions::Distinct, OBSERVE);
}

/// What every request asks first.
#[divan::bench]
fn snapshot_worker_view(bencher: Bencher) {
    let worker = setup::worker(&answering(10), Switch::Untouched.text());
    bencher.bench_local(|| black_box(&worker).view());
}

/// What it would ask without the worker's own reference; alone on its core, at that.
#[divan::bench]
fn snapshot_live_load(bencher: Bencher) {
    let live = setup::live(&answering(10), Switch::Untouched.text());
    bencher.bench_local(|| black_box(&live).load());
}

#[divan::bench(args = ROUTES, sample_count = SAMPLES, sample_size = ROW)]
fn killed_get(bencher: Bencher, routes: usize) {
    one_route(bencher, routes, Switch::Drop, Kind::Get, 200);
}

#[divan::bench(args = ROUTES, sample_count = SAMPLES, sample_size = ROW)]
fn killed_get_all_in_turn(bencher: Bencher, routes: usize) {
    all_in_turn(bencher, routes, Switch::Drop, Kind::Get);
}

#[divan::bench(args = ROUTES, sample_count = SAMPLES, sample_size = ROW)]
fn killed_post_1k(bencher: Bencher, routes: usize) {
    one_route(bencher, routes, Switch::Drop, Kind::PostKibibyte, 200);
}

#[divan::bench(args = ROUTES, sample_count = SAMPLES, sample_size = ROW)]
fn killed_post_1k_all_in_turn(bencher: Bencher, routes: usize) {
    all_in_turn(bencher, routes, Switch::Drop, Kind::PostKibibyte);
}

#[divan::bench(sample_count = SAMPLES, sample_size = ROW)]
fn killed_reject_get(bencher: Bencher) {
    one_route(bencher, 10, Switch::Reject, Kind::Get, 503);
}

#[divan::bench(sample_count = SAMPLES, sample_size = ROW)]
fn killed_reject_post_1k(bencher: Bencher) {
    one_route(bencher, 10, Switch::Reject, Kind::PostKibibyte, 503);
}

/// Against `killed_get` of 10 routes: what it costs to ask who is asking.
#[divan::bench(sample_count = SAMPLES, sample_size = ROW)]
fn killed_get_until(bencher: Bencher) {
    one_route(bencher, 10, Switch::Until, Kind::Get, 202);
}

#[divan::bench(sample_count = SAMPLES, sample_size = ROW)]
fn killed_get_by_share(bencher: Bencher) {
    one_route(bencher, 10, Switch::Share, Kind::Get, 202);
}

#[divan::bench(sample_count = SAMPLES, sample_size = ROW)]
fn killed_get_by_when_and_share(bencher: Bencher) {
    one_route(bencher, 10, Switch::WhenShare, Kind::Get, 202);
}

/// Against `respond_get` of 10 routes.
#[divan::bench(sample_count = SAMPLES, sample_size = ROW)]
fn respond_get_passed_by_when(bencher: Bencher) {
    one_route(bencher, 10, Switch::WhenNot, Kind::Get, 200);
}

#[divan::bench(sample_count = SAMPLES, sample_size = ROW)]
fn respond_get_under_off(bencher: Bencher) {
    one_route(bencher, 10, Switch::Off, Kind::Get, 200);
}

#[divan::bench(args = ROUTES, sample_count = SAMPLES, sample_size = ROW)]
fn respond_get(bencher: Bencher, routes: usize) {
    one_route(bencher, routes, Switch::Untouched, Kind::Get, 200);
}

#[divan::bench(args = ROUTES, sample_count = SAMPLES, sample_size = ROW)]
fn respond_get_all_in_turn(bencher: Bencher, routes: usize) {
    all_in_turn(bencher, routes, Switch::Untouched, Kind::Get);
}

/// Through a pooled connection over loopback. The upstream runs on the same thread and is part
/// of the figure, and so is the kernel's TCP, which is most of it.
fn proxied(bencher: Bencher, kind: Kind) {
    let runtime = runtime();
    let address = runtime.block_on(upstream::start());
    let structure = format!(
        "[upstreams.null]\nendpoints = [\"http://{address}\"]\n\
         [routes.any]\npath = \"/{{*rest}}\"\nupstream = \"null\"\n"
    );
    let worker = setup::worker(&structure, Switch::Untouched.text());
    let peer = setup::peer();
    bencher
        .with_inputs(|| request(kind, "/r5/items/42"))
        .bench_local_values(|request| {
            let status = runtime.block_on(whole(&worker, &peer, request));
            assert_eq!(status, 200);
        });
}

#[divan::bench(sample_count = PROXIED_SAMPLES, sample_size = ROW)]
fn proxied_get(bencher: Bencher) {
    proxied(bencher, Kind::Get);
}

#[divan::bench(sample_count = PROXIED_SAMPLES, sample_size = ROW)]
fn proxied_post_1k(bencher: Bencher) {
    proxied(bencher, Kind::PostKibibyte);
}
