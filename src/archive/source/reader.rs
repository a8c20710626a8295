//! One place that gives records: a segment, an object, a file.

use std::io;

use super::super::catalog::SegmentInfo;
use super::super::cursor::Cursor;
use super::super::id::Ulid;
use super::super::store::{ObjectText, StoredObject};
use super::damage::{Damage, Harm, Place, SourceError};
use super::file::RecordFile;
use super::outline::id_of;

/// What a reader has next.
pub(super) enum Step {
    Line(Ulid, Vec<u8>),
    /// Nothing in memory: the object is to be fetched again.
    Dry,
    End,
}

/// Where records come from.
pub(super) enum Origin {
    Object(ObjectSlice),
    Segment(Box<Cursor>),
    File(Box<RecordFile>),
}

/// An open place, and how far it was read.
pub(super) struct Reader {
    pub(super) origin: Origin,
    pub(super) place: Place,
    /// Its length, for the progress of the whole.
    pub(super) bytes: u64,
    /// The highest id it gave.
    pub(super) given: Option<Ulid>,
    lines: u64,
    line_bytes: u64,
    harm: Option<Harm>,
}

/// The lines of an object that are in memory.
pub(super) struct ObjectSlice {
    pub(super) object: StoredObject,
    text: Vec<u8>,
    at: usize,
    /// Where `text` begins in the object before compression.
    offset: usize,
    rest: Rest,
}

/// Whether an object goes on behind its slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Nothing,
    InStore,
}

impl Reader {
    pub(super) fn of_object(object: StoredObject) -> Reader {
        let (place, bytes) = (Place::Object(object.path().into()), object.bytes);
        let slice = ObjectSlice {
            object,
            text: Vec::new(),
            at: 0,
            offset: 0,
            rest: Rest::InStore,
        };
        Reader::new(Origin::Object(slice), place, bytes)
    }

    pub(super) fn of_segment(info: &SegmentInfo, cursor: Cursor) -> Reader {
        let place = Place::Segment(info.id);
        Reader::new(
            Origin::Segment(Box::new(cursor)),
            place,
            segment_bytes(info),
        )
    }

    pub(super) fn of_file(file: RecordFile) -> Reader {
        let place = Place::File(file.path.to_string_lossy().into());
        let bytes = file.bytes;
        let (lines, line_bytes) = file.unreadable;
        let mut reader = Reader::new(Origin::File(Box::new(file)), place, bytes);
        reader.lines = lines;
        reader.line_bytes = line_bytes;
        reader
    }

    fn new(origin: Origin, place: Place, bytes: u64) -> Reader {
        Reader {
            origin,
            place,
            bytes,
            given: None,
            lines: 0,
            line_bytes: 0,
            harm: None,
        }
    }

    /// The next line that has an id.
    ///
    /// # Errors
    /// A file that cannot be read on.
    pub(super) fn step(&mut self) -> Result<Step, SourceError> {
        loop {
            let line = match &mut self.origin {
                Origin::Object(slice) => match slice.line() {
                    Some(line) => line,
                    None => return Ok(slice.dry()),
                },
                Origin::Segment(cursor) => match cursor.next_line() {
                    Ok(Some(line)) => line.json,
                    Ok(None) => return Ok(Step::End),
                    Err(error) => return Ok(self.fail_segment(&error)),
                },
                Origin::File(file) => {
                    let next = file.next().map_err(|source| SourceError::File {
                        path: file.path.clone(),
                        source,
                    });
                    return Ok(match next? {
                        Some((id, line)) => Step::Line(id, line),
                        None => Step::End,
                    });
                }
            };
            match id_of(line) {
                Some(id) => return Ok(Step::Line(id, line.to_vec())),
                None => {
                    self.lines += 1;
                    self.line_bytes += line.len() as u64;
                }
            }
        }
    }

    fn fail_segment(&mut self, error: &io::Error) -> Step {
        self.harm = Some(Harm::Unreadable {
            bytes: self.bytes,
            why: error.to_string(),
        });
        Step::End
    }

    /// Puts what was fetched of an object into memory: at most about `room` bytes of it.
    pub(super) fn fill(&mut self, text: ObjectText, room: usize) {
        let Origin::Object(slice) = &mut self.origin else {
            return;
        };
        let bytes = self.bytes;
        let text = match text {
            ObjectText::Whole(text) => text,
            ObjectText::Cut(mut text) => {
                self.harm = Some(Harm::Cut { bytes });
                let whole = text.iter().rposition(|&byte| byte == b'\n');
                text.truncate(whole.map_or(0, |end| end + 1));
                text
            }
            ObjectText::Spoiled(why) => {
                let why = why.to_string();
                self.harm = Some(Harm::Spoiled { bytes, why });
                Vec::new()
            }
        };
        slice.fill(text, room);
    }

    /// The object is not in the store any more.
    pub(super) fn lose(&mut self) {
        self.harm = Some(Harm::Gone { bytes: self.bytes });
        if let Origin::Object(slice) = &mut self.origin {
            slice.fill(Vec::new(), 0);
        }
    }

    /// Bytes of an object in memory.
    pub(super) fn held(&self) -> usize {
        match &self.origin {
            Origin::Object(slice) => slice.text.capacity(),
            Origin::Segment(_) | Origin::File(_) => 0,
        }
    }

    /// Keeps about `room` bytes of an object in memory.
    pub(super) fn trim(&mut self, room: usize) {
        if let Origin::Object(slice) = &mut self.origin {
            slice.trim(room);
        }
    }

    /// What could not be read, once it ended.
    pub(super) fn damage(&self) -> Vec<Damage> {
        let mut harms: Vec<Harm> = self.harm.iter().cloned().collect();
        if let Origin::Segment(cursor) = &self.origin
            && cursor.damaged() > 0
        {
            let bytes = cursor.damaged();
            harms.push(Harm::Bytes { bytes });
        }
        if self.lines > 0 {
            harms.push(Harm::Lines {
                lines: self.lines,
                bytes: self.line_bytes,
            });
        }
        let place = |harm| Damage {
            place: self.place.clone(),
            harm,
        };
        harms.into_iter().map(place).collect()
    }
}

impl ObjectSlice {
    fn line(&mut self) -> Option<&[u8]> {
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', rest);
        // Only a foreign object has a last line without an end.
        let length = end.unwrap_or(rest.len());
        let start = self.at;
        self.at += length + usize::from(end.is_some());
        Some(&self.text[start..start + length])
    }

    fn dry(&mut self) -> Step {
        match self.rest {
            Rest::Nothing => Step::End,
            Rest::InStore => Step::Dry,
        }
    }

    /// Goes on where the slice before it ended: an object never changes.
    fn fill(&mut self, text: Vec<u8>, room: usize) {
        self.offset += self.text.len();
        self.at = 0;
        self.rest = Rest::Nothing;
        self.text = match self.offset {
            0 => text,
            offset => text.get(offset..).unwrap_or_default().to_vec(),
        };
        if self.text.len() > room {
            self.trim(room);
        }
    }

    fn trim(&mut self, room: usize) {
        let rest = &self.text[self.at..];
        let keep = match rest.get(room..) {
            None => rest.len(),
            // At least one line.
            Some(beyond) => match memchr::memrchr(b'\n', &rest[..room]) {
                Some(end) => end + 1,
                None => memchr::memchr(b'\n', beyond).map_or(rest.len(), |end| room + end + 1),
            },
        };
        if keep < rest.len() {
            self.rest = Rest::InStore;
        }
        let kept = rest[..keep].to_vec();
        self.offset += self.at;
        self.at = 0;
        self.text = kept;
    }
}

pub(super) fn segment_bytes(info: &SegmentInfo) -> u64 {
    info.copies.first().map_or(0, |copy| copy.end)
}
