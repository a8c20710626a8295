//! Requests that go to an upstream once more.

use http::{HeaderMap, Method, Request, Uri, Version};

use crate::upstream::RequestBody;

/// Moves a request out; the method stays, to tell what kind of answer it gets.
pub(super) fn take(request: &mut Request<RequestBody>) -> Request<RequestBody> {
    let mut left = Request::new(RequestBody::empty());
    left.method_mut().clone_from(request.method());
    std::mem::replace(request, left)
}

/// Whether a request may be sent again although an upstream may have seen it: idempotent
/// (RFC 9110, 9.2.2), and without a body, which would be gone.
pub(super) fn resendable(request: &Request<RequestBody>) -> bool {
    request.method().is_idempotent() && request.body().is_empty()
}

/// What is needed to send a request without a body again.
pub(super) struct Copy {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Copy {
    pub(super) fn of(request: &Request<RequestBody>) -> Copy {
        Copy {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        }
    }

    pub(super) fn request(self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::empty());
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = self.headers;
        request
    }
}
