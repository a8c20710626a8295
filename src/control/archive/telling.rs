//! Counts and logs what the uploader does. It must not block: log lines go through a thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::archive::store::{Obstacle, Put, PutOutcome, StoreEvent, StoreWatch};
use crate::telemetry::{GatewayMetrics, UploadResult};
use crate::vocab::Clock;

/// Time between log lines that say that uploads fail.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Hears one uploader.
#[derive(Debug)]
pub(super) struct StoreTeller {
    metrics: Arc<GatewayMetrics>,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// When, since the Unix epoch, and what.
    error: Option<(Duration, String)>,
    /// When it was last logged that uploads fail.
    logged: Option<Instant>,
    /// That they work again is to be logged.
    owed: bool,
}

impl StoreTeller {
    pub(super) fn new(metrics: Arc<GatewayMetrics>) -> StoreTeller {
        StoreTeller {
            metrics,
            told: Mutex::default(),
        }
    }

    /// The last error: when, since the Unix epoch, and what.
    pub(super) fn last_error(&self) -> Option<(Duration, String)> {
        self.told().error.clone()
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first failure is logged, and then one a minute.
    fn delayed(&self, obstacle: &Obstacle, failures: u32) {
        let now = Clock::now();
        let error = obstacle.to_string();
        let mut told = self.told();
        told.error = Some((Clock::unix(), error.clone()));
        let due = told.logged.is_none_or(|at| now >= at + TELL_AGAIN);
        if due {
            told.logged = Some(now);
            told.owed = true;
            tracing::error!(
                failures,
                error,
                "segments cannot be brought into the store; they stay in the journal, trying again"
            );
        }
    }

    fn recovered(&self, failures: u32) {
        let mut told = self.told();
        if std::mem::take(&mut told.owed) {
            tracing::info!(failures, "segments are brought into the store again");
        }
    }
}

impl StoreWatch for StoreTeller {
    fn put(&self, put: &Put<'_>) {
        self.metrics.archive.put(match put.result {
            Ok(PutOutcome::Uploaded) => UploadResult::Uploaded,
            Ok(PutOutcome::Exists) => UploadResult::Exists,
            Err(_) => UploadResult::Failed,
        });
    }

    fn happened(&self, event: &StoreEvent) {
        match event {
            StoreEvent::Uploaded {
                segment,
                records,
                objects,
                bytes,
            } => tracing::info!(%segment, records, objects, bytes, "segment is in the store"),
            StoreEvent::Damaged { segment, bytes } => tracing::error!(
                %segment,
                bytes,
                "parts of a segment could not be read; the rest is in the store"
            ),
            StoreEvent::Delayed {
                obstacle, failures, ..
            } => self.delayed(obstacle, *failures),
            StoreEvent::Recovered { failures } => self.recovered(*failures),
            StoreEvent::Retained { deleted, more } => {
                tracing::info!(deleted, more, "deleted what is older than archive.retain");
            }
            StoreEvent::RetainFailed(error) => tracing::warn!(
                %error,
                "what is older than archive.retain cannot be deleted; trying again in an hour"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_failure_is_told_once_a_minute_and_kept_for_the_status() {
        let teller = StoreTeller::new(Arc::default());
        let fail = |number| {
            let obstacle = Obstacle::Disk(Arc::new(io::Error::other(format!("no {number}"))));
            teller.happened(&StoreEvent::Delayed {
                segment: None,
                obstacle,
                failures: number,
            });
        };
        assert_eq!(teller.last_error(), None);
        fail(1);
        let logged = teller.told().logged;
        fail(2);
        assert_eq!(teller.told().logged, logged);
        assert!(teller.last_error().unwrap().1.ends_with("no 2"));
        teller.happened(&StoreEvent::Recovered { failures: 2 });
        assert!(!teller.told().owed);
        // Soon after, it fails again: not told again, and so its end is not either.
        fail(1);
        assert!(!teller.told().owed);
        let earlier = logged.and_then(|at| at.checked_sub(TELL_AGAIN));
        if earlier.is_some() {
            teller.told().logged = earlier;
            fail(2);
            assert!(teller.told().owed);
        }
    }
}
