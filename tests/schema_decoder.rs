//! The JSON Schema beside the reader of the configuration: for every key, what the gateway takes
//! is never underlined, and a default that is written out changes nothing.

mod schema_support;

use schema_support::*;
use seawall::config::{SourceFile, load};
use serde_json::Value as Json;
use toml::{Table, Value as Toml};

/// Values of every kind, right for some keys and wrong for most.
const VALUES: &[&str] = &[
    "0",
    "1",
    "-1",
    "100",
    "101",
    "404",
    "2000",
    "99999999999",
    "1.5",
    "-1.5",
    "true",
    "false",
    "2026-11-06T09:00:00Z",
    "\"\"",
    "\"a\"",
    "\"A\"",
    "\" a \"",
    "\"a b\"",
    "\"é\"",
    "\"/\"",
    "\"/a/{b}\"",
    "\"/stats/{player}\"",
    "\"{\"",
    "\"all\"",
    "\"none\"",
    "\"on\"",
    "\"off\"",
    "\"INFO\"",
    "\"info,seawall=debug\"",
    "\"stdout\"",
    "\"drop\"",
    "\"fsync\"",
    "\"25%\"",
    "\"reject\"",
    "\"archive\"",
    "\"open\"",
    "\"closed\"",
    "\"core\"",
    "\"standard\"",
    "\"sheddable\"",
    "\"upstream\"",
    "\"stats\"",
    "\"stats.example.com\"",
    "\"*.example.com\"",
    "\"[::1]\"",
    "\"[::1]:80\"",
    "\"0.0.0.0:8081\"",
    "\"10.0.0.0/8\"",
    "\"::1\"",
    "\"http://a:1\"",
    "\"https://a\"",
    "\"http+srv://_a._tcp.b\"",
    "[\"http+srv://_a._tcp.b\"]",
    "[\"http+srv://_a._tcp.b:1\"]",
    "\"round-robin\"",
    "\"adaptive\"",
    "\"hash:client-ip\"",
    "\"hash:header:x-a\"",
    "\"hash:request\"",
    "\"route\"",
    "\"500/s\"",
    "\"30/m\"",
    "\"0/s\"",
    "\"5/d\"",
    "[\"connect\", \"503\"]",
    "[503]",
    "[500]",
    "[{ upstream = \"stats\", weight = 1 }]",
    "[{ upstream = \"stats\", weight = 0 }]",
    "[{ upstream = \"stats\", weight = \"1\" }]",
    "{ path = \"/\" }",
    "{ rate = \"1/s\" }",
    "{ max = 1 }",
    "{ percent = 1 }",
    "{ above = \"1/s\" }",
    "{ attempts = 3 }",
    "\"least-request\"",
    "\"client-ip\"",
    "\"request\"",
    "\"header:x-a\"",
    "\"query:a\"",
    "\"0s\"",
    "\"5s\"",
    "\"250ms\"",
    "\"0.5s\"",
    "\".5s\"",
    "\"2 m\"",
    "\"1d\"",
    "\"5\"",
    "\"5S\"",
    "\"0B\"",
    "\"64KiB\"",
    "\"0.5KiB\"",
    "\"1MB\"",
    "\"1KiB/s\"",
    "\"10/s\"",
    "\"text/plain\"",
    "\"${NONE:-5s}\"",
    "\"${NONE:-core}\"",
    "[]",
    "[1]",
    "[[0]]",
    "[{}]",
    "[\"GET\"]",
    "[\"get\"]",
    "[\"x-a\"]",
    "[\"a b\"]",
    "[\"0.0.0.0:8081\"]",
    "[\"10.0.0.0/8\"]",
    "[\"http://a:1\"]",
    "[\"websocket\"]",
    "[\"client-ip\", \"header:x-a\"]",
    "[{ mode = \"drop\" }]",
    "{}",
    "{ zz = 0 }",
    "{ x-a = \"b\" }",
    "{ x-a = { prefix = \"b\" } }",
    "[\"drop\", \"off\"]",
    "{ headers = { x-a = \"b\" } }",
    "{ client_ip = \"10.0.0.0/8\" }",
    "{ mock = \"drop\" }",
    "{ amy = \"0123456789abcdef\" }",
    "\"header:x-a\"",
    "\"header: x-a\"",
    "{ \"a b\" = \"c\" }",
    "{ mode = \"drop\" }",
    "{ prefix = \"a\" }",
    "{ present = true }",
];
/// Right for no key at all.
const NEVER: &[&str] = &["-1.5", "[[0]]", "{ zz = 0 }"];

/// Every table with known keys, once where several are read alike; those of names that users
/// choose are in `ROUTES`.
const TABLES: [&str; 27] = [
    "server",
    "admin",
    "telemetry",
    "archive",
    "upstreams/stats",
    "upstreams/stats/keepalive",
    "upstreams/stats/health",
    "upstreams/stats/outlier",
    "routes/stats",
    "routes/stats/rate_limit",
    "routes/stats/concurrency",
    "routes/stats/retry",
    "routes/stats/retry_budget",
    "routes/stats/breaker",
    "routes/stats/client_retry_budget",
    "routes/stats/auto_kill",
    "routes/divided/split/0",
    "routes/stats/request_headers",
    "routes/stats/kill_switch",
    "routes/mock/respond",
    "routes/matched/headers/x-version",
    "plans/launch",
    "plans/launch/kill",
    "kill",
    "kill/stats",
    "kill/stats/when",
    "kill/plan:launch",
];

/// The keys that the schema knows in that table.
fn properties(table: &str) -> &'static serde_json::Map<String, Json> {
    let at = at(table);
    let kinds = at["anyOf"].as_array().into_iter().flatten();
    let table = kinds.chain([at]).find(|schema| schema["type"] == "object");
    table.expect("a table")["properties"]
        .as_object()
        .expect("known keys")
}

/// The tables of this release.
fn tables() -> impl Iterator<Item = &'static str> {
    TABLES.into_iter().filter(|table| known(table))
}

/// A file that is right but for `key` of `table`, which has that value.
fn with(table: &str, key: &str, value: &Toml) -> Table {
    let mut file = match table {
        switches if switches.starts_with("kill") => parse("[kill]"),
        matched if matched.starts_with("routes/matched") => unfinished(),
        _ => structure(),
    };
    let mut at = &mut file;
    for name in table.split('/').filter(|name| *name != "0") {
        let mut next = at.entry(name).or_insert_with(|| Table::new().into());
        if next.is_array() {
            next = &mut next[0];
        }
        if !next.is_table() {
            *next = Table::new().into();
        }
        at = next.as_table_mut().expect("a table");
    }
    if ["respond", "split"].contains(&key) {
        at.remove("upstream");
    }
    at.insert(key.to_owned(), value.clone());
    file
}

fn value(text: &str) -> Toml {
    parse(&format!("v = {text}"))["v"].clone()
}

#[test]
fn what_the_gateway_takes_is_never_underlined() {
    let (validator, settings) = (validator(), settings());
    let mut right = 0;
    for table in tables() {
        for key in properties(table).keys() {
            let mut accepted = 0;
            for text in VALUES {
                let file = with(table, key, &value(text));
                let faults = faults(&validator, &file);
                if taken(&file, &settings) {
                    accepted += 1;
                    assert!(faults.is_empty(), "{table} {key} = {text}: {faults:#?}");
                } else if NEVER.contains(text) {
                    assert!(!faults.is_empty(), "{table} {key} = {text} validates");
                }
            }
            assert!(accepted > 0, "no value is right for {key} of {table}");
            assert!(
                accepted < VALUES.len(),
                "any value is right for {key} of {table}"
            );
            right += accepted;
        }
    }
    assert!(right > 400, "{right}");
}

#[test]
fn the_list_of_tables_is_complete() {
    // A table that the schema has and `TABLES` lacks would go unchecked.
    fn collect(schema: &Json, found: &mut Vec<Vec<String>>) {
        if !schema.is_object() {
            return;
        }
        if let Some(properties) = schema["properties"].as_object() {
            let keys: Vec<String> = properties.keys().cloned().collect();
            if !found.contains(&keys) {
                found.push(keys);
            }
        }
        let below = ["properties", "patternProperties"].map(|name| schema[name].as_object());
        let below = below.into_iter().flatten().flat_map(|inner| inner.values());
        let kinds = schema["anyOf"].as_array().into_iter().flatten();
        let rest = [&schema["additionalProperties"], &schema["items"]];
        for schema in below.chain(kinds).chain(rest) {
            collect(schema, found);
        }
    }
    let mut found = Vec::new();
    collect(&SCHEMA, &mut found);
    let checked = tables()
        .map(|table| properties(table).keys().cloned().collect())
        .collect::<Vec<Vec<String>>>();
    let root: Vec<String> = SCHEMA["properties"]
        .as_object()
        .expect("keys")
        .keys()
        .cloned()
        .collect();
    for keys in found {
        assert!(keys == root || checked.contains(&keys), "{keys:?}");
    }
}

#[test]
fn a_default_written_out_changes_nothing() {
    let settings = |file: &Table| {
        let files = [SourceFile::new("seawall.toml", &file.to_string())];
        let loaded = load(&files, &environment).map_err(|problems| format!("{problems:?}"));
        format!("{:?}", loaded.expect("right").settings)
    };
    let mut seen = 0;
    for table in tables().filter(|table| !table.starts_with("kill")) {
        for (key, property) in properties(table) {
            let Some(default) = property.get("default") else {
                continue;
            };
            let file = with(table, key, &value(&default.to_string()));
            let mut without = file.clone();
            let names = table.split('/').filter(|name| *name != "0");
            let inner = names.fold(&mut without, |at, name| {
                at[name].as_table_mut().expect("a table")
            });
            inner.remove(key);
            assert_eq!(
                settings(&file),
                settings(&without),
                "{table} {key} = {default}"
            );
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen}");
}
