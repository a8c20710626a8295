//! One tree of several files: their top-level tables are joined key by key.

use super::report::{Complaint, Report};
use super::tree::{Entry, Table, Value};

/// Joins the files. A key that two of them define is an error that names both places.
pub(super) fn merge<'t>(files: Vec<Table<'t>>, report: &Report<'_>) -> Table<'t> {
    let mut all: Vec<Entry<'t>> = files.into_iter().flat_map(|file| file.entries).collect();
    // Stable: of equal keys the first file's comes first.
    all.sort_by(|one, other| one.key.cmp(&other.key));
    let mut entries: Vec<Entry<'t>> = Vec::with_capacity(all.len());
    for entry in all {
        match entries.last_mut() {
            Some(last) if last.key == entry.key => join(last, entry, report),
            _ => entries.push(entry),
        }
    }
    for entry in &mut entries {
        if let Value::Table(table) = &mut entry.value.value {
            settle(&entry.key, table, report);
        }
    }
    Table { entries }
}

fn join<'t>(first: &mut Entry<'t>, second: Entry<'t>, report: &Report<'_>) {
    if first.value.as_table().is_none() || second.value.as_table().is_none() {
        twice(first, &second, &second.key, report);
    } else if let (Value::Table(table), Value::Table(more)) =
        (&mut first.value.value, second.value.value)
    {
        table.entries.extend(more.entries);
    }
}

/// Sorts a table that may come of several files, and keeps the first of equal keys.
fn settle(name: &str, table: &mut Table<'_>, report: &Report<'_>) {
    let sorted = table.entries.is_sorted_by(|one, other| one.key < other.key);
    if sorted {
        return;
    }
    table.entries.sort_by(|one, other| one.key.cmp(&other.key));
    table.entries.dedup_by(|later, first| {
        let same = later.key == first.key;
        if same {
            twice(first, later, &format!("{name}.{}", later.key), report);
        }
        same
    });
}

fn twice(first: &Entry<'_>, second: &Entry<'_>, key: &str, report: &Report<'_>) {
    let message = format!(
        "defined twice: here and at {}",
        report.name(first.key_place)
    );
    let complaint = Complaint::new(message).hint("remove one of them");
    report.error(second.key_place, key.to_owned(), complaint);
}
