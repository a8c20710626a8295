//! The socket wrapper below hyper: sees every byte that comes before hyper does, and every
//! answer that hyper makes by itself.
//!
//! hyper answers what it cannot parse with an empty 400 or 431 of its own. Those are swallowed
//! here and replaced by a refusal of ours, which is counted and carries an id.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::guard::Guard;
use crate::proxy::Peer;
use crate::vocab::Reason;

/// What the wrapper shows to the connection's watchdog while hyper owns it.
#[derive(Debug, Default)]
pub(super) struct Wire {
    in_head: AtomicBool,
    heads: AtomicU64,
    unblocked: AtomicU64,
    held: AtomicBool,
}

impl Wire {
    /// Whether a request head has begun and not ended.
    pub(super) fn in_head(&self) -> bool {
        self.in_head.load(Relaxed)
    }

    /// How often the client read on after it had not.
    pub(super) fn unblocked(&self) -> u64 {
        self.unblocked.load(Relaxed)
    }

    /// Whether a refusal waits for earlier requests to be answered; asking lets go of it. Nothing
    /// would wake hyper for that: it takes a read that is pending for a silent client.
    pub(super) fn take_held(&self) -> bool {
        self.held.load(Relaxed) && self.held.swap(false, Relaxed)
    }

    /// Whole request heads that came.
    pub(super) fn heads(&self) -> u64 {
        self.heads.load(Relaxed)
    }
}

/// The socket of one client connection.
#[derive(Debug)]
pub(super) struct ClientIo {
    pub(super) stream: TcpStream,
    /// Why the connection must end with a refusal that no request got.
    pub(super) refusal: Option<Reason>,
    guard: Guard,
    peer: Arc<Peer>,
    wire: Arc<Wire>,
    /// Where the guard refused: nothing more is read.
    refused_in: Option<Part>,
}

/// A part of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The connection ends with a refusal, after what came before is answered.
    Head,
    /// The walk answers: it sees a body that is malformed.
    Body,
}

impl ClientIo {
    pub(super) fn new(
        stream: TcpStream,
        peer: Arc<Peer>,
        wire: Arc<Wire>,
        max_head: usize,
    ) -> ClientIo {
        ClientIo {
            stream,
            refusal: None,
            guard: Guard::new(max_head),
            peer,
            wire,
            refused_in: None,
        }
    }

    /// Whether the client is sending what nobody will read: the rest of a body, or pipelined
    /// requests behind the last that is answered. A client that was behind with reading may
    /// have some on their way.
    pub(super) fn is_sent_more(&self) -> bool {
        self.guard.in_body()
            || self.guard.in_head()
            || self.guard.heads() > self.peer.calls()
            || self.wire.unblocked() > 0
            || self.stream.try_read(&mut [0]).is_ok_and(|count| count > 0)
    }

    fn poll_refused(&self, part: Part) -> Poll<io::Result<()>> {
        let earlier = self.peer.busy() || self.guard.heads() > self.peer.calls();
        if part == Part::Head && (earlier || self.peer.write_blocked()) {
            // Earlier requests on this connection are answered first, to the last byte.
            self.wire.held.store(true, Relaxed);
            return Poll::Pending;
        }
        let error = io::Error::new(io::ErrorKind::InvalidData, "refused by the guard");
        Poll::Ready(Err(error))
    }

    /// Notes whether the client takes what is written. When it does again, everything that waits
    /// for that has to be looked at once more, whatever hyper itself waits for.
    fn note(&self, blocked: bool, cx: &Context<'_>) {
        match (self.peer.write_blocked(), blocked) {
            (false, true) => self.peer.set_write_blocked(true),
            (true, false) => {
                self.peer.set_write_blocked(false);
                self.wire.unblocked.fetch_add(1, Relaxed);
                cx.waker().wake_by_ref();
            }
            (true, true) | (false, false) => {}
        }
    }

    /// hyper writes without having called the walk: its own answer to what it cannot parse.
    fn is_hypers_own(&self, bytes: &[u8]) -> bool {
        !self.peer.busy()
            && (self.guard.in_head() || self.guard.heads() > self.peer.calls())
            && bytes.starts_with(b"HTTP/1.1 4")
            && memchr::memmem::find(bytes, b"x-request-id").is_none()
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(part) = this.refused_in {
            return this.poll_refused(part);
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let scanned = this.guard.scan(&buf.filled()[before..]);
        this.wire.in_head.store(this.guard.in_head(), Relaxed);
        this.wire.heads.store(this.guard.heads(), Relaxed);
        let Err(refused) = scanned else {
            return Poll::Ready(Ok(()));
        };
        let part = match refused.in_body {
            true => Part::Body,
            false => Part::Head,
        };
        this.refused_in = Some(part);
        if part == Part::Head {
            this.refusal = Some(refused.reason);
        }
        buf.set_filled(before + refused.keep);
        match refused.keep {
            0 => this.poll_refused(part),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.is_hypers_own(bytes) {
            let too_large = bytes
                .get(9..12)
                .is_some_and(|code| code == b"431" || code == b"414");
            this.refusal.get_or_insert(match too_large {
                true => Reason::HeadTooLarge,
                false => Reason::BadRequest,
            });
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.note(written.is_pending(), cx);
        written
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A TCP socket has nothing of its own to flush.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // `linger` shuts down, when all that there is to say has been said.
        Poll::Ready(Ok(()))
    }
}
