//! A service with a capacity: so many servers, each busy for a while with each request; what
//! finds them all busy waits in line, however long. A process of its own, as `upstream`.
//!
//! The times are drawn from an exponential distribution, as in the simulation that the adaptive
//! limit was designed with, and kept by a schedule: a timer that fires late costs no capacity.

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use crate::openloop::Random;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\ndone\n";

/// A running service.
pub(crate) struct Servers {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Servers {
    /// Starts the service on a free port of loopback.
    pub(crate) fn start(count: usize, mean: Duration) -> io::Result<Servers> {
        let capacity = format!("{count}x{}", mean.as_micros());
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--servers", &capacity])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        match line.trim().parse() {
            Ok(address) => Ok(Servers { child, address }),
            Err(_) => Err(io::Error::other("the servers did not start")),
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The service itself, given `COUNTxMICROSECONDS`; ends when standard input does.
pub(crate) fn serve(capacity: &str) -> io::Result<()> {
    let (count, micros) = capacity
        .split_once('x')
        .and_then(|(count, micros)| Some((count.parse().ok()?, micros.parse().ok()?)))
        .ok_or(io::ErrorKind::InvalidInput)?;
    thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let line = Rc::new(RefCell::new(Line {
        free: vec![Instant::now(); count],
        mean: Duration::from_micros(micros),
        random: Random::new(7),
    }));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::task::spawn_local(converse(stream, Rc::clone(&line)));
        }
    })
}

/// When each server is free again.
struct Line {
    free: Vec<Instant>,
    mean: Duration,
    random: Random,
}

impl Line {
    /// When a request that comes now is answered: the server that is free first takes it.
    fn join(&mut self, now: Instant) -> Instant {
        let busy = self.random.exponential(self.mean);
        let Some(first) = self.free.iter_mut().min() else {
            return now;
        };
        *first = now.max(*first) + busy;
        *first
    }
}

async fn converse(mut stream: TcpStream, line: Rc<RefCell<Line>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut held) = (vec![0; 8192], 0);
    loop {
        match stream.read(&mut buffer[held..]).await? {
            0 => return Ok(()),
            read => held += read,
        }
        // The requests are GETs: their head is all of them.
        while let Some(end) = memchr::memmem::find(&buffer[..held], b"\r\n\r\n") {
            buffer.copy_within(end + 4..held, 0);
            held -= end + 4;
            let done = line.borrow_mut().join(Instant::now());
            tokio::time::sleep_until(done.into()).await;
            stream.write_all(ANSWER).await?;
        }
    }
}
