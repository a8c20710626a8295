//! The source: one stream of records out of a store, journals and files, for `archive cat` and
//! replay.
//!
//! # Invariants
//! 1. Records come in the order of their ids, each once. Segments and objects are opened when
//!    the stream comes to the first id that they can have, and merged.
//! 2. Nothing slips between a journal and the store while an uploader works: the files of the
//!    journal are open before the store is listed, and a segment is removed only after its
//!    objects are in the store.
//! 3. What is damaged is told, and the stream goes on behind it. An error of the store is never
//!    an end: it comes out of `next`, which may be called again and goes on where it was.
//! 4. Memory: `HELD` bytes of objects that overlap, one fetched object, the next record of each
//!    open place, and the names of at most 100,000 objects. When more objects overlap than
//!    `HELD` takes, each keeps a part and is fetched again for the next one.
//!
//! Local files are read on the calling thread: where that must not wait for a disk, the source
//! belongs on a thread of its own.

mod damage;
mod file;
mod head;
mod held;
mod names;
mod options;
mod outline;
mod reader;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use super::catalog::SegmentInfo;
use super::cursor::Cursor;
use super::files::Disk;
use super::id::Ulid;
use super::options::Backoff;
use super::record::StoredRecord;
use super::store::{Attempts, StoredObject};
use file::{RecordFile, Refused};
use head::{Head, Pace};
use held::Held;
use names::Names;
use options::hours;
use outline::Choice;
use reader::{Reader, Step, segment_bytes};

pub use damage::{Damage, Harm, Place, SourceError};
pub use options::{SourceFigures, SourceOptions, SourceTotal, Sourced};
pub use outline::Wanted;

/// Bytes of objects in memory.
const HELD: usize = 64 << 20;
/// What an open object keeps in memory at least.
const LEAST: usize = 32 * 1024;
/// Damage that waits to be asked for; more is counted alone.
const MOST_TOLD: usize = 1000;

/// A stream of records, oldest first.
pub struct Source {
    wanted: Wanted,
    after: Option<Ulid>,
    backoff: Backoff,
    room: usize,
    held: Held,
    /// Not opened yet, by the first id.
    segments: VecDeque<SegmentInfo>,
    files: VecDeque<RecordFile>,
    names: Option<Names>,
    readers: Vec<Option<Reader>>,
    heads: BinaryHeap<Reverse<Head>>,
    /// The reader whose head was taken.
    taken: Option<usize>,
    last: Option<Ulid>,
    total: SourceTotal,
    figures: SourceFigures,
    damage: VecDeque<Damage>,
}

/// What is opened next.
enum Due {
    Object(StoredObject),
    Segment,
    File,
}

impl Source {
    /// Opens the journals, reads the files once, and then lists the store.
    ///
    /// # Errors
    /// A directory or file that cannot be read, or the store after several tries.
    pub async fn open(options: SourceOptions, disk: Arc<dyn Disk>) -> Result<Source, SourceError> {
        let journal = |source| SourceError::Journal {
            directories: options.journals.clone(),
            source,
        };
        let (held, mut segments) = held::hold(disk, &options.journals).map_err(journal)?;
        segments.retain(|info| {
            let routes = &info.summary.routes;
            // Where nothing is known of a segment, its damage is told by reading it.
            let asked = routes.is_empty() || routes.keys().any(|r| options.wanted.takes_route(r));
            asked && (info.summary.last.is_none() || info.summary.last > options.after)
        });
        segments.sort_by_key(first_of);
        let mut files = Vec::new();
        for path in &options.files {
            files.push(RecordFile::open(path).map_err(|refused| match refused {
                Refused::Io(source) => SourceError::File {
                    path: path.clone(),
                    source,
                },
                Refused::Unsorted => SourceError::Unsorted { path: path.clone() },
            })?);
        }
        files.sort_by_key(|file| file.first);
        let names = match options.store {
            None => None,
            Some(store) => {
                let selection = hours(&options.wanted);
                Some(Names::list(store, selection, options.backoff).await?)
            }
        };
        let listed = names.as_ref().map(Names::total).unwrap_or_default();
        let total = SourceTotal {
            bytes: listed.bytes
                + segments.iter().map(segment_bytes).sum::<u64>()
                + files.iter().map(|file| file.bytes).sum::<u64>(),
            objects: listed.objects,
            segments: segments.len() as u64,
            files: files.len() as u64,
        };
        Ok(Source {
            wanted: options.wanted,
            after: options.after,
            backoff: options.backoff,
            room: HELD,
            held,
            segments: segments.into(),
            files: files.into(),
            names,
            readers: Vec::new(),
            heads: BinaryHeap::new(),
            taken: None,
            last: None,
            total,
            figures: SourceFigures::default(),
            damage: VecDeque::new(),
        })
    }

    /// The next record; `None` after the last one. May be dropped while it waits: nothing is
    /// lost.
    ///
    /// # Errors
    /// The store after several tries, or a file. It may be called again, and goes on where it
    /// was.
    pub async fn next(&mut self) -> Result<Option<Sourced>, SourceError> {
        loop {
            self.load().await?;
            self.open_due().await?;
            let Some(Reverse(head)) = self.heads.pop() else {
                return Ok(None);
            };
            self.taken = Some(head.reader);
            if let Some(sourced) = self.judge(head) {
                return Ok(Some(sourced));
            }
        }
    }

    /// What was read so far.
    pub fn figures(&self) -> SourceFigures {
        self.figures
    }

    /// What there was to read when it was opened.
    pub fn total(&self) -> SourceTotal {
        self.total
    }

    /// The damage that was met since the last call, oldest first.
    pub fn take_damage(&mut self) -> Vec<Damage> {
        self.damage.drain(..).collect()
    }

    /// Decides about a record that is the next one.
    fn judge(&mut self, head: Head) -> Option<Sourced> {
        match head.pace {
            Pace::InOrder if self.last >= Some(head.id) => {
                self.figures.duplicates += 1;
                return None;
            }
            Pace::InOrder => self.last = Some(head.id),
            Pace::Late => self.figures.late += 1,
        }
        let place = self.readers[head.reader].as_ref().map(|r| &r.place)?;
        let record = match self.wanted.choose(&head.line) {
            Some(Choice::Left) => {
                self.figures.passed += 1;
                return None;
            }
            Some(Choice::Taken) => StoredRecord::decode(&head.line).ok(),
            None => None,
        };
        let Some(record) = record else {
            let harm = Harm::Lines {
                lines: 1,
                bytes: head.line.len() as u64,
            };
            let place = place.clone();
            self.tell(Damage { place, harm });
            return None;
        };
        self.figures.read += 1;
        Some(Sourced {
            id: head.id,
            record,
            line: head.line,
            place: place.clone(),
        })
    }

    /// Finds the next record of the reader whose head was taken.
    async fn load(&mut self) -> Result<(), SourceError> {
        while let Some(index) = self.taken {
            let Some(reader) = self.readers.get_mut(index).and_then(Option::as_mut) else {
                self.taken = None;
                break;
            };
            match reader.step()? {
                Step::Line(id, line) => {
                    let before = reader.given;
                    let late = before.is_some_and(|given| id < given);
                    reader.given = before.max(Some(id));
                    if self.after >= Some(id) {
                        self.figures.passed += 1;
                        continue;
                    }
                    // An object whose first record is not its earliest is late from there.
                    let late = late || (before.is_none() && self.last > Some(id));
                    self.heads.push(Reverse(Head {
                        id,
                        reader: index,
                        line,
                        pace: if late { Pace::Late } else { Pace::InOrder },
                    }));
                    self.taken = None;
                }
                Step::Dry => self.fetch(index).await?,
                Step::End => {
                    for damage in reader.damage() {
                        self.tell(damage);
                    }
                    self.close(index);
                    self.taken = None;
                }
            }
        }
        Ok(())
    }

    fn close(&mut self, index: usize) {
        if let Some(reader) = self.readers[index].take() {
            self.figures.bytes += reader.bytes;
        }
    }

    fn tell(&mut self, damage: Damage) {
        self.figures.damages += 1;
        self.figures.damaged_bytes += damage.harm.bytes();
        if self.damage.len() < MOST_TOLD {
            self.damage.push_back(damage);
        }
    }

    /// Opens every place that may have a record before the next one.
    async fn open_due(&mut self) -> Result<(), SourceError> {
        while let Some((floor, due)) = self.earliest().await? {
            if self.heads.peek().is_some_and(|head| head.0.id < floor) {
                break;
            }
            let reader = match due {
                Due::Object(object) => {
                    if let Some(names) = &mut self.names {
                        names.advance();
                    }
                    Some(Reader::of_object(object))
                }
                Due::Segment => self
                    .segments
                    .pop_front()
                    .and_then(|i| self.open_segment(&i)),
                Due::File => self.files.pop_front().map(Reader::of_file),
            };
            if let Some(reader) = reader {
                self.taken = Some(self.place(reader));
                self.load().await?;
            }
        }
        Ok(())
    }

    /// The first of what is not open yet, and the earliest id it can have.
    async fn earliest(&mut self) -> Result<Option<(Ulid, Due)>, SourceError> {
        let segment = self
            .segments
            .front()
            .map(|info| (first_of(info), Due::Segment));
        let file = self.files.front();
        let file = file.map(|file| (file.first.unwrap_or_default(), Due::File));
        let object = match &mut self.names {
            None => None,
            Some(names) => names.next().await?.cloned(),
        };
        let object = object.map(|object| (names::floor(&object), Due::Object(object)));
        let all = [object, segment, file].into_iter().flatten();
        Ok(all.min_by_key(|(floor, _)| *floor))
    }

    fn open_segment(&mut self, info: &SegmentInfo) -> Option<Reader> {
        let disk = self.held.of(info);
        self.held.release(info);
        match Cursor::open(disk, info.clone()) {
            Ok(cursor) => Some(Reader::of_segment(info, cursor)),
            Err(error) => {
                let bytes = segment_bytes(info);
                let why = error.to_string();
                self.figures.bytes += bytes;
                self.tell(Damage {
                    place: Place::Segment(info.id),
                    harm: Harm::Unreadable { bytes, why },
                });
                None
            }
        }
    }

    fn place(&mut self, reader: Reader) -> usize {
        match self.readers.iter().position(Option::is_none) {
            Some(free) => {
                self.readers[free] = Some(reader);
                free
            }
            None => {
                self.readers.push(Some(reader));
                self.readers.len() - 1
            }
        }
    }

    /// Brings the next lines of an object into memory.
    async fn fetch(&mut self, index: usize) -> Result<(), SourceError> {
        let (Some(Some(reader)), Some(names)) = (self.readers.get_mut(index), &self.names) else {
            return Ok(());
        };
        let reader::Origin::Object(slice) = &reader.origin else {
            return Ok(());
        };
        let mut attempts = Attempts::new(self.backoff);
        let text = loop {
            match names.store().fetch(&slice.object).await {
                Ok(text) => break Some(text),
                Err(error) if error.is_missing() => break None,
                Err(error) => attempts.again(error).await?,
            }
        };
        match text {
            Some(text) => reader.fill(text, usize::MAX),
            None => reader.lose(),
        }
        self.share();
        Ok(())
    }

    /// When objects take more memory than there is, each keeps the same part.
    fn share(&mut self) {
        let open = || self.readers.iter().flatten();
        let held: usize = open().map(Reader::held).sum();
        if held <= self.room {
            return;
        }
        let objects = open().filter(|reader| reader.held() > 0).count();
        let part = (self.room / objects.max(1)).max(LEAST.min(self.room));
        for reader in self.readers.iter_mut().flatten() {
            if reader.held() > part {
                reader.trim(part);
            }
        }
    }
}

/// The earliest id that a segment's records can have: it was named before they were.
fn first_of(info: &SegmentInfo) -> Ulid {
    info.summary.first.unwrap_or(info.id.0)
}

#[cfg(test)]
mod model;
#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
