//! `seawall archive ls`: the segments of the journal and the objects of the store.

use std::io::{self, Write};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::places::Places;
use super::{Found, Stop};
use crate::archive::store::{Selection, StoredObject};
use crate::archive::{RealDisk, SegmentInfo, Ulid, segments_in};

const HOUR: Duration = Duration::from_secs(3600);

/// Lists everything, and adds it up.
pub(super) async fn ls(places: &Places, out: &mut impl Write, json: bool) -> Result<Found, Stop> {
    let mut found = places.found;
    let mut total = Total::default();
    if places.journals.is_empty() && places.store.is_none() {
        return Ok(found);
    }
    if !json {
        writeln!(
            out,
            "{:6}  {:24}  {:>9}  {:>12}  {:20}  NAME",
            "STATE", "FIRST", "RECORDS", "BYTES", "ROUTES"
        )?;
    }
    // The journal first: what goes into the store meanwhile is seen there too, rather twice
    // than not at all.
    let segments = segments_in(&RealDisk, &places.journals).unwrap_or_else(|error| {
        found.fault(format_args!("the journal cannot be read: {error}"));
        Vec::new()
    });
    if let Some(store) = &places.store {
        let mut walk = store.walk(Selection::default());
        loop {
            match walk.next_patiently().await {
                Ok(Some(object)) => {
                    total.objects += 1;
                    total.stored += object.bytes;
                    write(out, &Listed::of_object(&object), json)?;
                }
                Ok(None) => break,
                Err(error) => {
                    found.fault(format_args!("{error}; not all objects are listed"));
                    break;
                }
            }
        }
    }
    for segment in &segments {
        total.segments += 1;
        total.records += segment.summary.records;
        total.journal += segment.bytes();
        write(out, &Listed::of_segment(segment), json)?;
    }
    if !json {
        writeln!(out, "{}", total.text(places))?;
    }
    Ok(found)
}

/// What was listed.
#[derive(Default)]
struct Total {
    segments: u64,
    records: u64,
    journal: u64,
    objects: u64,
    stored: u64,
}

impl Total {
    fn text(&self, places: &Places) -> String {
        let journal = format!(
            "the journal: {} segments, {} records, {} bytes",
            self.segments, self.records, self.journal
        );
        let stored = format!(
            "the store: {} objects, {} bytes compressed",
            self.objects, self.stored
        );
        let parts = [
            places.store.is_some().then_some(stored),
            (!places.journals.is_empty()).then_some(journal),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

/// One segment or object, as it is shown.
#[derive(Serialize)]
#[serde(untagged)]
enum Listed<'a> {
    Object(Object<'a>),
    Segment(Segment<'a>),
}

#[derive(Serialize)]
struct Object<'a> {
    object: &'a str,
    state: &'static str,
    route: &'a str,
    instance: &'a str,
    /// The hour in which the requests came.
    hour: String,
    /// Compressed.
    bytes: u64,
    /// When its first record was stored.
    first: String,
}

#[derive(Serialize)]
struct Segment<'a> {
    segment: String,
    state: &'static str,
    records: u64,
    bytes: u64,
    /// When its first and last records were stored.
    first: Option<String>,
    last: Option<String>,
    directories: Vec<String>,
    routes: Vec<Share<'a>>,
}

#[derive(Serialize)]
struct Share<'a> {
    route: &'a str,
    records: u64,
    bytes: u64,
}

fn write(out: &mut impl Write, listed: &Listed<'_>, json: bool) -> io::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, listed)?;
        return writeln!(out);
    }
    let (state, first, bytes) = match listed {
        Listed::Object(object) => (object.state, Some(&object.first), object.bytes),
        Listed::Segment(segment) => (segment.state, segment.first.as_ref(), segment.bytes),
    };
    let (records, routes, name) = match listed {
        Listed::Object(object) => ("-".to_owned(), object.route.to_owned(), object.object),
        Listed::Segment(segment) => {
            let routes: Vec<&str> = segment.routes.iter().map(|share| share.route).collect();
            (
                segment.records.to_string(),
                routes.join(", "),
                &*segment.segment,
            )
        }
    };
    let first = first.map_or("-", String::as_str);
    writeln!(
        out,
        "{state:6}  {first:24}  {records:>9}  {bytes:>12}  {routes:20}  {name}"
    )
}

impl Listed<'_> {
    fn of_object(object: &StoredObject) -> Listed<'_> {
        let name = &object.name;
        Listed::Object(Object {
            object: object.path(),
            state: "stored",
            route: &name.partition.route,
            instance: &name.instance,
            hour: super::super::moment::rfc3339(name.partition.hour.end().saturating_sub(HOUR)),
            bytes: object.bytes,
            first: time_of(name.id),
        })
    }

    fn of_segment(segment: &SegmentInfo) -> Listed<'_> {
        let sealed = segment.copies.iter().any(|copy| copy.sealed);
        let copies = segment.copies.iter();
        let routes = segment.summary.routes.iter();
        Listed::Segment(Segment {
            segment: segment.id.to_string(),
            state: if sealed { "sealed" } else { "open" },
            records: segment.summary.records,
            bytes: segment.bytes(),
            first: segment.summary.first.map(time_of),
            last: segment.summary.last.map(time_of),
            directories: copies
                .map(|copy| copy.directory.display().to_string())
                .collect(),
            routes: routes
                .map(|(route, share)| Share {
                    route,
                    records: share.records,
                    bytes: share.bytes,
                })
                .collect(),
        })
    }
}

fn time_of(id: Ulid) -> String {
    let ms = i64::try_from(id.timestamp_ms()).unwrap_or(i64::MAX);
    let time = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
    format!("{time:.3}")
}
