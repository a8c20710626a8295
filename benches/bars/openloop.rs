//! Requests at the times of a schedule, whatever became of those before: an open loop. A closed
//! one would offer less as soon as it is answered more slowly.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::Times;

/// A client waits no longer for its answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// Random numbers that are the same in each run (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// From 0 to 1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A time with this mean, without memory.
    pub(crate) fn exponential(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.unit()).ln())
    }
}

/// What is asked for, and how often on average; the moments are random (Poisson).
pub(crate) struct Offer {
    /// The path.
    pub(crate) path: &'static str,
    /// Requests a second.
    pub(crate) rate: f64,
}

/// What became of the requests of one [`Offer`].
#[derive(Default)]
pub(crate) struct Served {
    /// Sent, or due while no connection could be made.
    pub(crate) offered: u64,
    /// From the moment when each was due to its whole answer, of those answered 200.
    good: Vec<Duration>,
    /// Answered otherwise, by status.
    refused: BTreeMap<u16, u64>,
    /// Without an answer within [`PATIENCE`].
    unanswered: u64,
}

impl Served {
    /// Answered 200.
    pub(crate) fn good(&self) -> u64 {
        self.good.len() as u64
    }

    /// The share of them, in percent.
    pub(crate) fn percent(&self) -> f64 {
        100.0 * self.good() as f64 / self.offered.max(1) as f64
    }

    /// Their times.
    pub(crate) fn times(&self) -> Times {
        Times::new(self.good.clone())
    }

    fn count(&mut self, ending: Ending) {
        match ending {
            Ending::Good(time) => self.good.push(time),
            Ending::Refused(status) => *self.refused.entry(status).or_default() += 1,
            Ending::Unanswered => self.unanswered += 1,
        }
    }
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} offered, {:.2} % good", self.offered, self.percent())?;
        for (status, count) in &self.refused {
            write!(f, ", {count} answered {status}")?;
        }
        write!(f, ", {} unanswered; {}", self.unanswered, self.times())
    }
}

enum Ending {
    Good(Duration),
    Refused(u16),
    Unanswered,
}

/// How long is offered: the first part is not counted.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    /// Until everything has settled.
    pub(crate) settling: Duration,
    /// What is counted.
    pub(crate) counted: Duration,
}

/// Offers all of them at once, and waits for the last answer.
pub(crate) fn offer(address: SocketAddr, offers: &[Offer], span: Span) -> io::Result<Vec<Served>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, run(address, offers, span))
}

async fn run(address: SocketAddr, offers: &[Offer], span: Span) -> io::Result<Vec<Served>> {
    let served: Vec<_> = offers
        .iter()
        .map(|_| RefCell::<Served>::default())
        .collect();
    let served = Rc::new(served);
    let pool = Rc::new(Pool {
        address,
        idle: RefCell::default(),
    });
    let messages: Vec<Rc<[u8]>> = offers
        .iter()
        .map(|offer| {
            let text = format!("GET {} HTTP/1.1\r\nhost: bars.test\r\n\r\n", offer.path);
            text.into_bytes().into()
        })
        .collect();
    let total: f64 = offers.iter().map(|offer| offer.rate).sum();
    let mut random = Random::new(1);
    let mut tasks = tokio::task::JoinSet::new();
    let start = Instant::now();
    let (begin, end) = (start + span.settling, start + span.settling + span.counted);
    let mut due = start;
    while due < end {
        due += random.exponential(Duration::from_secs_f64(1.0 / total));
        let mut point = random.unit() * total;
        let passed = |offer: &Offer| {
            point -= offer.rate;
            point < 0.0
        };
        let which = offers.iter().position(passed).unwrap_or_default();
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
        }
        let (pool, served) = (Rc::clone(&pool), Rc::clone(&served));
        let message = Rc::clone(&messages[which]);
        tasks.spawn_local(async move {
            let ending = ask(&pool, &message, due).await;
            if due >= begin {
                let mut served = served[which].borrow_mut();
                served.offered += 1;
                served.count(ending);
            }
        });
        while tasks.try_join_next().is_some() {}
    }
    while tasks.join_next().await.is_some() {}
    let take = |served: &RefCell<Served>| served.take();
    Ok(served.iter().map(take).collect())
}

async fn ask(pool: &Pool, message: &[u8], due: Instant) -> Ending {
    let answer = tokio::time::timeout_at((due + PATIENCE).into(), pool.ask(message));
    match answer.await {
        Ok(Ok(200)) => Ending::Good(due.elapsed()),
        Ok(Ok(status)) => Ending::Refused(status),
        Ok(Err(_)) | Err(_) => Ending::Unanswered,
    }
}

/// Connections that nobody uses at the moment; the one used last is used first.
struct Pool {
    address: SocketAddr,
    idle: RefCell<Vec<TcpStream>>,
}

impl Pool {
    async fn ask(&self, message: &[u8]) -> io::Result<u16> {
        let kept = self.idle.borrow_mut().pop();
        if let Some(stream) = kept
            && let Ok(status) = self.ask_on(stream, message).await
        {
            return Ok(status);
        }
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        // Whoever gives up resets: connections that linger would use up all ports.
        stream.set_zero_linger()?;
        self.ask_on(stream, message).await
    }

    async fn ask_on(&self, mut stream: TcpStream, message: &[u8]) -> io::Result<u16> {
        stream.write_all(message).await?;
        let (mut buffer, mut held) = ([0; 2048], 0);
        loop {
            match stream.read(&mut buffer[held..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => held += read,
            }
            if let Some(answer) = whole(&buffer[..held])? {
                if !answer.closes {
                    self.idle.borrow_mut().push(stream);
                }
                return Ok(answer.status);
            }
        }
    }
}

struct Answer {
    status: u16,
    closes: bool,
}

/// The answer, once all of it is there.
fn whole(bytes: &[u8]) -> io::Result<Option<Answer>> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| malformed())?;
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    let mut answer = Answer {
        status: status.ok_or_else(malformed)?,
        closes: false,
    };
    let mut length = None;
    for line in head.lines().skip(1) {
        let (name, value) = line.split_once(':').ok_or_else(malformed)?;
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse::<usize>().ok(),
            "connection" => answer.closes = value.trim().eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    // Without a length it ends with its connection, and none of that is needed here.
    answer.closes |= length.is_none();
    Ok((bytes.len() >= end + 4 + length.unwrap_or_default()).then_some(answer))
}
