//! The records of one commit, encoded once into one buffer.

use std::collections::HashMap;
use std::sync::Arc;

use super::buffer::Reservation;
use super::catalog::Counted;
use super::desk::{Answers, Late, Waiter};
use super::id::Ulid;
use super::options::{Answer, Failed};
use super::record::Record;
use super::redaction::Redaction;
use super::segment::{FRAME_HEAD, Frames, Kind, MAX_PAYLOAD, RouteShare};

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

/// Frames in one buffer, and who waits for each.
#[derive(Default)]
pub(crate) struct Batch {
    buffer: Vec<u8>,
    frames: Vec<Framed>,
    routes: Vec<Held>,
    positions: HashMap<Arc<str>, usize>,
}

struct Framed {
    start: usize,
    end: usize,
    id: Ulid,
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

/// What there would be with a record that is in the batch, before it is decided whether it
/// stays.
pub(crate) struct Added {
    /// Bytes of its route in the journal before this batch, each copy counted.
    pub(crate) route_before: u64,
    /// Bytes of its route in the batch.
    pub(crate) route_bytes: u64,
    /// Bytes of the batch.
    pub(crate) bytes: u64,
    /// Bytes that its route may have.
    pub(crate) quota: u64,
}

impl Batch {
    pub(crate) fn bytes(&self) -> u64 {
        self.buffer.len() as u64
    }

    pub(crate) fn records(&self) -> u64 {
        self.frames.len() as u64
    }

    /// The position of a route, which is most often that of the record before. What it has in
    /// the journal is asked for once.
    fn position(&mut self, route: &Arc<str>, before: impl FnOnce() -> u64) -> usize {
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
            before: before(),
            ids: Default::default(),
            share: RouteShare::default(),
        });
        self.positions.insert(route.clone(), self.routes.len() - 1);
        self.routes.len() - 1
    }

    /// Encodes a record behind the others. `admit` may refuse it, once its length is known;
    /// `before` says what its route has in the journal.
    pub(crate) fn add(
        &mut self,
        id: Ulid,
        waiting: Waiting,
        before: impl FnOnce(&str) -> u64,
        admit: impl FnOnce(Added) -> Result<(), Answer>,
    ) -> Result<(), Answer> {
        let Waiting { submission, waiter } = waiting;
        let start = self.buffer.len();
        self.buffer.resize(start + FRAME_HEAD, 0);
        let record = submission.record;
        let encoded = record.encode(id, &submission.redaction, &mut self.buffer);
        let bytes = (self.buffer.len() - start) as u64;
        let position = self.position(&record.route, || before(&record.route));
        let held = &self.routes[position];
        let verdict = match encoded {
            Ok(()) if bytes <= (FRAME_HEAD + MAX_PAYLOAD) as u64 => admit(Added {
                route_before: held.before,
                route_bytes: held.share.bytes + bytes,
                bytes: self.bytes(),
                quota: submission.quota,
            }),
            Ok(()) | Err(_) => Err(Answer::Failed(Failed::TooLong)),
        };
        if let Err(refusal) = verdict {
            self.buffer.truncate(start);
            waiter.refuse(refusal);
            return Err(refusal);
        }
        let held = &mut self.routes[position];
        if held.share.records == 0 {
            held.ids.0 = id;
        }
        held.ids.1 = id;
        held.share.records += 1;
        held.share.bytes += bytes;
        self.frames.push(Framed {
            start,
            end: self.buffer.len(),
            id,
            waiter,
            _reservation: submission.reservation,
        });
        Ok(())
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
        self.frames.clear();
        self.routes.clear();
        self.positions.clear();
        self.buffer.clear();
        self.buffer.shrink_to(keep);
    }
}
