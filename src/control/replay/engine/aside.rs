//! Records that are set aside: the target answers them with 401, 403 or 500, and whether they are
//! at fault or the target is, the answers to others say.

use std::time::{Duration, Instant};

use http::StatusCode;

use super::Engine;
use crate::control::replay::book::Settled;
use crate::control::replay::ending::Ending;
use crate::control::replay::feed::Entry;
use crate::control::replay::lanes::Lane as _;
use crate::control::replay::outcome::Failing;

/// So many records that the target answers with 500, and accepts none: it is the target.
const MOST_BROKEN: usize = 10;
/// The least time in which others are tried.
const LEAST_FOR_OTHERS: Duration = Duration::from_secs(30);

impl Engine<'_> {
    /// Whether the target did nothing but fail for as long as is waited for it.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        let since = self.health.failing_since();
        since.is_some_and(|since| now.saturating_duration_since(since) >= self.terms.give_up_after)
    }

    /// The next one of its client is sent; what becomes of this one, others decide.
    pub(super) fn set_aside(&mut self, entry: &mut Entry) {
        self.under_way -= 1;
        self.lanes.settled(entry.client());
        entry.set_aside();
    }

    /// Others are answered otherwise: 401 and 403 were about these records.
    pub(super) fn refuse_denied(&mut self) {
        let denied = std::mem::take(&mut self.denied);
        self.refuse_aside(denied);
    }

    /// Another is accepted: 500 was about these records. A checkpoint has both or neither, so
    /// that none of them is sent after one of its client that came later.
    pub(super) fn refuse_broken(&mut self) {
        let broken = std::mem::take(&mut self.broken);
        self.refuse_aside(broken);
    }

    fn refuse_aside(&mut self, entries: Vec<(Entry, StatusCode)>) {
        for (entry, status) in entries {
            self.refused += 1;
            self.saver.refuse(&entry, status.as_u16().to_string());
            self.saver.settle(&entry, Settled::Refused);
        }
    }

    /// How the target fails, if it did nothing else for too long. Where it answers 500 to a few
    /// records they may be why: it has as long again to accept another one.
    pub(super) fn fails_for_good(&self, now: Instant) -> Option<Failing> {
        let failing = self.last_failure?;
        let lasts = now.saturating_duration_since(self.health.failing_since()?);
        let give_up_after = self.terms.give_up_after;
        let enough = match failing {
            Failing::Broken(_) if self.broken.len() + self.under_way < MOST_BROKEN => {
                give_up_after.saturating_add(give_up_after.max(LEAST_FOR_OTHERS))
            }
            Failing::Broken(_)
            | Failing::Busy(_)
            | Failing::Unreachable
            | Failing::Reset
            | Failing::Invalid
            | Failing::TimedOut => give_up_after,
        };
        (lasts >= enough).then_some(failing)
    }

    /// What becomes of a run when nothing is left to be sent.
    pub(super) fn last_word(&self) -> Ending {
        match (self.denied.last(), &self.broken[..]) {
            // Nothing else was ever answered: these few say the same as many would.
            (Some((_, status)), _) if self.accepted + self.refused == 0 => Ending::Denied(*status),
            (_, []) => Ending::Done,
            // A single one behind others that were accepted, now or by an earlier part.
            (_, [_]) if self.saver.book.total().accepted > 0 => Ending::Done,
            (_, [.., (_, status)]) => Ending::GaveUp(Failing::Broken(*status)),
        }
    }
}
