//! The edge to servers: hyper's connections call [`serve`], others mount [`Gateway`].

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};

use super::handle::{handle, missed};
use super::peer::Peer;
use super::refusal;
use super::reply::ReplyBody;
use super::worker::Worker;
use crate::upstream::{BoxError, RequestBody};

/// Serves one request. A panic on the way is counted, answered with 500, and ends the
/// connection; nothing else is touched.
///
/// A block instead of an `async fn`, which would keep its arguments twice: hyper moves the
/// whole future once for each request, so its size is time.
#[allow(clippy::manual_async_fn)]
pub fn serve(
    worker: Arc<Worker>,
    peer: Arc<Peer>,
    request: Request<RequestBody>,
) -> impl Future<Output = Result<Response<ReplyBody>, Infallible>> + Send {
    let mut received = Received {
        worker,
        peer,
        request,
        begun: Begun::Not,
    };
    async move {
        received.begun = Begun::Walk;
        let Received {
            worker,
            peer,
            request,
            begun: _,
        } = &mut received;
        let (worker, peer) = (&*worker, &*peer);
        let mut walk = pin!(handle(worker, peer, request));
        let walked = poll_fn(|cx| {
            let poll = AssertUnwindSafe(|| walk.as_mut().poll(cx));
            match catch_unwind(poll) {
                Ok(Poll::Ready(response)) => Poll::Ready(Some(response)),
                Ok(Poll::Pending) => Poll::Pending,
                Err(_) => Poll::Ready(None),
            }
        });
        Ok(match walked.await {
            Some(response) => response,
            None => answer_panic(worker, peer),
        })
    }
}

/// A request whose head was read. hyper drops one whose client has left by then before it is
/// ever polled; that one is counted here.
struct Received {
    worker: Arc<Worker>,
    peer: Arc<Peer>,
    request: Request<RequestBody>,
    begun: Begun,
}

#[derive(PartialEq, Eq)]
enum Begun {
    Not,
    Walk,
}

impl Drop for Received {
    fn drop(&mut self) {
        if self.begun == Begun::Not {
            missed(&self.worker, &self.peer, &self.request);
        }
    }
}

fn answer_panic(worker: &Worker, peer: &Peer) -> Response<ReplyBody> {
    let id = peer.take_panicked();
    worker.live.metrics.panicked();
    let text = id
        .as_ref()
        .and_then(|id| id.to_str().ok())
        .unwrap_or_default();
    tracing::error!(request_id = text, "panic while serving a request");
    refusal::after_panic(worker, id)
}

/// The gateway as a service, for a server of one's own: an axum `Router` for example.
///
/// It takes any body, and its answers are ordinary responses. The connection is left to that
/// server: its deadlines, the bounds on a request head, and the checks of framing below HTTP
/// are not kept here. Needs a tokio runtime with its timers and I/O.
///
/// Requests are of the peer given to [`Gateway::new`], unless one brings an `Arc<Peer>` among
/// its extensions:
///
/// ```
/// use std::net::SocketAddr;
/// use std::sync::Arc;
///
/// use axum::extract::{ConnectInfo, Request};
/// use axum::middleware::{Next, from_fn};
/// use axum::response::Response;
/// use axum::{Router, routing};
/// use seawall::proxy::{Gateway, Peer, Worker};
/// use seawall::snapshot::Live;
///
/// async fn name_peer(
///     ConnectInfo(address): ConnectInfo<SocketAddr>,
///     mut request: Request,
///     next: Next,
/// ) -> Response {
///     request.extensions_mut().insert(Arc::new(Peer::new(address)));
///     next.run(request).await
/// }
///
/// /// To be served with `into_make_service_with_connect_info::<SocketAddr>()`.
/// fn router(live: Arc<Live>) -> Router {
///     let unknown = Arc::new(Peer::new(SocketAddr::from(([0, 0, 0, 0], 0))));
///     let gateway = Gateway::new(Arc::new(Worker::new(live, None)), unknown);
///     Router::new()
///         .route("/about", routing::get(async || "served by the application itself"))
///         .fallback_service(gateway)
///         .layer(from_fn(name_peer))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Gateway {
    worker: Arc<Worker>,
    peer: Arc<Peer>,
}

impl Gateway {
    /// The gateway for one client connection, or for requests that name their peer.
    pub fn new(worker: Arc<Worker>, peer: Arc<Peer>) -> Gateway {
        Gateway { worker, peer }
    }
}

impl<B> tower::Service<Request<B>> for Gateway
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ReplyBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ReplyBody>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let named = request.extensions_mut().remove::<Arc<Peer>>();
        let peer = named.unwrap_or_else(|| Arc::clone(&self.peer));
        let request = request.map(|body| RequestBody::other(Foreign(body)));
        Box::pin(serve(Arc::clone(&self.worker), peer, request))
    }
}

/// Another server's body, its error in the form that [`RequestBody::other`] takes.
struct Foreign<B>(B);

impl<B> Body for Foreign<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.0).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
