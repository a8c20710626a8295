//! A disk that is not waited for without end, so that a directory that hangs is one that failed.
//!
//! Each directory has a thread of its own that does what is asked there, in order. Whoever asks
//! waits for a while and then takes it for failed; until the thread is back, everything else
//! asked of that directory fails at once. A file whose operation was not waited for is never
//! used again: the thread closes it. So nothing happens to a file after the answer but what was
//! asked before it, which is what a failed write or sync may leave too.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::files::{Access, DirectoryLock, Disk, DiskFile};
use super::options::Durability;

/// Operations and closed files that may wait for a thread.
const QUEUE: usize = 1024;

type Job = Box<dyn FnOnce() + Send>;

/// One directory's thread; it ends with the last of these.
#[derive(Clone)]
struct Hand {
    jobs: SyncSender<Job>,
    /// Set while an operation runs that nobody waits for any more.
    stuck: Arc<AtomicBool>,
    patience: Duration,
}

impl Hand {
    fn new(patience: Duration) -> io::Result<Hand> {
        let (jobs, queue) = sync_channel::<Job>(QUEUE);
        thread::Builder::new()
            .name("journal-disk".to_owned())
            .spawn(move || queue.into_iter().for_each(|job| job()))?;
        Ok(Hand {
            jobs,
            stuck: Arc::default(),
            patience,
        })
    }

    /// Does it on the thread. What is not waited for is dropped there.
    fn ask<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        if self.stuck.load(Ordering::Acquire) {
            return Err(late());
        }
        let (done, result) = sync_channel(1);
        let stuck = Arc::clone(&self.stuck);
        let job = move || {
            let given = act();
            // Before the answer: who has it may ask again at once.
            stuck.store(false, Ordering::Release);
            // What nobody waits for is dropped here.
            drop(done.send(given));
        };
        // Set first: the thread may be back between the end of the wait and a mark made then.
        self.stuck.store(true, Ordering::Release);
        if self.jobs.try_send(Box::new(job)).is_err() {
            self.stuck.store(false, Ordering::Release);
            return Err(late());
        }
        let waited = result.recv_timeout(self.patience);
        waited.unwrap_or_else(|_| Err(late()))
    }

    fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Acquire)
    }
}

/// A disk with a thread for each of the journal's directories.
pub(crate) struct PatientDisk {
    disk: Arc<dyn Disk>,
    hands: Vec<(PathBuf, Hand)>,
}

impl PatientDisk {
    /// A disk that waits so long for an operation in one of these directories.
    ///
    /// # Errors
    /// A thread that does not start.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        directories: &[PathBuf],
        patience: Duration,
    ) -> io::Result<PatientDisk> {
        let hands = directories
            .iter()
            .map(|path| Ok((path.clone(), Hand::new(patience)?)));
        Ok(PatientDisk {
            disk,
            hands: hands.collect::<io::Result<_>>()?,
        })
    }

    /// The thread of the directory that this is, or that this lies in.
    fn hand(&self, path: &Path) -> io::Result<&Hand> {
        let is_at = |known: &Path| known == path || Some(known) == path.parent();
        let mut hands = self.hands.iter();
        let found = hands.find(|(known, _)| is_at(known));
        found.map_or_else(|| Err(io::ErrorKind::NotFound.into()), |(_, hand)| Ok(hand))
    }

    fn ask<T: Send + 'static>(
        &self,
        path: &Path,
        act: impl FnOnce(&dyn Disk, &Path) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (disk, owned) = (Arc::clone(&self.disk), path.to_owned());
        self.hand(path)?.ask(move || act(&*disk, &owned))
    }

    fn file(
        &self,
        path: &Path,
        act: impl FnOnce(&dyn Disk, &Path) -> io::Result<Box<dyn DiskFile>> + Send + 'static,
    ) -> io::Result<Box<dyn DiskFile>> {
        let file = self.ask(path, act)?;
        Ok(Box::new(PatientFile {
            hand: self.hand(path)?.clone(),
            file: Cell::new(Some(file)),
        }))
    }
}

impl Disk for PatientDisk {
    fn prepare(&self, directory: &Path) -> io::Result<()> {
        self.ask(directory, |disk, path| disk.prepare(path))
    }

    fn lock(&self, directory: &Path) -> io::Result<Box<dyn DirectoryLock>> {
        self.ask(directory, |disk, path| disk.lock(path))
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.ask(directory, |disk, path| disk.names(path))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.file(path, |disk, path| disk.create(path))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        self.file(path, move |disk, path| disk.open(path, access))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.ask(path, |disk, path| disk.remove(path))
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.ask(directory, |disk, path| disk.sync_directory(path))
    }
}

/// A file whose operations its directory's thread does. `None` while one runs, and ever after
/// if that one was not waited for.
struct PatientFile {
    hand: Hand,
    file: Cell<Option<Box<dyn DiskFile>>>,
}

impl PatientFile {
    fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut dyn DiskFile) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        // Also: to close a file may hang, so it does not go where nothing is taken.
        if self.hand.is_stuck() {
            return Err(late());
        }
        let mut file = self.file.take().ok_or_else(late)?;
        let (file, given) = self.hand.ask(move || {
            let given = act(&mut *file);
            Ok((file, given))
        })?;
        self.file.set(Some(file));
        given
    }
}

impl DiskFile for PatientFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut bytes = vec![0; into.len()];
        let (read, bytes) = self.with(move |file| {
            let read = file.read_at(offset, &mut bytes)?;
            Ok((read, bytes))
        })?;
        into[..read].copy_from_slice(&bytes[..read]);
        Ok(read)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let bytes = bytes.to_owned();
        self.with(move |file| file.write_at(offset, &bytes))
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.with(|file| file.sync_data())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.with(move |file| file.truncate(length))
    }

    fn length(&self) -> io::Result<u64> {
        self.with(|file| file.length())
    }

    fn found(&self) -> io::Result<()> {
        self.with(|file| file.found())
    }

    fn confirm(&mut self, durability: Durability) -> io::Result<()> {
        self.with(move |file| file.confirm(durability))
    }
}

impl Drop for PatientFile {
    fn drop(&mut self) {
        let file = self.file.take();
        let _ = self.hand.jobs.try_send(Box::new(move || drop(file)));
    }
}

#[cfg(test)]
#[path = "patient_tests.rs"]
mod tests;
