//! The writer's segments and directories over time: opening, sealing, healing.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::catalog::SegmentCopy;
use super::files::{Access, DiskFile, write_all_at};
use super::id::{SegmentId, Ulid};
use super::options::{Answer, Durability, Event, Fault};
use super::recover::{self, Found, Sealed, Sealing, Settled, Survey};
use super::segment::{Ended, HEAD_BYTES, Head, HeadFault, Summary, file_name};
use super::writer::{Active, Entry, Moment, Writer};

impl Writer {
    /// Opens a new segment in the first directories that can be used.
    pub(super) fn open_set(&mut self, at: Moment) -> Result<Active, Answer> {
        let segment = SegmentId(self.ids.next(at.unix));
        let head = Head {
            segment,
            previous: self.ended,
        };
        let head = head.encode();
        let mut files: Vec<(usize, Box<dyn DiskFile>)> = Vec::new();
        for directory in 0..self.directories.len() {
            if files.len() == self.options.copies || !self.directories[directory].is_usable() {
                continue;
            }
            match self.open_file(directory, segment, &head) {
                Ok(file) => files.push((directory, file)),
                Err(error) => {
                    self.repairs.insert((directory, segment));
                    self.fail(directory, Fault::of(&error), at);
                }
            }
        }
        if files.len() < self.options.copies {
            for (directory, _) in files {
                if self.discard(directory, segment, None).is_err() {
                    self.repairs.insert((directory, segment));
                }
            }
            return Err(self.refusal());
        }
        let paths = files
            .iter()
            .map(|(d, _)| self.directories[*d].path().clone());
        let paths = paths.collect();
        self.around.shared.catalog().open(segment, paths);
        Ok(Active {
            segment,
            files,
            end: HEAD_BYTES,
            checksum: 0,
            opened: at.now,
            entry: Entry::Unsynced,
        })
    }

    fn open_file(
        &self,
        directory: usize,
        segment: SegmentId,
        head: &[u8],
    ) -> io::Result<Box<dyn DiskFile>> {
        let path = self.directories[directory].path().join(file_name(segment));
        let mut file = self.around.disk.create(&path)?;
        write_all_at(&mut *file, 0, head)?;
        Ok(file)
    }

    /// Ends the segment that is written to at its last acknowledged offset. What cannot be
    /// done now is left to `tick`; the next segment's head tells where this one ends.
    pub(super) fn close(&mut self, at: Moment) -> Option<SegmentId> {
        let active = self.active.take()?;
        let (segment, end) = (active.segment, active.end);
        self.ended = Some(Ended { segment, end });
        if self.directories.iter().any(|d| !d.is_taken()) {
            self.ends.insert(segment, end);
        }
        if end == HEAD_BYTES {
            self.around.shared.catalog().take(segment);
            for (directory, _) in active.files {
                if let Err(error) = self.discard(directory, segment, None) {
                    self.repairs.insert((directory, segment));
                    self.fail(directory, Fault::of(&error), at);
                }
            }
            return None;
        }
        let summary = self.closed_summary(segment)?;
        let durability = self.options.limits.durability;
        for (directory, mut file) in active.files {
            match recover::seal(&mut *file, segment, (end, &summary), durability) {
                Ok(bytes) => self.sealed(directory, segment, bytes),
                Err(error) => {
                    self.repairs.insert((directory, segment));
                    self.fail(directory, Fault::of(&error), at);
                }
            }
        }
        self.happened(Event::Sealed {
            segment,
            records: summary.records,
            bytes: end,
        });
        Some(segment)
    }

    fn closed_summary(&self, segment: SegmentId) -> Option<Summary> {
        let mut catalog = self.around.shared.catalog();
        catalog.close(segment);
        catalog.get(segment).map(|info| info.summary.clone())
    }

    fn sealed(&self, directory: usize, segment: SegmentId, bytes: u64) {
        let path = self.directories[directory].path();
        self.around.shared.catalog().sealed(segment, path, bytes);
    }

    /// Removes a file. Where no later segment of the directory tells how far the ids went, a
    /// mark does.
    pub(super) fn discard(
        &self,
        directory: usize,
        segment: SegmentId,
        last: Option<Ulid>,
    ) -> io::Result<()> {
        let disk = &*self.around.disk;
        let path = self.directories[directory].path();
        if let Some(last) = last
            && !self.has_later(path, segment)
        {
            recover::mark(disk, path, last)?;
        }
        match disk.remove(&path.join(file_name(segment))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn has_later(&self, path: &Arc<Path>, segment: SegmentId) -> bool {
        let catalog = self.around.shared.catalog();
        let mut later = catalog.all().rev().take_while(|info| info.id > segment);
        // A live one may not be on the disk yet.
        later.any(|info| {
            let mut copies = info.copies.iter();
            copies.any(|copy| copy.directory == *path && copy.sealed)
        })
    }

    /// Takes over directories: locks them, reads what they hold, settles what was left
    /// unfinished. All heads are read first: they tell where segments of other directories end.
    pub(super) fn adopt(&mut self, directories: &[usize], at: Moment) {
        let mut surveys = Vec::new();
        for &directory in directories {
            match self.look_into(directory) {
                Ok(survey) => surveys.push((directory, survey)),
                Err(error) => self.fail(directory, Fault::of(&error), at),
            }
        }
        for (_, survey) in &surveys {
            self.ids.raise(survey.last);
            for found in &survey.found {
                if let Ok(Some(previous)) = found.head {
                    self.ends.insert(previous.segment, previous.end);
                }
            }
        }
        for (directory, survey) in surveys {
            self.miss(directory, &survey);
            for found in &survey.found {
                self.take_over(directory, found, at);
            }
        }
        if self.directories.iter().all(|d| d.is_taken()) {
            self.ends.clear();
        }
    }

    /// Forgets segments of a directory that are not there any more.
    fn miss(&self, directory: usize, survey: &Survey) {
        let path = self.directories[directory].path();
        let there = survey.found.iter().map(|found| found.segment).collect();
        let (segments, records) = self.around.shared.catalog().only(path, &there);
        if segments > 0 {
            self.happened(Event::Gone {
                path: path.clone(),
                segments,
                records,
            });
        }
    }

    fn look_into(&mut self, directory: usize) -> io::Result<Survey> {
        let disk = &*self.around.disk;
        let lock = self.directories[directory].lock(disk)?;
        let survey = recover::survey(disk, self.directories[directory].path())?;
        self.directories[directory].take(lock);
        Ok(survey)
    }

    fn take_over(&mut self, directory: usize, found: &Found, at: Moment) {
        let segment = found.segment;
        if let Err(HeadFault::Foreign { version }) = found.head {
            let path = self.directories[directory].path().clone();
            return self.happened(Event::Foreign {
                path,
                segment,
                version,
            });
        }
        if let Some(sealed) = &found.sealed {
            return self.keep(directory, found, sealed.clone(), Some(found.length));
        }
        let path = self.directories[directory].path().clone();
        let stated = self.ends.get(&segment).copied();
        match recover::settle(&*self.around.disk, &path, found, stated) {
            Ok(settled) => self.settled(directory, found, settled, at),
            Err(error) => {
                // To be taken over as a whole later: what is known of it already stays.
                self.directories[directory].release();
                self.fail(directory, Fault::of(&error), at);
            }
        }
    }

    fn settled(&mut self, directory: usize, found: &Found, settled: Settled, at: Moment) {
        let segment = found.segment;
        let path = self.directories[directory].path().clone();
        if settled.torn > 0 {
            self.happened(Event::TornTail {
                path: path.clone(),
                segment,
                bytes: settled.torn,
            });
        }
        if settled.damaged > 0 {
            self.happened(Event::Damaged {
                path,
                segment,
                bytes: settled.damaged,
            });
        }
        let sealed_bytes = match settled.sealing {
            Sealing::Done { bytes } => Some(bytes),
            Sealing::Left => None,
            Sealing::Failed(fault) => {
                self.repairs.insert((directory, segment));
                self.fail(directory, fault, at);
                None
            }
        };
        if let Some(kept) = settled.kept {
            self.ids.raise(kept.summary.last.unwrap_or_default());
            self.keep(directory, found, kept, sealed_bytes);
        }
    }

    fn keep(&self, directory: usize, found: &Found, kept: Sealed, sealed_bytes: Option<u64>) {
        let copy = SegmentCopy {
            directory: self.directories[directory].path().clone(),
            end: kept.end,
            bytes: sealed_bytes.unwrap_or(found.length),
            sealed: sealed_bytes.is_some(),
        };
        let mut catalog = self.around.shared.catalog();
        catalog.found(found.segment, copy, kept.summary);
    }

    /// What is due by time: sealing, and another try with directories that failed.
    pub(crate) fn tick(&mut self, at: Moment) {
        if self.seal_at().is_some_and(|due| due <= at.now) {
            self.close(at);
        }
        for directory in 0..self.directories.len() {
            let due = self.directories[directory].retry_at();
            if due.is_some_and(|due| due <= at.now) {
                self.try_again(directory, at);
            }
        }
    }

    /// When `tick` has something to do; `None` when it has not.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        let retries = self.directories.iter().filter_map(|d| d.retry_at());
        retries.chain(self.seal_at()).min()
    }

    fn seal_at(&self) -> Option<Instant> {
        let opened = self.active.as_ref()?.opened;
        Some(opened + self.options.limits.seal_after)
    }

    fn try_again(&mut self, directory: usize, at: Moment) {
        if !self.directories[directory].is_taken() {
            self.adopt(&[directory], at);
            if !self.directories[directory].is_taken() {
                return;
            }
        }
        let mended = self.mend(directory);
        let disk = &*self.around.disk;
        match mended.and_then(|()| self.directories[directory].probe(disk)) {
            Ok(()) => {
                self.directories[directory].heal(at.now);
                let path = self.directories[directory].path().clone();
                self.happened(Event::DirectoryHealed { path });
                self.publish();
            }
            Err(error) => self.fail(directory, Fault::of(&error), at),
        }
    }

    /// Does what was due while the directory failed: seals what is kept, removes the rest.
    fn mend(&mut self, directory: usize) -> io::Result<()> {
        let due: Vec<SegmentId> = self
            .repairs
            .iter()
            .filter(|(failed, _)| *failed == directory)
            .map(|(_, segment)| *segment)
            .collect();
        for segment in due {
            let path = self.directories[directory].path().clone();
            let known = self.around.shared.catalog().get(segment).cloned();
            let copy = known.as_ref().and_then(|info| {
                let mut copies = info.copies.iter();
                copies.find(|copy| copy.directory == path)
            });
            match (&known, copy) {
                // A copy that lags behind is settled at the next start.
                (Some(info), Some(copy)) if copy.end != info.copies[0].end => {}
                (Some(info), Some(copy)) => {
                    let path = path.join(file_name(segment));
                    let mut file = self.around.disk.open(&path, Access::Write)?;
                    let held = (copy.end, &info.summary);
                    let bytes = recover::seal(&mut *file, segment, held, Durability::Fsync)?;
                    self.sealed(directory, segment, bytes);
                }
                (Some(_) | None, _) => self.discard(directory, segment, None)?,
            }
            self.repairs.remove(&(directory, segment));
        }
        Ok(())
    }
}
