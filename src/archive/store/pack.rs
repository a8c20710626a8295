//! Makes the objects of a plan: reads their records and compresses them.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use zstd::bulk::Compressor;
use zstd::zstd_safe::compress_bound;

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

/// What packing needs and keeps.
pub(super) struct Tools {
    /// The records of a pass.
    lines: Vec<u8>,
    /// An object, compressed, before it is copied out in its own length.
    packed: Vec<u8>,
    compressor: Compressor<'static>,
}

impl Tools {
    pub(super) fn new() -> io::Result<Tools> {
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.include_checksum(true)?;
        Ok(Tools {
            lines: Vec::new(),
            packed: Vec::new(),
            compressor,
        })
    }

    /// A record that was longer than usual does not keep its room for ever.
    fn forget_what_was_long(&mut self) {
        for buffer in [&mut self.lines, &mut self.packed] {
            buffer.clear();
            buffer.shrink_to(PASS_BYTES as usize);
        }
    }
}

/// Makes one object after the other. Between its calls no other packer uses the tools.
pub(super) struct Packer {
    disk: Arc<dyn Disk>,
    info: SegmentInfo,
    queue: VecDeque<Planned>,
    /// Read, not yet compressed, and where in the tools' lines.
    read: VecDeque<(Planned, Range<usize>)>,
}

impl Packer {
    pub(super) fn new(disk: Arc<dyn Disk>, info: SegmentInfo, objects: Vec<Planned>) -> Packer {
        Packer {
            disk,
            info,
            queue: objects.into(),
            read: VecDeque::new(),
        }
    }

    /// The next object; `None` after the last one.
    ///
    /// # Errors
    /// The segment does not give what it gave when it was planned.
    pub(super) fn next(&mut self, tools: &mut Tools) -> io::Result<Option<Packed>> {
        if self.read.is_empty() {
            self.pass(&mut tools.lines)?;
        }
        let Some((planned, range)) = self.read.pop_front() else {
            tools.forget_what_was_long();
            return Ok(None);
        };
        let lines = &tools.lines[range];
        tools.packed.clear();
        tools.packed.reserve(compress_bound(lines.len()));
        tools
            .compressor
            .compress_to_buffer(lines, &mut tools.packed)?;
        Ok(Some(Packed {
            name: planned.name,
            records: planned.offsets.len() as u64,
            body: Bytes::copy_from_slice(&tools.packed),
        }))
    }

    /// Reads the records of the next objects, in one pass over the segment.
    fn pass(&mut self, lines: &mut Vec<u8>) -> io::Result<()> {
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
        lines.clear();
        lines.resize(bytes, 0);
        let copied = self.copy(&wanted, ranges, lines);
        if copied.is_err() {
            self.read.clear();
        }
        copied
    }

    /// Copies the wanted records, in the order of the segment, each behind the one before it
    /// in the range of its object.
    fn copy(
        &self,
        wanted: &[(u64, usize)],
        mut ranges: Vec<Range<usize>>,
        lines: &mut [u8],
    ) -> io::Result<()> {
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
            lines[range.start..end].copy_from_slice(line.json);
            lines[end] = b'\n';
            range.start = end + 1;
            wanted.next();
        }
        Ok(())
    }
}
