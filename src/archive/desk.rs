//! How answers reach a worker: many with one wake.
//!
//! To wake a task from another thread costs a system call. A commit answers many requests of
//! one worker, so their answers travel together: the writer wakes one task of the worker, and
//! that one wakes the others, which on its own thread costs nothing.

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
    answers: mpsc::Receiver<Vec<Delivery>>,
}

#[derive(Debug)]
pub(crate) struct Delivery {
    waiter: oneshot::Sender<Answer>,
    answer: Answer,
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

    /// Answers one waiter by itself. One that went away meanwhile is no matter.
    pub(crate) fn send(self, answer: Answer) {
        let _ = self.answer.send(answer);
    }
}

/// The answers of one commit, by desk: each worker is woken once.
#[derive(Default)]
pub(crate) struct Answers {
    desks: Vec<(Deliver, Vec<Delivery>)>,
}

impl Answers {
    pub(crate) fn add(&mut self, waiter: Waiter, answer: Answer) {
        let Some(desk) = waiter.desk else {
            return waiter.send(answer);
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
                    let _ = delivery.waiter.send(delivery.answer);
                }
            }
        }
    }
}

impl Desk {
    pub(crate) fn new(journal: Journal) -> (Desk, Deliveries) {
        let (deliver, answers) = mpsc::channel(COMMITS);
        (Desk { journal, deliver }, Deliveries { answers })
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
                let _ = delivery.waiter.send(delivery.answer);
            }
        }
    }
}
