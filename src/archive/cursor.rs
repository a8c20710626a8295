//! Reading records back: for the uploader, `archive cat`, `archive verify` and replay.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::catalog::{Catalog, Growth, SegmentCopy, SegmentInfo};
use super::files::{Access, Disk, read_full_at};
use super::id::SegmentId;
use super::recover;
use super::scan::{Scanner, Step};
use super::segment::{HEAD_BYTES, file_name, from_file_name};

/// Bytes read at once for a checksum.
const CHUNK: u64 = 256 * 1024;

/// Reads the records of one segment in order, holding one at a time.
///
/// Damage in one copy is read from the next one: all have the same bytes. What no copy can
/// give is counted and skipped.
pub struct Cursor {
    disk: Arc<dyn Disk>,
    info: SegmentInfo,
    /// The first reads the first copy; each further one a gap of the one before, from the next
    /// copy.
    readers: Vec<Reader>,
    damaged: u64,
    read_errors: u64,
}

struct Reader {
    scanner: Scanner,
    copy: usize,
    limit: u64,
}

/// One record: JSON without a line end, and where its frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'c> {
    /// The frame's offset in the segment.
    pub offset: u64,
    /// Where the next one begins.
    pub end: u64,
    /// The record as `StoredRecord::decode` takes it.
    pub json: &'c [u8],
}

impl Cursor {
    /// Reads a segment from its first record up to what was acknowledged when `info` was made.
    ///
    /// # Errors
    /// No copy can be opened.
    pub fn open(disk: Arc<dyn Disk>, info: SegmentInfo) -> io::Result<Cursor> {
        Cursor::from(disk, info, HEAD_BYTES)
    }

    /// Reads on from the `end` of a record that was read before: a live segment's news.
    ///
    /// # Errors
    /// No copy can be opened.
    pub fn from(disk: Arc<dyn Disk>, info: SegmentInfo, offset: u64) -> io::Result<Cursor> {
        let mut cursor = Cursor {
            disk,
            info,
            readers: Vec::new(),
            damaged: 0,
            read_errors: 0,
        };
        let end = cursor.info.copies.first().map_or(HEAD_BYTES, |c| c.end);
        match cursor.push(0, offset.max(HEAD_BYTES), end) {
            Some(error) => Err(error),
            None => Ok(cursor),
        }
    }

    /// The next record; `None` after the last one.
    ///
    /// # Errors
    /// A file that became shorter than what was acknowledged.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        let (offset, end) = loop {
            let Some(reader) = self.readers.last_mut() else {
                return Ok(None);
            };
            let (copy, limit) = (reader.copy, reader.limit);
            match reader.scanner.next()? {
                Step::Frame { offset, end } => break (offset, end),
                Step::Damage { from, to } => self.gap(copy, from, to),
                Step::Trailer { .. } => self.pop(),
                Step::End { whole } => {
                    self.pop();
                    let live = self.info.growth == Growth::Live && copy == 0;
                    if whole < limit && !live {
                        self.gap(copy, whole, limit);
                    }
                }
            }
        };
        let Some(reader) = self.readers.last_mut() else {
            return Ok(None);
        };
        let json = reader.scanner.payload(offset, end)?;
        Ok(Some(Line { offset, end, json }))
    }

    /// Bytes skipped so far because no copy had them whole.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Pages that the disk would not give so far, of whichever copy. Another try may read what
    /// is counted as damaged.
    pub fn read_errors(&self) -> u64 {
        let open = self.readers.iter().map(|r| r.scanner.read_errors());
        self.read_errors + open.sum::<u64>()
    }

    fn pop(&mut self) {
        if let Some(reader) = self.readers.pop() {
            self.read_errors += reader.scanner.read_errors();
        }
    }

    fn gap(&mut self, copy: usize, from: u64, to: u64) {
        let depth = self.readers.len();
        let _ = self.push(copy + 1, from, to);
        if self.readers.len() == depth {
            self.damaged += to - from;
        }
    }

    /// Opens the first copy from `copy` on that can be, from `from` to `to`. An error means
    /// that none could.
    fn push(&mut self, copy: usize, from: u64, to: u64) -> Option<io::Error> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for (index, candidate) in self.info.copies.iter().enumerate().skip(copy) {
            let path = candidate.directory.join(file_name(self.info.id));
            let opened = self.disk.open(&path, Access::Read);
            match opened.and_then(|file| Ok((file.length()?, file))) {
                Ok((length, file)) => {
                    let limit = to.min(length).max(from);
                    let scanner = Scanner::between(file, self.info.id, from, limit);
                    self.readers.push(Reader {
                        scanner,
                        copy: index,
                        limit: to,
                    });
                    return None;
                }
                Err(error) => last = error,
            }
        }
        Some(last)
    }
}

/// What a check of one copy found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The copy.
    pub copy: SegmentCopy,
    /// Whole records.
    pub records: u64,
    /// Bytes that are no whole record.
    pub damaged: u64,
    /// Against the trailer.
    pub checksum: Checksum,
}

/// Whether all bytes of a segment are those that were sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// They are.
    Holds,
    /// They are not.
    Differs,
    /// There is no trailer yet.
    Unsealed,
}

/// Reads each copy of a segment whole and checks every record, and all bytes together.
///
/// # Errors
/// A copy that cannot be read.
pub fn verify(disk: &Arc<dyn Disk>, info: &SegmentInfo) -> io::Result<Vec<Verified>> {
    let mut verified = Vec::new();
    for copy in &info.copies {
        let alone = SegmentInfo {
            copies: vec![copy.clone()],
            ..info.clone()
        };
        let mut cursor = Cursor::open(disk.clone(), alone)?;
        let mut records = 0;
        while cursor.next_line()?.is_some() {
            records += 1;
        }
        let path = copy.directory.join(file_name(info.id));
        let file = disk.open(&path, Access::Read)?;
        let mut checksum = 0;
        let mut at = HEAD_BYTES;
        let mut chunk = vec![0; CHUNK as usize];
        while copy.sealed && at < copy.end {
            let wanted = CHUNK.min(copy.end - at) as usize;
            let read = read_full_at(&*file, at, &mut chunk[..wanted])?;
            if read == 0 {
                break;
            }
            checksum = crc32c::crc32c_append(checksum, &chunk[..read]);
            at += read as u64;
        }
        verified.push(Verified {
            copy: copy.clone(),
            records,
            damaged: cursor.damaged(),
            checksum: match copy.sealed {
                false => Checksum::Unsealed,
                true if checksum == info.summary.checksum && at == copy.end => Checksum::Holds,
                true => Checksum::Differs,
            },
        });
    }
    Ok(verified)
}

/// The names of the segments in a directory, sorted; nothing is read of them.
///
/// # Errors
/// As the operating system gives them.
pub fn segment_names(disk: &dyn Disk, directory: &Path) -> io::Result<Vec<SegmentId>> {
    let names = disk.names(directory)?;
    let mut segments: Vec<SegmentId> = names
        .iter()
        .filter_map(|name| from_file_name(name))
        .collect();
    segments.sort_unstable();
    Ok(segments)
}

/// The segments in directories that another process may be writing to. Changes nothing.
/// Unsealed segments are scanned; they end at their last whole record.
///
/// # Errors
/// A directory that cannot be read.
pub fn segments_in(disk: &dyn Disk, directories: &[PathBuf]) -> io::Result<Vec<SegmentInfo>> {
    let mut catalog = Catalog::default();
    let mut surveys = Vec::new();
    for directory in directories {
        surveys.push((directory, recover::survey(disk, directory)?));
    }
    let heads = surveys.iter().flat_map(|(_, survey)| &survey.found);
    let ended: Vec<_> = heads
        .filter_map(|found| found.head.ok().flatten())
        .collect();
    let stated = |segment: SegmentId| {
        let mut ended = ended.iter();
        ended.find(|ended| ended.segment == segment).map(|e| e.end)
    };
    for (directory, survey) in &surveys {
        for found in &survey.found {
            let (end, summary) = match &found.sealed {
                Some(sealed) => (sealed.end, sealed.summary.clone()),
                None => {
                    let limit = stated(found.segment).unwrap_or(u64::MAX).min(found.length);
                    let path = directory.join(file_name(found.segment));
                    let file = match disk.open(&path, Access::Read) {
                        Ok(file) => file,
                        // Sealed, uploaded and removed since the survey.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        Err(error) => return Err(error),
                    };
                    let scan = recover::scan(Scanner::new(file, found.segment, limit))?;
                    (scan.end, scan.summary)
                }
            };
            let copy = SegmentCopy {
                directory: directory.as_path().into(),
                end,
                bytes: found.length,
                sealed: found.sealed.is_some(),
            };
            catalog.found(found.segment, copy, summary);
        }
    }
    Ok(catalog.all().cloned().collect())
}

#[cfg(test)]
#[path = "cursor_tests.rs"]
mod tests;
