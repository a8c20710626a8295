//! The records of one commit, encoded once into one buffer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::buffer::Reservation;
use super::catalog::Counted;
use super::desk::{Answers, Late, Waiter};
use super::id::{Ids, Ulid};
use super::options::{Answer, Failed, Full};
use super::record::{self, Record};
use super::redaction::Redaction;
use super::segment::{FRAME_HEAD, Frames, HEAD_BYTES, Kind, MAX_PAYLOAD, RouteShare};

/// A record on its way to the journal.
#[derive(Debug)]
pub struct Submission {
    /// What is to be kept.
    pub record: Record,
    /// What of it is not.
    pub redaction: Arc<Redaction>,
    /// Bytes that records of this route may take in the journal, each copy counted.
    pub quota: u64,
    /// The room taken before the body was read.
    pub reservation: Reservation,
}

/// A submission and who waits for it.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) submission: Submission,
    pub(crate) waiter: Waiter,
}

/// Records in one buffer, and who waits for each. They are encoded as they come; which of them
/// are kept, and their ids, is decided by the commit.
#[derive(Default)]
pub(crate) struct Batch {
    buffer: Vec<u8>,
    /// Encoded, and not yet decided.
    encoded: Vec<Framed>,
    /// Admitted to the commit.
    frames: Vec<Framed>,
    /// Refused because no frame can be that long.
    too_long: u64,
    routes: Vec<Held>,
    positions: HashMap<Arc<str>, usize>,
}

struct Framed {
    start: usize,
    end: usize,
    id: Ulid,
    route: Arc<str>,
    quota: u64,
    waiter: Waiter,
    _reservation: Reservation,
}

/// What one route has.
struct Held {
    route: Arc<str>,
    /// Bytes in the journal before this batch, each copy counted.
    before: u64,
    /// The first and the last id in the batch.
    ids: (Ulid, Ulid),
    share: RouteShare,
}

/// The room that there is for a batch.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    /// Bytes of all files before it.
    pub(crate) before: u64,
    /// Bytes that all files may take.
    pub(crate) max_bytes: u64,
    /// How often each record is written.
    pub(crate) copies: u64,
}

impl Room {
    /// Whether `max_bytes` has room for a batch of so many bytes, and the quota for its route's.
    fn verdict(&self, bytes: u64, route_bytes: u64, quota: u64) -> Result<(), Answer> {
        if self.before + (bytes + HEAD_BYTES) * self.copies > self.max_bytes {
            Err(Answer::Full(Full::Journal))
        } else if route_bytes > quota {
            Err(Answer::Full(Full::Quota))
        } else {
            Ok(())
        }
    }
}

impl Batch {
    /// Bytes of the frames.
    pub(crate) fn bytes(&self) -> u64 {
        self.buffer.len() as u64
    }

    /// True when a commit has nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.encoded.is_empty() && self.too_long == 0
    }

    /// Records that wait for a commit.
    pub(crate) fn waiting(&self) -> usize {
        self.encoded.len()
    }

    /// Records that were admitted.
    pub(crate) fn records(&self) -> u64 {
        self.frames.len() as u64
    }

    /// Encodes a record behind the others.
    pub(crate) fn add(&mut self, waiting: Waiting) {
        let Waiting { submission, waiter } = waiting;
        // Nobody waits any more, and nothing of it was written: then nothing is kept.
        if waiter.is_gone() {
            return;
        }
        let start = self.buffer.len();
        self.buffer.resize(start + FRAME_HEAD, 0);
        let record = submission.record;
        let encoded = record.encode(Ulid::nil(), &submission.redaction, &mut self.buffer);
        let length = self.buffer.len() - start;
        if encoded.is_err() || length > FRAME_HEAD + MAX_PAYLOAD {
            self.buffer.truncate(start);
            self.too_long += 1;
            return waiter.refuse(Answer::Failed(Failed::TooLong));
        }
        self.encoded.push(Framed {
            start,
            end: start + length,
            id: Ulid::nil(),
            route: record.route,
            quota: submission.quota,
            waiter,
            _reservation: submission.reservation,
        });
    }

    /// Decides which records are kept and gives them their ids; the others leave the buffer. `held`
    /// says what a route has in the journal. Returns whom it refused, and why.
    pub(crate) fn admit(
        &mut self,
        (ids, unix): (&mut Ids, Duration),
        room: Room,
        held: impl Fn(&str) -> u64,
    ) -> Vec<(Arc<str>, Answer)> {
        let mut refused = Vec::new();
        let mut end = 0;
        let mut encoded = std::mem::take(&mut self.encoded);
        for mut frame in encoded.drain(..) {
            if frame.waiter.is_gone() {
                continue;
            }
            let length = frame.end - frame.start;
            let position = self.position(&frame.route, &held);
            let route = &mut self.routes[position];
            let bytes = route.share.bytes + length as u64;
            let route_bytes = route.before + bytes * room.copies;
            if let Err(refusal) = room.verdict((end + length) as u64, route_bytes, frame.quota) {
                refused.push((frame.route, refusal));
                frame.waiter.refuse(refusal);
                continue;
            }
            frame.id = ids.next(unix);
            if route.share.records == 0 {
                route.ids.0 = frame.id;
            }
            route.ids.1 = frame.id;
            route.share.records += 1;
            route.share.bytes = bytes;
            if frame.start > end {
                self.buffer.copy_within(frame.start..frame.end, end);
            }
            (frame.start, frame.end) = (end, end + length);
            end += length;
            record::identify(&mut self.buffer[frame.start + FRAME_HEAD..], frame.id);
            self.frames.push(frame);
        }
        self.encoded = encoded;
        self.buffer.truncate(end);
        refused
    }

    /// Records that were too long, once.
    pub(crate) fn take_too_long(&mut self) -> u64 {
        std::mem::take(&mut self.too_long)
    }

    /// The position of a route, which is most often that of the record before. What it has in
    /// the journal is asked for once.
    fn position(&mut self, route: &Arc<str>, held: impl Fn(&str) -> u64) -> usize {
        let last = self.routes.len().wrapping_sub(1);
        match self.routes.get(last) {
            Some(held) if Arc::ptr_eq(&held.route, route) => return last,
            Some(_) | None => {}
        }
        if let Some(position) = self.positions.get(route) {
            return *position;
        }
        self.routes.push(Held {
            route: route.clone(),
            before: held(route),
            ids: Default::default(),
            share: RouteShare::default(),
        });
        self.positions.insert(route.clone(), self.routes.len() - 1);
        self.routes.len() - 1
    }

    /// The frames as they stand at `offset` of a segment.
    pub(crate) fn stamped(&mut self, frames: &Frames, offset: u64) -> &[u8] {
        for frame in &self.frames {
            let bytes = &mut self.buffer[frame.start..frame.end];
            frames.stamp(bytes, offset + frame.start as u64, Kind::Record);
        }
        &self.buffer
    }

    pub(crate) fn checksum(&self, before: u32) -> u32 {
        crc32c::crc32c_append(before, &self.buffer)
    }

    /// By route.
    pub(crate) fn counted(&self) -> impl Iterator<Item = Counted<'_>> {
        let stored = self.routes.iter().filter(|held| held.share.records > 0);
        stored.map(|held| Counted {
            ids: held.ids,
            route: &held.route,
            share: held.share,
        })
    }

    /// Tells all waiters that their record is kept.
    pub(crate) fn stored(&mut self, late: &Late) {
        self.answer(late, |id| Answer::Stored { id });
    }

    /// Tells all waiters that their record is not kept.
    pub(crate) fn refused(&mut self, late: &Late, answer: Answer) {
        self.answer(late, |_| answer);
    }

    fn answer(&mut self, late: &Late, answer: impl Fn(Ulid) -> Answer) {
        let mut answers = Answers::new(late);
        for frame in self.frames.drain(..) {
            answers.add(frame.waiter, answer(frame.id));
        }
        answers.send();
    }

    /// Empties the batch. The memory of an uncommonly long one is given back.
    pub(crate) fn clear(&mut self, keep: usize) {
        self.encoded.clear();
        self.frames.clear();
        self.routes.clear();
        self.positions.clear();
        self.buffer.clear();
        self.buffer.shrink_to(keep);
    }
}
