//! Amounts, for people.

/// A number of bytes for people.
pub(super) fn about(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.iter().find(|(shift, _)| bytes >> shift > 0);
    unit.map_or(format!("{bytes} B"), |(shift, name)| {
        format!("{:.1} {name}", bytes as f64 / f64::from(1 << shift))
    })
}

/// So many of something, in one or several.
pub(super) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
