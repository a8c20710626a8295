//! How answers reach a worker: many with one wake.
//!
//! To wake a task from another thread costs a system call. A commit answers many requests of
//! one worker, so their answers travel together: the writer wakes one task of the worker, and
//! that one wakes the others, which on its own thread costs nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::{mpsc, oneshot};

use super::batch::Submission;
use super::journal::Journal;
use super::options::Answer;

/// Commits whose answers may wait to be handed out.
const COMMITS: usize = 64;

/// Where the answers of one worker go.
pub(crate) type Deliver = mpsc::Sender<Vec<Delivery>>;

/// One worker's way to the journal.
#[derive(Clone, Debug)]
pub struct Desk {
    journal: Journal,
    deliver: Deliver,
}

/// The task that hands out the answers; it runs on the worker that stores. While it exists and
/// does not run, that worker gets no answers.
#[derive(Debug)]
#[must_use = "a worker must run it"]
pub struct Deliveries {
    late: Arc<Late>,
    answers: mpsc::Receiver<Vec<Delivery>>,
}

#[derive(Debug)]
pub(crate) struct Delivery {
    waiter: oneshot::Sender<Answer>,
    answer: Answer,
}

/// Records that were stored after whoever waited for them had been told that they were not.
#[derive(Debug, Default)]
pub(crate) struct Late(AtomicU64);

impl Late {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn hand_over(&self, waiter: oneshot::Sender<Answer>, answer: Answer) {
        if let Err(Answer::Stored { .. }) = waiter.send(answer) {
            self.0.fetch_add(1, Relaxed);
        }
    }
}

/// Who waits for an answer, and how it gets there.
#[derive(Debug)]
pub(crate) struct Waiter {
    answer: oneshot::Sender<Answer>,
    desk: Option<Deliver>,
}

impl Waiter {
    pub(crate) fn new(answer: oneshot::Sender<Answer>, desk: Option<&Deliver>) -> Waiter {
        Waiter {
            answer,
            desk: desk.cloned(),
        }
    }

    /// True when nobody waits any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.answer.is_closed()
    }

    /// Tells one waiter by itself that its record is not stored.
    pub(crate) fn refuse(self, answer: Answer) {
        let _ = self.answer.send(answer);
    }
}

/// The answers of one commit, by desk: each worker is woken once.
pub(crate) struct Answers<'a> {
    late: &'a Late,
    desks: Vec<(Deliver, Vec<Delivery>)>,
}

impl<'a> Answers<'a> {
    pub(crate) fn new(late: &'a Late) -> Answers<'a> {
        Answers {
            late,
            desks: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, waiter: Waiter, answer: Answer) {
        let Some(desk) = waiter.desk else {
            return self.late.hand_over(waiter.answer, answer);
        };
        let delivery = Delivery {
            waiter: waiter.answer,
            answer,
        };
        // As many as workers: a search is short.
        let known = self.desks.iter_mut().find(|(d, _)| d.same_channel(&desk));
        match known {
            Some((_, deliveries)) => deliveries.push(delivery),
            None => self.desks.push((desk, vec![delivery])),
        }
    }

    pub(crate) fn send(self) {
        for (desk, deliveries) in self.desks {
            // No room, or no task: then by the long way.
            if let Err(error) = desk.try_send(deliveries) {
                for delivery in error.into_inner() {
                    self.late.hand_over(delivery.waiter, delivery.answer);
                }
            }
        }
    }
}

impl Desk {
    pub(crate) fn new(journal: Journal, late: Arc<Late>) -> (Desk, Deliveries) {
        let (deliver, answers) = mpsc::channel(COMMITS);
        (Desk { journal, deliver }, Deliveries { late, answers })
    }

    /// The journal behind it.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// As `Journal::store`, at less cost. The record is handed over before the future is
    /// polled.
    pub fn store(&self, submission: Submission) -> impl Future<Output = Answer> + Send + use<> {
        self.journal.submit(submission, Some(&self.deliver))
    }
}

impl Deliveries {
    /// Hands out answers until the last desk is gone.
    pub async fn run(mut self) {
        while let Some(deliveries) = self.answers.recv().await {
            for delivery in deliveries {
                self.late.hand_over(delivery.waiter, delivery.answer);
            }
        }
    }
}
