//! Walks over the frames of a segment, past damage, in bounded memory.

use std::io;

use super::files::{DiskFile, read_full_at};
use super::id::SegmentId;
use super::segment::{FRAME_HEAD, Frames, HEAD_BYTES, Kind, Summary};

/// Bytes read ahead.
const WINDOW: usize = 256 * 1024;
/// What is left out at once where the disk gives an error.
const PAGE: usize = 4096;

/// What stands next in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A record; `payload` has its bytes. It ends at `end`.
    Frame { offset: u64, end: u64 },
    /// Bytes that are no frame, with a whole one behind them.
    Damage { from: u64, to: u64 },
    /// The segment was sealed; its frames end here.
    Trailer { offset: u64, summary: Summary },
    /// No whole frame follows. The last one ended at `whole`; from there to the limit nothing
    /// can be read.
    End { whole: u64 },
}

/// Reads frames from a file up to a limit.
pub(crate) struct Scanner {
    file: Box<dyn DiskFile>,
    frames: Frames,
    at: u64,
    limit: u64,
    window: Vec<u8>,
    window_at: u64,
    read_errors: u64,
}

enum Found {
    Whole(Kind, usize),
    /// The head holds, the payload does not.
    Spoiled(usize),
    Nothing,
}

impl Scanner {
    /// Reads from the first frame on; nothing behind `limit` counts.
    pub(crate) fn new(file: Box<dyn DiskFile>, segment: SegmentId, limit: u64) -> Scanner {
        Scanner::between(file, segment, HEAD_BYTES, limit)
    }

    /// Reads from `from`, where a frame may begin.
    pub(crate) fn between(
        file: Box<dyn DiskFile>,
        segment: SegmentId,
        from: u64,
        limit: u64,
    ) -> Scanner {
        Scanner {
            file,
            frames: Frames::of(segment),
            at: from,
            limit,
            window: Vec::new(),
            window_at: 0,
            read_errors: 0,
        }
    }

    /// How many pages the disk would not give. They read as zeroes, which are no frame.
    pub(crate) fn read_errors(&self) -> u64 {
        self.read_errors
    }

    /// The record's bytes of a frame that `next` just gave.
    pub(crate) fn payload(&mut self, offset: u64, end: u64) -> io::Result<&[u8]> {
        self.bytes(offset + FRAME_HEAD as u64, end)
    }

    /// Bytes from `from` to `to` of the file, for a running checksum of what was just passed.
    pub(crate) fn bytes(&mut self, from: u64, to: u64) -> io::Result<&[u8]> {
        self.view(from, (to - from) as usize)
    }

    /// The next step.
    ///
    /// # Errors
    /// The file is shorter than the limit.
    pub(crate) fn next(&mut self) -> io::Result<Step> {
        let start = self.at;
        let mut at = start;
        let (kind, length) = loop {
            match self.frame_at(at)? {
                Found::Whole(kind, length) => break (kind, length),
                Found::Spoiled(length) => at += (FRAME_HEAD + length) as u64,
                Found::Nothing => match self.next_head(at + 1)? {
                    Some(found) => at = found,
                    None => return Ok(Step::End { whole: start }),
                },
            }
        };
        if at > start {
            self.at = at;
            return Ok(Step::Damage {
                from: start,
                to: at,
            });
        }
        self.at = at + (FRAME_HEAD + length) as u64;
        let payload_at = at + FRAME_HEAD as u64;
        match kind {
            Kind::Record => Ok(Step::Frame {
                offset: at,
                end: self.at,
            }),
            Kind::Trailer => {
                let summary = serde_json::from_slice(self.view(payload_at, length)?);
                Ok(Step::Trailer {
                    offset: at,
                    // The check holds, so this was written as a summary.
                    summary: summary.map_err(io::Error::from)?,
                })
            }
        }
    }

    fn frame_at(&mut self, at: u64) -> io::Result<Found> {
        if at + FRAME_HEAD as u64 > self.limit {
            return Ok(Found::Nothing);
        }
        let frames = self.frames;
        let Some(head) = frames.head(self.view(at, FRAME_HEAD)?, at) else {
            return Ok(Found::Nothing);
        };
        let payload_at = at + FRAME_HEAD as u64;
        if payload_at + head.length as u64 > self.limit {
            return Ok(Found::Nothing);
        }
        Ok(if head.holds(self.view(payload_at, head.length)?) {
            Found::Whole(head.kind, head.length)
        } else {
            Found::Spoiled(head.length)
        })
    }

    /// The first offset from `from` on where the head of a frame stands that fits.
    fn next_head(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        while at + FRAME_HEAD as u64 <= self.limit {
            let length = (self.limit - at).min(WINDOW as u64) as usize;
            let (frames, limit) = (self.frames, self.limit);
            let bytes = self.view(at, length)?;
            for (index, head) in bytes.windows(FRAME_HEAD).enumerate() {
                let offset = at + index as u64;
                let fits = |head: usize| offset + (FRAME_HEAD + head) as u64 <= limit;
                if frames.head(head, offset).is_some_and(|h| fits(h.length)) {
                    return Ok(Some(offset));
                }
            }
            at += (length - FRAME_HEAD + 1) as u64;
        }
        Ok(None)
    }

    /// Bytes of the file, read ahead.
    fn view(&mut self, at: u64, length: usize) -> io::Result<&[u8]> {
        let end = at + length as u64;
        let have = self.window_at..=self.window_at + self.window.len() as u64;
        if !have.contains(&at) || !have.contains(&end) {
            self.fill(at, length)?;
        }
        let start = (at - self.window_at) as usize;
        self.window
            .get(start..start + length)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn fill(&mut self, at: u64, length: usize) -> io::Result<()> {
        let room = usize::try_from(self.limit - at).unwrap_or(usize::MAX);
        let wanted = length.max(WINDOW.min(room));
        // One long record must not keep its memory.
        if self.window.capacity() > 2 * WINDOW && wanted <= WINDOW {
            self.window = Vec::new();
        }
        self.window.clear();
        self.window.resize(wanted, 0);
        self.window_at = at;
        match read_full_at(&*self.file, at, &mut self.window) {
            Ok(read) => self.window.truncate(read),
            Err(_) => self.fill_by_page(),
        }
        Ok(())
    }

    /// The pages around a bad one are still good.
    fn fill_by_page(&mut self) {
        let mut done = 0;
        while done < self.window.len() {
            let end = (done + PAGE).min(self.window.len());
            let page = &mut self.window[done..end];
            match read_full_at(&*self.file, self.window_at + done as u64, page) {
                Ok(read) if done + read < end => {
                    self.window.truncate(done + read);
                    return;
                }
                Ok(_) => {}
                Err(_) => {
                    page.fill(0);
                    self.read_errors += 1;
                }
            }
            done = end;
        }
    }
}
