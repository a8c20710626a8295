use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex};

use super::super::sim::SimDisk;
use super::super::trial;
use super::super::{Answer, Event, Fault, Journal, Options};
use super::*;

/// Holds back every operation in one directory while it is closed.
#[derive(Clone)]
struct Gate {
    directory: PathBuf,
    closed: Arc<(Mutex<bool>, Condvar)>,
}

impl Gate {
    fn set(&self, closed: bool) {
        *self.closed.0.lock().unwrap() = closed;
        self.closed.1.notify_all();
    }

    fn pass(&self, path: &Path) {
        if path.starts_with(&self.directory) {
            let closed = self.closed.0.lock().unwrap();
            drop(self.closed.1.wait_while(closed, |closed| *closed).unwrap());
        }
    }
}

struct Hanging {
    disk: SimDisk,
    gate: Gate,
}

struct HangingFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    gate: Gate,
}

impl Hanging {
    fn file(
        &self,
        path: &Path,
        file: io::Result<Box<dyn DiskFile>>,
    ) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(HangingFile {
            file: file?,
            path: path.to_owned(),
            gate: self.gate.clone(),
        }))
    }
}

impl Disk for Hanging {
    fn prepare(&self, directory: &Path) -> io::Result<()> {
        self.gate.pass(directory);
        self.disk.prepare(directory)
    }

    fn lock(&self, directory: &Path) -> io::Result<Box<dyn DirectoryLock>> {
        self.gate.pass(directory);
        self.disk.lock(directory)
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.gate.pass(directory);
        self.disk.names(directory)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.gate.pass(path);
        self.file(path, self.disk.create(path))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        self.gate.pass(path);
        self.file(path, self.disk.open(path, access))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.gate.pass(path);
        self.disk.remove(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.gate.pass(directory);
        self.disk.sync_directory(directory)
    }
}

impl DiskFile for HangingFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.gate.pass(&self.path);
        self.file.read_at(offset, into)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.gate.pass(&self.path);
        self.file.write_at(offset, bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.gate.pass(&self.path);
        self.file.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.gate.pass(&self.path);
        self.file.truncate(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.gate.pass(&self.path);
        self.file.length()
    }

    fn found(&self) -> io::Result<()> {
        self.gate.pass(&self.path);
        self.file.found()
    }
}

/// A journal in `/0` and others, of which `/0` can be made to hang.
fn open(disk: &SimDisk, options: &Options) -> (Journal, Arc<trial::Heard>, Gate) {
    let gate = Gate {
        directory: PathBuf::from("/0"),
        closed: Arc::default(),
    };
    let hanging = Hanging {
        disk: disk.clone(),
        gate: gate.clone(),
    };
    let heard = Arc::new(trial::Heard::default());
    let journal = Journal::open(options.clone(), Arc::new(hanging), heard.clone()).unwrap();
    (journal, heard, gate)
}

fn options(copies: usize) -> Options {
    Options {
        copies,
        patience: Duration::from_millis(200),
        ..trial::options(2)
    }
}

async fn until_it_heals(heard: &trial::Heard) {
    let healed = |event: &Event| matches!(event, Event::DirectoryHealed { .. });
    while !heard.events.lock().unwrap().iter().any(healed) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn a_directory_that_hangs_is_left_out_until_it_is_back_and_nothing_is_lost_or_doubled() {
    trial::run(async {
        let disk = SimDisk::new(1);
        let (journal, heard, gate) = open(&disk, &options(1));
        let mut acknowledged = BTreeSet::new();
        for number in 0..60 {
            if number % 20 == 10 {
                gate.set(true);
            }
            trial::stored(trial::store(&journal, number, 100).await);
            acknowledged.insert(number);
            if number % 20 == 15 {
                let state = &journal.figures().directories[0];
                let late = io::ErrorKind::TimedOut;
                let hung = matches!(state.fault, Some(Fault::Io { kind, .. }) if kind == late);
                assert!(hung, "{state:?}");
                heard.events.lock().unwrap().clear();
                gate.set(false);
                until_it_heals(&heard).await;
                // The next segment is in the first directory again.
                journal.seal().await.unwrap();
            }
        }
        journal.close().await;
        // What the hung directory did late is settled, now and at the next start.
        let (journal, _heard) = trial::open(&disk, &options(1));
        let content = trial::read(&disk, journal.segments());
        content.assert_sound();
        let found: BTreeSet<u64> = content.numbers().into_iter().collect();
        assert_eq!(found, acknowledged);
        assert_eq!(content.damaged, 0);
        journal.close().await;
    });
}

#[test]
fn with_too_few_directories_left_nothing_is_kept_and_it_is_said_soon() {
    trial::run(async {
        let disk = SimDisk::new(2);
        let (journal, heard, gate) = open(&disk, &options(2));
        trial::stored(trial::store(&journal, 0, 100).await);
        gate.set(true);
        for number in 1..4 {
            let answer = trial::store(&journal, number, 100).await;
            assert!(matches!(answer, Answer::Failed(_)), "{answer:?}");
        }
        gate.set(false);
        until_it_heals(&heard).await;
        trial::stored(trial::store(&journal, 4, 100).await);
        let numbers = trial::read(&disk, journal.segments()).numbers();
        assert_eq!(numbers, [0, 4]);
        journal.close().await;
    });
}

#[test]
fn a_start_does_not_wait_for_a_directory_that_hangs() {
    trial::run(async {
        let disk = SimDisk::new(3);
        let (journal, _heard, _gate) = open(&disk, &options(1));
        trial::stored(trial::store(&journal, 0, 100).await);
        journal.close().await;
        let gate = Gate {
            directory: PathBuf::from("/0"),
            closed: Arc::default(),
        };
        gate.set(true);
        let hanging = Hanging {
            disk: disk.clone(),
            gate: gate.clone(),
        };
        let heard = Arc::new(trial::Heard::default());
        let journal = Journal::open(options(1), Arc::new(hanging), heard.clone()).unwrap();
        trial::stored(trial::store(&journal, 1, 100).await);
        assert_eq!(journal.figures().records, 1);
        gate.set(false);
        until_it_heals(&heard).await;
        assert_eq!(journal.figures().records, 2);
        journal.close().await;
    });
}
