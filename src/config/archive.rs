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
