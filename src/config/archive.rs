//! `[archive]`.

use std::path::PathBuf;
use std::sync::Arc;

use super::cursor::{Cursor, Decoded, Single};
use super::report::Complaint;
use super::settings::ArchiveSettings;
use super::tree::Node;
use super::value::{count, expected, header_name, none_of, positive_duration, positive_size, text};
use crate::archive::{Durability, Options, Redaction};

const REDACT_HEADERS: [&str; 4] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-api-key",
];
const REDACT_QUERY: [&str; 1] = ["token"];

/// More directories than anybody has disks.
const MOST_COPIES: usize = 16;

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
    };
    if let Some(cursor) = cursor {
        directories(cursor, &mut archive);
        limits(cursor, &mut archive);
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
    }
    if let Some(size) = cursor.read("max_buffer", positive_size) {
        limits.max_buffer = size.0;
    }
    if let Some(age) = cursor.read("seal_after", positive_duration) {
        limits.seal_after = age;
    }
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

fn parameter(node: &Node<'_>) -> Decoded<String> {
    match text(node)? {
        "" => Err(expected("the name of a query parameter", node)),
        name => Ok(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
            for name in REDACT_HEADERS {
                assert!(archive.redaction.covers_header(name), "{name}");
            }
            assert_eq!(archive.redaction.target("/?token=a"), "/?token=[redacted]");
        }
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
        assert!(may(&format!("{}[archive]\n", route(""))));
        let plan = |mode: &str| format!("{}[plans.p]\nkill = {{ x = \"{mode}\" }}\n", route(""));
        assert!(may(&plan("archive")));
        assert!(!may(&plan("drop")));
    }
}
