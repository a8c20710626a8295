//! Keeps the book of a run, and writes checkpoints of it beside the sending.
//!
//! The order is what makes a crash harmless: refused records are in their file before a
//! checkpoint counts them, and what is accepted is in the checkpoint until the store's history
//! has it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::task::JoinHandle;

use super::accepted::Fresh;
use super::book::{Book, Settled};
use super::checkpoint::{self, State};
use super::feed::Entry;
use crate::archive::Ulid;
use crate::archive::store::{Store, StoreError};

/// Longest time between two checkpoints while something changes.
const SAVE_EVERY: Duration = Duration::from_millis(250);
/// The history in the store grows by an object each time so many records were accepted,
const RECORD_AT: usize = 20_000;
/// or each time this has passed.
const RECORD_EVERY: Duration = Duration::from_secs(30);

/// Where things are written.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) checkpoint: PathBuf,
    pub(super) refused: PathBuf,
    /// Whose history is kept; `None`: no history.
    pub(super) store: Option<Store>,
}

/// A checkpoint on its way to the disk.
struct Writing {
    handle: JoinHandle<std::io::Result<()>>,
    /// Records sent by this process that it says are settled.
    settled: u64,
    /// For the file of refused records.
    lines: Vec<Bytes>,
}

type Recording = JoinHandle<Result<(), StoreError>>;

/// The book, and what of it is on the disk.
pub(super) struct Saver {
    places: Places,
    /// The state as it was when the run began; book and fresh records are below.
    state: State,
    pub(super) book: Book,
    fresh: Fresh,
    /// Refused, and not in their file yet.
    lines: Vec<Bytes>,
    /// Records sent by this process, and those of them that are settled.
    sent: u64,
    settled: u64,
    /// Settled by the checkpoint on the disk, and by the one that is being written.
    durable: u64,
    writing: Option<Writing>,
    changed: bool,
    saved: Instant,
    recording: Option<(Recording, Fresh)>,
    recorded: Instant,
    /// Why the history could not be written the last time.
    pub(super) unrecorded: Option<String>,
}

impl Saver {
    /// Begins with what was settled before.
    pub(super) fn new(places: Places, state: State, now: Instant) -> Saver {
        Saver {
            places,
            book: state.book.clone(),
            fresh: state.fresh.clone(),
            state,
            lines: Vec::new(),
            sent: 0,
            settled: 0,
            durable: 0,
            writing: None,
            changed: false,
            saved: now,
            recording: None,
            recorded: now,
            unrecorded: None,
        }
    }

    /// Records that would be sent twice if the process ended now.
    pub(super) fn exposed(&self) -> u64 {
        self.sent - self.durable
    }

    pub(super) fn read(&mut self, instance: &str, id: Ulid) {
        self.book.read(instance, id);
    }

    pub(super) fn sent(&mut self, instance: &str) {
        self.sent += 1;
        self.book.sent(instance);
    }

    pub(super) fn retried(&mut self, instance: &str) {
        self.book.retried(instance);
    }

    pub(super) fn skipped(&mut self, instance: &str, id: Ulid) {
        self.book.read(instance, id);
        self.book.settle(instance, id, Settled::Skipped);
        self.changed = true;
    }

    pub(super) fn settle(&mut self, entry: &Entry, how: Settled) {
        // What could not be sent at all was not counted as sent.
        self.settled += u64::from(entry.outgoing.is_ok());
        self.changed = true;
        self.book.settle(&entry.instance, entry.id, how);
        if how == Settled::Accepted && self.places.store.is_some() {
            self.fresh.push(&entry.route, &entry.to.label, entry.id);
        }
    }

    /// A record for the file of refused ones.
    pub(super) fn refuse(&mut self, entry: &Entry, why: String) {
        self.lines.push(entry.line.clone());
        self.book.refused_for(why);
    }

    /// Begins a checkpoint, and an entry of the history, if it is time for one.
    pub(super) fn save_if_due(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.saved) >= SAVE_EVERY;
        if self.changed && late && self.writing.is_none() {
            self.save(now);
        }
        let late = now.saturating_duration_since(self.recorded) >= RECORD_EVERY;
        // A store that failed is left alone for a while, however much there is.
        let many = self.fresh.len() >= RECORD_AT && self.unrecorded.is_none();
        if self.recording.is_none() && self.fresh.len() > 0 && (late || many) {
            self.record(now);
        }
    }

    /// Waits for what is being written. What it gives is why the checkpoint cannot be.
    pub(super) async fn progress(&mut self) -> Option<String> {
        tokio::select! {
            written = finished(&mut self.writing) => self.written(written),
            failed = finished_recording(&mut self.recording) => {
                self.after_recording(failed);
                None
            }
        }
    }

    /// Writes everything that is not on the disk or in the store yet. Gives why the last
    /// checkpoint could not be written.
    pub(super) async fn finish(&mut self, now: Instant) -> Option<String> {
        while self.writing.is_some() || self.recording.is_some() {
            if let Some(why) = self.progress().await {
                return Some(why);
            }
        }
        if self.fresh.len() > 0 && self.places.store.is_some() {
            self.record(now);
            while self.recording.is_some() {
                self.progress().await;
            }
        }
        self.save(now);
        let mut failed = None;
        while self.writing.is_some() {
            failed = self.progress().await;
        }
        failed
    }

    /// Whether the store's history has everything that was accepted.
    pub(super) fn is_recorded(&self) -> bool {
        self.fresh.len() == 0
    }

    fn save(&mut self, now: Instant) {
        self.saved = now;
        self.changed = false;
        let lines = std::mem::take(&mut self.lines);
        let mut fresh = self.fresh.clone();
        if let Some((_, taken)) = &self.recording {
            fresh.join(taken.clone());
        }
        let state = State {
            book: self.book.clone(),
            fresh,
            ..self.state.clone()
        };
        let (refused, path) = (self.places.refused.clone(), self.places.checkpoint.clone());
        let copy = lines.clone();
        let handle = tokio::task::spawn_blocking(move || {
            checkpoint::append(&refused, &copy)?;
            checkpoint::write(&path, &state)
        });
        self.writing = Some(Writing {
            handle,
            settled: self.settled,
            lines,
        });
    }

    fn written(&mut self, result: std::io::Result<()>) -> Option<String> {
        let writing = self.writing.take()?;
        let Err(error) = result else {
            self.durable = writing.settled;
            return None;
        };
        self.lines.splice(0..0, writing.lines);
        self.changed = true;
        Some(format!(
            "{} or {}: {error}",
            self.places.checkpoint.display(),
            self.places.refused.display()
        ))
    }

    fn record(&mut self, now: Instant) {
        self.recorded = now;
        let Some(store) = self.places.store.clone() else {
            return;
        };
        let taken = std::mem::take(&mut self.fresh);
        let (batch, run): (Fresh, Timestamp) = (taken.clone(), self.state.begun);
        // Beside the sending: a slow store must not hold it up.
        #[allow(clippy::disallowed_methods)]
        let recording = tokio::spawn(async move { batch.record(&store, run).await });
        self.recording = Some((recording, taken));
    }

    fn after_recording(&mut self, failed: Option<String>) {
        self.changed = true;
        let taken = self.recording.take().map(|(_, taken)| taken);
        if let (Some(_), Some(taken)) = (&failed, taken) {
            self.fresh.join(taken);
        }
        self.unrecorded = failed;
    }
}

/// The end of a write; never, when nothing is written.
async fn finished(writing: &mut Option<Writing>) -> std::io::Result<()> {
    match writing {
        Some(Writing { handle, .. }) => match handle.await {
            Ok(result) => result,
            Err(error) => Err(std::io::Error::other(error)),
        },
        None => std::future::pending().await,
    }
}

/// Why the store could not take it, if it could not.
async fn finished_recording(recording: &mut Option<(Recording, Fresh)>) -> Option<String> {
    match recording {
        Some((handle, _)) => match handle.await {
            Ok(result) => result.err().map(|error| error.to_string()),
            Err(error) => Some(error.to_string()),
        },
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::store::{Existence, StoreUrl};
    use crate::control::replay::checkpoint::{Identity, VERSION};

    #[tokio::test]
    async fn a_store_that_fails_is_not_asked_again_at_once() {
        let scratch = tempfile::tempdir().unwrap();
        let url = format!("file:{}", scratch.path().join("store").display());
        let store = StoreUrl::parse(&url).unwrap();
        let store = store.open(&[], Existence::Made).unwrap();
        std::fs::write(scratch.path().join("store/_seawall"), "in the way").unwrap();
        let places = Places {
            checkpoint: scratch.path().join("checkpoint"),
            refused: scratch.path().join("refused"),
            store: Some(store),
        };
        let mut fresh = Fresh::default();
        for number in 0..RECORD_AT {
            fresh.push("route", "target", Ulid(2 * number as u128));
        }
        let state = State {
            version: VERSION,
            identity: Identity {
                routes: Vec::new(),
                times: [None, None],
                sources: Vec::new(),
                target: String::new(),
                again: false,
            },
            begun: checkpoint::now(),
            since: None,
            until: None,
            book: Book::default(),
            fresh,
        };
        let now = crate::vocab::Clock::now();
        let mut saver = Saver::new(places, state, now);
        saver.save_if_due(now);
        assert!(saver.recording.is_some());
        assert_eq!(saver.progress().await, None);
        assert!(saver.unrecorded.is_some());
        saver.save_if_due(now);
        assert!(saver.recording.is_none());
        saver.save_if_due(now + RECORD_EVERY);
        assert!(saver.recording.is_some());
    }
}
