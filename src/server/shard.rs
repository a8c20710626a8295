//! One worker thread: its own runtime, its own listening sockets, its own connections.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};

use super::conn::serve_connection;
use super::linger;
use super::listen::{self, Listeners};
use crate::proxy::{Peer, Worker, raw_refusal};
use crate::snapshot::{Live, Phase};
use crate::telemetry::{LineSink, ListenerKind};
use crate::vocab::Reason;

/// Connections on their way to another worker.
const INBOX: usize = 64;
/// How many more connections than the least loaded worker one keeps for itself.
const IMBALANCE: usize = 2;
/// How often a worker lets go of outdated snapshots and old idle connections.
const TIDY: Duration = Duration::from_secs(1);
/// How long handshakes that have begun may take to arrive once new ones are refused.
const HANDSHAKES: Duration = Duration::from_millis(50);
/// Pause after the process ran out of file descriptors.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// The running workers.
#[derive(Debug)]
pub struct Server {
    threads: Vec<std::thread::JoinHandle<()>>,
    left: Arc<Left>,
}

/// How many workers still run.
#[derive(Debug)]
struct Left {
    workers: AtomicUsize,
    changed: Notify,
}

/// What workers know of each other.
#[derive(Debug)]
struct Neighbour {
    connections: AtomicUsize,
    inbox: mpsc::Sender<(std::net::TcpStream, SocketAddr)>,
}

impl Server {
    /// Waits until every worker has ended.
    pub async fn ended(&self) {
        loop {
            let changed = self.left.changed.notified();
            if self.left.workers.load(Relaxed) == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Joins the worker threads.
    pub fn join(self) {
        for thread in self.threads {
            // A worker that panicked has ended the process.
            let _ = thread.join();
        }
    }
}

/// Starts one thread for each set of listeners.
///
/// # Errors
/// When a thread or a runtime cannot be started.
pub fn start(
    listeners: Listeners,
    live: &Arc<Live>,
    access: Option<&LineSink>,
) -> io::Result<Server> {
    let count = listeners.by_worker.len();
    let (neighbours, inboxes): (Vec<_>, Vec<_>) = (0..count)
        .map(|_| {
            let (inbox, arrivals) = mpsc::channel(INBOX);
            let connections = AtomicUsize::new(0);
            (Neighbour { connections, inbox }, arrivals)
        })
        .unzip();
    let neighbours: Arc<[Neighbour]> = neighbours.into();
    let left = Arc::new(Left {
        workers: AtomicUsize::new(count),
        changed: Notify::new(),
    });
    let mut threads = Vec::new();
    let sockets = listeners.by_worker.into_iter().zip(inboxes);
    for (index, (sockets, arrivals)) in sockets.enumerate() {
        let shard = Shard {
            index,
            worker: Arc::new(Worker::new(Arc::clone(live), access.cloned())),
            neighbours: Arc::clone(&neighbours),
        };
        let left = Arc::clone(&left);
        let run = move || {
            let ran = catch_unwind(AssertUnwindSafe(|| shard.run(sockets, arrivals)));
            end_of_thread(ran, index);
            left.workers.fetch_sub(1, Relaxed);
            left.changed.notify_waiters();
        };
        let name = format!("worker-{index}");
        threads.push(std::thread::Builder::new().name(name).spawn(run)?);
    }
    Ok(Server { threads, left })
}

/// A worker that died would leave a socket that still gets its share of connections, and
/// nobody to accept them. Better that the process ends and is started again.
fn end_of_thread(ran: std::thread::Result<io::Result<()>>, index: usize) {
    let why = match ran {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        // Said here too: the log's own thread may not get to it any more.
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            format!("it panicked: {}", text.unwrap_or_default())
        }
    };
    eprintln!("seawall: worker {index} died ({why}); ending the process");
    std::process::exit(1);
}

struct Shard {
    index: usize,
    worker: Arc<Worker>,
    neighbours: Arc<[Neighbour]>,
}

type Arrivals = mpsc::Receiver<(std::net::TcpStream, SocketAddr)>;

impl Shard {
    fn run(&self, sockets: Vec<std::net::TcpListener>, arrivals: Arrivals) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(self.serve(sockets, arrivals))
        // Dropping the runtime cuts what is left: only after the phase was forced.
    }

    async fn serve(
        &self,
        sockets: Vec<std::net::TcpListener>,
        mut arrivals: Arrivals,
    ) -> io::Result<()> {
        let convert = sockets.into_iter().map(TcpListener::from_std);
        let listeners: Vec<TcpListener> = convert.collect::<io::Result<_>>()?;
        let mut phase = self.worker.live.watch_phase();
        let mut tidy = tokio::time::interval(TIDY);
        loop {
            tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase >= Phase::Stopping) => break,
                accepted = accept_any(&listeners) => self.accepted(accepted).await,
                Some((stream, address)) = arrivals.recv() => self.arrived(stream, address),
                _ = tidy.tick() => self.worker.tidy(),
            }
        }
        self.stop_accepting(listeners, arrivals).await;
        self.wait_for_connections(phase).await;
        Ok(())
    }

    async fn accepted(&self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        match accepted {
            Ok((stream, address)) => self.place(stream, address),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections; is the file limit too low?");
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }

    /// The kernel spreads connections by hash, unevenly when they are few: one connection is
    /// handed on once, to the worker that has fewest.
    fn place(&self, stream: TcpStream, address: SocketAddr) {
        let own = self.own().connections.load(Relaxed);
        let least = self
            .neighbours
            .iter()
            .min_by_key(|n| n.connections.load(Relaxed));
        if let Some(least) = least
            && least.connections.load(Relaxed) + IMBALANCE <= own
            && let Ok(permit) = least.inbox.try_reserve()
        {
            match stream.into_std() {
                Ok(stream) => {
                    least.connections.fetch_add(1, Relaxed);
                    permit.send((stream, address));
                }
                Err(error) => tracing::warn!(%error, "a connection was lost between workers"),
            }
            return;
        }
        self.own().connections.fetch_add(1, Relaxed);
        self.spawn(stream, address);
    }

    fn own(&self) -> &Neighbour {
        &self.neighbours[self.index]
    }

    /// A connection that a neighbour accepted and counted for us.
    fn arrived(&self, stream: std::net::TcpStream, address: SocketAddr) {
        match TcpStream::from_std(stream) {
            Ok(stream) => self.spawn(stream, address),
            Err(error) => {
                self.own().connections.fetch_sub(1, Relaxed);
                tracing::warn!(%error, "a connection was lost between workers");
            }
        }
    }

    /// Serves a connection that is already counted as this worker's.
    fn spawn(&self, stream: TcpStream, address: SocketAddr) {
        let worker = Arc::clone(&self.worker);
        let metrics = Arc::clone(&worker.live.metrics);
        let neighbours = Arc::clone(&self.neighbours);
        let index = self.index;
        let max = worker.view().snapshot.settings().server.max_connections as i64;
        let one_too_many = metrics.open_connections(ListenerKind::Client) >= max;
        metrics.connections(ListenerKind::Client, 1);
        let counted = Counted(move || {
            metrics.connections(ListenerKind::Client, -1);
            neighbours[index].connections.fetch_sub(1, Relaxed);
        });
        // One task a connection, on this worker's own thread.
        tokio::spawn(async move {
            let _counted = counted;
            if one_too_many {
                let answer = raw_refusal(&worker, Reason::TooManyConnections);
                linger::linger(stream, &answer).await;
                return;
            }
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "connection gone before it began");
                return;
            }
            serve_connection(stream, Arc::new(Peer::new(address)), worker).await;
        });
    }

    /// Closing a socket resets what is queued on it. So no new connection is let in first, then
    /// those that are in are accepted, then it is closed.
    async fn stop_accepting(&self, listeners: Vec<TcpListener>, mut arrivals: Arrivals) {
        for listener in &listeners {
            if let Err(error) = listen::let_nobody_in(listener) {
                tracing::debug!(%error, "new connections may be reset while the socket closes");
            }
        }
        let closing = tokio::time::sleep(HANDSHAKES);
        tokio::pin!(closing);
        loop {
            tokio::select! {
                biased;
                () = &mut closing => break,
                accepted = accept_any(&listeners) => self.accepted(accepted).await,
                Some((stream, address)) = arrivals.recv() => self.arrived(stream, address),
            }
        }
        for listener in listeners.into_iter().filter_map(|l| l.into_std().ok()) {
            self.accept_the_last(&listener);
        }
        arrivals.close();
        // Waits for a neighbour that has found room and not yet filled it.
        while let Some((stream, address)) = arrivals.recv().await {
            self.arrived(stream, address);
        }
    }

    /// Asks the kernel itself: the runtime may not yet have heard of what came last.
    fn accept_the_last(&self, listener: &std::net::TcpListener) {
        loop {
            match listener.accept() {
                Ok((stream, address)) => {
                    self.own().connections.fetch_add(1, Relaxed);
                    match stream.set_nonblocking(true) {
                        Ok(()) => self.arrived(stream, address),
                        Err(_) => drop(self.own().connections.fetch_sub(1, Relaxed)),
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(_) => return,
            }
        }
    }

    async fn wait_for_connections(&self, mut phase: tokio::sync::watch::Receiver<Phase>) {
        let mut look = tokio::time::interval(Duration::from_millis(5));
        while self.own().connections.load(Relaxed) > 0 {
            tokio::select! {
                _ = look.tick() => {}
                _ = phase.wait_for(|phase| *phase >= Phase::Forced) => return,
            }
        }
    }
}

/// Errors that concern the connection, not the socket (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

async fn accept_any(listeners: &[TcpListener]) -> io::Result<(TcpStream, SocketAddr)> {
    std::future::poll_fn(|cx| {
        for listener in listeners {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

/// Runs its closure when dropped: a connection is uncounted however its task ends.
struct Counted<F: Fn()>(F);

impl<F: Fn()> Drop for Counted<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
