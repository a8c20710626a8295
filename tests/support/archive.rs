//! A journal directory of a test's own, and what is in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use seawall::archive::{Cursor, Disk, RealDisk, SegmentInfo, StoredRecord, segments_in};
use tempfile::TempDir;

use super::config::Config;

/// A place for journals, which outlives the gateways that write there.
pub struct Shelf {
    directory: TempDir,
}

impl Shelf {
    /// An empty one.
    pub fn new() -> Shelf {
        Shelf {
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    /// The directory of that name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The configuration with a journal in the directory `a`, where records stay.
    pub fn used_by(&self, config: Config) -> Config {
        let config = config.archive("journal", &format!("{:?}", self.path("a")));
        config.archive("store", "\"off\"")
    }

    /// The same with a store in the directory `store`.
    pub fn uploaded_by(&self, config: Config) -> Config {
        let store = format!("file:{}", self.path("store").display());
        self.used_by(config).archive("store", &format!("{store:?}"))
    }

    /// The records in the directory `a`, in their order.
    pub fn records(&self) -> Vec<StoredRecord> {
        records(&self.path("a"))
    }
}

/// The segments of a directory, also while a gateway writes there.
pub fn segments(directory: &Path) -> Vec<SegmentInfo> {
    segments_in(&RealDisk, &[directory.to_owned()]).expect("a journal")
}

/// The records of a directory, in their order.
pub fn records(directory: &Path) -> Vec<StoredRecord> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut records = Vec::new();
    for segment in segments(directory) {
        let mut cursor = Cursor::open(Arc::clone(&disk), segment).expect("a segment");
        while let Some(line) = cursor.next_line().expect("a line") {
            records.push(StoredRecord::decode(line.json).expect("a record"));
        }
        assert_eq!(cursor.damaged(), 0, "{}", directory.display());
    }
    records
}
