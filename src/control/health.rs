//! Active health checks: one task for each endpoint, on the control thread.
//!
//! A check has a connection of its own, so that it neither takes one of the requests' nor is
//! served by one that was made in better times.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, StatusCode, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::chance::random;
use super::errand::Errand;
use crate::policy::health::{Check, Health, HealthChange, pause};
use crate::snapshot::Live;
use crate::upstream::{Endpoint, HealthCheckSpec, Upstream};
use crate::vocab::Clock;

/// The first check of an endpoint comes within this time, or within the interval.
const FIRST: Duration = Duration::from_secs(1);
/// Of an answer's body so much is read; the status has already said all.
const MOST_READ: u64 = 64 << 10;

const USER_AGENT: HeaderValue = HeaderValue::from_static("seawall-health");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// What is checked, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    upstream: Arc<str>,
    check: HealthCheckSpec,
    connect_timeout: Duration,
}

/// An endpoint that is checked.
struct Checked {
    endpoint: Arc<Endpoint>,
    plan: Plan,
    errand: Errand,
}

/// Checks every endpoint of the published snapshot that is to be checked. Never ends.
pub(super) async fn follow(live: Arc<Live>, mut published: watch::Receiver<()>) {
    let mut checked: HashMap<usize, Checked> = HashMap::new();
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        look(&live, &mut checked);
        tokio::select! {
            _ = seconds.tick() => {}
            _ = published.changed() => {}
        }
    }
}

/// `checked` is by the endpoint's slot, which no other has while it is held here.
fn look(live: &Live, checked: &mut HashMap<usize, Checked>) {
    let snapshot = live.load();
    let mut upstreams = snapshot.table.upstreams.values();
    if checked.is_empty() && upstreams.all(|upstream| upstream.spec.health.is_none()) {
        return;
    }
    let mut wanted: HashMap<usize, (Arc<Endpoint>, Option<Plan>)> = HashMap::new();
    for upstream in snapshot.table.upstreams.values() {
        for endpoint in upstream.endpoints().iter() {
            wanted.insert(endpoint.slot, (Arc::clone(endpoint), plan(upstream)));
        }
    }
    checked.retain(|slot, held| match wanted.get(slot) {
        Some((_, Some(plan))) => held.plan == *plan && !held.errand.is_over(),
        Some((_, None)) => {
            held.endpoint.state.health.unchecked();
            false
        }
        // It is gone, and what is known of it goes too.
        None => false,
    });
    for (slot, (endpoint, plan)) in wanted {
        let (Some(plan), Some(address)) = (plan, endpoint.address()) else {
            continue;
        };
        checked.entry(slot).or_insert_with(|| Checked {
            errand: Errand::start(keep_checking(Arc::clone(&endpoint), address, plan.clone())),
            endpoint,
            plan,
        });
    }
}

fn plan(upstream: &Upstream) -> Option<Plan> {
    upstream.spec.health.as_ref().map(|check| Plan {
        upstream: Arc::clone(&upstream.spec.name),
        check: check.clone(),
        connect_timeout: upstream.spec.connect_timeout,
    })
}

async fn keep_checking(endpoint: Arc<Endpoint>, address: SocketAddr, plan: Plan) {
    let interval = plan.check.spec.interval;
    let part = (random() >> 11) as f64 / (1_u64 << 53) as f64;
    tokio::time::sleep(FIRST.min(interval).mul_f64(part)).await;
    loop {
        let next = tokio::time::Instant::now() + pause(interval, random());
        let answer = check(&endpoint, address, &plan).await;
        note(&endpoint.state.health, address, &plan, &answer, &endpoint);
        tokio::time::sleep_until(next).await;
    }
}

fn note(
    health: &Health,
    address: SocketAddr,
    plan: &Plan,
    answer: &Result<StatusCode, CheckError>,
    endpoint: &Endpoint,
) {
    let check = match answer {
        Ok(status) => Check::of_status(status.as_u16()),
        Err(_) => Check::Failed,
    };
    let now = Clock::uptime(Clock::now());
    let change = health.record(&plan.check.spec, check, now);
    let (upstream, endpoint) = (&*plan.upstream, &*endpoint.spec.text);
    match change {
        HealthChange::None => {}
        HealthChange::Up => {
            tracing::info!(upstream, endpoint, %address, "endpoint is healthy again");
        }
        HealthChange::Down => {
            let why = match answer {
                Ok(status) => format!("it answers {}", status.as_u16()),
                Err(error) => error.to_string(),
            };
            tracing::warn!(
                upstream, endpoint, %address, why,
                "endpoint is unhealthy; it gets no requests while others are up"
            );
        }
    }
}

/// Why a check got no answer.
#[derive(Debug)]
enum CheckError {
    Connect(std::io::Error),
    ConnectTimeout,
    Timeout,
    Http(hyper::Error),
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckError::Connect(error) => write!(f, "no connection: {error}"),
            CheckError::ConnectTimeout => f.write_str("no connection in time"),
            CheckError::Timeout => f.write_str("no answer in time"),
            CheckError::Http(error) => write!(f, "no answer: {error}"),
        }
    }
}

impl std::error::Error for CheckError {}

/// One check. It takes no longer than the interval, so that checks never overlap.
async fn check(
    endpoint: &Endpoint,
    address: SocketAddr,
    plan: &Plan,
) -> Result<StatusCode, CheckError> {
    let within = tokio::time::timeout(plan.check.spec.interval, async {
        let connecting = TcpStream::connect(address);
        let stream = tokio::time::timeout(plan.connect_timeout, connecting)
            .await
            .map_err(|_| CheckError::ConnectTimeout)?
            .map_err(CheckError::Connect)?;
        ask(stream, endpoint, plan).await.map_err(CheckError::Http)
    });
    within.await.unwrap_or(Err(CheckError::Timeout))
}

async fn ask(stream: TcpStream, endpoint: &Endpoint, plan: &Plan) -> hyper::Result<StatusCode> {
    let mut request = Request::new(String::new());
    *request.uri_mut() = plan.check.path.clone().into();
    let headers = request.headers_mut();
    headers.insert(header::HOST, endpoint.authority.clone());
    headers.insert(header::USER_AGENT, USER_AGENT);
    headers.insert(header::CONNECTION, CLOSE);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut exchange = pin!(async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        drain(response.into_body()).await;
        Ok(status)
    });
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        // What it has read before it ended is still handed over.
        _ = &mut connection => exchange.await,
    }
}

/// Reads the body to its end, so that the other side is not cut off amid it.
async fn drain(mut body: Incoming) {
    let mut read = 0;
    let mut next =
        async || std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await;
    while let Some(Ok(frame)) = next().await {
        read += frame.data_ref().map_or(0, |data| data.len() as u64);
        if read > MOST_READ {
            return;
        }
    }
}
