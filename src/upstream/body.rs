//! A request body on its way from the client: counted, bounded, timed.
//!
//! hyper's connection task polls it, not the walk; [`Progress`] tells the walk how far it is.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::fault::BodyFault;
use super::kept::{Keeper, Reader, keep};
use super::lent::{Lender, Lent, Tap, lend};
use super::progress::Progress;
use crate::vocab::Clock;

/// The error type of bodies that others bring.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a request body is held to.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Most bytes.
    pub max: u64,
    /// Longest silence of the client.
    pub silence: Duration,
    /// Bytes a second that the client must average from the second `silence` on.
    pub min_rate: u64,
}

enum Source {
    Empty,
    Incoming(Incoming),
    Other(Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>),
    /// Of somebody who may take it back, and meters it.
    Lent(Lent),
    /// Copied as it is read, of somebody who may send it once more.
    Kept(Reader),
}

/// A request body.
pub struct RequestBody {
    source: Source,
    metered: Option<Metered>,
}

struct Metered {
    progress: Arc<Progress>,
    limits: BodyLimits,
    /// When the client began to be waited for, while it is.
    waiting_since: Option<Instant>,
    /// Time that the client was waited for before that.
    waited: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    /// No body.
    pub fn empty() -> RequestBody {
        RequestBody {
            source: Source::Empty,
            metered: None,
        }
    }

    /// A body that hyper's server receives.
    pub fn incoming(incoming: Incoming) -> RequestBody {
        let source = match incoming.is_end_stream() {
            true => Source::Empty,
            false => Source::Incoming(incoming),
        };
        RequestBody {
            source,
            metered: None,
        }
    }

    /// A body of another kind, for those who mount the gateway in a server of their own.
    pub fn other<B>(body: B) -> RequestBody
    where
        B: Body<Data = Bytes, Error = BoxError> + Send + 'static,
    {
        let source = match body.is_end_stream() {
            true => Source::Empty,
            false => Source::Other(Box::pin(body)),
        };
        RequestBody {
            source,
            metered: None,
        }
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        matches!(self.source, Source::Empty)
    }

    /// Bytes that the client announced, if it did.
    pub fn announced(&self) -> Option<u64> {
        self.size_hint().exact()
    }

    /// Holds the body to limits from `now` on; `None` for an empty one.
    pub fn meter(&mut self, limits: BodyLimits, now: Instant) -> Option<Arc<Progress>> {
        if self.is_empty() {
            return None;
        }
        let progress = Arc::new(Progress::new(now));
        self.metered = Some(Metered {
            progress: Arc::clone(&progress),
            limits,
            waiting_since: None,
            waited: Duration::ZERO,
            timer: None,
        });
        Some(progress)
    }

    /// Lends the body, with its meter, to whoever takes this one; `tap` sees what they read.
    pub fn lend(&mut self, tap: Tap) -> Lender {
        let (lender, lent) = lend(std::mem::replace(self, RequestBody::empty()), tap);
        self.source = Source::Lent(lent);
        lender
    }

    /// Keeps a copy of up to `most` bytes as they are read.
    pub fn keep(&mut self, most: usize) -> Keeper {
        let (keeper, reader) = keep(std::mem::replace(self, RequestBody::empty()), most);
        self.source = Source::Kept(reader);
        keeper
    }

    pub(super) fn kept(reader: Reader) -> RequestBody {
        RequestBody {
            source: Source::Kept(reader),
            metered: None,
        }
    }

    /// Nobody reads it from `now` on, until the next attempt does: its client is not waited for.
    pub(super) fn set_aside(&mut self, now: Instant) {
        if let Some(metered) = &mut self.metered
            && let Some(since) = metered.waiting_since.take()
        {
            metered.waited += now.saturating_duration_since(since);
            metered.progress.moved_on(now);
        }
        if let Source::Lent(lent) = &self.source {
            lent.set_aside(now);
        }
    }

    /// The next bytes; `None` at the end. Trailers are passed over.
    ///
    /// # Errors
    /// Why it did not end well.
    pub async fn next_data(&mut self) -> Result<Option<Bytes>, BodyFault> {
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Reads to the end and throws away.
    ///
    /// # Errors
    /// Why it did not end well.
    pub async fn discard(&mut self) -> Result<(), BodyFault> {
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await {
            frame?;
        }
        Ok(())
    }

    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        match &mut self.source {
            Source::Empty => Poll::Ready(None),
            Source::Incoming(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|error| BodyFault::of(&error)),
            Source::Other(body) => body
                .as_mut()
                .poll_frame(cx)
                .map_err(|error| BodyFault::of(&*error)),
            Source::Lent(body) => body.poll_frame(cx),
            Source::Kept(body) => body.poll_frame(cx),
        }
    }
}

impl Metered {
    /// Bytes came, or the end: the client is not waited for any more.
    fn resume(&mut self) -> Result<(), BodyFault> {
        let Some(since) = self.waiting_since.take() else {
            return Ok(());
        };
        let now = Clock::now();
        self.waited += now.saturating_duration_since(since);
        self.progress.moved_on(now);
        self.check_rate(self.waited)
    }

    fn check_rate(&self, waited: Duration) -> Result<(), BodyFault> {
        if waited <= self.limits.silence {
            return Ok(());
        }
        let due = self.limits.min_rate as f64 * waited.as_secs_f64();
        match (self.progress.received() as f64) < due {
            true => Err(BodyFault::TooSlow),
            false => Ok(()),
        }
    }

    fn count(&self, data: &[u8]) -> Result<(), BodyFault> {
        match self.progress.add(data) > self.limits.max {
            true => Err(BodyFault::TooLarge),
            false => Ok(()),
        }
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<BodyFault> {
        if self.waiting_since.is_none() {
            self.waiting_since = Some(Clock::now());
            self.progress.await_client();
            let deadline = tokio::time::Instant::now() + self.limits.silence;
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(deadline),
                None => self.timer = Some(Box::pin(tokio::time::sleep_until(deadline))),
            }
        }
        if let Some(timer) = &mut self.timer {
            ready!(timer.as_mut().poll(cx));
        }
        Poll::Ready(BodyFault::TooSlow)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = &mut *self;
        let polled = this.poll_source(cx);
        let Some(metered) = &mut this.metered else {
            return polled;
        };
        let frame = match polled {
            Poll::Pending => {
                let fault = ready!(metered.poll_silence(cx));
                return Poll::Ready(Some(Err(metered.progress.fail(fault))));
            }
            Poll::Ready(frame) => frame,
        };
        let checked = metered.resume().and_then(|()| match frame {
            None => {
                metered.progress.finish();
                Ok(None)
            }
            Some(Err(fault)) => Err(fault),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    metered.count(data)?;
                }
                // A bare LF after the last chunk makes hyper take what follows for trailers.
                if frame.trailers_ref().is_some_and(http::HeaderMap::is_empty) {
                    return Err(BodyFault::Malformed);
                }
                Ok(Some(frame))
            }
        });
        let ended = this.source_ended();
        match checked {
            Ok(frame) => {
                if ended && let Some(metered) = &this.metered {
                    metered.progress.finish();
                }
                Poll::Ready(frame.map(Ok))
            }
            Err(fault) => {
                let fault = this
                    .metered
                    .as_ref()
                    .map_or(fault, |m| m.progress.fail(fault));
                Poll::Ready(Some(Err(fault)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.source_ended()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Incoming(body) => body.size_hint(),
            Source::Other(body) => body.size_hint(),
            Source::Lent(body) => body.size_hint(),
            Source::Kept(body) => body.size_hint(),
        }
    }
}

impl RequestBody {
    fn source_ended(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Incoming(body) => body.is_end_stream(),
            Source::Other(body) => body.is_end_stream(),
            Source::Lent(body) => body.is_end_stream(),
            Source::Kept(body) => body.is_end_stream(),
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.source {
            Source::Empty => "empty",
            Source::Incoming(_) => "incoming",
            Source::Other(_) => "other",
            Source::Lent(_) => "lent",
            Source::Kept(_) => "kept",
        };
        f.debug_tuple("RequestBody").field(&kind).finish()
    }
}
