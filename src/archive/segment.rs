//! Segments: the files of the journal, byte by byte.
//!
//! A segment is named `ULID.seg`. All numbers are little-endian.
//!
//! ```text
//! head, 64 bytes
//!    0  magic "SEAWALLJ"                          8 bytes
//!    8  version, 1                                u32
//!   12  this segment's ULID                       u128
//!   28  the previous segment's ULID, or 0         u128
//!   44  where the previous segment ends           u64
//!   52  zeroes                                    8 bytes
//!   60  CRC32C of bytes 0 to 59                   u32
//! frames, one a record
//!    0  length of the payload, 1 to 2^28 - 1      u32
//!    4  head check: CRC32C of the segment's ULID, the frame's offset, the length
//!    8  payload check: the head check continued over the payload
//!   12  payload: one JSON object
//! trailer, once the segment is sealed
//!       a frame with bit 28 of its length set; the payload is a `Summary` as JSON
//! tail, 16 bytes
//!    0  offset of the trailer                     u64
//!    8  magic "SEALED\r\n"                        8 bytes
//! ```
//!
//! # Invariants
//! 1. One writer at a time writes to a directory: it holds the lock of the file `lock`.
//! 2. A segment only grows at its end, but for 4. Only the newest one has no trailer, or one
//!    whose directory failed.
//! 3. With several copies, segments of one name have the same bytes up to their common end.
//! 4. What was not acknowledged may be cut off. What was acknowledged is never written again.
//! 5. The head of a segment says where the previous one ends: nothing behind that was
//!    acknowledged there, even when it could not be cut off. The head is on disk, and its
//!    directory entry too, before the segment's first acknowledgement.
//! 6. A failed write or sync ends a segment at its last acknowledged offset. It never gets
//!    another record.
//! 7. Ids rise within a segment, and from segment to segment in the order of their names.
//! 8. Neither a run of zeroes nor bytes of another segment or offset are a frame: the length 0 is
//!    refused, and both checks are seeded with the segment and the offset.
//! 9. No head of a frame begins inside a payload: the highest byte of a length is below 0x20,
//!    and JSON text has no such byte. So a search for the next whole frame finds true ones.
//! 10. A sealed segment is not changed any more, only removed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::id::{SegmentId, Ulid};

const MAGIC: [u8; 8] = *b"SEAWALLJ";
const SEALED: [u8; 8] = *b"SEALED\r\n";
const VERSION: u32 = 1;
const TRAILER_BIT: u32 = 1 << 28;
const SUFFIX: &str = ".seg";

/// Bytes before the first frame.
pub(crate) const HEAD_BYTES: u64 = 64;
/// Bytes of a frame before its payload.
pub(crate) const FRAME_HEAD: usize = 12;
/// The longest payload.
pub(crate) const MAX_PAYLOAD: usize = (TRAILER_BIT - 1) as usize;
/// Bytes behind the trailer.
pub(crate) const TAIL_BYTES: u64 = 16;

/// The file's name of a segment.
pub(crate) fn file_name(segment: SegmentId) -> String {
    format!("{segment}{SUFFIX}")
}

/// The segment of a file's name.
pub(crate) fn from_file_name(name: &str) -> Option<SegmentId> {
    let id = Ulid::from_string(name.strip_suffix(SUFFIX)?).ok()?;
    (file_name(SegmentId(id)) == name).then_some(SegmentId(id))
}

/// Where the segment before this one ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) segment: SegmentId,
    pub(crate) end: u64,
}

/// A segment's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) segment: SegmentId,
    pub(crate) previous: Option<Ended>,
}

/// Why a head could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadFault {
    /// Not a head, or its check fails.
    Damaged,
    /// A later version of Seawall wrote it: it is left alone.
    Foreign { version: u32 },
}

impl Head {
    pub(crate) fn encode(&self) -> [u8; HEAD_BYTES as usize] {
        let mut bytes = [0; HEAD_BYTES as usize];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..28].copy_from_slice(&self.segment.0.0.to_le_bytes());
        if let Some(previous) = self.previous {
            bytes[28..44].copy_from_slice(&previous.segment.0.0.to_le_bytes());
            bytes[44..52].copy_from_slice(&previous.end.to_le_bytes());
        }
        let check = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Head, HeadFault> {
        let head = bytes.get(..HEAD_BYTES as usize).ok_or(HeadFault::Damaged)?;
        if head[..8] != MAGIC || crc32c::crc32c(&head[..60]) != word(head, 60) {
            return Err(HeadFault::Damaged);
        }
        let version = word(head, 8);
        if version != VERSION {
            return Err(HeadFault::Foreign { version });
        }
        let previous = ulid(head, 28);
        Ok(Head {
            segment: SegmentId(ulid(head, 12)),
            previous: (!previous.is_nil()).then(|| Ended {
                segment: SegmentId(previous),
                end: long(head, 44),
            }),
        })
    }
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Record,
    Trailer,
}

/// The head of a frame whose head check holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) kind: Kind,
    pub(crate) length: usize,
    check: u32,
    payload_check: u32,
}

impl FrameHead {
    /// True when the payload is the one that was written.
    pub(crate) fn holds(&self, payload: &[u8]) -> bool {
        crc32c::crc32c_append(self.check, payload) == self.payload_check
    }
}

/// Makes and checks the frames of one segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frames {
    seed: u32,
}

impl Frames {
    pub(crate) fn of(segment: SegmentId) -> Frames {
        Frames {
            seed: crc32c::crc32c(&segment.0.0.to_le_bytes()),
        }
    }

    /// Fills in the head of a frame that begins at `offset` of the segment. The payload is
    /// already in its place behind the room for the head.
    pub(crate) fn stamp(&self, frame: &mut [u8], offset: u64, kind: Kind) {
        let (head, payload) = frame.split_at_mut(FRAME_HEAD);
        debug_assert!((1..=MAX_PAYLOAD).contains(&payload.len()));
        let bit = match kind {
            Kind::Record => 0,
            Kind::Trailer => TRAILER_BIT,
        };
        let length = payload.len() as u32 | bit;
        let check = self.head_check(offset, length);
        head[0..4].copy_from_slice(&length.to_le_bytes());
        head[4..8].copy_from_slice(&check.to_le_bytes());
        let payload_check = crc32c::crc32c_append(check, payload);
        head[8..12].copy_from_slice(&payload_check.to_le_bytes());
    }

    /// Reads the head of a frame at `offset`. The cheap tests come first: a search for the next
    /// frame tries each byte.
    pub(crate) fn head(&self, bytes: &[u8], offset: u64) -> Option<FrameHead> {
        let field = word(bytes, 0);
        let length = field & !TRAILER_BIT;
        if length == 0 || length > MAX_PAYLOAD as u32 {
            return None;
        }
        let check = self.head_check(offset, field);
        (check == word(bytes, 4)).then(|| FrameHead {
            kind: if field & TRAILER_BIT == 0 {
                Kind::Record
            } else {
                Kind::Trailer
            },
            length: length as usize,
            check,
            payload_check: word(bytes, 8),
        })
    }

    fn head_check(&self, offset: u64, length: u32) -> u32 {
        let mut seed = [0; 12];
        seed[..8].copy_from_slice(&offset.to_le_bytes());
        seed[8..].copy_from_slice(&length.to_le_bytes());
        crc32c::crc32c_append(self.seed, &seed)
    }
}

/// What one route has in a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteShare {
    /// Records.
    pub records: u64,
    /// Bytes of their frames.
    pub bytes: u64,
}

/// What a segment holds; the payload of its trailer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Records.
    pub records: u64,
    /// The id of the first one.
    pub first: Option<Ulid>,
    /// The id of the last one.
    pub last: Option<Ulid>,
    /// CRC32C of all frames, from the first to the last byte.
    pub checksum: u32,
    /// By route.
    pub routes: BTreeMap<String, RouteShare>,
}

impl Summary {
    /// Counts one record. The checksum is the caller's: it sees whole batches.
    pub(crate) fn count(&mut self, id: Ulid, route: &str, bytes: u64) {
        let share = RouteShare { records: 1, bytes };
        self.count_all((id, id), route, share);
    }

    /// Counts records of one route, of which these are the first and the last id.
    pub(crate) fn count_all(&mut self, (first, last): (Ulid, Ulid), route: &str, add: RouteShare) {
        self.records += add.records;
        self.first = Some(self.first.map_or(first, |known| known.min(first)));
        self.last = self.last.max(Some(last));
        // Without a String for each record of a known route.
        let share = match self.routes.get_mut(route) {
            Some(share) => share,
            None => self.routes.entry(route.to_owned()).or_default(),
        };
        share.records += add.records;
        share.bytes += add.bytes;
    }

    /// Trailer and tail for a segment whose frames end at `end`.
    pub(crate) fn trailer(
        &self,
        segment: SegmentId,
        end: u64,
    ) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = vec![0; FRAME_HEAD];
        serde_json::to_writer(&mut bytes, self)?;
        Frames::of(segment).stamp(&mut bytes, end, Kind::Trailer);
        bytes.extend_from_slice(&end.to_le_bytes());
        bytes.extend_from_slice(&SEALED);
        Ok(bytes)
    }
}

/// Where the trailer begins, read from the last bytes of a file.
pub(crate) fn trailer_offset(tail: &[u8]) -> Option<u64> {
    (tail.len() == TAIL_BYTES as usize && tail[8..] == SEALED).then(|| long(tail, 0))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let mut long = [0; 8];
    long.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(long)
}

fn ulid(bytes: &[u8], at: usize) -> Ulid {
    let mut ulid = [0; 16];
    ulid.copy_from_slice(&bytes[at..at + 16]);
    Ulid(u128::from_le_bytes(ulid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEGMENT: SegmentId = SegmentId(Ulid(77));

    fn frame(payload: &[u8], offset: u64) -> Vec<u8> {
        let mut frame = vec![0; FRAME_HEAD];
        frame.extend_from_slice(payload);
        Frames::of(SEGMENT).stamp(&mut frame, offset, Kind::Record);
        frame
    }

    #[test]
    fn a_run_of_zeroes_is_no_frame() {
        for offset in [0, 64, 1 << 40] {
            assert_eq!(Frames::of(SEGMENT).head(&[0; 64], offset), None);
            assert_eq!(Frames::of(SegmentId(Ulid(0))).head(&[0; 64], offset), None);
        }
    }

    #[test]
    fn a_frame_holds_in_its_segment_and_at_its_offset_only() {
        let frame = frame(b"{}", 64);
        let head = Frames::of(SEGMENT).head(&frame, 64).unwrap();
        assert_eq!((head.kind, head.length), (Kind::Record, 2));
        assert!(head.holds(b"{}"));
        assert_eq!(Frames::of(SEGMENT).head(&frame, 65), None);
        assert_eq!(Frames::of(SegmentId(Ulid(78))).head(&frame, 64), None);
    }

    #[test]
    fn a_head_says_where_the_previous_segment_ends() {
        let previous = Ended {
            segment: SegmentId(Ulid(5)),
            end: 1234,
        };
        for previous in [None, Some(previous)] {
            let head = Head {
                segment: SEGMENT,
                previous,
            };
            assert_eq!(Head::decode(&head.encode()), Ok(head));
        }
    }

    #[test]
    fn a_head_of_a_later_version_is_told_from_damage() {
        let mut bytes = Head {
            segment: SEGMENT,
            previous: None,
        }
        .encode();
        bytes[8] = 2;
        assert_eq!(Head::decode(&bytes), Err(HeadFault::Damaged));
        let check = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&check.to_le_bytes());
        assert_eq!(Head::decode(&bytes), Err(HeadFault::Foreign { version: 2 }));
    }

    #[test]
    fn names_of_other_files_are_no_segments() {
        assert_eq!(from_file_name(&file_name(SEGMENT)), Some(SEGMENT));
        for name in ["lock", "x.seg", "01ARZ3NDEKTSV4RRFFQ69G5FAV", ".seg"] {
            assert_eq!(from_file_name(name), None, "{name}");
        }
        let lower = file_name(SegmentId(Ulid(u128::MAX))).to_lowercase();
        assert_eq!(from_file_name(&lower), None);
    }

    proptest! {
        #[test]
        fn any_flipped_bit_of_a_frame_or_a_head_is_seen(
            payload in proptest::collection::vec(any::<u8>(), 1..200),
            offset in any::<u64>(),
            bit in any::<prop::sample::Index>(),
        ) {
            let mut bytes = frame(&payload, offset);
            let bit_at = bit.index(bytes.len() * 8);
            bytes[bit_at / 8] ^= 1 << (bit_at % 8);
            let whole = Frames::of(SEGMENT).head(&bytes, offset).is_some_and(|head| {
                head.length == payload.len() && head.holds(&bytes[FRAME_HEAD..])
            });
            prop_assert!(!whole);
            let mut head = Head { segment: SEGMENT, previous: None }.encode();
            let bit_at = bit.index(head.len() * 8);
            head[bit_at / 8] ^= 1 << (bit_at % 8);
            prop_assert!(Head::decode(&head).is_err());
        }
    }
}
