//! A client with one keep-alive connection.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::wire::{read_body, read_head};

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// A connection to the gateway.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

/// A whole answer.
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Its body.
    pub(crate) body: Vec<u8>,
    /// The connection ends with it, as announced.
    pub(crate) closes: bool,
}

impl Client {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client {
            stream: BufReader::new(stream),
        })
    }

    /// Sends a GET and reads the whole answer.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.call("GET", path, b"")
    }

    /// Sends a request and reads the whole answer. An error means that there was none.
    pub(crate) fn call(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
        let mut message = format!("{method} {path} HTTP/1.1\r\nhost: bars.test\r\n").into_bytes();
        if !body.is_empty() {
            message.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        message.extend_from_slice(b"\r\n");
        message.extend_from_slice(body);
        self.stream.get_mut().write_all(&message)?;
        let head = read_head(&mut self.stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = head
            .first
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .ok_or_else(|| io::Error::other(format!("not a status line: {:?}", head.first)))?;
        let body = read_body(&mut self.stream, &head)?;
        Ok(Answer {
            status,
            body,
            closes: head.closes,
        })
    }
}
