//! Clients that send requests without a pause, and the count of what became of them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::client::Client;
use crate::upstream::BODY;

/// The payload of every fourth request, which is a POST.
const PAYLOAD: [u8; 1024] = [b'p'; 1024];

/// What became of the requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Answered as the upstream would: 200 and its whole body.
    pub(crate) good: u64,
    /// Answered otherwise, by method and status.
    pub(crate) bad: BTreeMap<(&'static str, u16), u64>,
    /// Sent on a connection that then ended without a whole answer.
    pub(crate) cut: u64,
    /// Connections that the gateway closed after saying so.
    pub(crate) announced: u64,
    /// Connections that could not be made.
    pub(crate) refused: u64,
}

impl Tally {
    /// Requests that were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.good + self.failed()
    }

    /// Requests without a good answer.
    pub(crate) fn failed(&self) -> u64 {
        self.bad.values().sum::<u64>() + self.cut
    }

    /// Adds another count.
    pub(crate) fn add(&mut self, other: &Tally) {
        self.good += other.good;
        self.cut += other.cut;
        self.announced += other.announced;
        self.refused += other.refused;
        for (key, count) in &other.bad {
            *self.bad.entry(*key).or_default() += count;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sent, {} good, {} cut",
            self.sent(),
            self.good,
            self.cut
        )?;
        for ((method, status), count) in &self.bad {
            write!(f, ", {count} {method} answered {status}")?;
        }
        write!(
            f,
            "; connections: {} closed as announced, {} not accepted",
            self.announced, self.refused
        )
    }
}

/// What a client does when it cannot connect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenRefused {
    /// It tries again.
    Retry,
    /// It is done: the gateway is gone.
    End,
}

/// Running clients.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Tally>>,
}

impl Traffic {
    /// Starts one client for each path.
    pub(crate) fn start(address: SocketAddr, paths: &[&str], when_refused: WhenRefused) -> Traffic {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let threads = paths
            .iter()
            .map(|path| {
                let run = Run {
                    address,
                    path: (*path).to_owned(),
                    when_refused,
                    stop: Arc::clone(&stop),
                    sent: Arc::clone(&sent),
                };
                thread::spawn(move || run.go())
            })
            .collect();
        Traffic {
            stop,
            sent,
            threads,
        }
    }

    /// Requests sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Lets every client finish its request and counts.
    pub(crate) fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for thread in self.threads {
            if let Ok(tally) = thread.join() {
                all.add(&tally);
            }
        }
        all
    }
}

/// One client.
struct Run {
    address: SocketAddr,
    path: String,
    when_refused: WhenRefused,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
}

impl Run {
    fn go(&self) -> Tally {
        let mut tally = Tally::default();
        let mut connection = None;
        while !self.stop.load(Ordering::Relaxed) {
            let Some(client) = &mut connection else {
                match Client::connect(self.address) {
                    Ok(client) => connection = Some(client),
                    Err(_) => {
                        tally.refused += 1;
                        if self.when_refused == WhenRefused::End {
                            break;
                        }
                        thread::sleep(Duration::from_millis(5));
                    }
                }
                continue;
            };
            let (method, body) = match tally.sent() % 4 {
                3 => ("POST", &PAYLOAD[..]),
                _ => ("GET", &[][..]),
            };
            self.sent.fetch_add(1, Ordering::Relaxed);
            match client.call(method, &self.path, body) {
                Ok(answer) => {
                    if answer.status == 200 && answer.body == BODY {
                        tally.good += 1;
                    } else {
                        *tally.bad.entry((method, answer.status)).or_default() += 1;
                    }
                    if answer.closes {
                        tally.announced += 1;
                        connection = None;
                    }
                }
                Err(_) => {
                    tally.cut += 1;
                    connection = None;
                }
            }
        }
        tally
    }
}
