//! What a damaged line of `switches.toml` may have been.

use super::keys;

/// Whether a line opens a string or a bracket that it does not close.
pub(super) fn leaves_open(line: &str) -> bool {
    let count = |set: [char; 2]| line.matches(set).count();
    line.contains("\"\"\"") || line.contains("'''") || count(['[', '{']) > count([']', '}'])
}

/// Whether a line was a header before its first bracket was damaged.
pub(super) fn was_header(line: &str) -> bool {
    line.ends_with(']') && line.contains("kill.") && !line.contains('=')
}

/// Whether a damaged header may be one of this name, or of a table below it. Then the entry may
/// not be whole.
pub(super) fn may_name(header: &str, name: &str) -> bool {
    let header = header.trim().trim_start_matches('[');
    let full = format!("kill.{name}");
    let begin: String = header.chars().take(full.chars().count()).collect();
    let slips = (name.len() / 4).min(2);
    header.contains(name) || strsim::osa_distance(&begin, &full) <= slips
}

/// Whether a header that breaks off may have been one of this name.
pub(super) fn may_begin(header: &str, name: &str) -> bool {
    let header = header.trim().trim_start_matches('[');
    format!("kill.{name}").starts_with(header)
}

/// Whether a line looks like one from within an entry.
pub(super) fn is_inner(line: &str) -> bool {
    let inside = [keys::KILL_ENTRY, keys::WHEN, keys::MATCHER];
    let key = leading_key(line);
    line.starts_with(['{', '}', ']'])
        || inside
            .into_iter()
            .any(|section| keys::find(section, key).is_some())
}

/// The key that `[kill.NAME` or `[[kill.NAME.when` is about, damaged as it is.
pub(super) fn key_of_header(header: &str) -> Option<&str> {
    let name = header
        .trim()
        .trim_start_matches('[')
        .strip_prefix("kill.")?;
    let key = leading_key(name);
    let quoted = name.starts_with(['"', '\'']);
    let first = key.split('.').next().filter(|_| !quoted).unwrap_or(key);
    (!first.is_empty()).then_some(first)
}

/// The key a text begins with, in quotes or not, well-formed or not.
pub(super) fn leading_key(text: &str) -> &str {
    let text = text.trim_start().trim_start_matches(['"', '\'', '[']);
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "_.-:".contains(c)));
    &text[..end.unwrap_or(text.len())]
}
