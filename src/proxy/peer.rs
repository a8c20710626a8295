//! What the walk knows of a connection, and what the connection learns from the walk.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use http::HeaderValue;

/// One client connection.
#[derive(Debug)]
pub struct Peer {
    /// The other end of the connection.
    pub address: SocketAddr,
    /// The same without its port, as forwarding headers carry it.
    pub ip_text: HeaderValue,
    busy: AtomicBool,
    calls: AtomicU64,
    panicked: Mutex<Option<HeaderValue>>,
}

impl Peer {
    /// A connection from `address`.
    pub fn new(address: SocketAddr) -> Peer {
        let ip = address.ip().to_canonical().to_string();
        Peer {
            address,
            ip_text: HeaderValue::try_from(ip).unwrap_or_else(|_| HeaderValue::from_static("")),
            busy: AtomicBool::new(false),
            calls: AtomicU64::new(0),
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

    pub(crate) fn begin(&self) {
        self.calls.fetch_add(1, Relaxed);
        self.busy.store(true, Relaxed);
    }

    pub(crate) fn end(&self) {
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
