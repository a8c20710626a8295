//! What a damaged line of `switches.toml` may have been.

use super::keys;

/// Whether a line opens a string or a bracket that it does not close.
pub(super) fn leaves_open(line: &str) -> bool {
    let count = |set: [char; 2]| line.matches(set).count();
    line.contains("\"\"\"") || line.contains("'''") || count(['[', '{']) > count([']', '}'])
}

/// Whether a line was a header before its first bracket was damaged.
pub(super) fn was_header(line: &str) -> bool {
    let table = line.contains("kill.") || line == "breaker]";
    line.ends_with(']') && table && !line.contains('=')
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

/// Whether two lines may be one header of this name, or of a table below it, which a line break
/// cut in two; it may have taken the place of a character.
pub(super) fn may_be_cut(header: &str, below: &str, name: &str) -> bool {
    let plain = |text: &str| text.replace(['"', '\'', ' ', '\t'], "");
    let (header, below) = (plain(header.trim().trim_start_matches('[')), plain(below));
    let name = plain(&format!("kill.{name}"));
    let Some(rest) = name.strip_prefix(&header) else {
        return false;
    };
    let mut without_first = rest.chars();
    without_first.next();
    below.starts_with(rest) || below.starts_with(without_first.as_str())
}

/// How far above a damaged line its header is looked for; nearly all are below `[kill]`.
const MOST_LINES: usize = 200;

/// The key that the line at byte `at` is about, as far as the lines above tell: that of the
/// header, of the entry it is within, and its own.
pub(super) fn key_of_line(text: &str, at: usize) -> String {
    let begin = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let line = text[begin..].lines().next().unwrap_or_default();
    let line = line.trim_start_matches('\u{feff}').trim_start();
    if let Some(header) = header_name(line) {
        return header;
    }
    let mut parts = vec![plain_key(line)];
    let mut inside = is_inner(line);
    let lines_above = text[..begin].lines().rev().map(str::trim_start);
    for (distance, above) in lines_above.enumerate() {
        let far = (distance == MOST_LINES).then(|| "kill".to_owned());
        if let Some(header) = header_name(above).or(far) {
            parts.push(header);
            break;
        }
        let closed = above.starts_with(['}', ']']);
        if inside && leaves_open(above) && !is_inner(above) {
            parts.push(plain_key(above));
        }
        inside &= !closed && (!leaves_open(above) || is_inner(above));
    }
    parts.retain(|part| !part.is_empty());
    parts.reverse();
    parts.join(".")
}

fn plain_key(line: &str) -> String {
    leading_key(line).trim_end_matches(':').to_owned()
}

/// What a line that looks like a header names.
fn header_name(line: &str) -> Option<String> {
    let name = line.strip_prefix('[').filter(|name| !name.contains('='))?;
    let name = name.split([']', '#']).next()?.trim_start_matches('[');
    let name = name.replace(['"', '\''], "");
    Some(name.trim().to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_in_two_lines_is_known_wherever_it_was_cut() {
        for name in ["ping", "a", "tier:core", "submit-stats"] {
            let header = format!("[kill.\"{name}\".when.headers]");
            let end = header.find(".when").unwrap();
            for at in 1..end {
                let cut = |to: usize| may_be_cut(&header[..at], &header[to..], name);
                assert!(cut(at) && cut(at + 1), "{name} at {at}");
            }
        }
        assert!(!may_be_cut("[kill.p", "resence]", "ping"));
        assert!(!may_be_cut("[kill.ping", "x = 1", "pong"));
    }

    #[test]
    fn a_damaged_line_has_the_key_of_its_header_its_entry_and_its_own() {
        for (text, key) in [
            ("[kill]\nx = \"drop\"\n@a = drop", "kill.a"),
            ("[kill]\n@\"tier:core\" = drop", "kill.tier:core"),
            ("[kill]\n@tier:core = \"drop\"", "kill.tier:core"),
            ("[kill]\n@a: \"drop\"", "kill.a"),
            ("[kill]\na = [\n@  { mode = drop }\n]", "kill.a"),
            ("[kill]\na = {\n@  mode = drop\n}", "kill.a.mode"),
            ("[kill]\na = [\n]\n@mode = drop", "kill.mode"),
            ("[kill.\"plan:p\"]\n@mode = on", "kill.plan:p.mode"),
            ("@[kill", "kill"),
            ("@a = drop", "a"),
        ] {
            let at = text.find('@').unwrap();
            assert_eq!(key_of_line(&text.replace('@', ""), at), key, "{text}");
        }
    }
}
