//! The edge to servers: hyper's connections call [`serve`], others mount [`Gateway`].

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};

use super::handle::handle;
use super::peer::Peer;
use super::refusal;
use super::reply::ReplyBody;
use super::worker::Worker;
use crate::upstream::RequestBody;

/// Serves one request. A panic on the way is counted, answered with 500, and ends the
/// connection; nothing else is touched.
///
/// A block instead of an `async fn`, which would keep its arguments twice: hyper moves the
/// whole future once for each request, so its size is time.
#[allow(clippy::manual_async_fn)]
pub fn serve(
    worker: Arc<Worker>,
    peer: Arc<Peer>,
    mut request: Request<RequestBody>,
) -> impl Future<Output = Result<Response<ReplyBody>, Infallible>> + Send {
    async move {
        let mut walk = pin!(handle(&worker, &peer, &mut request));
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
            None => answer_panic(&worker, &peer),
        })
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
#[derive(Clone, Debug)]
pub struct Gateway {
    worker: Arc<Worker>,
    peer: Arc<Peer>,
}

impl Gateway {
    /// The gateway for one client connection.
    pub fn new(worker: Arc<Worker>, peer: Arc<Peer>) -> Gateway {
        Gateway { worker, peer }
    }
}

impl tower::Service<Request<RequestBody>> for Gateway {
    type Response = Response<ReplyBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ReplyBody>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let (worker, peer) = (Arc::clone(&self.worker), Arc::clone(&self.peer));
        Box::pin(serve(worker, peer, request))
    }
}
