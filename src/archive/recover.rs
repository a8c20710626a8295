//! What a directory holds when it is taken over, and how unfinished segments are settled.
//!
//! A sealed segment is not read: its head and its trailer say all. One without a trailer is
//! scanned, cut at its last whole frame and sealed, so that nothing is ever appended to a
//! segment of an earlier run.

use std::io;
use std::path::Path;

use super::files::{Access, Disk, DiskFile, read_full_at, write_all_at};
use super::id::{SegmentId, Ulid};
use super::options::{Durability, Fault};
use super::record::Outline;
use super::scan::{Scanner, Step};
use super::segment::{
    Ended, FRAME_HEAD, Frames, HEAD_BYTES, Head, HeadFault, Kind, MAX_PAYLOAD, Summary, TAIL_BYTES,
    file_name, from_file_name, trailer_offset,
};

/// Bytes summed at once.
const CHUNK: u64 = 256 * 1024;
/// Names the last id of a segment that was removed, so that ids rise on.
const MARK: &str = ".mark";

/// Where a sealed segment's frames end, and what they hold.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) end: u64,
    pub(crate) summary: Summary,
}

/// One segment's file as it was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) segment: SegmentId,
    pub(crate) length: u64,
    pub(crate) head: Result<Option<Ended>, HeadFault>,
    pub(crate) sealed: Option<Sealed>,
}

/// What a directory holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    pub(crate) found: Vec<Found>,
    /// The highest id that the names and trailers tell of.
    pub(crate) last: Ulid,
}

/// Reads heads and trailers; changes nothing.
pub(crate) fn survey(disk: &dyn Disk, directory: &Path) -> io::Result<Survey> {
    let mut survey = Survey::default();
    for name in disk.names(directory)? {
        if let Some(mark) = name.strip_suffix(MARK)
            && let Ok(id) = Ulid::from_string(mark)
        {
            survey.last = survey.last.max(id);
        }
        let Some(segment) = from_file_name(&name) else {
            continue;
        };
        let file = match disk.open(&directory.join(&name), Access::Read) {
            Ok(file) => file,
            // Removed by the process that has the directory.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let found = look(&*file, segment)?;
        let last = found.sealed.as_ref().and_then(|sealed| sealed.summary.last);
        survey.last = survey.last.max(segment.0).max(last.unwrap_or_default());
        survey.found.push(found);
    }
    survey.found.sort_by_key(|found| found.segment);
    Ok(survey)
}

fn look(file: &dyn DiskFile, segment: SegmentId) -> io::Result<Found> {
    let length = file.length()?;
    let mut head = [0; HEAD_BYTES as usize];
    // A page that cannot be read costs what is on it, not the directory.
    let _ = read_full_at(file, 0, &mut head);
    let head = Head::decode(&head).and_then(|head| match head.segment == segment {
        true => Ok(head.previous),
        false => Err(HeadFault::Damaged),
    });
    Ok(Found {
        segment,
        length,
        head,
        sealed: trailer(file, segment, length).unwrap_or_default(),
    })
}

fn trailer(file: &dyn DiskFile, segment: SegmentId, length: u64) -> io::Result<Option<Sealed>> {
    if length < HEAD_BYTES + FRAME_HEAD as u64 + TAIL_BYTES {
        return Ok(None);
    }
    let mut tail = [0; TAIL_BYTES as usize];
    read_full_at(file, length - TAIL_BYTES, &mut tail)?;
    let Some(end) = trailer_offset(&tail) else {
        return Ok(None);
    };
    let room = (length - TAIL_BYTES).checked_sub(end);
    let Some(bytes) = room.filter(|room| *room <= (FRAME_HEAD + MAX_PAYLOAD) as u64) else {
        return Ok(None);
    };
    let mut frame = vec![0; bytes as usize];
    read_full_at(file, end, &mut frame)?;
    if frame.len() < FRAME_HEAD {
        return Ok(None);
    }
    let payload = &frame[FRAME_HEAD..];
    let head = Frames::of(segment).head(&frame, end);
    let whole = head.is_some_and(|head| {
        head.kind == Kind::Trailer && head.length == payload.len() && head.holds(payload)
    });
    let summary = whole
        .then(|| serde_json::from_slice(payload).ok())
        .flatten();
    Ok(summary.map(|summary| Sealed { end, summary }))
}

/// Whether an unsealed segment now has what it lacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sealing {
    /// It has a trailer, or was removed for it held nothing. The file's length.
    Done { bytes: u64 },
    /// It is better not touched: not all of it could be read.
    Left,
    /// The directory took no change; to be tried again.
    Failed(Fault),
}

/// How an unsealed segment was settled.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    /// What it holds, up to `end`; `None` when it held nothing and was removed.
    pub(crate) kept: Option<Sealed>,
    pub(crate) sealing: Sealing,
    /// Bytes cut off behind the last whole frame.
    pub(crate) torn: u64,
    /// Bytes skipped.
    pub(crate) damaged: u64,
}

/// Scans a segment without a trailer, cuts it and seals it. `stated` is where the next segment
/// says that this one ends.
pub(crate) fn settle(
    disk: &dyn Disk,
    directory: &Path,
    found: &Found,
    stated: Option<u64>,
) -> io::Result<Settled> {
    let path = directory.join(file_name(found.segment));
    let limit = found.length.min(stated.unwrap_or(u64::MAX));
    let file = disk.open(&path, Access::Read)?;
    let scan = scan(Scanner::new(file, found.segment, limit))?;
    let missing = limit.saturating_sub(scan.end);
    // What is missing before a stated end had been acknowledged.
    let (torn, damaged) = match stated {
        Some(_) => (0, scan.damaged + missing),
        None => (missing, scan.damaged),
    };
    let mut settled = Settled {
        kept: None,
        sealing: Sealing::Left,
        torn,
        damaged,
    };
    let unread = scan.read_errors > 0;
    if scan.summary.records == 0 {
        // Where even the head is lost, someone may want to look at what is left.
        if found.head.is_err() && found.length > HEAD_BYTES {
            settled.damaged += settled.torn;
            settled.torn = 0;
        } else if !unread {
            settled.sealing = match disk.remove(&path) {
                Ok(()) => Sealing::Done { bytes: 0 },
                Err(error) => Sealing::Failed(Fault::of(&error)),
            };
        }
        return Ok(settled);
    }
    // What could not be read now may be whole: it is not cut off.
    if !unread {
        let sealed = disk.open(&path, Access::Write).and_then(|mut file| {
            let held = (scan.end, &scan.summary);
            seal(&mut *file, found.segment, held, Durability::Fsync)
        });
        settled.sealing = match sealed {
            Ok(bytes) => Sealing::Done { bytes },
            Err(error) => Sealing::Failed(Fault::of(&error)),
        };
    }
    settled.kept = Some(Sealed {
        end: scan.end,
        summary: scan.summary,
    });
    Ok(settled)
}

/// What a scan of a segment without a trailer found.
pub(crate) struct Scan {
    pub(crate) end: u64,
    pub(crate) summary: Summary,
    damaged: u64,
    read_errors: u64,
}

pub(crate) fn scan(mut scanner: Scanner) -> io::Result<Scan> {
    let mut summary = Summary::default();
    let mut damaged = 0;
    let mut summed = HEAD_BYTES;
    let end = loop {
        let reached = match scanner.next()? {
            Step::Frame { offset, end } => {
                if let Some(outline) = Outline::decode(scanner.payload(offset, end)?) {
                    summary.count(outline.id, &outline.route, end - offset);
                }
                end
            }
            Step::Damage { from, to } => {
                damaged += to - from;
                to
            }
            // Sealing began and did not end.
            Step::Trailer { offset, .. } => break offset,
            Step::End { whole } => break whole,
        };
        while summed < reached {
            let next = reached.min(summed + CHUNK);
            let bytes = scanner.bytes(summed, next)?;
            summary.checksum = crc32c::crc32c_append(summary.checksum, bytes);
            summed = next;
        }
    };
    Ok(Scan {
        end,
        summary,
        damaged,
        read_errors: scanner.read_errors(),
    })
}

/// Cuts a segment at its end, writes the trailer and syncs it when acknowledged records were;
/// the file's length.
pub(crate) fn seal(
    file: &mut dyn DiskFile,
    segment: SegmentId,
    (end, summary): (u64, &Summary),
    durability: Durability,
) -> io::Result<u64> {
    if file.length()? != end {
        file.truncate(end)?;
    }
    let trailer = summary.trailer(segment, end).map_err(io::Error::from)?;
    if let Err(error) = write_all_at(file, end, &trailer) {
        // Half a trailer takes room and says nothing. The cut should last in any case.
        let _ = file.truncate(end).and_then(|()| file.sync_data());
        return Err(error);
    }
    match durability {
        Durability::Fsync => file.sync_data()?,
        // Bytes that no one was promised are not worth making all others wait.
        Durability::Written => {}
    }
    Ok(end + trailer.len() as u64)
}

/// Leaves a mark of the last id, so that ids rise on when no segment tells of it.
pub(crate) fn mark(disk: &dyn Disk, directory: &Path, last: Ulid) -> io::Result<()> {
    let name = format!("{last}{MARK}");
    match disk.create(&directory.join(&name)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    disk.sync_directory(directory)?;
    for older in disk.names(directory)? {
        if older.ends_with(MARK) && older < name {
            disk.remove(&directory.join(older))?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "recover_tests.rs"]
mod tests;
