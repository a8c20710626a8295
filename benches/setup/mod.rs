//! A gateway without sockets of its own, from the text of its two files.

// Each program that includes this file needs another part of it.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use seawall::config::{SourceFile, load, read_switch_entries};
use seawall::proxy::{Peer, Worker};
use seawall::snapshot::{Board, Live, RouteTable, Snapshot};
use seawall::telemetry::GatewayMetrics;
use seawall::upstream::{BoxError, RequestBody};

/// Publishes a first snapshot of `seawall.toml` and `switches.toml` as they stand here. It is
/// read as at a start, so that nothing here can differ from what the product does.
pub(crate) fn live(structure: &str, switches: &str) -> Arc<Live> {
    let file = SourceFile::new("seawall.toml", structure);
    let loaded = load(&[file], &|_| None).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let file = SourceFile::new("switches.toml", switches);
    let read = read_switch_entries(&file, &loaded.settings);
    assert!(read.problems.is_empty(), "{:#?}", read.problems);
    let table = Arc::new(RouteTable::compile(Arc::new(loaded.settings), None));
    let board = Arc::new(Board::compile(&table, read.entries, None, Duration::ZERO));
    Arc::new(Live::new(
        Snapshot { table, board },
        Arc::new(GatewayMetrics::default()),
    ))
}

/// A worker on those files, which writes no access log.
pub(crate) fn worker(structure: &str, switches: &str) -> Arc<Worker> {
    Arc::new(Worker::new(live(structure, switches), None))
}

/// A client at an address that is nobody's (RFC 5737).
pub(crate) fn peer() -> Arc<Peer> {
    Arc::new(Peer::new(SocketAddr::from(([192, 0, 2, 7], 40_000))))
}

/// A request body that has arrived already.
pub(crate) fn arrived(bytes: Bytes) -> RequestBody {
    RequestBody::other(Arrived(bytes))
}

struct Arrived(Bytes);

impl Body for Arrived {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let bytes = std::mem::take(&mut self.0);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}
