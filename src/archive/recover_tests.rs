use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::super::files::DirectoryLock;
use super::super::redaction::Redaction;
use super::super::trial;
use super::*;

const SEGMENT: SegmentId = SegmentId(Ulid(99));

/// One file, of which a part cannot be read.
#[derive(Clone, Default)]
struct BadDisk {
    bytes: Arc<Mutex<Vec<u8>>>,
    bad: Range<usize>,
}

impl DiskFile for BadDisk {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.bytes.lock().unwrap();
        let from = (offset as usize).min(bytes.len());
        let to = (from + into.len()).min(bytes.len());
        if from < self.bad.end && to > self.bad.start {
            return Err(io::Error::from_raw_os_error(5));
        }
        into[..to - from].copy_from_slice(&bytes[from..to]);
        Ok(to - from)
    }

    fn write_at(&mut self, offset: u64, written: &[u8]) -> io::Result<usize> {
        let mut bytes = self.bytes.lock().unwrap();
        let end = offset as usize + written.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset as usize..end].copy_from_slice(written);
        Ok(written.len())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.bytes.lock().unwrap().truncate(length as usize);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn found(&self) -> io::Result<()> {
        Ok(())
    }
}

struct NoLock;

impl DirectoryLock for NoLock {}

impl Disk for BadDisk {
    fn prepare(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn lock(&self, _: &Path) -> io::Result<Box<dyn DirectoryLock>> {
        Ok(Box::new(NoLock))
    }
    fn names(&self, _: &Path) -> io::Result<Vec<String>> {
        Ok(vec![file_name(SEGMENT), "lock".to_owned()])
    }
    fn create(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(self.clone()))
    }
    fn open(&self, _: &Path, _: Access) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(self.clone()))
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        self.bytes.lock().unwrap().clear();
        Ok(())
    }
    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// An unsealed segment of records with these bodies.
fn segment(bodies: &[usize]) -> BadDisk {
    let head = Head {
        segment: SEGMENT,
        previous: None,
    };
    let mut bytes = head.encode().to_vec();
    for (number, body) in bodies.iter().enumerate() {
        let offset = bytes.len();
        bytes.resize(offset + FRAME_HEAD, 0);
        let record = trial::record(number as u64 * 2, *body);
        let id = Ulid(number as u128);
        let redaction = Redaction::default();
        record.encode(id, &redaction, &mut bytes).unwrap();
        Frames::of(SEGMENT).stamp(&mut bytes[offset..], offset as u64, Kind::Record);
    }
    BadDisk {
        bytes: Arc::new(Mutex::new(bytes)),
        bad: 0..0,
    }
}

fn take(disk: &BadDisk) -> (Found, Settled) {
    let directory = Path::new("d");
    let found = survey(disk, directory).unwrap().found.remove(0);
    let settled = settle(disk, directory, &found, None).unwrap();
    (found, settled)
}

#[test]
fn records_longer_than_what_is_read_at_once_are_found() {
    let disk = segment(&[10, 700_000, 0, 300_000, 262_144, 5]);
    let (_, settled) = take(&disk);
    let kept = settled.kept.unwrap();
    assert_eq!((kept.summary.records, settled.torn), (6, 0));
    let bytes = disk.length().unwrap();
    assert_eq!(settled.sealing, Sealing::Done { bytes });
    let sealed = survey(&disk, Path::new("d"))
        .unwrap()
        .found
        .remove(0)
        .sealed
        .unwrap();
    assert_eq!((sealed.end, sealed.summary), (kept.end, kept.summary));
}

#[test]
fn a_page_that_cannot_be_read_costs_its_records_and_nothing_is_cut_off() {
    let mut disk = segment(&[1000; 1000]);
    let before = disk.length().unwrap();
    disk.bad = 500_000..501_000;
    let (_, settled) = take(&disk);
    let records = settled.kept.unwrap().summary.records;
    assert!((994..1000).contains(&records), "{records}");
    assert!(settled.damaged > 1000 && settled.damaged < 16_000);
    assert_eq!(settled.sealing, Sealing::Left);
    // At the very end too, where damage looks like a torn tail.
    disk.bad = before as usize - 10..before as usize;
    let (_, settled) = take(&disk);
    assert!(settled.torn > 0);
    assert_eq!(settled.sealing, Sealing::Left);
    assert_eq!(disk.length().unwrap(), before);
    // And where nothing can be read at all.
    disk.bad = 0..before as usize;
    let (found, settled) = take(&disk);
    assert!(found.head.is_err() && settled.kept.is_none());
    assert_eq!(disk.length().unwrap(), before);
}

#[test]
fn a_segment_without_a_whole_record_is_removed_only_when_its_head_is_whole() {
    let disk = segment(&[]);
    disk.bytes.lock().unwrap().extend_from_slice(&[0; 5000]);
    let (_, settled) = take(&disk);
    assert_eq!(
        (settled.torn, settled.sealing),
        (5000, Sealing::Done { bytes: 0 })
    );
    assert_eq!(disk.length().unwrap(), 0);

    let disk = segment(&[]);
    disk.bytes.lock().unwrap()[20] ^= 1;
    disk.bytes.lock().unwrap().extend_from_slice(&[0; 5000]);
    let (_, settled) = take(&disk);
    assert_eq!((settled.torn, settled.damaged), (0, 5000));
    assert_eq!(disk.length().unwrap(), 64 + 5000);
}

#[test]
fn sealing_cuts_what_is_behind_the_end_even_without_a_tail_to_overwrite_it() {
    let disk = segment(&[10, 10]);
    let end = disk.length().unwrap();
    disk.bytes.lock().unwrap().resize(end as usize + 100_000, 7);
    let (_, settled) = take(&disk);
    assert_eq!(settled.torn, 100_000);
    assert!(disk.length().unwrap() < end + 1000);
}

#[test]
fn a_seal_that_was_interrupted_is_done_again() {
    let disk = segment(&[10, 10]);
    let end = disk.length().unwrap();
    take(&disk);
    let whole = disk.bytes.lock().unwrap().clone();
    for length in end as usize..whole.len() {
        *disk.bytes.lock().unwrap() = whole[..length].to_vec();
        let (found, settled) = take(&disk);
        assert!(found.sealed.is_none(), "sealed at {length}");
        let kept = settled.kept.unwrap();
        assert_eq!((kept.end, kept.summary.records), (end, 2), "at {length}");
        assert_eq!(*disk.bytes.lock().unwrap(), whole, "at {length}");
    }
}

#[test]
fn a_mark_takes_the_place_of_older_ones() {
    let disk = super::super::sim::SimDisk::new(1);
    let directory = Path::new("/d");
    disk.prepare(directory).unwrap();
    for id in [5, 9, 9] {
        mark(&disk, directory, Ulid(id)).unwrap();
    }
    assert_eq!(
        disk.names(directory).unwrap(),
        [format!("{}.mark", Ulid(9))]
    );
    assert_eq!(survey(&disk, directory).unwrap().last, Ulid(9));
}
