//! What `status` says of the endpoints of upstreams: nothing while all is well.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde_json::Value;

/// Most endpoints that are named in one line.
const MOST: usize = 4;

/// One line for each upstream of which an endpoint is down, and for each name that cannot be
/// resolved but has addresses still. `rows` are the `endpoints` of `/api/v1/status`.
pub(super) fn endpoints(rows: &Value, out: &mut impl Write) -> io::Result<()> {
    let mut upstreams: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for row in rows.as_array().into_iter().flatten() {
        let name = row["upstream"].as_str().unwrap_or("?");
        upstreams.entry(name).or_default().push(row);
    }
    for (name, rows) in upstreams {
        let down: Vec<String> = rows.iter().filter_map(|row| trouble(row)).collect();
        if !down.is_empty() {
            let named = &down[..down.len().min(MOST)];
            let more = match down.len() - named.len() {
                0 => String::new(),
                more => format!(", and {more} more"),
            };
            let (down, all, named) = (down.len(), rows.len(), named.join(", "));
            writeln!(out, "upstream {name}: {down} of {all} down: {named}{more}")?;
        }
        let stale: BTreeSet<(&str, &str)> = rows.iter().filter_map(|row| stale(row)).collect();
        for (endpoint, error) in stale {
            writeln!(
                out,
                "upstream {name}: {endpoint} cannot be resolved ({error}); its addresses stay"
            )?;
        }
    }
    Ok(())
}

/// `http://stats.internal:9001 at 10.0.0.7:9001 unhealthy`.
fn trouble(row: &Value) -> Option<String> {
    let why = row["down"].as_str()?;
    let endpoint = row["endpoint"].as_str().unwrap_or("?");
    let at = match row["address"].as_str() {
        Some(address) if !endpoint.ends_with(address) => format!(" at {address}"),
        Some(_) | None => String::new(),
    };
    let error = match (row["address"].as_str(), row["resolution_error"].as_str()) {
        (None, Some(error)) => format!(" ({error})"),
        _ => String::new(),
    };
    Some(format!("{endpoint}{at} {why}{error}"))
}

fn stale(row: &Value) -> Option<(&str, &str)> {
    row["address"].as_str()?;
    Some((row["endpoint"].as_str()?, row["resolution_error"].as_str()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(
        endpoint: &str,
        address: Option<&str>,
        down: Option<&str>,
        error: Option<&str>,
    ) -> Value {
        json!({
            "upstream": "stats", "endpoint": endpoint, "address": address,
            "up": down.is_none(), "down": down, "in_flight": 0, "resolution_error": error,
        })
    }

    fn told(rows: &[Value]) -> String {
        let mut out = Vec::new();
        endpoints(&json!(rows), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_well_is_not_told() {
        assert_eq!(
            told(&[row("http://10.0.0.1:80", Some("10.0.0.1:80"), None, None)]),
            ""
        );
        assert_eq!(told(&[]), "");
    }

    #[test]
    fn what_is_down_is_told_in_one_line_for_each_upstream() {
        let (name, address) = ("http://stats.internal:80", "http://10.0.0.9:80");
        let rows = [
            row(name, Some("10.0.0.1:80"), Some("unhealthy"), None),
            row(name, Some("10.0.0.2:80"), None, None),
            row(address, Some("10.0.0.9:80"), Some("ejected"), None),
        ];
        assert_eq!(
            told(&rows),
            "upstream stats: 2 of 3 down: http://stats.internal:80 at 10.0.0.1:80 unhealthy, \
             http://10.0.0.9:80 ejected\n"
        );
        let many = vec![row(address, Some("10.0.0.9:80"), Some("resting"), None); 6];
        assert!(told(&many).ends_with("resting, and 2 more\n"));
    }

    #[test]
    fn names_that_cannot_be_resolved_are_told_with_why() {
        let name = "http://stats.internal:80";
        let never = row(name, None, Some("unresolved"), Some("no such name"));
        assert_eq!(
            told(&[never]),
            "upstream stats: 1 of 1 down: http://stats.internal:80 unresolved (no such name)\n"
        );
        let kept = row(
            name,
            Some("10.0.0.1:80"),
            None,
            Some("no name server answers"),
        );
        assert_eq!(
            told(&[kept.clone(), kept]),
            "upstream stats: http://stats.internal:80 cannot be resolved \
             (no name server answers); its addresses stay\n"
        );
    }
}
