//! The admin and probe listeners. They only read, but for `kill_api`.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

use super::kill_api;
use super::routes::routes_report;
use super::status::Status;
use crate::snapshot::{Live, Phase};
use crate::telemetry::{GatewayMetrics, ListenerKind};
use crate::vocab::Clock;

/// Connections that one listener serves at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 256;

/// A connection on which nothing moves for this long is closed: it would keep a place from a
/// probe. Longer than the usual interval between scrapes.
const IDLE: Duration = Duration::from_secs(90);

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Full,
    /// `/livez`, `/readyz` and `/metrics` alone.
    Probe,
}

/// What the listeners show and change.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The published snapshot.
    pub live: Arc<Live>,
    /// What is told about it.
    pub status: Arc<Status>,
    /// The configuration directory, whose `switches.toml` is edited.
    pub dir: PathBuf,
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, scope: Scope, admin: Admin) {
    let kind = match scope {
        Scope::Full => ListenerKind::Admin,
        Scope::Probe => ListenerKind::Probe,
    };
    let bounded = Bounded {
        listener,
        places: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        metrics: Arc::clone(&admin.live.metrics),
        kind,
    };
    let router = router(scope).with_state(admin);
    // It never ends by itself, and accepting retries by itself.
    if let Err(error) = axum::serve(bounded, router).await {
        tracing::error!(%error, listener = kind.as_str(), "the listener ended");
    }
}

fn router(scope: Scope) -> Router<Admin> {
    let probes = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics));
    let all = match scope {
        Scope::Full => probes
            .route("/api/v1/status", get(status))
            .route("/api/v1/routes", get(routes))
            .route(
                "/api/v1/kill/{key}",
                put(kill_api::put).delete(kill_api::delete),
            ),
        Scope::Probe => probes,
    };
    all.fallback(async || problem(StatusCode::NOT_FOUND, "not_found"))
        .method_not_allowed_fallback(async || {
            problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")
        })
}

fn problem(status: StatusCode, reason: &str) -> Response {
    let body = serde_json::json!({ "status": status.as_u16(), "reason": reason });
    (
        status,
        [(header::CONTENT_TYPE, "application/problem+json")],
        body.to_string(),
    )
        .into_response()
}

async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(shared): State<Admin>) -> (StatusCode, &'static str) {
    if shared.live.phase() >= Phase::Draining {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

async fn metrics(State(shared): State<Admin>) -> Response {
    let text = aside(move || {
        shared.live.announce_switches();
        shared.live.announce_archive();
        shared.live.announce_breakers();
        shared.live.announce_endpoints();
        shared.live.metrics.exposition()
    })
    .await;
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    text.map_or_else(IntoResponse::into_response, |text| {
        (kind, text).into_response()
    })
}

async fn status(State(shared): State<Admin>, uri: Uri) -> Response {
    let pairs = uri.query().unwrap_or_default().split('&');
    match pairs.rev().find_map(|pair| pair.strip_prefix("only=")) {
        None => json(move || serde_json::to_vec(&shared.status.report(&shared.live))).await,
        Some("switches") => {
            json(move || serde_json::to_vec(&shared.status.switches(&shared.live))).await
        }
        Some(_) => problem(StatusCode::BAD_REQUEST, "invalid"),
    }
}

async fn routes(State(shared): State<Admin>) -> Response {
    json(move || {
        let snapshot = shared.live.load();
        serde_json::to_vec(&routes_report(&snapshot, &shared.status.figures))
    })
    .await
}

async fn json(make: impl FnOnce() -> serde_json::Result<Vec<u8>> + Send + 'static) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    match aside(make).await {
        Ok(Ok(body)) => (headers, body).into_response(),
        Ok(Err(error)) => {
            let reason = Json(serde_json::json!({ "reason": error.to_string() }));
            (StatusCode::INTERNAL_SERVER_ERROR, reason).into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// With 10,000 routes an answer takes a while to write; reloads and probes do not wait for it.
pub(super) async fn aside<T: Send + 'static>(
    make: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StatusCode> {
    tokio::task::spawn_blocking(make).await.map_err(|error| {
        tracing::error!(%error, "an admin answer could not be made");
        StatusCode::INTERNAL_SERVER_ERROR
    })
}

/// Accepts while there is a place, and counts.
struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    metrics: Arc<GatewayMetrics>,
    kind: ListenerKind,
}

impl axum::serve::Listener for Bounded {
    type Io = Counted;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Counted, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, peer) = axum::serve::Listener::accept(&mut self.listener).await;
        // Only a matter of latency.
        let _ = stream.set_nodelay(true);
        self.metrics.connections(self.kind, 1);
        let counted = Counted {
            stream,
            idle: Box::pin(tokio::time::sleep(IDLE)),
            metrics: Arc::clone(&self.metrics),
            kind: self.kind,
            _place: place,
        };
        (counted, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that is counted, and ends when nothing moves.
struct Counted {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    metrics: Arc<GatewayMetrics>,
    kind: ListenerKind,
    _place: Option<OwnedSemaphorePermit>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.connections(self.kind, -1);
    }
}

impl Counted {
    fn moved<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.idle
                .as_mut()
                .reset(Instant::from_std(Clock::now() + IDLE));
            return done;
        }
        match self.idle.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.moved(cx, done)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.moved(cx, done)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
