//! The journal as the gateway sees it: a bounded queue, behind which `pipeline` works.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use super::batch::{Submission, Waiting};
use super::buffer::Reservation;
use super::catalog::SegmentInfo;
use super::desk::{Deliver, Deliveries, Desk, Waiter};
use super::files::Disk;
use super::id::SegmentId;
use super::options::{Answer, Busy, DirectoryState, Failed, Limits, Options, Watch};
use super::patient::PatientDisk;
use super::pipeline::{Taker, moment};
use super::writer::{Removal, Shared, Surroundings, Writer};

/// How long `close` waits before it tries again to enter a full queue.
const CLOSE_RETRY: Duration = Duration::from_millis(5);

/// Why no journal could be opened. A directory that cannot be used is no reason: it is left
/// out and tried again.
#[derive(Debug)]
pub enum OpenError {
    /// `copies` is 0 or more than there are directories.
    Copies {
        /// As asked for.
        copies: usize,
        /// As given.
        directories: usize,
    },
    /// The writer's thread did not start.
    Thread(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Copies {
                copies,
                directories,
            } => write!(
                f,
                "{copies} copies need as many directories, not {directories}"
            ),
            OpenError::Thread(error) => write!(f, "the journal's thread did not start: {error}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// Why a command did not reach the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unheard {
    /// The queue is full.
    Busy,
    /// The journal was closed.
    Closed,
}

/// What the journal holds and how its directories are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Bytes of all files, each copy counted.
    pub bytes: u64,
    /// Bytes of requests on their way, of `max_buffer`.
    pub buffered: u64,
    /// Segments.
    pub segments: u64,
    /// Records.
    pub records: u64,
    /// When the oldest record was stored, since the Unix epoch.
    pub oldest: Option<Duration>,
    /// Records that were stored after their submitters had been told that they were not: the
    /// disk was slow. The journal has so many more than were acknowledged.
    pub late: u64,
    /// Each directory.
    pub directories: Vec<DirectoryState>,
}

/// The journal; clones share it. When the last one is dropped, the writer seals and ends.
#[derive(Clone, Debug)]
pub struct Journal {
    queue: SyncSender<Command>,
    shared: Arc<Shared>,
    answer_within: Duration,
}

#[derive(Debug)]
pub(super) enum Command {
    Store(Box<Waiting>),
    Seal(oneshot::Sender<Option<SegmentId>>),
    Remove(SegmentId, oneshot::Sender<Removal>),
    Adjust(Limits),
    Close(oneshot::Sender<()>),
}

impl Journal {
    /// Recovers what the directories hold, and starts the writer. Blocks while it reads; what
    /// it finds is told to `watch` and in `figures`.
    ///
    /// # Errors
    /// An impossible number of copies, or a thread that does not start.
    pub fn open(
        options: Options,
        disk: Arc<dyn Disk>,
        watch: Arc<dyn Watch>,
    ) -> Result<Journal, OpenError> {
        let directories = options.directories.len();
        if !(1..=directories).contains(&options.copies) {
            return Err(OpenError::Copies {
                copies: options.copies,
                directories,
            });
        }
        let shared = Arc::new(Shared::new(options.limits.max_buffer));
        let (queue, commands) = sync_channel(options.queue);
        let journal = Journal {
            queue,
            shared: shared.clone(),
            answer_within: options.answer_within,
        };
        // Where there is but one, nothing is won by giving up on it.
        let disk: Arc<dyn Disk> = match directories {
            1 => disk,
            _ => {
                let patient = PatientDisk::new(disk, &options.directories, options.patience);
                Arc::new(patient.map_err(OpenError::Thread)?)
            }
        };
        let around = Surroundings {
            disk,
            watch: watch.clone(),
            shared,
        };
        let writer = Writer::open(options, around, moment());
        let taker = Taker::new(writer, commands, watch);
        let taker = taker.map_err(OpenError::Thread)?;
        thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || taker.run())
            .map_err(OpenError::Thread)?;
        Ok(journal)
    }

    /// Takes room for a request before its body is read: its announced length, or 0 and then
    /// `Reservation::grow` before each chunk.
    ///
    /// # Errors
    /// `max_buffer` is taken up.
    pub fn reserve(&self, bytes: u64) -> Result<Reservation, Busy> {
        self.shared.buffer.reserve(bytes)
    }

    /// Hands a record to the writer and waits until it is decided, for `answer_within` at most.
    /// Dropping the future withdraws a record that is not yet being written.
    pub async fn store(&self, submission: Submission) -> Answer {
        self.submit(submission, None).await
    }

    /// A way to store that costs a worker less; its `Deliveries` must run on that worker.
    pub fn desk(&self) -> (Desk, Deliveries) {
        Desk::new(self.clone(), Arc::clone(&self.shared.late))
    }

    /// Hands a record over at once; the future is small, for the record is no part of it.
    pub(crate) fn submit(
        &self,
        submission: Submission,
        deliver: Option<&Deliver>,
    ) -> impl Future<Output = Answer> + Send + use<> {
        let handed_over = self.hand_over(submission, deliver);
        let patience = self.answer_within;
        async move {
            let mut answer = match handed_over {
                Ok(answer) => answer,
                Err(answer) => return answer,
            };
            match tokio::time::timeout(patience, &mut answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Answer::Failed(Failed::Closed),
                Err(_) => {
                    // From here on it is late; what came at the last moment is not.
                    answer.close();
                    answer.try_recv().unwrap_or(Answer::Failed(Failed::Slow))
                }
            }
        }
    }

    fn hand_over(
        &self,
        mut submission: Submission,
        deliver: Option<&Deliver>,
    ) -> Result<oneshot::Receiver<Answer>, Answer> {
        let head = submission.record.head_bytes();
        submission.reservation.grow(head).map_err(Answer::Busy)?;
        let (sender, answer) = oneshot::channel();
        let waiter = Waiter::new(sender, deliver);
        let waiting = Box::new(Waiting { submission, waiter });
        match self.queue.try_send(Command::Store(waiting)) {
            Ok(()) => Ok(answer),
            Err(TrySendError::Full(_)) => Err(Answer::Busy(Busy)),
            Err(TrySendError::Disconnected(_)) => Err(Answer::Failed(Failed::Closed)),
        }
    }

    /// Seals the segment that is written to; its name, if it held records.
    ///
    /// # Errors
    /// The writer did not hear of it.
    pub async fn seal(&self) -> Result<Option<SegmentId>, Unheard> {
        let (done, sealed) = oneshot::channel();
        self.send(Command::Seal(done))?;
        sealed.await.map_err(|_| Unheard::Closed)
    }

    /// Removes a closed segment, once its upload is confirmed, and gives its room back.
    ///
    /// # Errors
    /// The writer did not hear of it.
    pub async fn remove(&self, segment: SegmentId) -> Result<Removal, Unheard> {
        let (done, removed) = oneshot::channel();
        self.send(Command::Remove(segment, done))?;
        removed.await.map_err(|_| Unheard::Closed)
    }

    /// Changes the limits from the next commit on.
    ///
    /// # Errors
    /// The writer did not hear of it.
    pub fn adjust(&self, limits: Limits) -> Result<(), Unheard> {
        self.send(Command::Adjust(limits))
    }

    /// Stores what is queued, seals and ends the writer. Later records are refused.
    pub async fn close(&self) {
        loop {
            let (done, closed) = oneshot::channel();
            match self.send(Command::Close(done)) {
                Ok(()) => {
                    let _ = closed.await;
                    return;
                }
                Err(Unheard::Busy) => tokio::time::sleep(CLOSE_RETRY).await,
                Err(Unheard::Closed) => return,
            }
        }
    }

    /// All segments, oldest first; the last one may be live.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.shared.catalog().all().cloned().collect()
    }

    /// What the journal holds now.
    pub fn figures(&self) -> Figures {
        let directories = self.shared.directories().clone();
        let catalog = self.shared.catalog();
        let mut oldest = catalog.all().filter_map(|info| info.summary.first);
        Figures {
            bytes: catalog.bytes(),
            buffered: self.shared.buffer.taken(),
            segments: catalog.all().count() as u64,
            records: catalog.all().map(|info| info.summary.records).sum(),
            oldest: oldest
                .next()
                .map(|id| Duration::from_millis(id.timestamp_ms())),
            late: self.shared.late.count(),
            directories,
        }
    }

    fn send(&self, command: Command) -> Result<(), Unheard> {
        self.queue.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => Unheard::Busy,
            TrySendError::Disconnected(_) => Unheard::Closed,
        })
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
