//! The loss ledger as `seawall status` prints it.

use std::io::{self, Write};

use serde_json::Value;

/// Each outcome as it is printed; what a payload may be gone with stands out.
const OUTCOMES: [(&str, &str); 6] = [
    ("dropped", "dropped"),
    ("archived", "archived"),
    ("rejected", "rejected"),
    ("lost", "LOST"),
    ("refused", "REFUSED"),
    ("aborted", "aborted"),
];

/// What became of killed requests: in all, and of each route that has any.
pub(super) fn ledger(ledger: &Value, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nkilled requests since the start: {}", line(ledger))?;
    let routes = ledger["routes"].as_object();
    let width = routes
        .into_iter()
        .flatten()
        .map(|(name, _)| name.len())
        .max();
    for (name, route) in routes.into_iter().flatten() {
        let width = width.unwrap_or(0);
        writeln!(out, "  {name:<width$}  {}", line(route))?;
    }
    let notes = [
        (
            "lost",
            "LOST: answered as if kept, and gone, as `when_full` says",
        ),
        (
            "refused",
            "REFUSED: answered with an error, because nothing could keep the payload",
        ),
        (
            "late",
            "late records: on the disk after all, of requests that count as refused, lost or aborted",
        ),
    ];
    for (key, note) in notes {
        match count(ledger, key) {
            0 => {}
            some => writeln!(out, "  {some} {note}")?,
        }
    }
    Ok(())
}

/// `12 = archived 9 + LOST 3`.
fn line(counts: &Value) -> String {
    let some = OUTCOMES.iter().filter(|(key, _)| count(counts, key) > 0);
    let some: Vec<String> = some
        .map(|(key, shown)| format!("{shown} {}", count(counts, key)))
        .collect();
    let killed = count(counts, "killed");
    match some.is_empty() {
        true => killed.to_string(),
        false => format!("{killed} = {}", some.join(" + ")),
    }
}

fn count(counts: &Value, key: &str) -> u64 {
    counts[key].as_u64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn printed(value: &Value) -> String {
        let mut out = Vec::new();
        ledger(value, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_route_has_a_line_and_what_may_be_gone_stands_out() {
        let value = json!({
            "killed": 15, "dropped": 0, "archived": 9, "rejected": 1, "lost": 3, "refused": 2,
            "aborted": 0, "late": 1,
            "routes": {
                "stats": {"killed": 3, "rejected": 1, "refused": 2},
                "leaderboard": {"killed": 12, "archived": 9, "lost": 3},
            },
        });
        let expected = "
killed requests since the start: 15 = archived 9 + rejected 1 + LOST 3 + REFUSED 2
  leaderboard  12 = archived 9 + LOST 3
  stats        3 = rejected 1 + REFUSED 2
  3 LOST: answered as if kept, and gone, as `when_full` says
  2 REFUSED: answered with an error, because nothing could keep the payload
  1 late records: on the disk after all, of requests that count as refused, lost or aborted
";
        assert_eq!(printed(&value), expected);
    }

    #[test]
    fn without_kills_it_is_one_line() {
        let value = json!({"killed": 0, "routes": {}, "late": 0});
        assert_eq!(printed(&value), "\nkilled requests since the start: 0\n");
    }
}
