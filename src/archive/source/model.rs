//! The source against a model: records scattered over objects, segments and files, with
//! duplicates.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::super::segment::{FRAME_HEAD, Frames, HEAD_BYTES, Head, Kind, Summary, file_name};
use super::super::store::trial::{NINE, Site, run};
use super::super::store::{Hour, ObjectName, Partition};
use super::super::trial::record;
use super::super::{Growth, PATIENCE_OF_TESTS, Redaction, SegmentId};
use super::*;

const ROUTES: [&str; 2] = ["a", "b"];

/// Three ids a millisecond.
pub(super) fn id(number: u8) -> Ulid {
    let ms = u64::try_from(NINE.as_millis()).unwrap() + u64::from(number) / 3 * 40;
    Ulid::from_parts(ms, u128::from(number % 3) + 7)
}

fn route(number: u8) -> &'static str {
    ROUTES[usize::from(number % 2)]
}

/// Arrivals are not in the order of the ids, and of three hours.
fn time(number: u8) -> Duration {
    let hours = u32::from(number).wrapping_mul(7) % 3;
    NINE + Duration::from_secs(3600) * hours + Duration::from_millis(u64::from(number))
}

pub(super) fn line(number: u8) -> Vec<u8> {
    let mut record = record(u64::from(number), usize::from(number) * 5);
    record.route = route(number).into();
    record.time = time(number);
    let mut line = Vec::new();
    let redaction = Redaction::default();
    record.encode(id(number), &redaction, &mut line).unwrap();
    line
}

fn lines(numbers: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let lines = numbers.into_iter().map(line);
    lines.fold(Vec::new(), |text, line| [text, line, vec![b'\n']].concat())
}

#[derive(Clone, Copy, Debug)]
enum Kept {
    Store,
    Sealed,
    Open,
    /// Plain, the last one first.
    File,
    Packed,
}

/// Writes objects, one for each route and hour; their paths.
pub(super) fn put(site: &Site, numbers: &BTreeSet<u8>, low: u128) -> Vec<PathBuf> {
    let mut parts: BTreeMap<(Hour, &str), Vec<u8>> = BTreeMap::new();
    for &number in numbers {
        let hour = Hour::of_unix(time(number));
        parts.entry((hour, route(number))).or_default().push(number);
    }
    let objects = parts.into_iter().map(|((hour, route), numbers)| {
        let name = ObjectName {
            partition: Partition {
                hour,
                route: route.to_owned(),
            },
            id: Ulid::from_parts(id(numbers[0]).timestamp_ms(), low),
            instance: "i".to_owned(),
        };
        let path = site.root().join(name.to_string());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut packed = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
        packed.include_checksum(true).unwrap();
        packed.write_all(&lines(numbers)).unwrap();
        std::fs::write(&path, packed.finish().unwrap()).unwrap();
        path
    });
    objects.collect()
}

/// Writes a segment as the journal does.
pub(super) fn segment(site: &Site, numbers: &BTreeSet<u8>, place: u128, kept: Growth) -> PathBuf {
    let directory = site.scratch.path().join("journal");
    std::fs::create_dir_all(&directory).unwrap();
    let first = numbers.first().map_or(Ulid(1), |number| id(*number));
    // Named before its first record.
    let name = SegmentId(Ulid::from_parts(first.timestamp_ms() - 1, place));
    let head = Head {
        segment: name,
        previous: None,
    };
    let mut bytes = head.encode().to_vec();
    let mut summary = Summary::default();
    for &number in numbers {
        let offset = bytes.len() as u64;
        let mut frame = [vec![0; FRAME_HEAD], line(number)].concat();
        Frames::of(name).stamp(&mut frame, offset, Kind::Record);
        summary.count(id(number), route(number), frame.len() as u64);
        bytes.extend(frame);
    }
    summary.checksum = crc32c::crc32c(&bytes[HEAD_BYTES as usize..]);
    if kept == Growth::Closed {
        let end = bytes.len() as u64;
        bytes.extend(summary.trailer(name, end).unwrap());
    }
    let path = directory.join(file_name(name));
    std::fs::write(&path, bytes).unwrap();
    path
}

/// What a case asks for.
#[derive(Clone, Debug)]
struct Case {
    places: Vec<(Kept, BTreeSet<u8>)>,
    route: Option<usize>,
    since: Option<u8>,
    until: Option<u8>,
    after: Option<u8>,
    /// Names and bytes in memory.
    names: usize,
    room: usize,
}

fn cases() -> impl Strategy<Value = Case> {
    let kept = prop_oneof![
        3 => Just(Kept::Store),
        1 => Just(Kept::Sealed),
        1 => Just(Kept::Open),
        1 => Just(Kept::File),
        1 => Just(Kept::Packed),
    ];
    let places = vec((kept, btree_set(0_u8..120, 1..30)), 0..8);
    let rare = || prop::option::weighted(0.3, 0_u8..120);
    let asked = (
        prop::option::weighted(0.3, 0_usize..2),
        rare(),
        rare(),
        rare(),
    );
    (places, asked, 1_usize..6, 0_usize..3).prop_map(|(places, asked, names, room)| Case {
        places,
        route: asked.0,
        since: asked.1,
        until: asked.2,
        after: asked.3,
        names,
        room: [0, 3000, 1 << 20][room],
    })
}

impl Case {
    fn written(&self, site: &Site) -> SourceOptions {
        let mut options = SourceOptions {
            store: Some(site.store.clone()),
            journals: vec![site.scratch.path().join("journal")],
            backoff: PATIENCE_OF_TESTS,
            ..SourceOptions::new()
        };
        std::fs::create_dir_all(&options.journals[0]).unwrap();
        for (at, (kept, numbers)) in self.places.iter().enumerate() {
            let low = at as u128;
            let file = site.scratch.path().join(format!("{at}.ndjson"));
            match kept {
                Kept::Store => {
                    put(site, numbers, low);
                }
                Kept::Sealed => {
                    segment(site, numbers, low, Growth::Closed);
                }
                Kept::Open => {
                    segment(site, numbers, low, Growth::Live);
                }
                Kept::File => {
                    std::fs::write(&file, lines(numbers.iter().rev().copied())).unwrap();
                    options.files.push(file);
                }
                Kept::Packed => {
                    let text = lines(numbers.iter().copied());
                    std::fs::write(&file, zstd::encode_all(&*text, 3).unwrap()).unwrap();
                    options.files.push(file);
                }
            }
        }
        let moment = |number: u8| {
            let micros = i64::try_from(time(number).as_micros()).unwrap();
            Timestamp::from_microsecond(micros).unwrap()
        };
        options.wanted = Wanted {
            routes: self.route.iter().map(|r| ROUTES[*r].to_owned()).collect(),
            since: self.since.map(moment),
            until: self.until.map(moment),
        };
        options.after = self.after.map(id);
        options
    }

    fn expected(&self) -> Vec<u8> {
        let all: BTreeSet<u8> = self.places.iter().flat_map(|(_, n)| n).copied().collect();
        let wanted = all.into_iter().filter(|&number| {
            self.route
                .is_none_or(|wanted| ROUTES[wanted] == route(number))
                && self.since.is_none_or(|since| time(number) >= time(since))
                && self.until.is_none_or(|until| time(number) < time(until))
                && self.after.is_none_or(|after| number > after)
        });
        wanted.collect()
    }

    async fn check(&self) {
        let site = Site::new();
        let options = self.written(&site);
        let selection = hours(&options.wanted);
        let open = Source::open(options, site.disk.clone()).await;
        let mut source = open.unwrap();
        let bounds = (PATIENCE_OF_TESTS, self.names);
        let names = Names::with_most(site.store.clone(), selection, bounds);
        source.names = Some(names.await.unwrap());
        source.room = self.room;
        let mut found = Vec::new();
        while let Some(sourced) = source.next().await.unwrap() {
            let number: u8 = sourced.record.request_id.parse().unwrap();
            assert_eq!(sourced.line, line(number));
            assert_eq!(sourced.id, id(number));
            found.push(number);
        }
        assert_eq!(found, self.expected());
        assert_eq!(source.take_damage(), []);
        let figures = source.figures();
        assert_eq!(figures.bytes, source.total().bytes);
        assert_eq!((figures.read, figures.late), (found.len() as u64, 0));
        if source.wanted == Wanted::default() && source.after.is_none() {
            let written: usize = self.places.iter().map(|(_, n)| n.len()).sum();
            assert_eq!(figures.read + figures.duplicates, written as u64);
            assert_eq!(figures.passed, 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn every_wanted_record_comes_once_and_in_order(case in cases()) {
        run(case.check());
    }
}
