//! Which table a name is meant for.

use crate::config::tree::{Node, Table, Value};

/// The table and which of the two it is, if its name is one of theirs or may be with a slip:
/// `kil`, `ki.l`, `braker`.
pub(in crate::config) fn table_like<'t>(
    name: &str,
    node: Node<'t>,
) -> Option<(&'static str, Table<'t>)> {
    let Value::Table(mut table) = node.value else {
        return None;
    };
    if let Some(near) = near(name) {
        return Some((near, table));
    }
    let only = table.entries.pop().filter(|_| table.entries.is_empty())?;
    let joined = format!("{name}.{}", only.key);
    let Value::Table(table) = only.value.value else {
        return None;
    };
    near(&joined).map(|near| (near, table))
}

/// The table whose name differs by a slip at most.
fn near(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    ["kill", "breaker"]
        .into_iter()
        .find(|table| strsim::osa_distance(&name, table) <= 1)
}
