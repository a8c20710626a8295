//! One client connection: hyper on the wrapped socket, and a watchdog that keeps its deadlines.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::io::{ClientIo, Wire};
use super::linger;
use crate::proxy::{Peer, Worker, raw_refusal, serve};
use crate::snapshot::{Live, Phase};
use crate::upstream::RequestBody;
use crate::vocab::{Clock, Reason};

/// How long a quiet connection is kept once the process has stopped accepting: a request may be
/// on its way. It would be answered, with `Connection: close`.
const LAST_CALL: Duration = Duration::from_millis(250);

/// Serves one connection to its end.
pub(super) async fn serve_connection(stream: TcpStream, peer: Arc<Peer>, worker: Arc<Worker>) {
    let view = worker.view();
    let server = &view.snapshot.settings().server;
    let deadlines = Deadlines {
        head: server.header_timeout,
        idle: server.idle_timeout,
        write: server.write_timeout,
    };
    let max_head = server.max_header_bytes.0 as usize;
    let max_headers = server.max_headers;
    drop(view);
    let wire = Arc::new(Wire::default());
    let io = ClientIo::new(stream, Arc::clone(&peer), Arc::clone(&wire), max_head);
    let (walker, walked) = (Arc::clone(&worker), Arc::clone(&peer));
    let service = service_fn(move |request: Request<Incoming>| {
        let request = request.map(RequestBody::incoming);
        serve(Arc::clone(&walker), Arc::clone(&walked), request)
    });
    let mut connection = builder(max_head, max_headers).serve_connection(TokioIo::new(io), service);
    let mut watchdog = Watchdog::new(deadlines, peer, wire);
    let end = {
        let live = &worker.live;
        let mut phase = live.watch_phase();
        let mut stopping = pin!(phase.wait_for(|phase| *phase >= Phase::Stopping));
        let mut timer = pin!(tokio::time::sleep_until(watchdog.since.into()));
        // While serving, polled once to be woken when the phase moves on: then one load tells.
        let (mut watching, mut moved_on) = (false, false);
        poll_fn(|cx| {
            if !moved_on && (!watching || live.phase() > Phase::Serving) {
                watching = true;
                moved_on = stopping.as_mut().poll(cx).is_ready();
            }
            loop {
                if let Poll::Ready(spoken) = Pin::new(&mut connection).poll(cx) {
                    return Poll::Ready(End::of(&spoken));
                }
                match watchdog.look(live, timer.as_mut(), cx) {
                    Look::Wait => return Poll::Pending,
                    Look::End(end) => return Poll::Ready(end),
                    Look::Again => {}
                }
            }
        })
        .await
    };
    let io = connection.into_parts().io.into_inner();
    finish(io, end, &worker).await;
}

fn builder(max_head: usize, max_headers: usize) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .writev(false)
        // Room for a head and for bodies to flow; the guard bounds the head itself.
        .max_buf_size(max_head.max(64 * 1024) + 8 * 1024);
    if max_headers != 100 {
        // Only then: it moves hyper's parsing to the heap.
        builder.max_headers(max_headers);
    }
    builder
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// hyper is done with it.
    Spoken,
    /// hyper could not read a request head.
    Malformed,
    /// Nothing is in flight.
    Close,
    /// The client was too slow with a request head.
    SlowHead,
    /// The client refuses to read.
    Abort,
}

impl End {
    fn of(spoken: &hyper::Result<()>) -> End {
        match spoken {
            Err(error) if error.is_parse() => End::Malformed,
            Err(_) | Ok(()) => End::Spoken,
        }
    }
}

async fn finish(io: ClientIo, end: End, worker: &Arc<Worker>) {
    let refusal = match end {
        End::SlowHead => Some(Reason::RequestTimeout),
        End::Spoken => io.refusal,
        // Some of these hyper ends without a word: the preface of HTTP/2.
        End::Malformed => io.refusal.or(Some(Reason::BadRequest)),
        End::Close => None,
        End::Abort => return,
    };
    match refusal {
        Some(reason) => linger::linger(io.stream, &raw_refusal(worker, reason)).await,
        None if io.is_sent_more() => {
            linger::linger(io.stream, &[]).await;
        }
        None => linger::close(io.stream).await,
    }
}

struct Deadlines {
    head: Duration,
    idle: Duration,
    write: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Between requests, or before the first.
    Quiet,
    /// In the middle of a request head.
    Head,
    /// A request is being served, or its answer is not taken: their own timers hold.
    Busy,
}

/// Keeps one timer for all deadlines of a connection. It is set anew only when it would fire too
/// late; when it fires too early it is set again. Requests may come and go between two looks:
/// what counts them tells, so that the timers do not take a busy connection for an idle one.
struct Watchdog {
    deadlines: Deadlines,
    peer: Arc<Peer>,
    wire: Arc<Wire>,
    stage: Stage,
    since: Instant,
    heads: u64,
    blocked_since: Option<Instant>,
    unblocked: u64,
    armed: Option<Instant>,
    /// When the process was seen to have stopped accepting.
    leaving_since: Option<Instant>,
}

enum Look {
    Wait,
    End(End),
    /// hyper is to read again.
    Again,
}

impl Watchdog {
    fn new(deadlines: Deadlines, peer: Arc<Peer>, wire: Arc<Wire>) -> Watchdog {
        Watchdog {
            deadlines,
            since: peer.quiet_since(),
            peer,
            wire,
            stage: Stage::Quiet,
            heads: 0,
            blocked_since: None,
            unblocked: 0,
            armed: None,
            leaving_since: None,
        }
    }

    fn look(&mut self, live: &Live, timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Look {
        self.follow();
        let answered = self.stage != Stage::Busy && self.wire.heads() <= self.peer.calls();
        if answered && self.wire.take_held() {
            return Look::Again;
        }
        if self.leaving_since.is_none() && live.phase() >= Phase::Stopping {
            self.leaving_since = Some(Clock::now());
        }
        self.keep_deadlines(timer, cx)
    }

    fn follow(&mut self) {
        let blocked = self.peer.write_blocked();
        let stage = match (self.peer.busy() || blocked, self.wire.in_head()) {
            (true, _) => Stage::Busy,
            (false, true) => Stage::Head,
            (false, false) => Stage::Quiet,
        };
        let heads = self.wire.heads();
        if stage != self.stage || heads != self.heads {
            self.since = match stage {
                Stage::Busy => self.since,
                // Served between two looks.
                Stage::Quiet if self.stage == Stage::Quiet => self.peer.quiet_since(),
                Stage::Quiet | Stage::Head => Clock::now(),
            };
        }
        (self.stage, self.heads) = (stage, heads);
        let unblocked = self.wire.unblocked();
        if !blocked || unblocked != self.unblocked {
            self.unblocked = unblocked;
            self.blocked_since = blocked.then(Clock::now);
        } else if self.blocked_since.is_none() {
            self.blocked_since = Some(Clock::now());
        }
    }

    /// The nearest deadline, and what happens then.
    fn due(&self) -> Option<(Instant, End)> {
        let first = self.peer.calls() == 0;
        let by_stage = match self.stage {
            Stage::Busy => None,
            Stage::Head => Some((self.since + self.deadlines.head, End::SlowHead)),
            Stage::Quiet => {
                let patience = match first {
                    true => self.deadlines.head,
                    false => self.deadlines.idle,
                };
                let due = match self.leaving_since {
                    None => self.since + patience,
                    Some(leaving) => leaving + LAST_CALL.min(patience),
                };
                Some((due, End::Close))
            }
        };
        let blocked = self.blocked_since;
        let by_write = blocked.map(|since| (since + self.deadlines.write, End::Abort));
        match (by_stage, by_write) {
            (Some(one), Some(other)) if other.0 < one.0 => Some(other),
            (None, other) => other,
            (one, _) => one,
        }
    }

    fn keep_deadlines(&mut self, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Look {
        let Some((due, end)) = self.due() else {
            return Look::Wait;
        };
        if self.armed.is_some_and(|armed| armed <= due) && !timer.is_elapsed() {
            return Look::Wait;
        }
        if due <= Clock::now() {
            return Look::End(end);
        }
        timer.as_mut().reset(due.into());
        self.armed = Some(due);
        match timer.poll(cx) {
            Poll::Ready(()) => Look::End(end),
            Poll::Pending => Look::Wait,
        }
    }
}
