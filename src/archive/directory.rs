//! One directory of the journal: whether it can be used, and when it is tried again.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::files::{DirectoryLock, Disk, write_all_at};
use super::options::{Backoff, DirectoryState, Fault};

/// Written, synced and removed to see whether a directory works again.
const PROBE: &str = "probe";
const PROBE_BYTES: usize = 4096;

/// A directory and its health. The lock is held from the first success until the end.
pub(crate) struct Directory {
    path: Arc<Path>,
    lock: Option<Box<dyn DirectoryLock>>,
    failure: Option<Failure>,
    backoff: Backoff,
    /// How long the next failure lasts.
    pause: Duration,
    healed: Option<Instant>,
}

struct Failure {
    fault: Fault,
    until: Instant,
}

/// Whether a failure is the first one since the directory worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fell {
    Now,
    Before,
}

impl Directory {
    pub(crate) fn new(path: &Path, backoff: Backoff) -> Directory {
        Directory {
            path: path.into(),
            lock: None,
            failure: None,
            backoff,
            pause: backoff.first,
            healed: None,
        }
    }

    pub(crate) fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// True once its files are known.
    pub(crate) fn is_taken(&self) -> bool {
        self.lock.is_some()
    }

    /// True while it may be written to.
    pub(crate) fn is_usable(&self) -> bool {
        self.lock.is_some() && self.failure.is_none()
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        self.failure.as_ref().map(|failure| failure.fault)
    }

    pub(crate) fn state(&self) -> DirectoryState {
        DirectoryState {
            path: self.path.clone(),
            fault: self.fault(),
        }
    }

    /// Makes the directory where missing and locks it.
    pub(crate) fn lock(&self, disk: &dyn Disk) -> io::Result<Box<dyn DirectoryLock>> {
        disk.prepare(&self.path)?;
        disk.lock(&self.path)
    }

    pub(crate) fn take(&mut self, lock: Box<dyn DirectoryLock>) {
        self.lock = Some(lock);
    }

    pub(crate) fn release(&mut self) {
        self.lock = None;
    }

    /// Leaves the directory out for a while, longer each time. Of several failures at one time
    /// the first counts.
    pub(crate) fn fail(&mut self, fault: Fault, now: Instant) -> Fell {
        let fell = match &self.failure {
            Some(failure) if failure.until > now => return Fell::Before,
            Some(_) => Fell::Before,
            None => Fell::Now,
        };
        self.failure = Some(Failure {
            fault,
            until: now + self.pause,
        });
        self.pause = (self.pause * 2).min(self.backoff.longest);
        fell
    }

    /// Records are stored there. Once that went well for a while the next failure is a first
    /// one again; at once would let an almost full disk come and go ten times a second.
    pub(crate) fn worked(&mut self, now: Instant) {
        if self
            .healed
            .is_some_and(|healed| now >= healed + self.backoff.longest)
        {
            self.pause = self.backoff.first;
            self.healed = None;
        }
    }

    /// It may be used again.
    pub(crate) fn heal(&mut self, now: Instant) {
        self.failure = None;
        self.healed = Some(now);
    }

    /// There is more room now: if that was the fault, it is tried again at once.
    pub(crate) fn hasten(&mut self, now: Instant) {
        if let Some(failure) = &mut self.failure
            && failure.fault == Fault::Full
        {
            failure.until = now;
        }
    }

    /// When it is to be tried again.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.failure.as_ref().map(|failure| failure.until)
    }

    /// Writes, syncs and removes a small file.
    pub(crate) fn probe(&self, disk: &dyn Disk) -> io::Result<()> {
        let path = self.path.join(PROBE);
        match disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = disk.create(&path)?;
        let written = write_all_at(&mut *file, 0, &[0; PROBE_BYTES]);
        let synced = written.and_then(|()| file.sync_data());
        disk.remove(&path)?;
        synced
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::Clock;

    #[test]
    fn a_pause_doubles_until_records_were_stored_for_a_while() {
        let backoff = Backoff {
            first: Duration::from_millis(100),
            longest: Duration::from_millis(300),
        };
        let mut directory = Directory::new(Path::new("d"), backoff);
        let now = Clock::now();
        let mut pauses = Vec::new();
        for round in 0..6 {
            let fell = directory.fail(Fault::Full, now);
            assert_eq!(fell, Fell::Now);
            assert_eq!(directory.fault(), Some(Fault::Full));
            pauses.push((directory.retry_at().unwrap() - now).as_millis());
            directory.heal(now);
            let well = if round == 4 {
                backoff.longest
            } else {
                backoff.first
            };
            directory.worked(now + well);
        }
        assert_eq!(pauses, [100, 200, 300, 300, 300, 100]);
        directory.fail(Fault::Full, now);
        assert_eq!(directory.fail(Fault::Locked, now), Fell::Before);
        directory.hasten(now);
        assert_eq!(directory.retry_at(), Some(now));
        directory.fail(Fault::Locked, now);
        directory.hasten(now);
        assert!(directory.retry_at().unwrap() > now);
    }
}
