//! `[archive]`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::cursor::{Cursor, Decoded, Single};
use super::report::{Complaint, did_you_mean};
use super::settings::ArchiveSettings;
use super::tree::{Node, Place};
use super::value::{
    count, describe, expected, header_name, none_of, positive_duration, positive_size, text,
};
use crate::archive::store::{FORMS, Retain, StoreError, StoreUrl, UrlProblem};
use crate::archive::{Durability, Options, Redaction};
use crate::vocab::ByteSize;

const REDACT_HEADERS: [&str; 4] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-api-key",
];
const REDACT_QUERY: [&str; 1] = ["token"];
const SCHEMES: [&str; 4] = ["file", "s3", "az", "gs"];
const STORE: &str = "file:data/archive";
/// 30 days.
const RETAIN: Duration = Duration::from_secs(30 * 24 * 3600);

/// More directories than anybody has disks.
const MOST_COPIES: usize = 16;

/// Room for a segment's head, and for one request without a body, with its frame.
const LEAST_BYTES: u64 = 4 << 10;

/// `[archive]` with its defaults.
pub(super) fn archive(cursor: Option<&Cursor<'_>>) -> ArchiveSettings {
    let journal = vec![PathBuf::from("data/journal")];
    let defaults = Options::new(journal);
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let (mut headers, mut query): (Vec<String>, Vec<String>) =
        (names(&REDACT_HEADERS), names(&REDACT_QUERY));
    let mut archive = ArchiveSettings {
        written: cursor.is_some(),
        journal: defaults.directories,
        copies: defaults.copies,
        limits: defaults.limits,
        redaction: Arc::default(),
        store: StoreUrl::parse(STORE).ok(),
        retain: Retain::For(RETAIN),
    };
    if let Some(cursor) = cursor {
        directories(cursor, &mut archive);
        limits(cursor, &mut archive);
        if let Some(store) = cursor.read("store", store) {
            archive.store = store;
        }
        if let Some(retain) = cursor.read("retain", retain) {
            archive.retain = retain;
        }
        let name = |node| Ok(header_name(node)?.as_str().to_owned());
        let listed = cursor.read_list("redact_headers", Single::Refused, name);
        headers = listed.unwrap_or(headers);
        let listed = cursor.read_list("redact_query", Single::Refused, parameter);
        query = listed.unwrap_or(query);
    }
    archive.redaction = Arc::new(Redaction::new(&headers, &query));
    archive
}

fn directories(cursor: &Cursor<'_>, archive: &mut ArchiveSettings) {
    if let Some(journal) = cursor.read_list("journal", Single::Allowed, directory) {
        for (position, path) in journal.iter().enumerate() {
            if journal[..position].contains(path) {
                let complaint = Complaint::new(format!("{} is listed twice", path.display()));
                cursor.complain("journal", cursor.place_of("journal"), complaint);
            }
        }
        if journal.is_empty() {
            let complaint = Complaint::new("expected at least one directory");
            cursor.complain("journal", cursor.place_of("journal"), complaint);
        }
        archive.journal = journal;
    }
    if let Some(copies) = cursor.read("copies", |node| count(node, 1, MOST_COPIES)) {
        archive.copies = copies;
    }
    let directories = archive.journal.len();
    if archive.copies > directories && directories > 0 {
        let copies = archive.copies;
        let message =
            format!("{copies} copies need as many directories; `journal` has {directories}");
        let complaint = Complaint::new(message).hint("add directories on other disks, or lower it");
        cursor.complain("copies", cursor.place_of("copies"), complaint);
    }
}

fn limits(cursor: &Cursor<'_>, archive: &mut ArchiveSettings) {
    let limits = &mut archive.limits;
    if let Some(durability) = cursor.read("durability", durability) {
        limits.durability = durability;
    }
    if let Some(size) = cursor.read("max_bytes", positive_size) {
        limits.max_bytes = size.0;
        let least = LEAST_BYTES.saturating_mul(archive.copies as u64);
        if size.0 < least {
            let message = format!(
                "too small: a record without a body and the head of its segment may take {}{}",
                ByteSize(LEAST_BYTES),
                match archive.copies {
                    1 => String::new(),
                    copies => format!(", {copies} times"),
                }
            );
            let hint = format!("give it {} or more, better some GiB", ByteSize(least));
            let complaint = Complaint::new(message).hint(hint);
            cursor.complain("max_bytes", cursor.place_of("max_bytes"), complaint);
        }
    }
    if let Some(size) = cursor.read("max_buffer", positive_size) {
        limits.max_buffer = size.0;
    }
    if let Some(age) = cursor.read("seal_after", positive_duration) {
        limits.seal_after = age;
    }
}

/// Where a directory of the journal is written, if it is.
pub(super) fn place_of_journal(cursor: &Cursor<'_>, path: &Path) -> Option<Place> {
    let placed = |node: &Node<'_>| Ok((PathBuf::from(text(node)?), node.place));
    let listed = cursor.read_list("journal", Single::Allowed, placed)?;
    let found = listed.into_iter().find(|(written, _)| written == path);
    found.map(|(_, place)| place)
}

fn directory(node: &Node<'_>) -> Decoded<PathBuf> {
    match text(node)? {
        "" => Err(expected("the path of a directory", node)),
        path => Ok(path.into()),
    }
}

fn durability(node: &Node<'_>) -> Decoded<Durability> {
    match node.as_text() {
        Some("fsync") => Ok(Durability::Fsync),
        Some("written") => Ok(Durability::Written),
        _ => Err(none_of(&["fsync", "written"], node)),
    }
}

/// `None` is `"off"`.
fn store(node: &Node<'_>) -> Decoded<Option<StoreUrl>> {
    let forms = || format!("\"off\", {FORMS}");
    let Some(given) = node.as_text() else {
        return Err(expected(forms(), node));
    };
    if given == "off" {
        return Ok(None);
    }
    StoreUrl::parse(given).map(Some).map_err(|error| {
        let found = describe(node);
        let StoreError::Url { problem, .. } = error else {
            return expected(forms(), node);
        };
        match problem {
            // A secret is not told on.
            UrlProblem::Credentials | UrlProblem::Path => Complaint::new(problem.to_string()),
            UrlProblem::Scheme
            | UrlProblem::NoDirectory
            | UrlProblem::Machine
            | UrlProblem::NoBucket => {
                let message = format!("{problem}; expected {}, found {found}", forms());
                Complaint::new(message).maybe_hint(nearest(given))
            }
        }
    })
}

/// What was probably meant: a plain path, or another spelling of a scheme.
fn nearest(given: &str) -> Option<String> {
    let (scheme, rest) = match given.split_once(':') {
        None | Some(("", _)) => return did_you_mean(given, ["off"]).or_else(|| path(given)),
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
    };
    let known = match &*scheme {
        known if given.starts_with(known) && SCHEMES.contains(&known) => return None,
        known if SCHEMES.contains(&known) => known,
        "s3a" | "s3n" => "s3",
        "azure" | "abfs" | "abfss" | "wasb" | "wasbs" | "adl" => "az",
        "gcs" | "google" => "gs",
        _ => return did_you_mean(&scheme, SCHEMES),
    };
    Some(format!("did you mean `{known}:{rest}`?"))
}

fn path(given: &str) -> Option<String> {
    (!given.is_empty()).then(|| format!("for a directory write \"file:{given}\""))
}

fn retain(node: &Node<'_>) -> Decoded<Retain> {
    let read = Retain::parse(node.as_text().unwrap_or_default());
    match read {
        Ok(Retain::For(Duration::ZERO)) => {
            Err(expected("a duration above 0, or \"forever\"", node))
        }
        Ok(retain) => Ok(retain),
        Err(error) => Err(expected(format_args!("\"forever\", or {error}"), node)),
    }
}

fn parameter(node: &Node<'_>) -> Decoded<String> {
    match text(node)? {
        "" => Err(expected("the name of a query parameter", node)),
        name => Ok(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Limits;
    use crate::config::{Settings, SourceFile, load};
    use crate::policy::kill::{Quota, WhenFull};

    fn settings(text: &str) -> Settings {
        let files = [SourceFile::new("seawall.toml", text)];
        match load(&files, &|_| None) {
            Ok(loaded) => loaded.settings,
            Err(problems) => panic!("{problems:#?}"),
        }
    }

    #[test]
    fn without_a_section_the_defaults_of_the_contract_hold() {
        for (text, written) in [("", false), ("[archive]\n", true)] {
            let archive = settings(text).archive;
            assert_eq!(archive.written, written);
            assert_eq!(archive.journal, [PathBuf::from("data/journal")]);
            assert_eq!(archive.copies, 1);
            let limits = Limits {
                durability: Durability::Fsync,
                max_bytes: 10 << 30,
                max_buffer: 64 << 20,
                seal_after: Duration::from_secs(60),
            };
            assert_eq!(archive.limits, limits);
            let store = archive.store.as_ref().map(StoreUrl::as_str);
            assert_eq!(store, Some("file:data/archive"));
            assert_eq!(archive.retain, Retain::parse("30d").unwrap());
            for name in REDACT_HEADERS {
                assert!(archive.redaction.covers_header(name), "{name}");
            }
            assert_eq!(archive.redaction.target("/?token=a"), "/?token=[redacted]");
        }
    }

    #[test]
    fn the_store_is_an_address_or_off_and_takes_variables() {
        let archive = |keys: &str| {
            let text = format!("[archive]\n{keys}\n");
            let files = [SourceFile::new("seawall.toml", &text)];
            let bucket = |name: &str| (name == "BUCKET").then(|| "b".to_owned());
            match load(&files, &bucket) {
                Ok(loaded) => loaded.settings.archive,
                Err(problems) => panic!("{problems:#?}"),
            }
        };
        assert_eq!(archive("store = \"off\"").store, None);
        let store = archive("store = \"s3://${BUCKET}/p\"").store;
        assert_eq!(store, StoreUrl::parse("s3://b/p").ok());
        assert_eq!(archive("retain = \"forever\"").retain, Retain::Forever);
    }

    #[test]
    fn a_route_says_what_happens_when_the_journal_is_full() {
        let route = |keys: &str| {
            let text = format!("[routes.x]\npath = \"/x\"\nrespond = {{}}\n{keys}\n");
            settings(&text).routes[0].kill_switch.clone()
        };
        let full = |keys: &str| route(keys).when_full;
        assert_eq!(full(""), WhenFull::Reject);
        assert_eq!(full("tier = \"core\""), WhenFull::Reject);
        assert_eq!(full("tier = \"sheddable\""), WhenFull::Drop);
        let kept = "tier = \"sheddable\"\nkill_switch = { when_full = \"reject\" }";
        assert_eq!(full(kept), WhenFull::Reject);
        let quota = |keys: &str| route(keys).archive_quota.of(1000);
        assert_eq!(quota(""), 250);
        assert_eq!(quota("kill_switch = { archive_quota = \"12.5%\" }"), 125);
        assert_eq!(quota("kill_switch = { archive_quota = \"2KiB\" }"), 2048);
        assert_eq!(Quota::default().of(10 << 30), (10 << 30) / 4);
    }

    #[test]
    fn what_may_archive_is_a_section_a_route_or_a_plan() {
        let route = |keys: &str| format!("[routes.x]\npath = \"/x\"\nrespond = {{}}\n{keys}\n");
        let may = |text: &str| settings(text).may_archive();
        assert!(!may(&route("kill_switch = { mode = \"drop\" }")));
        assert!(may(&route("kill_switch = { mode = \"archive\" }")));
        let auto = |mode| format!("auto_kill = {{ above = \"9/s\", mode = \"{mode}\" }}");
        assert!(may(&route(&auto("archive"))));
        assert!(!may(&route(&auto("drop"))));
        assert!(may(&format!("{}[archive]\n", route(""))));
        let plan = |mode: &str| format!("{}[plans.p]\nkill = {{ x = \"{mode}\" }}\n", route(""));
        assert!(may(&plan("archive")));
        assert!(!may(&plan("drop")));
    }
}
