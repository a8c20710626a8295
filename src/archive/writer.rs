//! The writer: takes batches of records and answers each once it is decided.
//!
//! It is synchronous, reads no clock and belongs to one thread at a time. Every call does a bounded number
//! of operations on the disk; whatever they give, each waiter gets an answer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::batch::{Batch, Room};
use super::buffer::Buffer;
use super::catalog::{Catalog, SegmentInfo};
use super::desk::Late;
use super::directory::{Directory, Fell};
use super::files::{Disk, DiskFile, write_all_at};
use super::id::{Ids, SegmentId, Ulid};
use super::options::{
    Answer, DirectoryState, Durability, Event, Failed, Fault, Full, Limits, Options, Watch,
};
use super::segment::{Ended, Frames, HEAD_BYTES};

/// The time at which the writer is called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: Instant,
    pub(crate) unix: Duration,
}

/// What others read while the writer writes.
#[derive(Debug)]
pub(crate) struct Shared {
    catalog: Mutex<Catalog>,
    directories: Mutex<Vec<DirectoryState>>,
    pub(crate) buffer: Arc<Buffer>,
    pub(crate) late: Arc<Late>,
}

impl Shared {
    pub(crate) fn new(max_buffer: u64) -> Shared {
        Shared {
            catalog: Mutex::default(),
            directories: Mutex::default(),
            buffer: Buffer::new(max_buffer),
            late: Arc::default(),
        }
    }

    /// Held for moments only, never over an operation on the disk.
    pub(crate) fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn directories(&self) -> MutexGuard<'_, Vec<DirectoryState>> {
        let states = self.directories.lock();
        states.unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the writer works with.
pub(crate) struct Surroundings {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) watch: Arc<dyn Watch>,
    pub(crate) shared: Arc<Shared>,
}

/// How many records a commit stored and refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) stored: u64,
    pub(crate) refused: u64,
    pub(crate) bytes: u64,
}

/// The segment that is written to: one file for each copy.
pub(super) struct Active {
    pub(super) segment: SegmentId,
    pub(super) files: Vec<(usize, Box<dyn DiskFile>)>,
    /// Where the acknowledged frames end.
    pub(super) end: u64,
    pub(super) checksum: u32,
    pub(super) opened: Instant,
    pub(super) entry: Entry,
}

/// Whether the directory entries of a new segment are on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Unsynced,
    Synced,
}

/// A directory that failed, by its position, and how.
pub(super) type Broken = Vec<(usize, io::Error)>;

/// The one writer of a journal.
pub(crate) struct Writer {
    pub(super) options: Options,
    pub(super) around: Surroundings,
    pub(super) ids: Ids,
    pub(super) directories: Vec<Directory>,
    pub(super) active: Option<Active>,
    /// Where the segment before the next one ends.
    pub(super) ended: Option<Ended>,
    /// Where segments end, as the heads behind them say. For directories not yet seen.
    pub(super) ends: BTreeMap<SegmentId, u64>,
    /// Files that could not be sealed, cut or removed when it was due, by directory.
    pub(super) repairs: BTreeSet<(usize, SegmentId)>,
    /// When it was last told of a route that there is no room for its records.
    told: HashMap<Arc<str>, Instant>,
}

/// The shortest time between two events that tell the same of a route.
const TELLING: Duration = Duration::from_secs(60);

impl Writer {
    /// Takes over the directories that can be; the others are tried again by `tick`.
    pub(crate) fn open(options: Options, around: Surroundings, at: Moment) -> Writer {
        let directory = |path: &std::path::PathBuf| Directory::new(path, options.backoff);
        let mut writer = Writer {
            directories: options.directories.iter().map(directory).collect(),
            options,
            around,
            ids: Ids::after(Ulid::nil()),
            active: None,
            ended: None,
            ends: BTreeMap::new(),
            repairs: BTreeSet::new(),
            told: HashMap::new(),
        };
        let all: Vec<usize> = (0..writer.directories.len()).collect();
        writer.adopt(&all, at);
        writer.publish();
        writer
    }

    pub(crate) fn adjust(&mut self, limits: Limits) {
        self.around.shared.buffer.set_limit(limits.max_buffer);
        self.options.limits = limits;
    }

    /// Stores a batch: one write and one sync for each copy. It is empty afterwards.
    pub(crate) fn commit(&mut self, batch: &mut Batch, at: Moment) -> Tally {
        let shared = self.around.shared.clone();
        let room = Room {
            // Nobody else adds to it or takes from it.
            before: shared.catalog().bytes(),
            max_bytes: self.options.limits.max_bytes,
            copies: self.options.copies as u64,
        };
        let held = |route: &str| shared.catalog().route_bytes(route);
        let refused = batch.admit((&mut self.ids, at.unix), room, held);
        let mut tally = Tally {
            refused: batch.take_too_long() + refused.len() as u64,
            ..Tally::default()
        };
        for (route, refusal) in refused {
            self.tell(&route, refusal, at.now);
        }
        if batch.records() > 0 {
            let (records, bytes) = (batch.records(), batch.bytes());
            match self.write(batch, at) {
                Ok(()) => {
                    batch.stored(&shared.late);
                    tally.stored += records;
                    tally.bytes = bytes;
                }
                Err(refusal) => {
                    batch.refused(&shared.late, refusal);
                    tally.refused += records;
                }
            }
        }
        batch.clear(2 * self.options.batch_bytes as usize);
        tally
    }

    /// Which limit keeps records out stands nowhere else.
    fn tell(&mut self, route: &Arc<str>, refusal: Answer, now: Instant) {
        let Answer::Full(full) = refusal else {
            return;
        };
        let last = self.told.get(route);
        if last.is_none_or(|last| now.duration_since(*last) >= TELLING) {
            self.told.insert(route.clone(), now);
            let route = route.clone();
            self.happened(Event::NoRoom { route, full });
        }
    }

    /// Writes the batch into as many directories as asked for. Each failed try leaves out a
    /// directory, so there are at most as many as directories.
    fn write(&mut self, batch: &mut Batch, at: Moment) -> Result<(), Answer> {
        let full = |active: &Active, limit: u64| {
            active.end > HEAD_BYTES && active.end + batch.bytes() > limit
        };
        if let Some(active) = &self.active
            && full(active, self.options.segment_bytes)
        {
            self.close(at);
        }
        loop {
            let mut active = match self.active.take() {
                Some(active) => active,
                None => self.open_set(at)?,
            };
            let durability = self.options.limits.durability;
            let broken = append(&mut active, batch, durability, |directory| {
                let path = self.directories[directory].path();
                self.around.disk.sync_directory(path)
            });
            if broken.is_empty() {
                self.acknowledge(&mut active, batch, at.now);
                self.active = Some(active);
                return Ok(());
            }
            self.active = Some(active);
            for (directory, error) in broken {
                self.fail(directory, Fault::of(&error), at);
            }
            self.close(at);
        }
    }

    fn acknowledge(&mut self, active: &mut Active, batch: &Batch, now: Instant) {
        active.end += batch.bytes();
        active.checksum = batch.checksum(active.checksum);
        let mut catalog = self.around.shared.catalog();
        catalog.committed(active.segment, active.end, active.checksum, batch.counted());
        for (directory, _) in &active.files {
            self.directories[*directory].worked(now);
        }
    }

    /// What a record is told when too few directories can be used.
    pub(super) fn refusal(&self) -> Answer {
        let mut faults = self.directories.iter().filter_map(Directory::fault);
        if faults.any(|fault| fault == Fault::Full) {
            Answer::Full(Full::Disk)
        } else {
            Answer::Failed(Failed::NoDirectory)
        }
    }

    pub(super) fn fail(&mut self, directory: usize, fault: Fault, at: Moment) {
        if fault.is_missing() {
            self.let_go(directory, at);
        }
        if self.directories[directory].fail(fault, at.now) == Fell::Now {
            let path = self.directories[directory].path().clone();
            self.happened(Event::DirectoryFailed { path, fault });
        }
        self.publish();
    }

    /// A directory, or a file of it, was removed or its disk unmounted. It is taken over anew when it
    /// is tried again, and locked: the lock that there was may be on a file that is gone.
    fn let_go(&mut self, directory: usize, at: Moment) {
        self.directories[directory].release();
        let mut files = self.active.iter().flat_map(|active| &active.files);
        if files.any(|(used, _)| *used == directory) {
            self.close(at);
        }
    }

    pub(super) fn publish(&self) {
        let states = self.directories.iter().map(Directory::state).collect();
        *self.around.shared.directories() = states;
    }

    pub(super) fn happened(&self, event: Event) {
        self.around.watch.happened(&event);
    }

    /// Closes the segment that is written to, if there is one.
    pub(crate) fn seal(&mut self, at: Moment) -> Option<SegmentId> {
        self.close(at)
    }

    /// Removes a closed segment from all directories and gives its room back.
    pub(crate) fn remove(&mut self, segment: SegmentId, at: Moment) -> Removal {
        let live = self.active.as_ref().map(|active| active.segment);
        if live == Some(segment) {
            return Removal::Live;
        }
        let Some(info) = self.around.shared.catalog().take(segment) else {
            return Removal::Unknown;
        };
        for copy in &info.copies {
            self.remove_copy(&info, &copy.directory, at);
        }
        for directory in &mut self.directories {
            directory.hasten(at.now);
        }
        Removal::Done
    }

    fn remove_copy(&mut self, info: &SegmentInfo, path: &Arc<Path>, at: Moment) {
        let position = self.directories.iter().position(|d| d.path() == path);
        let Some(directory) = position else {
            return;
        };
        if let Err(error) = self.discard(directory, info.id, info.summary.last) {
            self.repairs.insert((directory, info.id));
            self.fail(directory, Fault::of(&error), at);
        }
    }
}

/// What became of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is gone, or will be when its directory heals.
    Done,
    /// It still grows.
    Live,
    /// There is none of that name.
    Unknown,
}

/// Writes a batch behind the acknowledged frames of each file, and syncs as asked for.
fn append(
    active: &mut Active,
    batch: &mut Batch,
    durability: Durability,
    sync_entry: impl Fn(usize) -> io::Result<()>,
) -> Broken {
    let bytes = batch.stamped(&Frames::of(active.segment), active.end);
    let end = active.end;
    let mut broken = each(active, |_, file| write_all_at(file, end, bytes));
    if broken.is_empty() {
        broken = each(active, |_, file| file.confirm(durability));
    }
    if durability == Durability::Fsync && active.entry == Entry::Unsynced && broken.is_empty() {
        broken = each(active, |directory, _| sync_entry(directory));
        active.entry = Entry::Synced;
    }
    broken
}

fn each(
    active: &mut Active,
    mut act: impl FnMut(usize, &mut dyn DiskFile) -> io::Result<()>,
) -> Broken {
    let files = active.files.iter_mut();
    let results = files.map(|(directory, file)| (*directory, act(*directory, &mut **file)));
    results
        .filter_map(|(directory, result)| Some((directory, result.err()?)))
        .collect()
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
