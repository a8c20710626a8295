//! The service behind the gateways under comparison: one thread, one epoll loop, HTTP/1.1.
//!
//! `compare.py` builds it with `rustc -O`. It prints `listening ADDRESS` and then answers
//! every request with 200 and a JSON body of 200 bytes, but for two paths:
//!
//! - one that ends in `/inspect` gets what arrived: method, target, body length, sum of the
//!   body's bytes, and whether an X-Forwarded-For came along;
//! - `/counters` gets the connections and requests seen so far.
//!
//! Bodies come with Content-Length or chunked; a head is at most 64 KiB.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

const MAX_HEAD: usize = 64 * 1024;

/// The kernel's event record; packed on x86-64 only.
#[cfg_attr(target_arch = "x86_64", repr(C, packed))]
#[cfg_attr(not(target_arch = "x86_64"), repr(C))]
#[derive(Clone, Copy)]
struct Event {
    events: u32,
    data: u64,
}

unsafe extern "C" {
    fn epoll_create1(flags: i32) -> i32;
    fn epoll_ctl(epoll: i32, operation: i32, fd: i32, event: *mut Event) -> i32;
    fn epoll_wait(epoll: i32, events: *mut Event, max: i32, timeout_ms: i32) -> i32;
}

const READABLE: u32 = 1;
const WRITABLE: u32 = 4;
const EDGE: u32 = 1 << 31;
const ADD: i32 = 1;

struct Poll(i32);

impl Poll {
    fn new() -> Poll {
        // SAFETY: takes no pointer.
        let fd = unsafe { epoll_create1(0) };
        assert!(fd >= 0, "epoll_create1 failed");
        Poll(fd)
    }

    fn add(&self, fd: i32, events: u32) {
        let mut event = Event {
            events,
            data: fd as u64,
        };
        // SAFETY: `event` lives through the call, which copies it.
        let done = unsafe { epoll_ctl(self.0, ADD, fd, &mut event) };
        assert_eq!(done, 0, "epoll_ctl failed");
    }

    fn wait(&self, events: &mut [Event]) -> usize {
        // SAFETY: the pointer and the length describe one live slice.
        let count = unsafe { epoll_wait(self.0, events.as_mut_ptr(), events.len() as i32, -1) };
        usize::try_from(count).unwrap_or(0)
    }
}

#[derive(Default)]
struct Counters {
    connections: u64,
    requests: u64,
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
}

/// A whole request at the front of the input.
struct Request {
    method: String,
    target: String,
    forwarded: bool,
    length: usize,
    sum: u64,
    /// Bytes it took.
    size: usize,
}

/// What is known of a request so far.
enum Parsed {
    Whole(Request),
    Partial,
    Broken,
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn parse(input: &[u8]) -> Parsed {
    let Some(end) = find(input, b"\r\n\r\n") else {
        return if input.len() > MAX_HEAD { Parsed::Broken } else { Parsed::Partial };
    };
    let Ok(head) = std::str::from_utf8(&input[..end]) else {
        return Parsed::Broken;
    };
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or("").split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Parsed::Broken;
    };
    let (mut length, mut chunked, mut forwarded) = (0, false, false);
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            return Parsed::Broken;
        };
        if name.eq_ignore_ascii_case("content-length") {
            let Ok(number) = value.trim().parse::<usize>() else {
                return Parsed::Broken;
            };
            length = number;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = true;
        } else if name.eq_ignore_ascii_case("x-forwarded-for") {
            forwarded = true;
        }
    }
    let start = end + 4;
    let body = if chunked {
        match dechunk(&input[start..]) {
            Ok(Some(body)) => body,
            Ok(None) => return Parsed::Partial,
            Err(()) => return Parsed::Broken,
        }
    } else if input.len() < start + length {
        return Parsed::Partial;
    } else {
        Body { length, sum: sum(&input[start..start + length]), size: length }
    };
    Parsed::Whole(Request {
        method: method.to_owned(),
        target: target.to_owned(),
        forwarded,
        length: body.length,
        sum: body.sum,
        size: start + body.size,
    })
}

struct Body {
    length: usize,
    sum: u64,
    size: usize,
}

/// Reads a chunked body without trailers; `None` while it is not whole.
fn dechunk(input: &[u8]) -> Result<Option<Body>, ()> {
    let mut body = Body { length: 0, sum: 0, size: 0 };
    loop {
        let rest = &input[body.size..];
        let Some(line) = find(rest, b"\r\n") else {
            return Ok(None);
        };
        let digits = std::str::from_utf8(&rest[..line]).map_err(|_| ())?;
        let size = usize::from_str_radix(digits.trim(), 16).map_err(|_| ())?;
        let Some(chunk) = rest.get(line + 2..line + 2 + size + 2) else {
            return Ok(None);
        };
        body.size += line + 2 + size + 2;
        body.length += size;
        body.sum += sum(&chunk[..size]);
        if size == 0 {
            return Ok(Some(body));
        }
    }
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|&byte| u64::from(byte)).sum()
}

fn respond(output: &mut Vec<u8>, body: &str) {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    output.extend_from_slice(head.as_bytes());
    output.extend_from_slice(body.as_bytes());
}

impl Connection {
    /// Reads, answers and writes as far as the socket goes; false when it is over.
    fn advance(&mut self, counters: &mut Counters, usual: &str) -> bool {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(count) => {
                    self.input.extend_from_slice(&buffer[..count]);
                    if count < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        loop {
            match parse(&self.input) {
                Parsed::Whole(request) => {
                    counters.requests += 1;
                    self.answer(&request, counters, usual);
                    self.input.drain(..request.size);
                }
                Parsed::Partial => break,
                Parsed::Broken => return false,
            }
        }
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    fn answer(&mut self, request: &Request, counters: &Counters, usual: &str) {
        let path = request.target.split('?').next().unwrap_or("");
        if path == "/counters" {
            let (connections, requests) = (counters.connections, counters.requests);
            let body = format!("{{\"connections\":{connections},\"requests\":{requests}}}");
            respond(&mut self.output, &body);
        } else if path.ends_with("/inspect") {
            let body = format!(
                "{{\"method\":\"{}\",\"target\":\"{}\",\"length\":{},\"sum\":{},\"forwarded\":{}}}",
                request.method, request.target, request.length, request.sum, request.forwarded
            );
            respond(&mut self.output, &body);
        } else {
            respond(&mut self.output, usual);
        }
    }
}

fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    println!("listening {}", listener.local_addr()?);
    let poll = Poll::new();
    let door = listener.as_raw_fd();
    poll.add(door, READABLE);
    let usual = format!("{{\"served\":\"{}\"}}", "u".repeat(187));
    assert_eq!(usual.len(), 200);
    let mut counters = Counters::default();
    let mut connections: HashMap<i32, Connection> = HashMap::new();
    let mut events = [Event { events: 0, data: 0 }; 128];
    loop {
        let count = poll.wait(&mut events);
        for event in &events[..count] {
            let fd = event.data as i32;
            if fd == door {
                while let Ok((stream, _)) = listener.accept() {
                    counters.connections += 1;
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    let fd = stream.as_raw_fd();
                    connections.insert(fd, Connection { stream, input: Vec::new(), output: Vec::new() });
                    poll.add(fd, READABLE | WRITABLE | EDGE);
                }
            } else if let Some(connection) = connections.get_mut(&fd) {
                if !connection.advance(&mut counters, &usual) {
                    connections.remove(&fd);
                }
            }
        }
    }
}
