//! The run itself: one task that reads ahead, sends what is due, and settles what is answered.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::StatusCode;
use tokio::sync::mpsc::Receiver;

use super::book::{Book, Settled};
use super::ending::{Ending, Phase, Progress, Watch};
use super::feed::{Entry, Fed};
use super::health::{Gate, Health, MOST_DENIED, backoff};
use super::lanes::Lanes;
use super::outcome::{Failing, Outcome};
use super::run::Terms;
use super::saver::Saver;
use super::sender::Sender;
use crate::archive::source::SourceFigures;
use crate::policy::pace::Pace;
use crate::vocab::Clock;

mod aside;

/// Records in the window: read and not settled.
const WINDOW: usize = 4096;
/// A record that the target so often answered with 500 while it accepted others is at fault
/// itself: it is refused.
const ALONE: u32 = 5;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// One request that came to an end.
struct Landed {
    order: u64,
    entry: Entry,
    sent: Instant,
    outcome: Outcome,
}

type Flight = Pin<Box<dyn Future<Output = Landed>>>;

/// A run under way.
pub(super) struct Engine<'a> {
    terms: &'a Terms,
    sender: Arc<Sender>,
    feed: Receiver<Fed>,
    /// What the reader counted, once everything was read.
    pub(super) read: Option<SourceFigures>,
    lanes: Lanes<Entry>,
    pace: Pace,
    health: Health,
    flights: FuturesUnordered<Flight>,
    /// Sent and neither settled nor denied; those that wait to be sent again included.
    under_way: usize,
    /// Answered 401 or 403 since the last other answer.
    denied: Vec<(Entry, StatusCode)>,
    /// Answered with 500 until the target would have been given up, and so perhaps what it fails
    /// on; since the last record that it accepted.
    broken: Vec<(Entry, StatusCode)>,
    accepted: u64,
    refused: u64,
    last_failure: Option<Failing>,
    pub(super) saver: Saver,
    /// Set once nothing more is to be sent.
    ending: Option<Ending>,
    told: Instant,
}

impl<'a> Engine<'a> {
    pub(super) fn new(terms: &'a Terms, feed: Receiver<Fed>, saver: Saver) -> Engine<'a> {
        let now = Clock::now();
        Engine {
            terms,
            sender: Arc::new(Sender::new(terms.timeout)),
            feed,
            read: None,
            lanes: Lanes::new(),
            pace: Pace::new(terms.rate, now),
            health: Health::default(),
            flights: FuturesUnordered::new(),
            under_way: 0,
            denied: Vec::new(),
            broken: Vec::new(),
            accepted: 0,
            refused: 0,
            last_failure: None,
            saver,
            ending: None,
            told: now,
        }
    }

    /// Sends until all is settled, something forbids to go on, or `stop` comes. What is under
    /// way then is waited for.
    pub(super) async fn run(
        &mut self,
        watch: &mut dyn Watch,
        stop: impl Future<Output = ()>,
    ) -> Ending {
        let mut stop = std::pin::pin!(stop);
        loop {
            let now = Clock::now();
            self.check(now);
            self.dispatch(now);
            self.saver.save_if_due(now);
            if now.saturating_duration_since(self.told) >= TELL_EVERY {
                self.told = now;
                self.sender.sweep();
                watch.progress(&self.progress());
            }
            if self.flights.is_empty()
                && let Some(ending) = self.ending.take()
            {
                watch.progress(&self.progress());
                return ending;
            }
            let reading = self.read.is_none() && self.ending.is_none() && self.lanes.len() < WINDOW;
            let wake = self.wake(now);
            tokio::select! {
                () = &mut stop, if self.ending.is_none() => self.ending = Some(Ending::Interrupted),
                Some(landed) = self.flights.next(), if !self.flights.is_empty() => self.land(landed),
                fed = self.feed.recv(), if reading => self.take_in(fed),
                failed = self.saver.progress() => self.stop_for(failed.map(Ending::Checkpoint)),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    /// The book, when the run has ended: what is under way no more.
    pub(super) fn book(&self) -> &Book {
        &self.saver.book
    }

    fn stop_for(&mut self, ending: Option<Ending>) {
        if self.ending.is_none() {
            self.ending = ending;
        }
    }

    /// Whether the run is over.
    fn check(&mut self, now: Instant) {
        if self.ending.is_some() {
            return;
        }
        if let Some(failing) = self.fails_for_good(now) {
            self.ending = Some(Ending::GaveUp(failing));
        } else if self.read.is_some() && self.lanes.len() == 0 && self.flights.is_empty() {
            let ending = self.last_word();
            if ending == Ending::Done {
                self.refuse_denied();
                self.refuse_broken();
            }
            self.ending = Some(ending);
        }
    }

    fn dispatch(&mut self, now: Instant) {
        while self.ending.is_none() && self.pace.due() <= now {
            let Some((order, entry)) = self.take(now) else {
                return;
            };
            self.pace.sent(now);
            match entry.tries {
                0 => {
                    self.under_way += 1;
                    self.saver.sent(&entry.instance);
                }
                _ => self.saver.retried(&entry.instance),
            }
            self.launch(order, entry, now);
        }
    }

    /// What is sent next, if anything may be.
    fn take(&mut self, now: Instant) -> Option<(u64, Entry)> {
        let fresh = self.may_send_fresh();
        match self.health.gate(now) {
            Gate::Shut(_) => None,
            Gate::Probe if !self.flights.is_empty() => None,
            Gate::Probe if fresh => self.lanes.take_fresh(),
            Gate::Probe => self.lanes.take_least_tried(now),
            Gate::Open => match self.lanes.take_again(now) {
                None if fresh => self.lanes.take_fresh(),
                taken => taken,
            },
        }
    }

    fn may_send_fresh(&self) -> bool {
        self.lanes.has_fresh()
            && self.under_way < self.terms.concurrency
            && self.saver.exposed() < self.terms.batch
    }

    /// When there may be something to do that nothing else wakes for.
    fn wake(&self, now: Instant) -> Instant {
        let tell = self.told + TELL_EVERY;
        if self.ending.is_some() {
            return tell;
        }
        let again = self.lanes.again_from(now);
        let again = match self.may_send_fresh() {
            true => Some(now),
            false => again,
        };
        let send = match (self.health.gate(now), again) {
            (_, None) => None,
            (Gate::Shut(until), Some(_)) => Some(until),
            (Gate::Probe, Some(_)) if !self.flights.is_empty() => None,
            (Gate::Probe | Gate::Open, Some(from)) => Some(from.max(self.pace.due())),
        };
        send.map_or(tell, |send| send.min(tell))
    }

    fn launch(&mut self, order: u64, entry: Entry, sent: Instant) {
        let sender = Arc::clone(&self.sender);
        self.flights.push(Box::pin(async move {
            let outcome = match &entry.outgoing {
                Ok(outgoing) => sender.send(outgoing, &entry.to).await,
                // Refused as it was read: never launched.
                Err(_) => Outcome::Failing(Failing::Invalid, None),
            };
            Landed {
                order,
                entry,
                sent,
                outcome,
            }
        }));
    }

    fn land(&mut self, landed: Landed) {
        let (now, mut entry) = (Clock::now(), landed.entry);
        match landed.outcome {
            Outcome::Accepted => {
                self.answered(now);
                self.refuse_denied();
                self.refuse_broken();
                self.accepted += 1;
                self.settle(entry, Settled::Accepted);
            }
            Outcome::Refused(status) => {
                self.answered(now);
                self.refuse_denied();
                self.refuse(entry, status.as_u16().to_string());
            }
            Outcome::Denied(status) => {
                self.answered(now);
                self.set_aside(&mut entry);
                self.denied.push((entry, status));
                if self.denied.len() >= MOST_DENIED {
                    self.stop_for(Some(Ending::Denied(status)));
                }
            }
            Outcome::Failing(failing, retry_after) => {
                // Probes, and what was under way before a pause, say nothing about the pace.
                if !self.health.pauses() {
                    self.pace.failed(landed.sent, now);
                }
                self.health.failed(landed.sent, now, retry_after);
                self.last_failure = Some(failing);
                self.again(landed.order, entry, failing);
            }
        }
    }

    fn answered(&mut self, now: Instant) {
        if self.health.pauses() {
            self.pace.restart(now);
        }
        self.health.answered();
        self.pace.answered(now);
    }

    /// The same record once more, unless it is what makes the target fail.
    fn again(&mut self, order: u64, mut entry: Entry, failing: Failing) {
        let now = Clock::now();
        entry.tries += 1;
        match failing {
            Failing::Broken(status) => {
                entry.broken += 1;
                entry.alone += u32::from(self.accepted > entry.seen);
                if entry.alone >= ALONE {
                    self.refuse(entry, status.as_u16().to_string());
                    return;
                }
                if entry.broken >= ALONE && self.is_overdue(now) {
                    self.set_aside(&mut entry);
                    self.broken.push((entry, status));
                    self.health.another(now);
                    return;
                }
            }
            Failing::Busy(_)
            | Failing::Unreachable
            | Failing::Reset
            | Failing::Invalid
            | Failing::TimedOut => entry.broken = 0,
        }
        entry.seen = self.accepted;
        let from = now + backoff(entry.tries);
        self.lanes.again((order, entry), from);
    }

    fn settle(&mut self, entry: Entry, how: Settled) {
        self.under_way -= 1;
        self.lanes.settled(super::lanes::Lane::client(&entry));
        self.saver.settle(&entry, how);
    }

    fn refuse(&mut self, entry: Entry, why: String) {
        self.refused += 1;
        self.saver.refuse(&entry, why);
        self.settle(entry, Settled::Refused);
    }

    fn take_in(&mut self, fed: Option<Fed>) {
        match fed {
            Some(Fed::Record(entry)) => self.take_in_record(*entry),
            Some(Fed::Skipped(instance, id)) => self.saver.skipped(&instance, id),
            Some(Fed::Lacking(lacking)) => self.stop_for(Some(Ending::Lacking(lacking))),
            Some(Fed::WithoutTarget(route, why)) => {
                self.stop_for(Some(Ending::WithoutTarget(route, why)));
            }
            Some(Fed::End(figures)) => self.read = Some(figures),
            Some(Fed::Failed(error)) => self.stop_for(Some(Ending::Source(error.to_string()))),
            None => self.stop_for(Some(Ending::Source("reading ended early".to_owned()))),
        }
    }

    fn take_in_record(&mut self, entry: Entry) {
        self.saver.read(&entry.instance, entry.id);
        match &entry.outgoing {
            Ok(_) => self.lanes.push(entry),
            Err(why) => {
                let why = why.to_string();
                self.refused += 1;
                self.saver.refuse(&entry, why);
                self.saver.settle(&entry, Settled::Refused);
            }
        }
    }

    fn progress(&self) -> Progress {
        let phase = match (&self.ending, self.last_failure) {
            (Some(_), _) => Phase::Finishing,
            (None, Some(failing)) if self.health.pauses() => Phase::Waiting(failing),
            (None, _) => Phase::Sending,
        };
        Progress {
            counts: self.saver.book.total(),
            pace: self.pace.per_second(),
            phase,
        }
    }
}
