//! The command that sends refused records again.

use std::borrow::Cow;
use std::path::Path;

use super::ReplayArguments;

/// The configuration directory that needs no option.
const CONFIG: &str = "config";

/// Refused records to where this run sent them. Values that were given may be secrets, and stand
/// as `VALUE`.
pub(super) fn command(dir: &Path, arguments: &ReplayArguments, refused: &Path) -> String {
    let mut words = vec!["seawall replay --from".to_owned(), path(refused)];
    let mut option = |name: &str, value: String| {
        words.push(format!("--{name}"));
        words.push(value);
    };
    if dir != Path::new(CONFIG) {
        option("config", path(dir));
    }
    if let Some(url) = &arguments.to {
        option("to", quoted(url).into_owned());
    }
    for (name, _) in &arguments.header {
        option("header", format!("{name}=VALUE"));
    }
    for (name, _) in &arguments.query {
        option("query", quoted(&format!("{name}=VALUE")).into_owned());
    }
    // Of records that were accepted before and are refused now only the earlier answer is noted.
    let flags = [
        ("--again", arguments.again),
        ("--without-redacted", arguments.without_redacted),
    ];
    let given = flags.iter().filter(|(_, given)| *given);
    words.extend(given.map(|(name, _)| (*name).to_owned()));
    words.join(" ")
}

fn path(path: &Path) -> String {
    quoted(&path.display().to_string()).into_owned()
}

/// As a shell takes it for one word.
fn quoted(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(format!("'{}'", text.replace('\'', "'\\''"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_each_value_for_one_word() {
        for (text, expected) in [
            ("data/replay/all-1f.ndjson", "data/replay/all-1f.ndjson"),
            ("http://[::1]:8080/a?b", "'http://[::1]:8080/a?b'"),
            ("my dir/it's", "'my dir/it'\\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }
}
