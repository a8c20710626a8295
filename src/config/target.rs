//! Where a route's requests go: `upstream`, `split` or `respond`.

use std::sync::Arc;

use super::answer::respond;
use super::cursor::Cursor;
use super::keys;
use super::report::{Complaint, did_you_mean};
use super::routes::Upstreams;
use super::settings::{SplitPart, Target};
use super::value::{lacks, number, text};

/// The key that says where requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    /// `upstream`.
    Upstream,
    /// `split`.
    Split,
    /// `respond`.
    Respond,
    /// None, or several.
    Unclear,
}

const KEYS: [(&str, Chosen); 3] = [
    ("upstream", Chosen::Upstream),
    ("split", Chosen::Split),
    ("respond", Chosen::Respond),
];

/// Largest weight: a millionth is as small a part as anybody needs.
const MOST_WEIGHT: u32 = 1_000_000;

/// Those of the keys that count. A route's own choice is not contradicted by what `[defaults]`
/// chose.
fn written(route: &Cursor<'_>) -> Vec<(&'static str, Chosen)> {
    let own = KEYS.into_iter().filter(|(key, _)| route.owns(key));
    let own: Vec<(&str, Chosen)> = own.collect();
    if !own.is_empty() {
        return own;
    }
    KEYS.into_iter().filter(|(key, _)| route.has(key)).collect()
}

/// What the route chose.
pub(super) fn chosen(route: &Cursor<'_>) -> Chosen {
    match written(route)[..] {
        [(_, chosen)] => chosen,
        _ => Chosen::Unclear,
    }
}

/// Reads what `[defaults]` says, so that its errors are reported where they stand.
pub(super) fn default_target(cursor: &Cursor<'_>, upstreams: &Upstreams) {
    let _ = upstream(cursor, upstreams);
    let _ = split(cursor, upstreams);
    let _ = respond(cursor);
    if let several @ [_, _, ..] = &written(cursor)[..] {
        cursor.missing(contradiction(several));
    }
}

/// Where the route's requests go.
pub(super) fn target(cursor: &Cursor<'_>, upstreams: &Upstreams) -> Option<Target> {
    match &written(cursor)[..] {
        [(_, Chosen::Upstream)] => upstream(cursor, upstreams).map(Target::Upstream),
        [(_, Chosen::Split)] => split(cursor, upstreams).map(Target::Split),
        [(_, Chosen::Respond)] => respond(cursor).map(Target::Respond),
        [] | [(_, Chosen::Unclear)] => {
            let message = "a route needs one of `upstream`, `split` and `respond`";
            cursor.missing(Complaint::new(message).hint("add upstream = \"NAME\""));
            None
        }
        several => {
            cursor.missing(contradiction(several));
            None
        }
    }
}

fn contradiction(several: &[(&str, Chosen)]) -> Complaint {
    let names: Vec<String> = several.iter().map(|(key, _)| format!("`{key}`")).collect();
    let (message, hint) = match &names[..] {
        [one, other] => (format!("has both {one} and {other}"), "remove one of them"),
        all => (format!("has {}", all.join(" and ")), "keep one of them"),
    };
    Complaint::new(message).hint(hint)
}

/// `upstream`, of a route or of a part of a split.
fn upstream(cursor: &Cursor<'_>, upstreams: &Upstreams) -> Option<Arc<str>> {
    let name = cursor.read("upstream", text)?;
    if let Some((name, _)) = upstreams.get_key_value(name) {
        return Some(name.clone());
    }
    let names = upstreams.keys().map(AsRef::as_ref);
    let hint = did_you_mean(name, names)
        .unwrap_or_else(|| format!("add [upstreams.{name}] with its endpoints"));
    let complaint = Complaint::new(format!("there is no upstream `{name}`")).hint(hint);
    let key = cursor.path.join("upstream").to_string();
    cursor
        .report
        .missing(cursor.place_of("upstream"), key, complaint);
    None
}

/// `split`; `None` when any of its parts has an error.
fn split(cursor: &Cursor<'_>, upstreams: &Upstreams) -> Option<Vec<SplitPart>> {
    const KEY: &str = "split";
    let form = "a list such as [{ upstream = \"stats\", weight = 95 }]";
    let tables = cursor.tables(KEY, keys::SPLIT, form)?;
    let mut parts: Vec<SplitPart> = Vec::with_capacity(tables.len());
    let mut whole = true;
    for table in &tables {
        let hint = "write { upstream = \"NAME\", weight = 5 }";
        lacks(table, "upstream", hint);
        lacks(table, "weight", hint);
        let name = upstream(table, upstreams);
        let weight = table.read("weight", |node| number(node, 0, MOST_WEIGHT));
        let (Some(upstream), Some(weight)) = (name, weight) else {
            whole = false;
            continue;
        };
        if parts.iter().any(|part| part.upstream == upstream) {
            let complaint = Complaint::new(format!("the upstream `{upstream}` is there twice"));
            let hint = "add their weights, and remove one of them";
            table.complain("upstream", table.place_of("upstream"), complaint.hint(hint));
        }
        parts.push(SplitPart { upstream, weight });
    }
    if whole && parts.iter().all(|part| part.weight == 0) && cursor.owns(KEY) {
        let complaint = Complaint::new("no upstream has a weight above 0");
        let hint = "write split = [{ upstream = \"NAME\", weight = 95 }, ...]";
        cursor.complain(KEY, cursor.place_of(KEY), complaint.hint(hint));
    }
    whole.then_some(parts)
}
