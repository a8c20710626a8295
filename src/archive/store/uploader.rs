//! The uploader: a thread that brings what the journal sealed into the store, oldest first.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot, watch};

use super::super::catalog::{Growth, SegmentInfo};
use super::super::files::Disk;
use super::super::id::SegmentId;
use super::super::journal::Journal;
use super::pace::{self, Window};
use super::put::Store;
use super::retention::Retention;
use super::setup::{Finish, Opener, UploadFigures, UploadOptions};
use super::upload::{Bench, Progress};
use super::watch::{Obstacle, StoreEvent, StoreWatch};
use crate::vocab::Clock;

/// How long `finish` waits for the thread behind its deadline.
const LAST_WAIT: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Finishing { until: Instant },
}

/// Runs on a thread of its own. Dropping it ends the thread soon, as `finish` without time.
#[derive(Debug)]
pub struct Uploader {
    journal: Journal,
    phase: watch::Sender<Phase>,
    shared: Arc<Shared>,
    ended: Option<oneshot::Receiver<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Failures in a row, and the window.
    figures: Mutex<(u32, usize)>,
    nudge: Notify,
    hurry: Notify,
    /// Waits of segments are to be forgotten.
    hurried: AtomicBool,
}

impl Uploader {
    /// Starts the thread.
    ///
    /// # Errors
    /// No thread or no runtime.
    pub fn start(
        options: UploadOptions,
        (journal, disk): (Journal, Arc<dyn Disk>),
        open: Opener,
        watch: Arc<dyn StoreWatch>,
    ) -> io::Result<Uploader> {
        // Its client needs sockets and timers.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("archive-io")
            .max_blocking_threads(pace::MOST_PUTS + 4)
            .build()?;
        let (phase, phases) = watch::channel(Phase::Running);
        let shared = Arc::new(Shared {
            figures: Mutex::new((0, Window::new().size())),
            nudge: Notify::new(),
            hurry: Notify::new(),
            hurried: AtomicBool::new(false),
        });
        let (end, ended) = oneshot::channel();
        let bench = Bench {
            journal: journal.clone(),
            disk,
            watch,
        };
        let worker = Worker {
            bench,
            options,
            open,
            phases,
            shared: shared.clone(),
            window: Window::new(),
            failures: 0,
            segments: BTreeMap::new(),
        };
        thread::Builder::new()
            .name("archive-store".to_owned())
            .spawn(move || {
                runtime.block_on(worker.run());
                // A directory that hangs must not hold up the end of the process.
                runtime.shutdown_background();
                let _ = end.send(());
            })?;
        Ok(Uploader {
            journal,
            phase,
            shared,
            ended: Some(ended),
        })
    }

    /// Looks for sealed segments at once: after `Event::Sealed`.
    pub fn nudge(&self) {
        self.shared.nudge.notify_one();
    }

    /// The same, and tries again at once what failed: somebody asks who may have mended it.
    pub fn hurry(&self) {
        self.shared.hurried.store(true, Relaxed);
        self.shared.hurry.notify_one();
    }

    /// What waits, and how uploads go.
    pub fn figures(&self) -> UploadFigures {
        let (failures, window) = *self.shared.lock();
        let mut figures = UploadFigures {
            failures,
            window: window as u64,
            ..UploadFigures::default()
        };
        for info in closed(&self.journal) {
            figures.waiting += 1;
            figures.bytes += info.bytes();
            let first = info.summary.first;
            let stored = first.map(|id| Duration::from_millis(id.timestamp_ms()));
            figures.oldest = figures.oldest.or(stored);
        }
        figures
    }

    /// Uploads what is sealed until nothing is left, the first failure, or `within`. Call it
    /// after `Journal::seal` and before `Journal::close`: a closed journal removes nothing,
    /// and everything is put again, and found there, after the next start.
    pub async fn finish(mut self, within: Duration) -> Finish {
        let until = Clock::now() + within;
        self.phase.send_replace(Phase::Finishing { until });
        if let Some(ended) = self.ended.take() {
            let _ = tokio::time::timeout(within + LAST_WAIT, ended).await;
        }
        match closed(&self.journal).len() as u64 {
            0 => Finish::Done,
            segments => Finish::Left { segments },
        }
    }
}

impl Drop for Uploader {
    fn drop(&mut self) {
        let until = Clock::now();
        self.phase.send_if_modified(|phase| match phase {
            Phase::Running => {
                *phase = Phase::Finishing { until };
                true
            }
            Phase::Finishing { .. } => false,
        });
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, (u32, usize)> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed(journal: &Journal) -> Vec<SegmentInfo> {
    let mut segments = journal.segments();
    segments.retain(|info| info.growth == Growth::Closed);
    segments
}

/// What a segment still has to wait for.
struct Waiting {
    progress: Progress,
    not_before: Instant,
}

struct Worker {
    bench: Bench,
    options: UploadOptions,
    open: Opener,
    phases: watch::Receiver<Phase>,
    shared: Arc<Shared>,
    window: Window,
    failures: u32,
    /// Those that failed before.
    segments: BTreeMap<SegmentId, Waiting>,
}

impl Worker {
    async fn run(self) {
        let phases = self.phases.clone();
        tokio::select! {
            () = self.work() => {}
            () = deadline(phases) => {}
        }
    }

    async fn work(mut self) {
        let Some(store) = self.opened().await else {
            return;
        };
        let retention = Retention::new(store.clone(), self.options.retain);
        let watch = self.bench.watch.clone();
        tokio::select! {
            () = self.upload_all(&store) => {}
            never = retention.run(&*watch) => match never {},
        }
    }

    async fn opened(&mut self) -> Option<Store> {
        loop {
            let open = self.open.clone();
            let opened = tokio::task::spawn_blocking(move || open()).await;
            match opened {
                Ok(Ok(store)) => return Some(store),
                Ok(Err(error)) => self.failed(None, Obstacle::Store(Arc::new(error))),
                Err(panic) => {
                    let error = Arc::new(io::Error::other(panic));
                    self.failed(None, Obstacle::Disk(error));
                }
            }
            let wait = pace::wait(self.options.backoff, self.failures, pace::random());
            if self.back_off(wait).await == Woken::ToFinish {
                return None;
            }
        }
    }

    /// Ends when it is to finish and has nothing left, or could not do more.
    async fn upload_all(&mut self, store: &Store) {
        loop {
            let segments = closed(&self.bench.journal);
            self.segments
                .retain(|id, _| segments.iter().any(|info| info.id == *id));
            let finishing = self.is_finishing();
            let now = Clock::now();
            if self.shared.hurried.swap(false, Relaxed) {
                let waiting = self.segments.values_mut();
                waiting.for_each(|waiting| waiting.not_before = now);
            }
            // One segment that never succeeds does not stand before all others.
            let due = segments.iter().filter(|info| {
                let waiting = self.segments.get(&info.id);
                finishing || waiting.is_none_or(|waiting| waiting.not_before <= now)
            });
            let next = due.min_by_key(|info| {
                let waiting = self.segments.get(&info.id);
                (waiting.map_or(0, |w| w.progress.failures), info.id)
            });
            let Some(info) = next.cloned() else {
                if finishing {
                    return;
                }
                self.idle().await;
                continue;
            };
            if let Some(wait) = self.try_one(store, &info).await {
                if self.is_finishing() {
                    return;
                }
                self.back_off(wait).await;
            }
        }
    }

    /// The wait before the next segment, when this one failed.
    async fn try_one(&mut self, store: &Store, info: &SegmentInfo) -> Option<Duration> {
        let waiting = self.segments.remove(&info.id);
        let mut progress = waiting.map(|w| w.progress).unwrap_or_default();
        let before = progress.confirmed.len();
        let tried = self
            .bench
            .upload(store, info, &mut progress, &mut self.window);
        let Err(obstacle) = tried.await else {
            self.worked();
            return None;
        };
        progress.failures += 1;
        let moved = progress.confirmed.len() > before;
        let wait = pace::wait(self.options.backoff, progress.failures, pace::random());
        let waiting = Waiting {
            progress,
            not_before: Clock::now() + wait,
        };
        self.segments.insert(info.id, waiting);
        let of_store = matches!(obstacle, Obstacle::Store(_));
        if moved {
            self.worked();
        }
        self.failed(Some(info.id), obstacle);
        // Only the store's failures hold up the other segments.
        let failures = if of_store { self.failures } else { 1 };
        Some(pace::wait(self.options.backoff, failures, pace::random()))
    }

    fn worked(&mut self) {
        let failures = std::mem::take(&mut self.failures);
        if failures > 0 {
            self.bench
                .watch
                .happened(&StoreEvent::Recovered { failures });
        }
        self.publish();
    }

    fn failed(&mut self, segment: Option<SegmentId>, obstacle: Obstacle) {
        self.failures = self.failures.saturating_add(1);
        self.publish();
        self.bench.watch.happened(&StoreEvent::Delayed {
            segment,
            obstacle,
            failures: self.failures,
        });
    }

    fn publish(&self) {
        *self.shared.lock() = (self.failures, self.window.size());
    }

    fn is_finishing(&self) -> bool {
        matches!(*self.phases.borrow(), Phase::Finishing { .. })
    }

    async fn idle(&self) {
        tokio::select! {
            _ = self.back_off(self.options.poll) => {}
            () = self.shared.nudge.notified() => {}
        }
    }

    /// Not cut short by news: a store that fails is left alone, unless somebody asks.
    async fn back_off(&self, wait: Duration) -> Woken {
        let mut phases = self.phases.clone();
        let finishing = phases.wait_for(|phase| matches!(phase, Phase::Finishing { .. }));
        tokio::select! {
            _ = finishing => Woken::ToFinish,
            () = tokio::time::sleep(wait) => Woken::ToWork,
            () = self.shared.hurry.notified() => Woken::ToWork,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    ToWork,
    ToFinish,
}

/// Ends when the time to finish is over.
async fn deadline(mut phases: watch::Receiver<Phase>) {
    let finishing = phases.wait_for(|phase| matches!(phase, Phase::Finishing { .. }));
    let until = match finishing.await.as_deref() {
        Ok(Phase::Finishing { until }) => *until,
        Ok(Phase::Running) | Err(_) => return,
    };
    tokio::time::sleep_until(until.into()).await;
}

#[cfg(test)]
#[path = "uploader_tests.rs"]
mod tests;
