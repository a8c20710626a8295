//! A request body that can be sent once more: what is read of it is copied as it is sent.
//!
//! Up to a number of bytes. They are copied, because a slice would keep the connection's whole
//! read buffer. What the client has yet to send is read by the attempt that comes to it: a second
//! one begins with the copy, and goes on where the first stopped.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::body::RequestBody;
use super::fault::BodyFault;
use super::progress::Progress;
use crate::vocab::Clock;

/// Who may send a body once more.
pub struct Keeper(Arc<Mutex<Kept>>);

/// What one attempt sends.
pub(super) struct Reader {
    kept: Arc<Mutex<Kept>>,
    turn: u32,
    /// How much of the copy this attempt has read.
    at: usize,
    trailers_read: bool,
    /// Told when this attempt has read all, if it is not the first.
    sent: Option<Arc<Progress>>,
}

struct Kept {
    /// What nobody has read yet.
    rest: RequestBody,
    /// What was read; `None` once it was too much.
    copy: Option<Vec<u8>>,
    trailers: Option<HeaderMap>,
    most: usize,
    /// Whose turn it is to read. To those before the client is gone.
    turn: u32,
}

pub(super) fn keep(body: RequestBody, most: usize) -> (Keeper, Reader) {
    let kept = Arc::new(Mutex::new(Kept {
        rest: body,
        copy: Some(Vec::new()),
        trailers: None,
        most,
        turn: 0,
    }));
    let reader = Reader::new(&kept, 0, None);
    (Keeper(kept), reader)
}

/// Both sides are on one worker, so this never waits.
fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keeper {
    /// Whether all that was read is kept.
    pub fn is_whole(&self) -> bool {
        lock(&self.0).copy.is_some()
    }

    /// The body from its beginning, and how far whoever sends it is. Whoever had it before reads
    /// nothing more. `None` if it is not kept.
    pub fn again(&self) -> Option<(RequestBody, Arc<Progress>)> {
        let now = Clock::now();
        let turn = {
            let mut kept = lock(&self.0);
            kept.copy.as_ref()?;
            kept.rest.set_aside(now);
            kept.turn += 1;
            kept.turn
        };
        let sent = Arc::new(Progress::new(now));
        let reader = Reader::new(&self.0, turn, Some(Arc::clone(&sent)));
        Some((RequestBody::kept(reader), sent))
    }
}

impl Kept {
    fn push(&mut self, data: &[u8]) {
        let room = self.most;
        if let Some(copy) = &mut self.copy {
            match copy.len() + data.len() <= room {
                true => copy.extend_from_slice(data),
                false => self.copy = None,
            }
        }
    }

    fn ahead(&self, at: usize) -> &[u8] {
        let copy = self.copy.as_deref().unwrap_or_default();
        copy.get(at..).unwrap_or_default()
    }
}

impl Reader {
    fn new(kept: &Arc<Mutex<Kept>>, turn: u32, sent: Option<Arc<Progress>>) -> Reader {
        Reader {
            kept: Arc::clone(kept),
            turn,
            at: 0,
            trailers_read: false,
            sent,
        }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let frame = ready!(self.poll_next(cx));
        let ended = frame.is_none() || self.is_end_stream();
        if ended && let Some(sent) = &self.sent {
            sent.finish();
        }
        Poll::Ready(frame)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let mut kept = lock(&self.kept);
        let kept = &mut *kept;
        if kept.turn != self.turn {
            return Poll::Ready(Some(Err(BodyFault::Gone)));
        }
        let ahead = kept.ahead(self.at);
        if !ahead.is_empty() {
            let data = Bytes::copy_from_slice(ahead);
            self.at += data.len();
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if let Some(trailers) = kept.trailers.as_ref().filter(|_| !self.trailers_read) {
            self.trailers_read = true;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers.clone()))));
        }
        let frame = ready!(Pin::new(&mut kept.rest).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            if let Some(data) = frame.data_ref() {
                kept.push(data);
                self.at += data.len();
            }
            if let Some(trailers) = frame.trailers_ref() {
                kept.trailers = Some(trailers.clone());
                self.trailers_read = true;
            }
        }
        Poll::Ready(frame)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let kept = lock(&self.kept);
        let trailers = kept.trailers.is_some() && !self.trailers_read;
        kept.turn == self.turn
            && kept.ahead(self.at).is_empty()
            && !trailers
            && kept.rest.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let kept = lock(&self.kept);
        let ahead = kept.ahead(self.at).len() as u64;
        let rest = kept.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + ahead);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + ahead);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pieces(Vec<Frame<Bytes>>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = super::super::body::BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            let piece = (!self.0.is_empty()).then(|| self.0.remove(0));
            Poll::Ready(piece.map(Ok))
        }

        fn size_hint(&self) -> SizeHint {
            let data = self.0.iter().filter_map(Frame::data_ref);
            SizeHint::with_exact(data.map(|data| data.len() as u64).sum())
        }
    }

    fn body(pieces: &[&'static str]) -> RequestBody {
        let frame = |piece: &&'static str| Frame::data(Bytes::from_static(piece.as_bytes()));
        RequestBody::other(Pieces(pieces.iter().map(frame).collect()))
    }

    async fn read(body: &mut RequestBody) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(data) = body.next_data().await.unwrap() {
            all.extend_from_slice(&data);
        }
        all
    }

    #[tokio::test]
    async fn what_was_sent_is_sent_again_and_then_the_rest() {
        let mut first = body(&["one", "two", "three"]);
        let keeper = first.keep(11);
        assert_eq!(first.announced(), Some(11));
        assert_eq!(first.next_data().await, Ok(Some(Bytes::from("one"))));
        assert_eq!(first.announced(), Some(8));
        let (mut second, sent) = keeper.again().unwrap();
        assert_eq!(second.announced(), Some(11));
        assert_eq!(first.next_data().await, Err(BodyFault::Gone));
        assert!(!sent.done());
        assert_eq!(read(&mut second).await, b"onetwothree");
        assert!(sent.done());
        let (mut third, sent) = keeper.again().unwrap();
        assert_eq!(
            third.next_data().await,
            Ok(Some(Bytes::from("onetwothree")))
        );
        assert!(!sent.done(), "a body of this kind ends when it says so");
        assert_eq!(third.next_data().await, Ok(None));
        assert!(sent.done());
    }

    #[tokio::test]
    async fn one_byte_more_than_is_kept_is_sent_once() {
        for (most, again) in [(11, true), (10, false)] {
            let mut first = body(&["one", "two", "three"]);
            let keeper = first.keep(most);
            assert!(keeper.is_whole());
            assert_eq!(read(&mut first).await, b"onetwothree");
            assert_eq!(keeper.is_whole(), again);
            assert_eq!(keeper.again().is_some(), again);
        }
    }

    /// A client that never sends anything.
    struct Silent;

    impl Body for Silent {
        type Data = Bytes;
        type Error = super::super::body::BoxError;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_client_is_not_waited_for_between_two_attempts() {
        let silence = std::time::Duration::from_millis(200);
        for lent in [false, true] {
            let mut first = RequestBody::other(Silent);
            let limits = super::super::body::BodyLimits {
                max: u64::MAX,
                silence,
                min_rate: 1,
            };
            let progress = first.meter(limits, Clock::now()).unwrap();
            let _lender = lent.then(|| first.lend(Box::new(|_| {})));
            let keeper = first.keep(10);
            let poll = |body: &mut RequestBody| {
                let mut cx = Context::from_waker(std::task::Waker::noop());
                Pin::new(body).poll_frame(&mut cx)
            };
            assert!(poll(&mut first).is_pending());
            let (mut second, _) = keeper.again().unwrap();
            tokio::time::sleep(2 * silence).await;
            assert!(poll(&mut second).is_pending());
            assert_eq!(progress.fault(), None);
            // From here on it is.
            assert_eq!(second.next_data().await, Err(BodyFault::TooSlow));
        }
    }

    #[tokio::test]
    async fn trailers_are_sent_again_too() {
        let mut fields = HeaderMap::new();
        fields.insert("x-sum", http::HeaderValue::from_static("1"));
        let data = Frame::data(Bytes::from_static(b"one"));
        let frames = vec![data, Frame::trailers(fields.clone())];
        let mut first = RequestBody::other(Pieces(frames));
        let keeper = first.keep(3);
        first.discard().await.unwrap();
        let (mut second, sent) = keeper.again().unwrap();
        let mut frame = async || {
            let polled = std::future::poll_fn(|cx| Pin::new(&mut second).poll_frame(cx));
            polled.await.transpose().unwrap()
        };
        assert_eq!(frame().await.unwrap().into_data().unwrap(), "one");
        assert_eq!(frame().await.unwrap().into_trailers().unwrap(), fields);
        assert!(frame().await.is_none());
        assert!(sent.done());
    }
}
