//! A request body that can be taken back from the connection that sends it.
//!
//! A connection that fails drops the body it was given, and what the client has not sent yet
//! would be gone with it. A lent body is only borrowed: its lender sees every piece that passes,
//! and goes on reading where the connection stopped.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::body::RequestBody;
use super::fault::BodyFault;

/// Sees each piece of a lent body as it is read.
pub type Tap = Box<dyn FnMut(&Bytes) + Send>;

/// Who may take a lent body back.
pub struct Lender(Arc<Mutex<Loan>>);

/// The borrowed side.
pub(super) struct Lent(Arc<Mutex<Loan>>);

struct Loan {
    /// `None` once it was taken back.
    body: Option<RequestBody>,
    tap: Tap,
}

pub(super) fn lend(body: RequestBody, tap: Tap) -> (Lender, Lent) {
    let body = Some(body);
    let loan = Arc::new(Mutex::new(Loan { body, tap }));
    (Lender(Arc::clone(&loan)), Lent(loan))
}

/// Both sides are on one worker, so this never waits.
fn lock(loan: &Mutex<Loan>) -> MutexGuard<'_, Loan> {
    loan.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lender {
    /// The body, with what is left of it. Whoever borrowed it reads nothing more: to them the
    /// client is gone.
    pub fn take_back(self) -> RequestBody {
        let body = lock(&self.0).body.take();
        body.unwrap_or_else(RequestBody::empty)
    }
}

impl Lent {
    pub(super) fn poll_frame(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let mut loan = lock(&self.0);
        let loan = &mut *loan;
        let Some(body) = &mut loan.body else {
            return Poll::Ready(Some(Err(BodyFault::Gone)));
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            (loan.tap)(data);
        }
        Poll::Ready(frame)
    }

    pub(super) fn set_aside(&self, now: Instant) {
        if let Some(body) = &mut lock(&self.0).body {
            body.set_aside(now);
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let loan = lock(&self.0);
        loan.body.as_ref().is_some_and(Body::is_end_stream)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let loan = lock(&self.0);
        loan.body
            .as_ref()
            .map_or_else(SizeHint::new, Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pieces(Vec<&'static [u8]>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = super::super::body::BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            let piece = (!self.0.is_empty()).then(|| self.0.remove(0));
            Poll::Ready(piece.map(|piece| Ok(Frame::data(Bytes::from_static(piece)))))
        }
    }

    #[tokio::test]
    async fn what_was_read_was_seen_and_the_rest_is_read_by_the_lender() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let tap = {
            let seen = Arc::clone(&seen);
            Box::new(move |data: &Bytes| seen.lock().unwrap().extend_from_slice(data))
        };
        let mut body = RequestBody::other(Pieces(vec![b"one", b"two", b"three"]));
        let lender = body.lend(tap);
        assert_eq!(body.next_data().await, Ok(Some(Bytes::from("one"))));
        let mut rest = lender.take_back();
        assert_eq!(body.next_data().await, Err(BodyFault::Gone));
        assert_eq!(rest.next_data().await, Ok(Some(Bytes::from("two"))));
        assert_eq!(rest.next_data().await, Ok(Some(Bytes::from("three"))));
        assert_eq!(rest.next_data().await, Ok(None));
        assert_eq!(*seen.lock().unwrap(), b"one");
    }
}
