//! What a name stands for.

use std::net::SocketAddr;
use std::sync::Arc;

/// One address, and the name that its machine goes by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// Where to connect.
    pub address: SocketAddr,
    /// Host and port for the Host header, as `host:port`.
    pub authority: Arc<str>,
}
