//! What is kept of a request so that it can go to an upstream once more.
//!
//! The head is copied when it is sent and a second sending is possible; the body is copied as it
//! is sent, up to [`MOST_KEPT`] bytes, where a retry could use it. A request that is sent once
//! whatever happens is not copied at all.

use std::sync::Arc;

use http::{HeaderMap, Method, Request, Uri, Version};

use crate::policy::retry::{Keeping, MOST_KEPT, Remains, RetrySpec};
use crate::upstream::{Keeper, Progress, RequestBody};

/// Moves a request out; the method stays, to tell what kind of answer it gets.
pub(super) fn take(request: &mut Request<RequestBody>) -> Request<RequestBody> {
    let mut left = Request::new(RequestBody::empty());
    left.method_mut().clone_from(request.method());
    std::mem::replace(request, left)
}

/// A request as it is sent.
pub(super) struct Original {
    /// Whether a retry could follow when it was sent.
    retried: Keeping,
    /// RFC 9110, 9.2.2: it may be sent again although an upstream may have seen it.
    idempotent: bool,
    head: Option<Head>,
    body: Kept,
    /// How far the attempt is that sends it again.
    sent: Option<Arc<Progress>>,
}

struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

enum Kept {
    /// There is none.
    Nothing,
    Copied(Keeper),
    /// It passes once.
    Passing,
}

impl Original {
    /// Of a request that is about to be sent for the first time.
    pub(super) fn begin(request: &mut Request<RequestBody>, retry: &RetrySpec) -> Original {
        let announced = request.body().announced();
        let retried = retry.keeping(request.method(), announced);
        let body = match (request.body().is_empty(), retried) {
            (true, _) => Kept::Nothing,
            (false, Keeping::Copy) => Kept::Copied(request.body_mut().keep(MOST_KEPT as usize)),
            (false, Keeping::Nothing) => Kept::Passing,
        };
        Original {
            retried,
            idempotent: request.method().is_idempotent(),
            head: None,
            body,
            sent: None,
        }
    }

    /// No retry follows the attempt that is about to be made.
    pub(super) fn last(&mut self) {
        self.retried = Keeping::Nothing;
    }

    /// Copies the head if it may have to be sent again; on a connection that was idle it may,
    /// whatever the route's retries.
    pub(super) fn before_sending(&mut self, request: &Request<RequestBody>, stale: bool) {
        let wanted = self.retried == Keeping::Copy || (stale && self.idempotent);
        if wanted && self.head.is_none() && self.has_body() {
            self.head = Some(Head {
                method: request.method().clone(),
                uri: request.uri().clone(),
                headers: request.headers().clone(),
            });
        }
    }

    /// Whether it may be sent again at once after an idle connection turned out to be closed.
    pub(super) fn resendable(&self) -> bool {
        self.idempotent && self.remains() == Remains::Kept
    }

    /// What is left of it once it was sent.
    pub(super) fn remains(&self) -> Remains {
        match self.head.is_some() && self.has_body() {
            true => Remains::Kept,
            false => Remains::Gone,
        }
    }

    fn has_body(&self) -> bool {
        match &self.body {
            Kept::Nothing => true,
            Kept::Copied(keeper) => keeper.is_whole(),
            Kept::Passing => false,
        }
    }

    /// Puts it back where it was moved out of, if it is kept.
    pub(super) fn restore(&mut self, request: &mut Request<RequestBody>) {
        let Some(head) = self.head.take() else { return };
        let body = match &self.body {
            Kept::Nothing => RequestBody::empty(),
            Kept::Passing => return,
            Kept::Copied(keeper) => match keeper.again() {
                Some((body, sent)) => {
                    self.sent = Some(sent);
                    body
                }
                None => return,
            },
        };
        *request = Request::new(body);
        *request.method_mut() = head.method;
        *request.uri_mut() = head.uri;
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = head.headers;
    }

    /// How far the body is on its way to the upstream: as far as the client's `progress`, unless
    /// it is sent again.
    pub(super) fn sent(&self, progress: Option<&Arc<Progress>>) -> Option<Arc<Progress>> {
        self.sent.as_ref().or(progress).cloned()
    }
}
