//! The value of an entry under `[kill]` as TOML text, always on one line: a file that is broken
//! elsewhere is read line by line.

use std::fmt;

use toml_edit::{Array, Datetime, InlineTable, Value};

/// The value of an entry: a word, an inline table or a list of tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryText(String);

/// Why a JSON document cannot become an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonRefusal {
    /// TOML has no `null`.
    Null {
        /// The key, such as `when.headers`; empty for the document itself.
        at: String,
    },
    /// A number beyond the 64 bits of TOML.
    Number {
        /// The key.
        at: String,
    },
    /// The document, or an item of its list, is neither of the forms of an entry.
    Form {
        /// The item, such as `[1]`; empty for the document itself.
        at: String,
        /// What it is.
        found: &'static str,
    },
}

/// The order in which an entry is read best; other keys follow.
const ORDER: [&str; 11] = [
    "mode",
    "percent",
    "when",
    "until",
    "reason",
    "owner",
    "dry_run",
    "retry_after",
    "status",
    "body",
    "content_type",
];

impl EntryText {
    /// A mode, or `off`. Whether there is such a word is for the reading to say.
    pub fn word(word: &str) -> EntryText {
        EntryText(quoted(word))
    }

    /// A table of these fields, in this order.
    pub fn table(fields: Vec<(&str, Value)>) -> EntryText {
        let table: InlineTable = fields.into_iter().collect();
        EntryText(render(&Value::InlineTable(table)))
    }

    /// A string, an object, or an array of objects. Under `until` a string that is a time becomes
    /// a TOML time; keys come in the usual order.
    ///
    /// # Errors
    /// Whatever has no place in TOML or cannot be an entry.
    pub fn from_json(json: &serde_json::Value) -> Result<EntryText, JsonRefusal> {
        let text = match json {
            serde_json::Value::String(word) => quoted(word),
            serde_json::Value::Array(items) => {
                let tables = items.iter().enumerate().map(|(index, item)| match item {
                    serde_json::Value::Object(_) => convert(item, &format!("[{index}]")),
                    _ => Err(refused(item, &format!("[{index}]"))),
                });
                render(&Value::Array(tables.collect::<Result<Array, _>>()?))
            }
            serde_json::Value::Object(_) => render(&convert(json, "")?),
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
                return Err(refused(json, ""));
            }
        };
        Ok(EntryText(text))
    }

    /// The text behind `KEY = `.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntryText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn refused(json: &serde_json::Value, at: &str) -> JsonRefusal {
    let at = at.to_owned();
    let found = match json {
        serde_json::Value::Null => return JsonRefusal::Null { at },
        serde_json::Value::Bool(_) => "true or false",
        serde_json::Value::Number(_) => "a number",
        serde_json::Value::String(_) => "a string",
        serde_json::Value::Array(_) => "an array",
        serde_json::Value::Object(_) => "an object",
    };
    JsonRefusal::Form { at, found }
}

fn convert(json: &serde_json::Value, at: &str) -> Result<Value, JsonRefusal> {
    Ok(match json {
        serde_json::Value::Null => return Err(refused(json, at)),
        serde_json::Value::Bool(value) => Value::from(*value),
        serde_json::Value::Number(number) => {
            let float = || number.as_f64().filter(|_| number.is_f64());
            let integer = number.as_i64().map(Value::from);
            let value = integer.or_else(|| float().map(Value::from));
            value.ok_or_else(|| JsonRefusal::Number { at: at.to_owned() })?
        }
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => {
            let items = items.iter().enumerate();
            let items = items.map(|(index, item)| convert(item, &format!("{at}[{index}]")));
            Value::Array(items.collect::<Result<Array, _>>()?)
        }
        serde_json::Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            let rank = |name: &str| ORDER.iter().position(|known| *known == name);
            fields.sort_by_key(|(name, _)| (rank(name).unwrap_or(ORDER.len()), *name));
            // `until` is a time in an entry; deeper down it may be anybody's word.
            let is_entry = at.is_empty() || (at.starts_with('[') && at.ends_with(']'));
            let mut table = InlineTable::new();
            for (name, value) in fields {
                let time = value.as_str().filter(|_| is_entry && name == "until");
                let value = match time.and_then(|text| text.parse::<Datetime>().ok()) {
                    Some(time) => Value::from(time),
                    None => convert(value, &join(at, name))?,
                };
                table.insert(name, value);
            }
            Value::InlineTable(table)
        }
    })
}

fn join(at: &str, name: &str) -> String {
    match at {
        "" => name.to_owned(),
        _ => format!("{at}.{name}"),
    }
}

/// A key as TOML text, in quotes where it needs them.
pub(super) fn key_text(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) {
        return key.to_owned();
    }
    quoted(key)
}

/// A basic string. `toml_edit` would spread a text of several lines over several lines.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // U+FFFD, written out, says that a file is not UTF-8.
            c if c.is_control() || c == char::REPLACEMENT_CHARACTER => {
                out.push_str(&format!("\\u{:04X}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn render(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text.value()),
        Value::Integer(number) => number.value().to_string(),
        Value::Float(number) => Value::from(*number.value()).to_string().trim().to_owned(),
        Value::Boolean(value) => value.value().to_string(),
        Value::Datetime(time) => time.value().to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(render).collect();
            format!("[{}]", items.join(", "))
        }
        Value::InlineTable(table) if table.is_empty() => "{}".to_owned(),
        Value::InlineTable(table) => {
            let fields = table.iter();
            let fields =
                fields.map(|(key, value)| format!("{} = {}", key_text(key), render(value)));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

impl fmt::Display for JsonRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = match self {
            JsonRefusal::Null { at } | JsonRefusal::Number { at } => at,
            JsonRefusal::Form { at, .. } => at,
        };
        if !at.is_empty() {
            write!(f, "{at}: ")?;
        }
        match self {
            JsonRefusal::Null { .. } => {
                f.write_str("null has no meaning here; leave the key out instead")
            }
            JsonRefusal::Number { .. } => f.write_str("a number beyond 64 bits"),
            JsonRefusal::Form { at, found } if at.is_empty() => write!(
                f,
                "expected a string such as \"drop\", an object or an array of objects, found {found}"
            ),
            JsonRefusal::Form { found, .. } => write!(f, "expected an object, found {found}"),
        }
    }
}

impl std::error::Error for JsonRefusal {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_of_an_entry_is_one_line_of_toml() {
        let until: Datetime = "2026-11-06T09:00:00Z".parse().unwrap();
        let fields = vec![
            ("mode", Value::from("drop")),
            ("percent", Value::from(12.5)),
            ("until", Value::from(until)),
            (
                "reason",
                Value::from("two\nlines \"and\" \\ \u{7f}\u{fffd}"),
            ),
        ];
        assert_eq!(
            EntryText::table(fields).as_str(),
            "{ mode = \"drop\", percent = 12.5, until = 2026-11-06T09:00:00Z, \
             reason = \"two\\nlines \\\"and\\\" \\\\ \\u007F\\uFFFD\" }"
        );
        assert_eq!(EntryText::word("off").as_str(), "\"off\"");
        assert_eq!(EntryText::table(Vec::new()).as_str(), "{}");
        for (key, text) in [
            ("a-b_1", "a-b_1"),
            ("a.b", "\"a.b\""),
            ("tier:x", "\"tier:x\""),
        ] {
            assert_eq!(key_text(key), text);
        }
    }

    #[test]
    fn json_becomes_toml_in_the_usual_order() {
        let entry = json!({
            "until": "2026-11-06T09:00:00+01:00", "owner": "amy", "mode": "drop", "percent": 50,
            "when": { "headers": { "x-client-version": { "prefix": "1.0." } }, "until": "1979-05-27" },
        });
        let text = "{ mode = \"drop\", percent = 50, when = { until = \"1979-05-27\", \
                    headers = { x-client-version = { prefix = \"1.0.\" } } }, \
                    until = 2026-11-06T09:00:00+01:00, owner = \"amy\" }";
        assert_eq!(EntryText::from_json(&entry).unwrap().as_str(), text);
        let list = json!([entry, { "mode": "reject", "dry_run": true }]);
        let list = EntryText::from_json(&list).unwrap();
        assert_eq!(
            list.as_str(),
            format!("[{text}, {{ mode = \"reject\", dry_run = true }}]")
        );
        assert_eq!(
            EntryText::from_json(&json!("off")).unwrap().as_str(),
            "\"off\""
        );
        // Not a time: the reading says what was expected.
        let odd = EntryText::from_json(&json!({ "until": "tomorrow" })).unwrap();
        assert_eq!(odd.as_str(), "{ until = \"tomorrow\" }");
    }

    #[test]
    fn json_that_cannot_be_an_entry_is_refused_at_its_place() {
        for (json, said) in [
            (json!(null), "null has no meaning here"),
            (json!(7), "found a number"),
            (
                json!({ "when": { "headers": [1, null] } }),
                "when.headers[1]: null",
            ),
            (
                json!({ "percent": 18_446_744_073_709_551_615_u64 }),
                "percent: a number beyond",
            ),
            (
                json!([{ "mode": "drop" }, "drop"]),
                "[1]: expected an object, found a string",
            ),
        ] {
            let refusal = EntryText::from_json(&json).unwrap_err().to_string();
            assert!(refusal.contains(said), "{refusal}");
        }
    }
}
