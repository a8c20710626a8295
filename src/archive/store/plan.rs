//! Which records of a segment go into which object. Depends on the segment alone, so that a
//! second try after a crash makes the same objects.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

use super::super::catalog::SegmentInfo;
use super::super::cursor::Cursor;
use super::super::files::Disk;
use super::super::id::Ulid;
use super::name::{FNV_START, Hour, ObjectName, Partition, fnv1a_on};

/// Bytes of records in an object, at most; a longer record goes alone.
pub(super) const OBJECT_BYTES: u64 = 8 << 20;

/// One object to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) name: ObjectName,
    /// Where its records are in the segment, rising.
    pub(super) offsets: Vec<u64>,
    /// Bytes of its records with their line ends.
    pub(super) bytes: u64,
}

/// All objects of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Ordered by partition and then by time.
    pub(super) objects: Vec<Planned>,
    pub(super) records: u64,
    /// Bytes that no copy of the segment can give.
    pub(super) damaged: u64,
    /// Pages that the disk would not give this time.
    pub(super) read_errors: u64,
}

/// What the plan needs of a record.
#[derive(Deserialize)]
struct Outline {
    id: Ulid,
    time: Timestamp,
    route: String,
    instance: String,
}

/// An object that still takes records.
struct Growing {
    first: Ulid,
    part: u16,
    /// Of the ids of its records.
    digest: u64,
    offsets: Vec<u64>,
    bytes: u64,
}

/// What tells objects apart beside their part. The instance is the records' own: a journal may
/// be taken over by a gateway of another name.
type Key = (Hour, String, String);

impl Growing {
    fn new(first: Ulid, part: u16) -> Growing {
        Growing {
            first,
            part,
            digest: FNV_START,
            offsets: Vec::new(),
            bytes: 0,
        }
    }

    fn take(&mut self, id: Ulid, offset: u64, bytes: u64) {
        self.digest = fnv1a_on(self.digest, &id.0.to_be_bytes());
        self.offsets.push(offset);
        self.bytes += bytes;
    }

    /// The name has the first record's time, and a digest of which records these are: if
    /// damage lets another try read more or fewer of them, it is another object.
    fn planned(self, key: &Key) -> Planned {
        let low = (u128::from(self.part) << 64) | u128::from(self.digest);
        Planned {
            name: ObjectName {
                partition: Partition {
                    hour: key.0,
                    route: key.1.clone(),
                },
                id: Ulid::from_parts(self.first.timestamp_ms(), low),
                instance: key.2.clone(),
            },
            offsets: self.offsets,
            bytes: self.bytes,
        }
    }
}

impl Plan {
    /// Reads a closed segment once.
    ///
    /// # Errors
    /// No copy of it can be opened, or one became shorter.
    pub(super) fn read(disk: Arc<dyn Disk>, info: SegmentInfo) -> io::Result<Plan> {
        Plan::with_limit(disk, info, OBJECT_BYTES)
    }

    pub(super) fn with_limit(
        disk: Arc<dyn Disk>,
        info: SegmentInfo,
        limit: u64,
    ) -> io::Result<Plan> {
        let mut cursor = Cursor::open(disk, info)?;
        let mut plan = Plan::default();
        let mut growing: HashMap<Key, Growing> = HashMap::new();
        let mut done: BTreeMap<Key, Vec<Planned>> = BTreeMap::new();
        while let Some(line) = cursor.next_line()? {
            // Written whole, but by no version of the gateway: nobody could read it.
            let Ok(outline) = serde_json::from_slice::<Outline>(line.json) else {
                plan.damaged += line.end - line.offset;
                continue;
            };
            let bytes = line.json.len() as u64 + 1;
            let key = (Hour::of(outline.time), outline.route, outline.instance);
            let id = outline.id;
            plan.records += 1;
            match growing.get_mut(&key) {
                Some(object) if object.bytes + bytes > limit => {
                    let next = Growing::new(id, object.part.wrapping_add(1));
                    let full = std::mem::replace(object, next);
                    object.take(id, line.offset, bytes);
                    done.entry(key.clone())
                        .or_default()
                        .push(full.planned(&key));
                }
                Some(object) => object.take(id, line.offset, bytes),
                None => {
                    let mut object = Growing::new(id, 0);
                    object.take(id, line.offset, bytes);
                    growing.insert(key, object);
                }
            }
        }
        for (key, object) in growing {
            let planned = object.planned(&key);
            done.entry(key).or_default().push(planned);
        }
        plan.objects = done.into_values().flatten().collect();
        plan.damaged += cursor.damaged();
        plan.read_errors = cursor.read_errors();
        Ok(plan)
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
