//! The JSON Schema of the configuration: what editors complete, explain and underline.
//!
//! The keys and their status are those of [`super::keys`], so that a key is in the schema from
//! the release on that acts on it; what each holds and means stands in the tables below this
//! module. Draft-07, because taplo (Even Better TOML in VS Code) and Tombi both read it; without
//! `$ref`, because taplo ignores what stands beside one, such as a description.

mod kill;
mod kind;
mod policies;
mod route;
mod structure;

use serde_json::{Map, Value, json};

use self::kind::{Kind, Names, Plans, Presence, Shape};
use super::keys::{self, Section, Status};
use crate::vocab::Tier;

/// The schema, as `seawall schema` prints it and `schema.json` beside the configuration holds it.
/// One for every file: `kill` belongs in `switches.toml`, everything else into the others.
pub fn json_schema() -> String {
    let mut root = table(&structure::ROOT, Strings::Replaced);
    let switches = table(&structure::SWITCHES, Strings::AsWritten);
    if let (Some(all), Value::Object(kill)) = (
        root["properties"].as_object_mut(),
        switches["properties"].clone(),
    ) {
        all.extend(kill);
    }
    root["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    root["title"] = json!("Seawall");
    root["description"] = json!(
        "seawall.toml and routes.d/*.toml hold structure and policies, switches.toml what is switched off now."
    );
    format!("{root:#}\n")
}

/// Whether `${NAME}` is replaced in strings, so that they may be anything before that.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strings {
    Replaced,
    AsWritten,
}

fn supported(section: Section, name: &str) -> bool {
    keys::find(section, name).is_some_and(|key| key.status == Status::Supported)
}

fn table(shape: &Shape, strings: Strings) -> Value {
    let mut properties = Map::new();
    for doc in shape.docs {
        if !supported(shape.section, doc.name) {
            continue;
        }
        let mut property = value(&doc.kind, strings);
        property["description"] = match doc.default {
            Some(default) => json!(format!("{} Default: {default}.", doc.text)),
            None => json!(doc.text),
        };
        // What a default may be is written the same in TOML and in JSON.
        if let Some(default) = doc.default.and_then(|text| serde_json::from_str(text).ok()) {
            property["default"] = default;
        }
        properties.insert(doc.name.to_owned(), property);
    }
    let mut table = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    match shape.presence {
        Presence::Any => {}
        Presence::One => {
            table["minProperties"] = json!(1);
            table["maxProperties"] = json!(1);
        }
    }
    table
}

fn value(kind: &Kind, strings: Strings) -> Value {
    match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Words => json!({ "type": "string", "minLength": 1 }),
        Kind::Pattern(pattern) => text(pattern, strings),
        Kind::OneOf(words) => one_of(words, strings),
        Kind::Duration => text(&quantity(ANY_NUMBER, DURATION_UNITS), strings),
        Kind::PositiveDuration => text(&quantity(POSITIVE_NUMBER, DURATION_UNITS), strings),
        Kind::Size => text(&quantity(ANY_NUMBER, SIZE_UNITS), strings),
        Kind::PositiveSize => text(&quantity(POSITIVE_NUMBER, SIZE_UNITS), strings),
        Kind::ByteRate => text(&quantity(ANY_NUMBER, RATE_UNITS), strings),
        Kind::Count(least, most) => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Kind::Number(least, most) => json!({ "type": "number", "minimum": least, "maximum": most }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Time => json!({ "type": "string", "format": "date-time" }),
        Kind::List(items) => json!({ "type": "array", "items": value(items, strings) }),
        Kind::Either(kinds) => either(kinds, strings),
        Kind::Table(shape) => table(shape, strings),
        Kind::Map(names, kind) => map(*names, value(kind, strings)),
        Kind::Switches(plans) => switches(*plans, strings),
    }
}

const ANY_NUMBER: &str = r"([0-9]+\.?[0-9]*|\.[0-9]+)";
const POSITIVE_NUMBER: &str = r"(0*[1-9][0-9]*(\.[0-9]*)?|0*\.0*[1-9][0-9]*)";
const DURATION_UNITS: &str = "(ms|s|m|h|d)";
const SIZE_UNITS: &str = "(B|KiB|MiB|GiB)";
const RATE_UNITS: &str = "(B|KiB|MiB|GiB)/s";

fn quantity(number: &str, units: &str) -> String {
    format!(r"^{number}\s*{units}$")
}

/// A string that matches, or that is not known before the environment is.
fn text(pattern: &str, strings: Strings) -> Value {
    let pattern = match strings {
        Strings::Replaced => format!(r"{pattern}|\$\{{"),
        Strings::AsWritten => pattern.to_owned(),
    };
    json!({ "type": "string", "pattern": pattern })
}

fn one_of(words: &[&str], strings: Strings) -> Value {
    let words = json!({ "type": "string", "enum": words });
    match strings {
        Strings::Replaced => {
            json!({ "anyOf": [words, { "type": "string", "pattern": r"\$\{" }] })
        }
        Strings::AsWritten => words,
    }
}

fn either(kinds: &[Kind], strings: Strings) -> Value {
    let mut all = Vec::new();
    for kind in kinds {
        match value(kind, strings)["anyOf"].take() {
            Value::Array(nested) => all.extend(nested),
            _ => all.push(value(kind, strings)),
        }
    }
    json!({ "anyOf": all })
}

fn map(names: Names, of: Value) -> Value {
    let mut map = json!({ "type": "object", "additionalProperties": of });
    match names {
        Names::Own => {
            map["propertyNames"] = json!({ "pattern": kind::NAME, "not": { "enum": RESERVED } });
        }
        Names::Header => map["propertyNames"] = json!({ "pattern": kind::HEADER }),
        Names::Free => {}
    }
    map
}

/// Words with a meaning of their own where names stand.
const RESERVED: [&str; 2] = ["all", "none"];

/// A table of switches. What an entry may be stands there once, for every key that may be one:
/// the keys that are known by name are listed for completion alone.
fn switches(plans: Plans, strings: Strings) -> Value {
    let mut known = Map::new();
    let mut know = |key: String, what: String| known.insert(key, json!({ "description": what }));
    know(
        "all".to_owned(),
        "Every route but those of tier core.".to_owned(),
    );
    for tier in Tier::ALL.map(Tier::as_str) {
        know(
            format!("tier:{tier}"),
            format!("Every route of tier {tier}."),
        );
    }
    let mut kinds = vec![value(&kill::WORD, strings), value(&kill::TABLE, strings)];
    // Several entries make sense only with conditions.
    if supported(keys::KILL_ENTRY, "when") {
        kinds.push(value(&kill::SEVERAL, strings));
    }
    let entry = json!({ "anyOf": kinds, "description": kill::ENTRY_TEXT });
    let mut patterns = Map::new();
    patterns.insert(ENTRY_NAME.to_owned(), entry);
    if plans == Plans::Allowed && supported(keys::ROOT, "plans") {
        let kinds = [
            value(&kill::PLAN_WORD, strings),
            value(&kill::PLAN_TABLE, strings),
        ];
        let plan = json!({ "anyOf": kinds, "description": kill::PLAN_TEXT });
        patterns.insert(PLAN_NAME.to_owned(), plan);
    }
    json!({
        "type": "object",
        "properties": known,
        "patternProperties": patterns,
        "additionalProperties": false,
    })
}

const ENTRY_NAME: &str = "^([A-Za-z0-9_.-]+|tier:(core|standard|sheddable))$";
const PLAN_NAME: &str = "^plan:[A-Za-z0-9_.-]+$";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Every table below a kind, once.
    fn shapes(kind: &'static Kind, found: &mut Vec<&'static Shape>) {
        match kind {
            Kind::Text
            | Kind::Words
            | Kind::Pattern(_)
            | Kind::OneOf(_)
            | Kind::Duration
            | Kind::PositiveDuration
            | Kind::Size
            | Kind::PositiveSize
            | Kind::ByteRate
            | Kind::Count(..)
            | Kind::Number(..)
            | Kind::Boolean
            | Kind::Time => {}
            Kind::List(kind) | Kind::Map(_, kind) => shapes(kind, found),
            Kind::Either(kinds) => kinds.iter().for_each(|kind| shapes(kind, found)),
            Kind::Table(shape) => below(shape, found),
            Kind::Switches(_) => {
                shapes(&kill::TABLE, found);
                shapes(&kill::PLAN_TABLE, found);
            }
        }
    }

    fn below(shape: &'static Shape, found: &mut Vec<&'static Shape>) {
        if !found.iter().any(|other| std::ptr::eq(*other, shape)) {
            found.push(shape);
            for doc in shape.docs {
                shapes(&doc.kind, found);
            }
        }
    }

    fn every_shape() -> Vec<&'static Shape> {
        let mut found = Vec::new();
        below(&structure::ROOT, &mut found);
        below(&structure::SWITCHES, &mut found);
        found
    }

    #[test]
    fn every_key_that_may_be_used_has_a_kind_and_a_description() {
        let all = every_shape();
        assert!(all.len() >= 13, "the tables were not found");
        for shape in all {
            let documented: BTreeSet<&str> = shape.docs.iter().map(|doc| doc.name).collect();
            assert_eq!(documented.len(), shape.docs.len(), "one is there twice");
            for key in keys::usable(shape.section) {
                assert!(documented.contains(key), "add `{key}` to src/config/schema");
            }
            for doc in shape.docs {
                assert!(keys::find(shape.section, doc.name).is_some(), "{doc:?}");
                let sentence = doc.text.starts_with(char::is_alphabetic) || doc.name == "mode";
                assert!(sentence && doc.text.ends_with('.'), "{doc:?}");
                let default = doc.default.map(serde_json::from_str::<Value>);
                assert!(default.is_none_or(|read| read.is_ok()), "{doc:?}");
            }
        }
    }

    /// The keys of a section as the schema has them.
    fn properties(shape: &Shape) -> BTreeSet<String> {
        let table = table(shape, Strings::AsWritten);
        let properties = table["properties"].as_object().unwrap();
        for (name, property) in properties {
            let text = property["description"].as_str().unwrap();
            assert!(!text.is_empty(), "{name}");
        }
        properties.keys().cloned().collect()
    }

    #[test]
    fn the_schema_has_the_keys_that_may_be_used_and_no_other() {
        for shape in every_shape() {
            let usable: BTreeSet<String> = keys::usable(shape.section).map(str::to_owned).collect();
            assert_eq!(properties(shape), usable);
        }
    }

    #[test]
    fn plans_and_lists_are_in_it_once_their_keys_may_be_used() {
        let table = switches(Plans::Allowed, Strings::AsWritten);
        assert_eq!(
            table["patternProperties"][PLAN_NAME].is_object(),
            supported(keys::ROOT, "plans")
        );
        let forms = table["patternProperties"][ENTRY_NAME]["anyOf"]
            .as_array()
            .unwrap();
        assert_eq!(
            forms.iter().any(|form| form["type"] == "array"),
            supported(keys::KILL_ENTRY, "when")
        );
        let plan = switches(Plans::Refused, Strings::AsWritten);
        assert!(plan["patternProperties"][PLAN_NAME].is_null());
    }
}
