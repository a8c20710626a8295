//! Names of objects: partitions by route and hour, as DuckDB, Spark and Athena read them.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use object_store::path::Path;

use super::super::id::Ulid;

const SUFFIX: &str = ".ndjson.zst";
const HOUR_SECONDS: i64 = 3600;
/// Longer names are cut: file systems take 255 bytes.
const LONGEST: usize = 180;

/// An hour, counted since the Unix epoch, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(i64);

impl Hour {
    pub(super) const FIRST: Hour = Hour(i64::MIN);
    pub(super) const LAST: Hour = Hour(i64::MAX);

    /// The hour of a time.
    pub fn of(time: Timestamp) -> Hour {
        Hour(time.as_second().div_euclid(HOUR_SECONDS))
    }

    /// The hour of a time since the Unix epoch.
    pub fn of_unix(unix: Duration) -> Hour {
        let seconds = i64::try_from(unix.as_secs()).unwrap_or(i64::MAX);
        Hour(seconds / HOUR_SECONDS)
    }

    /// When it ends, since the Unix epoch.
    pub fn end(self) -> Duration {
        let seconds = self.0.saturating_add(1).saturating_mul(HOUR_SECONDS);
        Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    }

    /// `YYYY-MM-DD` and `HH`.
    fn texts(self) -> (String, String) {
        let start = Timestamp::from_second(self.0.saturating_mul(HOUR_SECONDS));
        let start = start.unwrap_or(Timestamp::MAX).to_zoned(TimeZone::UTC);
        (start.date().to_string(), format!("{:02}", start.hour()))
    }

    fn parse(date: &str, hour: &str) -> Option<Hour> {
        let midnight: jiff::civil::Date = date.parse().ok()?;
        let midnight = midnight.to_zoned(TimeZone::UTC).ok()?.timestamp();
        let hour: i64 = (hour.len() == 2).then(|| hour.parse().ok())??;
        let parsed = Hour(midnight.as_second() / HOUR_SECONDS + hour);
        (parsed.texts().0 == date && (0..24).contains(&hour)).then_some(parsed)
    }
}

/// What objects are grouped by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// The hour of the records' time.
    pub hour: Hour,
    /// The route's name.
    pub route: String,
}

/// The name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Route and hour of all its records.
    pub partition: Partition,
    /// Rises with the records of one gateway: it has the time of the first record's id.
    pub id: Ulid,
    /// The gateway that took the records.
    pub instance: String,
}

impl ObjectName {
    /// The path below a prefix.
    pub fn path(&self, prefix: &Path) -> Path {
        let (date, hour) = self.partition.hour.texts();
        let route = route_part(&self.partition.route);
        let file = format!("{}-{}{SUFFIX}", encode(&self.instance), self.id);
        let mut path = prefix.clone();
        for part in [route, date_part(&date), format!("hour={hour}"), file] {
            path = join(&path, &part);
        }
        path
    }

    /// Reads a path below a prefix; `None` for what is no object of ours. A name that was cut
    /// is read as cut.
    pub fn parse(prefix: &Path, path: &Path) -> Option<ObjectName> {
        let rest: Vec<_> = path.prefix_match(prefix)?.collect();
        let [route, date, hour, file] = rest.as_slice() else {
            return None;
        };
        let date = date.as_ref().strip_prefix("date=")?;
        let hour = hour.as_ref().strip_prefix("hour=")?;
        let stem = file.as_ref().strip_suffix(SUFFIX)?;
        let (instance, id) = stem.rsplit_once('-')?;
        Some(ObjectName {
            partition: Partition {
                hour: Hour::parse(date, hour)?,
                route: decode(route.as_ref().strip_prefix("route=")?)?,
            },
            id: Ulid::from_string(id).ok()?,
            instance: decode(instance)?,
        })
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path(&Path::default()))
    }
}

/// The first part of the paths of a route.
pub(super) fn route_part(route: &str) -> String {
    format!("route={}", encode(route))
}

/// The second part.
pub(super) fn date_part(date: &str) -> String {
    format!("date={date}")
}

/// Every hour of a date, as a part of a path gives it.
pub(super) fn date_of_part(part: &str) -> Option<(Hour, Hour)> {
    let date = part.strip_prefix("date=")?;
    Some((Hour::parse(date, "00")?, Hour::parse(date, "23")?))
}

/// Appends a part as it is: it has been encoded.
pub(super) fn join(path: &Path, part: &str) -> Path {
    let joined = match path.as_ref() {
        "" => part.to_owned(),
        before => format!("{before}/{part}"),
    };
    // Encoded parts have neither `/` nor control characters, and are never `.` or `..`.
    Path::parse(joined).unwrap_or_else(|_| path.clone())
}

/// Percent-encodes all but letters, digits, `-`, `_` and `.` (RFC 3986 without `~`, which
/// Amazon advises against). A name that gets too long is cut and ends in a digest.
pub(super) fn encode(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for &byte in name.as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    if encoded.len() <= LONGEST {
        return encoded;
    }
    // Not amid an encoded character, nor an encoded byte.
    let cut = (0..=LONGEST - 17)
        .rev()
        .find(|&at| decode(&encoded[..at]).is_some())
        .unwrap_or_default();
    let digest = fnv1a([name.as_bytes()]);
    format!("{}.{digest:016x}", &encoded[..cut])
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).ok()
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo). Stable: names of objects depend on it.
pub(super) fn fnv1a<B: AsRef<[u8]>>(chunks: impl IntoIterator<Item = B>) -> u64 {
    let mut digest = FNV_START;
    for chunk in chunks {
        digest = fnv1a_on(digest, chunk.as_ref());
    }
    digest
}

/// The digest of nothing.
pub(super) const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// Continues a digest.
pub(super) fn fnv1a_on(digest: u64, bytes: &[u8]) -> u64 {
    let step = |digest: u64, &byte: &u8| (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(digest, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(route: &str, instance: &str, time: &str) -> ObjectName {
        ObjectName {
            partition: Partition {
                hour: Hour::of(time.parse().unwrap()),
                route: route.to_owned(),
            },
            id: Ulid::from_parts(1, 2),
            instance: instance.to_owned(),
        }
    }

    #[test]
    fn the_layout_is_the_one_of_the_contract() {
        let name = named("submit-stats", "gw-1", "2026-11-06T09:59:59.999999Z");
        let path = name.path(&Path::parse("a/b").unwrap());
        assert_eq!(
            path.as_ref(),
            "a/b/route=submit-stats/date=2026-11-06/hour=09/\
             gw-1-00000000010000000000000002.ndjson.zst"
        );
        let odd = named("a/b c%é=1", "../x", "1969-12-31T23:00:00Z").to_string();
        assert_eq!(
            odd,
            "route=a%2Fb%20c%25%C3%A9%3D1/date=1969-12-31/hour=23/\
             ..%2Fx-00000000010000000000000002.ndjson.zst"
        );
    }

    #[test]
    fn what_is_no_object_is_told_from_one() {
        let prefix = Path::parse("p").unwrap();
        let good = named("r", "i", "2026-01-01T00:00:00Z").path(&prefix);
        assert!(ObjectName::parse(&prefix, &good).is_some());
        for (from, to) in [
            ("p/", "q/"),
            ("route=", "tour="),
            ("2026-01-01", "2026-13-01"),
            ("2026-01-01", "2026-1-1"),
            ("hour=00", "hour=24"),
            ("hour=00", "hour=0"),
            ("hour=00", "hour=-1"),
            ("i-0", "i-U"),
            ("i-", "%ZZ-"),
            (".zst", ".gz"),
            ("r/", "r/x/"),
        ] {
            let bad = Path::parse(good.as_ref().replace(from, to)).unwrap();
            assert_eq!(ObjectName::parse(&prefix, &bad), None, "{bad}");
        }
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let long = |end: &str| {
            named(
                &format!("{}{end}", "é".repeat(200)),
                "i",
                "2026-01-01T00:00:00Z",
            )
        };
        let (one, two) = (long("1").to_string(), long("2").to_string());
        assert_ne!(one, two);
        let parts = one.split('/').map(str::len);
        assert!(parts.max() < Some(255), "{one}");
        assert!(ObjectName::parse(&Path::default(), &Path::parse(&one).unwrap()).is_some());
    }

    #[test]
    fn the_digest_is_the_published_one() {
        assert_eq!(fnv1a([b"foobar"]), 0x8594_4171_f739_67e8);
    }

    proptest! {
        #[test]
        fn names_are_read_back_as_written(
            route in ".{0,15}",
            instance in ".{0,15}",
            second in 0_i64..4_000_000_000,
            id in any::<u128>(),
        ) {
            let name = ObjectName {
                partition: Partition {
                    hour: Hour::of(Timestamp::from_second(second).unwrap()),
                    route,
                },
                id: Ulid(id),
                instance,
            };
            let prefix = Path::parse("some/where").unwrap();
            let path = name.path(&prefix);
            prop_assert_eq!(ObjectName::parse(&prefix, &path), Some(name.clone()));
            // A listing gives the path back through this.
            let listed = Path::parse(path.as_ref()).unwrap();
            prop_assert_eq!(listed, path);
        }
    }
}
