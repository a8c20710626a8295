//! The journal's two threads: one takes what comes and encodes it, the other waits for the disk.
//!
//! A sync takes long enough to encode the next batch beside it. So in dense traffic the second
//! thread commits one batch after the other, each of all that came during the one before. In
//! any other the first thread commits by itself: to wake another would take longer.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, mem};

use super::batch::{Batch, Waiting};
use super::journal::Command;
use super::options::{Commit, Durability, Watch};
use super::writer::{Moment, Writer};
use crate::vocab::Clock;

/// The distance of commits in dense traffic, with durability `written`.
const GATHER: Duration = Duration::from_micros(250);

/// How soon the first thread looks again whether the other has ended, when nothing comes.
const LOOK: Duration = Duration::from_millis(10);

/// Whose turn it is to commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The first thread's.
    Taker,
    /// The second one's, until nothing waits.
    Committer,
    /// Nobody's: a thread has ended, and the other must.
    Over,
}

struct Intake {
    turn: Turn,
    /// What waits to be committed.
    batch: Batch,
}

/// What both threads have.
struct Pipeline {
    intake: Mutex<Intake>,
    /// The turn has changed, or there is room in the batch.
    changed: Condvar,
    /// Locked by the thread whose turn it is, so never waited for.
    writer: Mutex<Writer>,
    watch: Arc<dyn Watch>,
    /// A batch of so many bytes is full.
    batch_bytes: u64,
}

impl Pipeline {
    fn intake(&self) -> MutexGuard<'_, Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full(&self, batch: &Batch) -> bool {
        batch.bytes() >= self.batch_bytes
    }

    /// Waits while the other thread has the turn and `busy`; whose it is then.
    fn wait_while(&self, turn: Turn, busy: impl Fn(&Intake) -> bool) -> MutexGuard<'_, Intake> {
        let waits = |intake: &mut Intake| intake.turn == turn && busy(intake);
        let waited = self.changed.wait_while(self.intake(), waits);
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, mut intake: MutexGuard<'_, Intake>, turn: Turn) {
        if intake.turn != Turn::Over {
            intake.turn = turn;
        }
        drop(intake);
        self.changed.notify_all();
    }

    /// Commits what waits; `batch` is an empty one to go on with.
    fn commit(&self, mut intake: MutexGuard<'_, Intake>, batch: &mut Batch) {
        let was_full = self.is_full(&intake.batch);
        mem::swap(&mut intake.batch, batch);
        drop(intake);
        if was_full {
            self.changed.notify_all();
        }
        let at = moment();
        let tally = self.writer().commit(batch, at);
        self.watch.committed(&Commit {
            took: Clock::now().saturating_duration_since(at.now),
            stored: tally.stored,
            refused: tally.refused,
            bytes: tally.bytes,
        });
    }
}

/// Ends the other thread with this one, however it ends.
struct Ending(Arc<Pipeline>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.give(self.0.intake(), Turn::Over);
    }
}

/// The second thread.
fn committer(ending: &Ending) {
    let pipeline = &ending.0;
    let mut batch = Batch::default();
    loop {
        let intake = pipeline.wait_while(Turn::Taker, |_| true);
        match intake.turn {
            Turn::Over => return,
            Turn::Taker | Turn::Committer if intake.batch.is_empty() => {
                pipeline.give(intake, Turn::Taker);
            }
            Turn::Taker | Turn::Committer => {
                pipeline.commit(intake, &mut batch);
                // Under a load that never pauses nobody else does.
                pipeline.writer().tick(moment());
            }
        }
    }
}

/// The first thread.
pub(super) struct Taker {
    pipeline: Arc<Pipeline>,
    commands: Receiver<Command>,
    committer: JoinHandle<()>,
    dense: usize,
    durability: Durability,
    batch: Batch,
    /// When its last commit ended.
    last: Option<Instant>,
}

impl Taker {
    /// Starts the second thread.
    ///
    /// # Errors
    /// It did not start.
    pub(super) fn new(
        writer: Writer,
        commands: Receiver<Command>,
        watch: Arc<dyn Watch>,
    ) -> io::Result<Taker> {
        let options = &writer.options;
        let (dense, durability) = (options.dense, options.limits.durability);
        let pipeline = Arc::new(Pipeline {
            intake: Mutex::new(Intake {
                turn: Turn::Taker,
                batch: Batch::default(),
            }),
            changed: Condvar::new(),
            watch,
            batch_bytes: options.batch_bytes,
            writer: Mutex::new(writer),
        });
        let ending = Ending(Arc::clone(&pipeline));
        let committer = thread::Builder::new()
            .name("journal-commit".to_owned())
            .spawn(move || committer(&ending))?;
        Ok(Taker {
            pipeline,
            commands,
            committer,
            dense,
            durability,
            batch: Batch::default(),
            last: None,
        })
    }

    /// Takes commands until the journal is closed.
    pub(super) fn run(mut self) {
        let ending = Ending(Arc::clone(&self.pipeline));
        let mut next = None;
        let closed = loop {
            let command = match next.take() {
                Some(command) => Ok(command),
                None => self.receive(),
            };
            match command {
                Ok(Command::Store(first)) => next = self.store(*first),
                Ok(Command::Close(done)) => break Some(done),
                Ok(Command::Seal(done)) => {
                    let _ = done.send(self.settled().seal(moment()));
                }
                Ok(Command::Remove(segment, done)) => {
                    let _ = done.send(self.settled().remove(segment, moment()));
                }
                Ok(Command::Adjust(limits)) => {
                    self.settled().adjust(limits);
                    self.durability = limits.durability;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break None,
            }
        };
        self.end(ending);
        // The writer's locks too are gone when the caller hears of it.
        if let Some(done) = closed {
            let _ = done.send(());
        }
    }

    fn end(self, ending: Ending) {
        let mut writer = self.settled();
        match self.pipeline.intake().turn {
            Turn::Taker | Turn::Committer => drop(writer.seal(moment())),
            // After a panic nobody knows how the writer stands; the next start finds out.
            Turn::Over => {}
        }
        drop(writer);
        drop(ending);
        let _ = self.committer.join();
    }

    /// Waits for the next command, with what is due by time done before.
    fn receive(&self) -> Result<Command, RecvTimeoutError> {
        let turn = self.pipeline.intake().turn;
        let wait = match turn {
            Turn::Taker => {
                let at = moment();
                let mut writer = self.pipeline.writer();
                writer.tick(at);
                let due = writer.next_tick();
                due.map(|due| due.saturating_duration_since(at.now))
            }
            Turn::Committer => Some(LOOK),
            // What waits is dropped, and so told.
            Turn::Over => return Err(RecvTimeoutError::Disconnected),
        };
        match wait {
            Some(wait) => self.commands.recv_timeout(wait),
            None => self.commands.recv().map_err(RecvTimeoutError::from),
        }
    }

    /// The writer, once the other thread has committed all.
    fn settled(&self) -> MutexGuard<'_, Writer> {
        drop(self.pipeline.wait_while(Turn::Committer, |_| true));
        self.pipeline.writer()
    }

    /// Without a sync a commit takes less time than to wake two threads for it. So in dense
    /// traffic commits keep a distance, and share it; a lone record never waits.
    fn gather(&self) {
        match self.durability {
            Durability::Fsync => {}
            Durability::Written => {
                let since = self
                    .last
                    .map(|last| Clock::now().saturating_duration_since(last));
                let rest = since.and_then(|since| GATHER.checked_sub(since));
                rest.into_iter().for_each(thread::sleep);
            }
        }
    }

    /// Adds a record to what waits. If it is this thread's turn, it adds what else is there, up
    /// to a batch, and commits it; but with as many as make traffic dense it gives the turn away at
    /// once, or all who send would wait for the same commit and none for the next. Gives back a
    /// command that ended the group.
    fn store(&mut self, first: Waiting) -> Option<Command> {
        let pipeline = Arc::clone(&self.pipeline);
        let full = |intake: &Intake| pipeline.is_full(&intake.batch);
        let mut intake = pipeline.wait_while(Turn::Committer, full);
        intake.batch.add(first);
        match intake.turn {
            Turn::Committer | Turn::Over => return None,
            Turn::Taker => {}
        }
        // The other thread has nothing to do with it until it is given the turn.
        self.gather();
        let mut next = None;
        let enough = match self.durability {
            Durability::Fsync => self.dense,
            Durability::Written => usize::MAX,
        };
        while !full(&intake) && intake.batch.waiting() < enough {
            match self.commands.try_recv() {
                Ok(Command::Store(waiting)) => intake.batch.add(*waiting),
                Ok(other) => {
                    next = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        if intake.batch.waiting() >= enough {
            pipeline.give(intake, Turn::Committer);
        } else {
            pipeline.commit(intake, &mut self.batch);
            self.last = Some(Clock::now());
        }
        next
    }
}

pub(super) fn moment() -> Moment {
    Moment {
        now: Clock::now(),
        unix: Clock::unix(),
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
