//! The service behind the gateway: a process of its own, so that it can be killed for real.
//!
//! This program starts itself again with `--serve ADDRESS`. Every request gets [`BODY`]; one
//! whose path holds `/delay/MS` gets it that much later, one with `/drip/N` in N chunks, one
//! each 100 ms.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::wire::{read_body, read_head};

/// What the service answers.
pub(crate) const BODY: &[u8] = b"{\"from\":\"the service behind the gateway\"}";

/// A running service.
pub(crate) struct Upstream {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Upstream {
    /// Starts the service; port 0 takes a free one.
    pub(crate) fn start(address: SocketAddr) -> io::Result<Upstream> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--serve", &address.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        match line.trim().parse() {
            Ok(address) => Ok(Upstream { child, address }),
            Err(_) => Err(io::Error::other("the upstream did not start")),
        }
    }

    /// Starts it on any free port of loopback.
    pub(crate) fn start_anywhere() -> io::Result<Upstream> {
        Upstream::start(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Ends it as `kill -9` does: the kernel closes what it had open.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// The service itself; ends when standard input does, so that it never outlives its parent.
pub(crate) fn serve(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("{}", listener.local_addr()?);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || converse(stream));
        }
    });
    io::stdin().read_to_end(&mut Vec::new()).map(drop)
}

/// Answers the requests of one connection until it ends.
fn converse(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(head) = read_head(&mut stream)? {
        read_body(&mut stream, &head)?;
        let path = head.first.split(' ').nth(1).unwrap_or("");
        if let Some(ms) = number_after(path, "/delay/") {
            thread::sleep(Duration::from_millis(ms));
        }
        match number_after(path, "/drip/") {
            Some(count) => drip(stream.get_mut(), count)?,
            None => whole(stream.get_mut())?,
        }
        if head.closes {
            break;
        }
    }
    Ok(())
}

fn number_after(path: &str, mark: &str) -> Option<u64> {
    let (_, rest) = path.split_once(mark)?;
    rest.split('/').next()?.parse().ok()
}

fn whole(stream: &mut TcpStream) -> io::Result<()> {
    let mut message =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", BODY.len()).into_bytes();
    message.extend_from_slice(BODY);
    stream.write_all(&message)
}

fn drip(stream: &mut TcpStream, count: u64) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
    for _ in 0..count {
        stream.write_all(b"4\r\ndrip\r\n")?;
        thread::sleep(Duration::from_millis(100));
    }
    stream.write_all(b"0\r\n\r\n")
}
