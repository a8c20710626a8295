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
use super::segment::{FRAME_HEAD, Frames, Kind, MAX_PAYLOAD};

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
    routes: HashMap<Arc<str>, u64>,
}

struct Framed {
    start: usize,
    end: usize,
    id: Ulid,
    route: Arc<str>,
    waiter: Waiter,
    _reservation: Reservation,
}

/// A record that is in the batch, before it is decided whether it stays.
pub(crate) struct Added {
    pub(crate) bytes: u64,
    pub(crate) batch_bytes: u64,
}

impl Batch {
    pub(crate) fn bytes(&self) -> u64 {
        self.buffer.len() as u64
    }

    pub(crate) fn records(&self) -> u64 {
        self.frames.len() as u64
    }

    /// Bytes that records of a route have in the batch.
    pub(crate) fn route_bytes(&self, route: &str) -> u64 {
        self.routes.get(route).copied().unwrap_or_default()
    }

    /// Encodes a record behind the others. `admit` may refuse it, once its length is known.
    pub(crate) fn add(
        &mut self,
        id: Ulid,
        waiting: Waiting,
        admit: impl FnOnce(&Batch, Added) -> Result<(), Answer>,
    ) -> Result<(), Answer> {
        let Waiting { submission, waiter } = waiting;
        let start = self.buffer.len();
        self.buffer.resize(start + FRAME_HEAD, 0);
        let encoded = submission
            .record
            .encode(id, &submission.redaction, &mut self.buffer);
        let length = self.buffer.len() - start - FRAME_HEAD;
        let verdict = match encoded {
            Ok(()) if length <= MAX_PAYLOAD => {
                let added = Added {
                    bytes: (FRAME_HEAD + length) as u64,
                    batch_bytes: self.bytes(),
                };
                admit(self, added)
            }
            Ok(()) | Err(_) => Err(Answer::Failed(Failed::TooLong)),
        };
        if let Err(refusal) = verdict {
            self.buffer.truncate(start);
            waiter.refuse(refusal);
            return Err(refusal);
        }
        let route = submission.record.route;
        *self.routes.entry(route.clone()).or_default() += (FRAME_HEAD + length) as u64;
        self.frames.push(Framed {
            start,
            end: self.buffer.len(),
            id,
            route,
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

    pub(crate) fn counted(&self) -> impl Iterator<Item = Counted<'_>> {
        self.frames.iter().map(|frame| Counted {
            id: frame.id,
            route: &frame.route,
            bytes: (frame.end - frame.start) as u64,
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
        self.buffer.clear();
        self.buffer.shrink_to(keep);
    }
}
