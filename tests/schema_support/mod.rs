//! What the tests of the schema share: the schema, the gateway's own verdict, and a configuration
//! that has each kind of table.

#![allow(dead_code, unreachable_pub)]

use std::sync::LazyLock;

use jsonschema::Validator;
use seawall::config::{Settings, SourceFile, json_schema, load, read_switch_entries};
use serde_json::Value as Json;
use toml::{Table, Value as Toml};

pub static SCHEMA: LazyLock<Json> =
    LazyLock::new(|| serde_json::from_str(&json_schema()).expect("the schema is JSON"));

pub fn validator() -> Validator {
    jsonschema::draft7::new(&SCHEMA).expect("a schema")
}

/// What an editor sees of a TOML value.
pub fn as_json(value: &Toml) -> Json {
    match value {
        Toml::String(text) => text.as_str().into(),
        Toml::Integer(number) => (*number).into(),
        Toml::Float(number) => (*number).into(),
        Toml::Boolean(value) => (*value).into(),
        Toml::Datetime(time) => time.to_string().into(),
        Toml::Array(items) => items.iter().map(as_json).collect(),
        Toml::Table(table) => {
            let entries = table.iter();
            entries
                .map(|(key, value)| (key.clone(), as_json(value)))
                .collect()
        }
    }
}

pub fn parse(text: &str) -> Table {
    text.parse()
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// What the schema says against a file.
pub fn faults(validator: &Validator, file: &Table) -> Vec<String> {
    let file = as_json(&Toml::Table(file.clone()));
    if validator.is_valid(&file) {
        return Vec::new();
    }
    let errors = validator.iter_errors(&file);
    errors
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

pub fn environment(_: &str) -> Option<String> {
    None
}

pub const ROUTES: &str = r#"
    [upstreams.stats]
    endpoints = ["http://127.0.0.1:9001"]
    health = { path = "/healthz" }
    [routes.stats]
    path = "/stats/{player}"
    upstream = "stats"
    kill_switch = { mode = "reject" }
    rate_limit = { rate = "10/s" }
    concurrency = { max = 10 }
    client_retry_budget = { percent = 20 }
    auto_kill = { above = "100/s" }
    [routes.divided]
    path = "/divided"
    split = [{ upstream = "stats", weight = 1 }]
    [routes.mock]
    path = "/mock"
    respond = {}
    kill_switch = { mode = "reject" }
    [routes.matched]
    path = "/matched"
    respond = {}
    headers = { x-version = {} }
    [plans.launch]
    kill = { mock = "drop" }
"#;

/// All of it that this release has; the condition of `matched` is for tests to fill in.
pub fn unfinished() -> Table {
    let mut structure = parse(ROUTES);
    if !known("plans") {
        structure.remove("plans");
    }
    structure
}

/// A structure that is right.
pub fn structure() -> Table {
    let mut structure = unfinished();
    let routes = structure["routes"].as_table_mut().expect("routes");
    routes.remove("matched");
    structure
}

pub fn settings() -> Settings {
    let files = [SourceFile::new("seawall.toml", &structure().to_string())];
    load(&files, &environment).expect("right").settings
}

/// Whether the gateway takes a file, whichever of the two it is.
pub fn taken(file: &Table, settings: &Settings) -> bool {
    if file.contains_key("kill") {
        let file = SourceFile::new("switches.toml", &file.to_string());
        return read_switch_entries(&file, settings).problems.is_empty();
    }
    let files = [SourceFile::new("seawall.toml", &file.to_string())];
    load(&files, &environment).is_ok()
}

/// What the schema says of that key of a table, or of the items of a list.
pub fn inside<'s>(table: &'s Json, key: &str) -> &'s Json {
    if table["type"] == "array" {
        return &table["items"];
    }
    let known = &table["properties"][key];
    if known["type"].is_string() || known["anyOf"].is_array() {
        return known;
    }
    let patterns = table["patternProperties"].as_object();
    let matching = patterns.into_iter().flatten().find(|(pattern, _)| {
        let pattern = regex::Regex::new(pattern).expect("a pattern");
        pattern.is_match(key)
    });
    matching.map_or(&table["additionalProperties"], |(_, schema)| schema)
}

/// What the schema says of a table or a key, by its path. Where it leaves a choice of kinds, the
/// table.
pub fn at(path: &str) -> &'static Json {
    let mut at = &*SCHEMA;
    for name in path.split('/') {
        if let Some(kinds) = at["anyOf"].as_array() {
            let table = kinds.iter().find(|schema| schema["type"] == "object");
            at = table.expect("a table");
        }
        at = inside(at, name);
    }
    at
}

/// Whether this release has that key.
pub fn known(path: &str) -> bool {
    at(path).is_object()
}
