//! A scripted upstream: it answers what the test says, byte for byte, and remembers what it saw.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::wait::{PATIENCE, wait_for};
use super::wire::{End, Head, Wire};

/// One request as the upstream received it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The target, as received.
    pub target: String,
    /// The version, as received.
    pub version: String,
    /// Request line and header fields.
    pub head: Head,
    /// The body, without its framing.
    pub body: Vec<u8>,
    /// Whether the body came to the end that its framing promises.
    pub whole: bool,
}

impl Request {
    /// The value of a header; several lines are joined as a list.
    pub fn header(&self, name: &str) -> Option<String> {
        self.head.get(name)
    }

    fn of(head: Head) -> Request {
        let mut words = head.start.split(' ').map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        Request {
            method: word(),
            target: word(),
            version: word(),
            head,
            body: Vec::new(),
            whole: false,
        }
    }
}

/// Longer than any test waits: an upstream that gives up by itself would hide a gateway that
/// does not.
const LONGER: Duration = Duration::from_secs(4 * PATIENCE.as_secs());

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    open: AtomicUsize,
    heads: AtomicUsize,
    requests: Mutex<Vec<Request>>,
    streams: Mutex<Vec<(usize, TcpStream)>>,
    stopping: AtomicBool,
}

/// One connection from the gateway, in the hands of a script.
pub struct Connection {
    wire: Wire,
    seen: Arc<Seen>,
    /// Which connection this is; the first is 0.
    pub number: usize,
}

impl Connection {
    /// Reads the head of a request and counts it.
    pub fn head(&mut self) -> Option<Request> {
        let head = self.wire.head().ok()?;
        self.seen.heads.fetch_add(1, Ordering::SeqCst);
        Some(Request::of(head))
    }

    /// Reads the body that belongs to the head, and remembers the request.
    pub fn body(&mut self, mut request: Request) -> Request {
        let end = if request.head.chunked() {
            self.wire.chunks(&mut request.body)
        } else {
            let length = request.head.length().unwrap_or(0);
            self.wire.exactly(length, &mut request.body)
        };
        request.whole = end.is_ok();
        let mut requests = self.seen.requests.lock().expect("requests");
        requests.push(request.clone());
        request
    }

    /// Reads a whole request; `None` when the connection ended before its head.
    pub fn request(&mut self) -> Option<Request> {
        let head = self.head()?;
        Some(self.body(head))
    }

    /// Writes bytes; false when the gateway does not take them.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.wire.write(bytes.as_ref()).is_ok()
    }

    /// Waits for a request and leaves every byte of it unread in the socket: a close now is a
    /// reset.
    pub fn peek(&self) -> bool {
        let waiting = matches!(self.wire.stream().peek(&mut [0]), Ok(1));
        self.seen.heads.fetch_add(1, Ordering::SeqCst);
        waiting
    }

    /// Discards what comes until the gateway ends the connection.
    pub fn until_gone(&mut self) -> End {
        self.wire.rest(&mut Vec::new())
    }
}

/// A listening upstream; its threads end with it.
pub struct Upstream {
    address: SocketAddr,
    seen: Arc<Seen>,
}

impl Upstream {
    /// Runs `script` once for each connection, which ends with it.
    pub fn raw(script: impl Fn(&mut Connection) + Send + Sync + 'static) -> Upstream {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Upstream::raw_at(any, script)
    }

    /// The same at a given address: an upstream that comes back.
    pub fn raw_at(
        address: SocketAddr,
        script: impl Fn(&mut Connection) + Send + Sync + 'static,
    ) -> Upstream {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Seen::default());
        let state = Arc::clone(&seen);
        std::thread::spawn(move || accept(&listener, &state, &Arc::new(script)));
        Upstream { address, seen }
    }

    /// Reads whole requests and answers each with the bytes that `script` gives.
    pub fn serving(script: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Upstream {
        Upstream::raw(move |connection| serve(connection, &script))
    }

    /// Answers 200 with the body it was sent.
    pub fn echo() -> Upstream {
        Upstream::serving(echo)
    }

    /// The echo at a given address.
    pub fn echo_at(address: SocketAddr) -> Upstream {
        Upstream::raw_at(address, |connection| serve(connection, &echo))
    }

    /// Answers 200 with a fixed body.
    pub fn saying(body: &'static str) -> Upstream {
        Upstream::serving(move |_| answer(200, body))
    }

    /// Answers every request with exactly these bytes, then closes.
    pub fn answering(bytes: impl Into<Vec<u8>>) -> Upstream {
        let bytes = bytes.into();
        Upstream::raw(move |connection| {
            if connection.request().is_some() {
                connection.write(&bytes);
            }
        })
    }

    /// Reads requests and never answers.
    pub fn hanging() -> Upstream {
        Upstream::raw(|connection| {
            if connection.request().is_some() {
                connection.until_gone();
            }
        })
    }

    /// Reads a request and closes without an answer.
    pub fn closing() -> Upstream {
        Upstream::raw(|connection| drop(connection.request()))
    }

    /// Answers with half of the body it announces, and closes.
    pub fn cutting() -> Upstream {
        Upstream::answering(
            "HTTP/1.1 200 OK\r\nx-from: upstream\r\ncontent-length: 10\r\n\r\nhello",
        )
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As an endpoint in the configuration.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Connections that are open now.
    pub fn open_connections(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    /// Request heads received so far.
    pub fn heads(&self) -> usize {
        self.seen.heads.load(Ordering::SeqCst)
    }

    /// The requests received so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.requests.lock().expect("requests").clone()
    }

    /// The last request received.
    pub fn last(&self) -> Request {
        self.requests().pop().expect("the upstream saw a request")
    }

    /// Waits until so many request heads came.
    pub fn wait_heads(&self, count: usize) {
        wait_for("requests at the upstream", || self.heads() >= count);
    }

    /// Stops listening and cuts every connection.
    pub fn stop(&self) {
        self.seen.stopping.store(true, Ordering::SeqCst);
        // Wakes the accept loop, which then lets go of the port.
        let _ = TcpStream::connect(self.address);
        for (_, stream) in self.seen.streams.lock().expect("streams").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Refused only once the listener is closed.
        wait_for("the upstream's port to be free", || {
            TcpStream::connect(self.address).is_err()
        });
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if !std::thread::panicking() && !self.seen.stopping.load(Ordering::SeqCst) {
            self.stop();
        }
    }
}

fn accept<S>(listener: &TcpListener, seen: &Arc<Seen>, script: &Arc<S>)
where
    S: Fn(&mut Connection) + Send + Sync + 'static,
{
    for stream in listener.incoming() {
        if seen.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let number = seen.connections.fetch_add(1, Ordering::SeqCst);
        let (seen, script) = (Arc::clone(seen), Arc::clone(script));
        if let Ok(copy) = stream.try_clone() {
            let mut streams = seen.streams.lock().expect("streams");
            // Under the lock, so that `stop` either sees this connection or is seen here.
            if seen.stopping.load(Ordering::SeqCst) {
                return;
            }
            streams.push((number, copy));
        }
        std::thread::spawn(move || talk(stream, seen, &*script, number));
    }
}

fn talk(stream: TcpStream, seen: Arc<Seen>, script: &dyn Fn(&mut Connection), number: usize) {
    seen.open.fetch_add(1, Ordering::SeqCst);
    let mut connection = Connection {
        wire: Wire::new(stream, LONGER),
        seen: Arc::clone(&seen),
        number,
    };
    script(&mut connection);
    drop(connection);
    // The copy kept for `stop` would hold the connection open.
    let mut streams = seen.streams.lock().expect("streams");
    streams.retain(|(kept, _)| *kept != number);
    drop(streams);
    seen.open.fetch_sub(1, Ordering::SeqCst);
}

fn serve(connection: &mut Connection, script: &impl Fn(&Request) -> Vec<u8>) {
    while let Some(request) = connection.request() {
        if !request.whole || !connection.write(script(&request)) {
            return;
        }
    }
}

fn echo(request: &Request) -> Vec<u8> {
    answer(200, &request.body)
}

/// A well-formed answer of a scripted upstream, which says so in `x-from`.
pub fn answer(status: u16, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} OK\r\nx-from: upstream\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}
