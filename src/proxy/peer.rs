//! What the walk knows of a connection, and what the connection learns from the walk.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderValue;

use crate::vocab::Clock;

/// One client connection.
#[derive(Debug)]
pub struct Peer {
    /// The other end of the connection.
    pub address: SocketAddr,
    /// The same without its port, as forwarding headers carry it.
    pub ip_text: HeaderValue,
    born: Instant,
    busy: AtomicBool,
    calls: AtomicU64,
    /// When the last request ended, in microseconds after `born`.
    ended_us: AtomicU64,
    write_blocked: AtomicBool,
    panicked: Mutex<Option<HeaderValue>>,
}

impl Peer {
    /// A connection from `address`.
    pub fn new(address: SocketAddr) -> Peer {
        let ip = address.ip().to_canonical().to_string();
        Peer {
            address,
            ip_text: HeaderValue::try_from(ip).unwrap_or_else(|_| HeaderValue::from_static("")),
            born: Clock::now(),
            busy: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            ended_us: AtomicU64::new(0),
            write_blocked: AtomicBool::new(false),
            panicked: Mutex::new(None),
        }
    }

    /// The client's address; IPv4 also when it came mapped into IPv6.
    pub fn ip(&self) -> IpAddr {
        self.address.ip().to_canonical()
    }

    /// Whether a request is being served.
    pub fn busy(&self) -> bool {
        self.busy.load(Relaxed)
    }

    /// Requests that reached the walk so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    /// Since when no request is being served: the end of the last one, or the beginning.
    pub fn quiet_since(&self) -> Instant {
        self.born + Duration::from_micros(self.ended_us.load(Relaxed))
    }

    /// Whether the client does not take what it was answered.
    pub fn write_blocked(&self) -> bool {
        self.write_blocked.load(Relaxed)
    }

    /// Says whether the client takes its answers. Whoever says that it does again also wakes the
    /// connection.
    pub fn set_write_blocked(&self, blocked: bool) {
        self.write_blocked.store(blocked, Relaxed);
    }

    pub(crate) fn begin(&self) {
        self.calls.fetch_add(1, Relaxed);
        self.busy.store(true, Relaxed);
    }

    pub(crate) fn end(&self, now: Instant) {
        let after = now.saturating_duration_since(self.born);
        self.ended_us.store(after.as_micros() as u64, Relaxed);
        self.busy.store(false, Relaxed);
    }

    /// Leaves the id of a request whose walk panicked for the answer to it.
    pub(crate) fn leave_panicked(&self, id: HeaderValue) {
        *self.panicked.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
    }

    pub(crate) fn take_panicked(&self) -> Option<HeaderValue> {
        self.panicked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}
