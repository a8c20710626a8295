//! Makes the objects of a plan: reads their records and compresses them.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use zstd::bulk::Compressor;

use super::super::catalog::SegmentInfo;
use super::super::cursor::Cursor;
use super::super::files::Disk;
use super::name::ObjectName;
use super::plan::{OBJECT_BYTES, Planned};

/// zstd's own default: beyond it the time doubles for a few percent.
const LEVEL: i32 = 3;
/// Bytes of records held at once. A segment with many routes is read once for each such
/// amount, not once for each route.
pub(super) const PASS_BYTES: u64 = 2 * OBJECT_BYTES;

/// An object as it goes to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    pub(super) name: ObjectName,
    pub(super) records: u64,
    pub(super) body: Bytes,
}

/// Makes one object after the other.
pub(super) struct Packer {
    disk: Arc<dyn Disk>,
    info: SegmentInfo,
    queue: VecDeque<Planned>,
    /// Read, not yet compressed, and where in `lines`.
    read: VecDeque<(Planned, Range<usize>)>,
    /// One allocation for a pass, however many objects it has.
    lines: Vec<u8>,
    compressor: Compressor<'static>,
}

impl Packer {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        info: SegmentInfo,
        objects: Vec<Planned>,
    ) -> io::Result<Packer> {
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.include_checksum(true)?;
        Ok(Packer {
            disk,
            info,
            queue: objects.into(),
            read: VecDeque::new(),
            lines: Vec::new(),
            compressor,
        })
    }

    /// The next object; `None` after the last one.
    ///
    /// # Errors
    /// The segment does not give what it gave when it was planned.
    pub(super) fn next(&mut self) -> io::Result<Option<Packed>> {
        if self.read.is_empty() {
            self.pass()?;
        }
        let Some((planned, range)) = self.read.pop_front() else {
            return Ok(None);
        };
        let mut body = self.compressor.compress(&self.lines[range])?;
        body.shrink_to_fit();
        Ok(Some(Packed {
            name: planned.name,
            records: planned.offsets.len() as u64,
            body: Bytes::from(body),
        }))
    }

    /// Reads the records of the next objects, in one pass over the segment.
    fn pass(&mut self) -> io::Result<()> {
        let mut wanted: Vec<(u64, usize)> = Vec::new();
        let mut ranges: Vec<Range<usize>> = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.queue.front()
            && (ranges.is_empty() || bytes as u64 + next.bytes <= PASS_BYTES)
            && let Some(planned) = self.queue.pop_front()
        {
            let offsets = planned.offsets.iter();
            wanted.extend(offsets.map(|&offset| (offset, ranges.len())));
            let end = bytes + usize::try_from(planned.bytes).map_err(io::Error::other)?;
            ranges.push(bytes..end);
            self.read.push_back((planned, bytes..end));
            bytes = end;
        }
        wanted.sort_unstable();
        self.lines.clear();
        self.lines.resize(bytes, 0);
        let copied = self.copy(&wanted, ranges);
        if copied.is_err() {
            self.read.clear();
        }
        copied
    }

    /// Copies the wanted records, in the order of the segment, each behind the one before it
    /// in the range of its object.
    fn copy(&mut self, wanted: &[(u64, usize)], mut ranges: Vec<Range<usize>>) -> io::Result<()> {
        let Some(&(start, _)) = wanted.first() else {
            return Ok(());
        };
        let mut cursor = Cursor::from(self.disk.clone(), self.info.clone(), start)?;
        let mut wanted = wanted.iter().peekable();
        while let Some(&&(offset, index)) = wanted.peek() {
            let Some(line) = cursor.next_line()?.filter(|line| line.offset <= offset) else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            if line.offset < offset {
                continue;
            }
            let range = &mut ranges[index];
            let end = range.start + line.json.len();
            if end >= range.end {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.lines[range.start..end].copy_from_slice(line.json);
            self.lines[end] = b'\n';
            range.start = end + 1;
            wanted.next();
        }
        Ok(())
    }
}
