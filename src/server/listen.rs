//! Binds the addresses that clients connect to, one socket a worker.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

/// Connections that the kernel queues for each socket.
const BACKLOG: i32 = 4096;

/// Bound sockets: for each worker, one of each address.
#[derive(Debug)]
pub struct Listeners {
    pub(super) by_worker: Vec<Vec<std::net::TcpListener>>,
    /// What was bound, ports included.
    pub addresses: Vec<SocketAddr>,
}

/// An address could not be bound.
#[derive(Debug)]
pub struct BindError {
    address: SocketAddr,
    key: &'static str,
    source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindError {
            address,
            key,
            source,
        } = self;
        match source.kind() {
            io::ErrorKind::AddrInUse => write!(
                f,
                "{address} is in use: another gateway or program listens there; \
                 stop it or change {key}"
            ),
            io::ErrorKind::PermissionDenied => write!(
                f,
                "{address} may not be bound by this user; take a port above 1023 in {key}, \
                 or grant CAP_NET_BIND_SERVICE"
            ),
            io::ErrorKind::AddrNotAvailable => {
                write!(f, "{address} is no address of this machine; change {key}")
            }
            _ => write!(f, "{address} cannot be bound ({source}); see {key}"),
        }
    }
}

impl std::error::Error for BindError {}

/// Binds each address once for every worker, with SO_REUSEPORT.
///
/// Each address is first bound plainly: a second process on a SO_REUSEPORT port would silently
/// take its share of the connections. `share_port` leaves that out, for binary upgrades.
///
/// # Errors
/// The first address that cannot be bound.
pub fn bind(
    addresses: &[SocketAddr],
    workers: usize,
    share_port: bool,
) -> Result<Listeners, BindError> {
    let mut by_worker: Vec<Vec<std::net::TcpListener>> = Vec::new();
    by_worker.resize_with(workers.max(1), Vec::new);
    let mut bound = Vec::new();
    for address in addresses {
        let fail = |source| BindError {
            address: *address,
            key: "server.listen",
            source,
        };
        if !share_port {
            drop(socket(*address, Reuse::Address).map_err(fail)?);
        }
        let mut actual = *address;
        for listeners in &mut by_worker {
            let listener = socket(actual, Reuse::Port).map_err(fail)?;
            // Port 0: the first socket finds a free port, the others share it.
            actual = listener.local_addr().map_err(fail)?;
            listeners.push(listener);
        }
        bound.push(actual);
    }
    Ok(Listeners {
        by_worker,
        addresses: bound,
    })
}

/// Binds one address plainly; `key` is the setting that errors name.
///
/// # Errors
/// When it cannot be bound.
pub fn bind_plain(
    address: SocketAddr,
    key: &'static str,
) -> Result<std::net::TcpListener, BindError> {
    socket(address, Reuse::Address).map_err(|source| BindError {
        address,
        key,
        source,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reuse {
    /// Past connections in TIME_WAIT are no obstacle.
    Address,
    /// Nor are listeners of the same user.
    Port,
}

fn socket(address: SocketAddr, reuse: Reuse) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if reuse == Reuse::Port {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Drops what would begin a connection, and nothing else: a classic BPF program on the flags of
/// the TCP header. Those who are dropped try again, and find the socket closed or another
/// process on the port.
pub(super) fn let_nobody_in(listener: &impl AsFd) -> io::Result<()> {
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(JUMP_IF_SET, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_gateway_on_one_port_is_an_error() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let first = bind(&[any], 2, false).unwrap();
        let second = bind(&first.addresses, 2, false).unwrap_err();
        let port = first.addresses[0].port();
        let text = second.to_string();
        assert!(
            text.starts_with(&format!("127.0.0.1:{port} is in use")),
            "{text}"
        );
        assert!(bind(&first.addresses, 1, true).is_ok());
    }
}
