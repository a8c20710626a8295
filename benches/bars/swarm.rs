//! Many keep-alive connections on one thread, each with one request at a time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// Where [`NUMBER`] stands in a message, each request has a number of its own there.
pub(crate) const NUMBER: &str = "NNNNNNNNNN";

/// Numbers given out by this program.
static SENT: AtomicU64 = AtomicU64::new(0);

/// Clients that send the same request again and again until they are stopped.
pub(crate) struct Swarm {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<io::Result<()>>,
}

impl Swarm {
    /// Starts the clients, each with a connection of its own. Anything but 200 ends them with
    /// an error.
    pub(crate) fn start(address: SocketAddr, connections: usize, message: Vec<u8>) -> Swarm {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let run = Run {
            address,
            message: message.into(),
            stop: Arc::clone(&stop),
            answered: Arc::clone(&answered),
        };
        let thread = thread::spawn(move || run.all(connections));
        Swarm {
            stop,
            answered,
            thread,
        }
    }

    /// Requests answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// False once an error has ended a client.
    pub(crate) fn is_running(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Lets every client finish its request.
    pub(crate) fn stop(self) -> io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.join();
        ended.unwrap_or_else(|_| Err(io::Error::other("the clients panicked")))
    }
}

/// A GET, no two of them the same.
pub(crate) fn numbered_get(path: &str) -> Vec<u8> {
    format!("GET {path}?n={NUMBER} HTTP/1.1\r\nhost: bars.test\r\n\r\n").into_bytes()
}

/// A POST of that many bytes.
pub(crate) fn post(path: &str, length: usize) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: bars.test\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    );
    let text = "{\"player\":8421972,\"score\":1234,\"items\":[1,2,3]}";
    let body = text.bytes().cycle().take(length);
    head.into_bytes().into_iter().chain(body).collect()
}

#[derive(Clone)]
struct Run {
    address: SocketAddr,
    message: Arc<[u8]>,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
}

impl Run {
    fn all(self, connections: usize) -> io::Result<()> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_io().build()?;
        let local = LocalSet::new();
        local.block_on(&runtime, async move {
            let clients: Vec<_> = (0..connections)
                .map(|_| tokio::task::spawn_local(self.clone().one()))
                .collect();
            for client in clients {
                let ended = client.await.map_err(io::Error::other)?;
                // One that failed stops the others.
                ended.inspect_err(|_| self.stop.store(true, Ordering::Relaxed))?;
            }
            Ok(())
        })
    }

    async fn one(self) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let mut buffer = vec![0; 4096];
        let mut message = self.message.to_vec();
        let number = memchr::memmem::find(&message, NUMBER.as_bytes());
        while !self.stop.load(Ordering::Relaxed) {
            if let Some(at) = number {
                let sent = SENT.fetch_add(1, Ordering::Relaxed);
                message[at..at + NUMBER.len()].copy_from_slice(format!("{sent:010}").as_bytes());
            }
            stream.write_all(&message).await?;
            let mut held = 0;
            while !is_whole(&buffer[..held])? {
                match stream.read(&mut buffer[held..]).await? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    read => held += read,
                }
            }
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Whether an answer is there to its end; one that is no 200 is an error.
fn is_whole(answer: &[u8]) -> io::Result<bool> {
    const LENGTH: &[u8] = b"content-length: ";
    let Some(end) = memchr::memmem::find(answer, b"\r\n\r\n") else {
        return Ok(false);
    };
    let head = &answer[..end + 2];
    if !head.starts_with(b"HTTP/1.1 200 ") {
        let text = String::from_utf8_lossy(answer).into_owned();
        return Err(io::Error::other(format!("answered otherwise: {text}")));
    }
    let length: Option<usize> = memchr::memmem::find(head, LENGTH).and_then(|at| {
        let value = &head[at + LENGTH.len()..];
        let digits = value.iter().position(|byte| *byte == b'\r')?;
        std::str::from_utf8(&value[..digits]).ok()?.parse().ok()
    });
    match length {
        Some(length) => Ok(answer.len() >= end + 4 + length),
        None => Err(io::Error::other("an answer without a length")),
    }
}
