//! A client that sends exactly the bytes it is given.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::wait::PATIENCE;
use super::wire::{End, Head, Wire};

/// One answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Status line and header fields.
    pub head: Head,
    /// The body, without its framing.
    pub body: Vec<u8>,
    /// Whether the body came to the end that its framing promises.
    pub whole: bool,
}

impl Response {
    /// The value of a header; several lines are joined as a list.
    pub fn header(&self, name: &str) -> Option<String> {
        self.head.get(name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text()))
    }

    /// Whether a scripted upstream made this answer.
    #[allow(clippy::wrong_self_convention)]
    pub fn from_upstream(&self) -> bool {
        self.head.has("x-from")
    }

    /// Whether the answer announces that the connection ends with it.
    pub fn closes(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.to_ascii_lowercase().contains("close"))
    }
}

/// One connection to the gateway.
pub struct Client {
    wire: Wire,
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the gateway accepts");
        Client {
            wire: Wire::new(stream, PATIENCE),
        }
    }

    /// Connects, unless nobody listens any more.
    pub fn try_connect(address: SocketAddr) -> Option<Client> {
        let stream = TcpStream::connect(address).ok()?;
        Some(Client {
            wire: Wire::new(stream, PATIENCE),
        })
    }

    /// Whether no part of an answer is waiting to be read.
    pub fn nothing_came(&self) -> bool {
        self.wire.unused().is_empty()
    }

    /// Sends bytes; panics when the gateway does not take them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the gateway reads");
    }

    /// Sends bytes, which the gateway may refuse to take.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.wire.write(bytes.as_ref())
    }

    /// Reads one answer; panics when none comes.
    pub fn read(&mut self) -> Response {
        self.try_read()
            .unwrap_or_else(|end| panic!("no answer: {end:?}"))
    }

    /// Reads one answer, interim ones included, or says how the connection ended instead.
    pub fn try_read(&mut self) -> Result<Response, End> {
        let mut response = self.try_read_head()?;
        let bodiless = matches!(response.status, 100..=199 | 204 | 304);
        response.whole = bodiless || self.body(&response.head, &mut response.body);
        Ok(response)
    }

    /// Reads the head of an answer alone: the body is still to come, or there is none (HEAD).
    pub fn read_head(&mut self) -> Response {
        self.try_read_head()
            .unwrap_or_else(|end| panic!("no answer: {end:?}"))
    }

    fn try_read_head(&mut self) -> Result<Response, End> {
        let head = self.wire.head()?;
        let status = head.start.split(' ').nth(1).unwrap_or_default();
        let status = status.parse().map_err(|_| End::Malformed)?;
        Ok(Response {
            status,
            head,
            body: Vec::new(),
            whole: false,
        })
    }

    /// Reads a body that belongs to `head`; false when it was cut short.
    pub fn body(&mut self, head: &Head, body: &mut Vec<u8>) -> bool {
        if head.chunked() {
            return self.wire.chunks(body).is_ok();
        }
        match head.length() {
            Some(length) => self.wire.exactly(length, body).is_ok(),
            None => self.wire.rest(body) == End::Eof,
        }
    }

    /// Appends `count` bytes of what follows to `body`; false when they do not come.
    pub fn exactly(&mut self, count: usize, body: &mut Vec<u8>) -> bool {
        self.wire.exactly(count, body).is_ok()
    }

    /// A second handle to the connection, so that one thread sends and another reads.
    pub fn split(&self) -> Client {
        let stream = self.wire.stream().try_clone().expect("a second handle");
        Client {
            wire: Wire::new(stream, PATIENCE),
        }
    }

    /// Sends a request and reads its answer.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request);
        self.read()
    }

    /// Discards what still comes and says how the connection ends.
    pub fn end(&mut self) -> End {
        self.wire.rest(&mut Vec::new())
    }

    /// Whether the gateway has closed or reset the connection.
    pub fn is_closed(&mut self) -> bool {
        self.set_patience(Duration::from_millis(1));
        let end = self.end();
        self.set_patience(PATIENCE);
        end != End::Silent
    }

    /// How long a read waits, and a write.
    pub fn set_patience(&mut self, patience: Duration) {
        let stream = self.wire.stream();
        stream.set_read_timeout(Some(patience)).expect("timeout");
        stream.set_write_timeout(Some(patience)).expect("timeout");
    }

    /// Says that no more will be sent, and goes on reading.
    pub fn finish_sending(&mut self) {
        let _ = self.wire.stream().shutdown(Shutdown::Write);
    }
}

/// One request on a connection of its own.
pub fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> Response {
    Client::connect(address).ask(request)
}

/// A plain GET.
pub fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: test\r\n\r\n")
}

/// A POST with an announced length.
pub fn post(target: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = body.len();
    let head = format!("POST {target} HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}
