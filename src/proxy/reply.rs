//! A response body on its way to the client; its end closes the request's record.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Response, StatusCode, Version, header};
use http_body::{Body, Frame, SizeHint};

use super::exchange::Exchange;
use super::headers;
use super::refusal::CLOSE;
use crate::upstream::{ResponseBody, ResponseFault};
use crate::vocab::{By, Reason};

/// The body of every answer.
pub struct ReplyBody {
    kind: Kind,
    exchange: Option<Exchange>,
}

enum Kind {
    Full(Bytes),
    Upstream(ResponseBody),
}

impl ReplyBody {
    /// A body that is here already.
    pub(crate) fn full(bytes: Bytes, mut exchange: Exchange) -> ReplyBody {
        // hyper takes a full body in one piece with the head, and never polls an empty one.
        exchange.complete = true;
        exchange.sent = bytes.len() as u64;
        ReplyBody {
            kind: Kind::Full(bytes),
            exchange: Some(exchange),
        }
    }

    /// A body of an answer whose record is closed already.
    pub(crate) fn unrecorded(bytes: Bytes) -> ReplyBody {
        ReplyBody {
            kind: Kind::Full(bytes),
            exchange: None,
        }
    }

    /// A body that an upstream sends. `bodiless`: the client will not get it (HEAD, 204, 304).
    pub(crate) fn upstream(
        body: ResponseBody,
        mut exchange: Exchange,
        bodiless: bool,
    ) -> ReplyBody {
        exchange.complete = bodiless || body.is_end_stream();
        ReplyBody {
            kind: Kind::Upstream(body),
            exchange: Some(exchange),
        }
    }

    fn broke_off(&mut self, fault: ResponseFault) {
        if let Some(exchange) = &mut self.exchange {
            // The status went out already; the reason says that the body did not.
            exchange.reason = Some(match fault {
                ResponseFault::Broken => Reason::UpstreamReset,
                ResponseFault::Silent => Reason::UpstreamTimeout,
            });
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = ResponseFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseFault>>> {
        let this = &mut *self;
        let body = match &mut this.kind {
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                let frame = (!bytes.is_empty()).then(|| Ok(Frame::data(bytes)));
                return Poll::Ready(frame);
            }
            Kind::Upstream(body) => body,
        };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        let ended = body.is_end_stream();
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(exchange) = &mut this.exchange {
                    exchange.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                    exchange.complete |= ended;
                }
            }
            Poll::Ready(Some(Err(fault))) => this.broke_off(*fault),
            Poll::Ready(None) => {
                if let Some(exchange) = &mut this.exchange {
                    exchange.complete = true;
                }
            }
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Upstream(body) => body.size_hint(),
        }
    }
}

/// Passes an upstream's answer on to the client.
pub(crate) fn reply(
    response: Response<ResponseBody>,
    mut exchange: Exchange,
    method: &Method,
) -> Response<ReplyBody> {
    let (mut parts, body) = response.into_parts();
    let status = parts.status;
    exchange.answered(By::Upstream, status.as_u16());
    let close = exchange.closes();
    if let Some(id) = exchange.route {
        let edits = &exchange.view.snapshot.route(id).spec.response_headers;
        headers::edit(&mut parts.headers, edits);
    }
    parts
        .headers
        .insert(headers::X_REQUEST_ID, exchange.request_id.clone());
    if close {
        parts.headers.insert(header::CONNECTION, CLOSE);
    }
    parts.version = Version::HTTP_11;
    let bodiless = *method == Method::HEAD
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    Response::from_parts(parts, ReplyBody::upstream(body, exchange, bodiless))
}

impl fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyBody").finish_non_exhaustive()
    }
}
