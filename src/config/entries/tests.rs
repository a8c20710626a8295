use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use proptest::option::of;
use proptest::prelude::*;

use super::*;
use crate::config::{Settings, SourceFile, load, read_switch_entries};
use crate::matching::{HeaderMatch, QueryMatch, ValueTest, When};
use crate::policy::kill::{AnswerSpec, Setting};
use crate::vocab::format_duration;

/// What is hard in TOML; U+FFFD is left out, since it stands for bytes that are not UTF-8.
const TEXT: &str = "[ -~\\n\\t\\\\é€]{0,12}";
const WORDS: &str = "[ -~\\t\\\\é€]{1,12}";

fn settings() -> Settings {
    let text = "[routes.a]\npath = \"/a\"\nrespond = {}\nkill_switch = { mode = \"drop\" }\n";
    let files = [SourceFile::new("seawall.toml", text)];
    load(&files, &|_| None).unwrap().settings
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A matcher as TOML.
fn written(test: &ValueTest) -> String {
    match test {
        ValueTest::Exact(text) => quoted(text),
        ValueTest::Prefix(text) => format!("{{ prefix = {} }}", quoted(text)),
        ValueTest::Suffix(text) => format!("{{ suffix = {} }}", quoted(text)),
        ValueTest::Regex(regex) => {
            let own = regex.as_str().strip_prefix(r"\A(?:").unwrap();
            let own = own.strip_suffix(r")\z").unwrap();
            format!("{{ regex = {} }}", quoted(own))
        }
        ValueTest::Present(present) => format!("{{ present = {present} }}"),
    }
}

/// A condition as TOML.
fn condition(when: &When) -> String {
    let mut parts = Vec::new();
    let table = |pairs: Vec<String>| format!("{{ {} }}", pairs.join(", "));
    if !when.headers.is_empty() {
        let pair = |h: &HeaderMatch| format!("{} = {}", h.name, written(&h.test));
        let pairs = when.headers.iter().map(pair).collect();
        parts.push(format!("headers = {}", table(pairs)));
    }
    match when.client_ip.as_slice() {
        [] => {}
        [one] => parts.push(format!("client_ip = \"{one}\"")),
        more => {
            let more: Vec<String> = more.iter().map(|range| format!("\"{range}\"")).collect();
            parts.push(format!("client_ip = [{}]", more.join(", ")));
        }
    }
    if !when.query.is_empty() {
        let pair = |q: &QueryMatch| format!("{} = {}", quoted_key(&q.name), written(&q.test));
        let pairs = when.query.iter().map(pair).collect();
        parts.push(format!("query = {}", table(pairs)));
    }
    table(parts)
}

/// A basic string: keys, unlike values, cannot span lines.
fn quoted_key(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(out, "\\{c}").unwrap(),
            c if c.is_control() => write!(out, "\\u{:04x}", c as u32).unwrap(),
            c => out.push(c),
        }
    }
    out + "\""
}

/// An entry as TOML.
fn entry_as_toml(entry: &KillEntry) -> String {
    let mut keys = Vec::new();
    let mut put = |key: &str, value: Option<String>| {
        keys.extend(value.map(|value| format!("{key} = {value}")));
    };
    let mode = match entry.position {
        Position::Off => Some("off"),
        Position::Thrown(mode) => mode.map(Mode::as_str),
    };
    put("mode", mode.map(quoted));
    let percent = (entry.share != Share::WHOLE).then(|| entry.share.percent().to_string());
    put("percent", percent);
    put(
        "when",
        (!entry.when.is_always()).then(|| condition(&entry.when)),
    );
    let until = entry.until.map(|until| {
        let time = jiff::Timestamp::from_second(until.as_secs() as i64);
        time.unwrap().to_string()
    });
    put("until", until);
    put("dry_run", entry.dry_run.then(|| "true".to_owned()));
    let answer = &entry.answer;
    put(
        "status",
        answer.status.map(|status| status.as_str().to_owned()),
    );
    let body = answer.body.as_deref();
    put(
        "body",
        body.map(|body| quoted(std::str::from_utf8(body).unwrap())),
    );
    let content_type = answer.content_type.as_ref();
    put(
        "content_type",
        content_type.map(|t| quoted(t.to_str().unwrap())),
    );
    put(
        "retry_after",
        entry.retry_after.map(|t| quoted(&format_duration(t))),
    );
    put("reason", entry.reason.as_deref().map(quoted));
    put("owner", entry.owner.as_deref().map(quoted));
    format!("{{ {} }}", keys.join(", "))
}

fn tests() -> impl Strategy<Value = ValueTest> {
    prop_oneof![
        TEXT.prop_map(ValueTest::Exact),
        TEXT.prop_map(ValueTest::Prefix),
        TEXT.prop_map(ValueTest::Suffix),
        prop::sample::select(vec!["a|b", r"\d+", "", "[\"']"])
            .prop_map(|text| ValueTest::regex(text).unwrap()),
        any::<bool>().prop_map(ValueTest::Present),
    ]
}

fn conditions() -> impl Strategy<Value = When> {
    let range = prop_oneof![
        (any::<u32>(), 0..=32_u8).prop_map(|(bits, length)| {
            ipnet::IpNet::new(std::net::Ipv4Addr::from(bits).into(), length).unwrap()
        }),
        // Not below ::ffff:0:0/96, which is another way to write IPv4.
        (1_u128..1 << 96, 0..=128_u8).prop_map(|(bits, length)| {
            let address = std::net::Ipv6Addr::from(bits << 32 | 1 << 127);
            ipnet::IpNet::new(address.into(), length).unwrap()
        }),
    ];
    let range = range.prop_map(|range| range.trunc());
    let headers = prop::collection::btree_map("x-[a-z]{1,6}", tests(), 0..3);
    let query = prop::collection::btree_map(WORDS, tests(), 0..3);
    let client_ip = prop::collection::vec(range, 0..3);
    (headers, client_ip, query).prop_map(|(headers, client_ip, query)| {
        let header = |(name, test): (String, ValueTest)| HeaderMatch::new(&name, test).unwrap();
        let query: BTreeMap<String, ValueTest> = query;
        When {
            headers: headers.into_iter().map(header).collect(),
            client_ip,
            query: query
                .into_iter()
                .map(|(name, test)| QueryMatch { name, test })
                .collect(),
        }
    })
}

fn answers() -> impl Strategy<Value = AnswerSpec> {
    let status = prop::sample::select(vec![200_u16, 202, 400, 429, 503, 599]);
    (of(status), of(TEXT), any::<bool>()).prop_map(|(status, body, typed)| AnswerSpec {
        status: status.map(|status| StatusCode::from_u16(status).unwrap()),
        body: body.map(Bytes::from),
        content_type: typed.then(|| HeaderValue::from_static("application/json")),
    })
}

prop_compose! {
    fn some_entry()(
        position in prop::sample::select(vec![
            Position::Off,
            Position::Thrown(None),
            Position::Thrown(Some(Mode::Drop)),
            Position::Thrown(Some(Mode::Reject)),
        ]),
        quarters in 0..=400_u32,
        when in conditions(),
        until in of(any::<u32>()),
        dry_run in any::<bool>(),
        answer in answers(),
        retry_after in of(1..100_000_u64),
        (reason, owner) in (of(WORDS), of(WORDS)),
    ) -> KillEntry {
        let share = Share::from_percent(f64::from(quarters) / 4.0).unwrap();
        KillEntry {
            position,
            share: if position == Position::Off { Share::WHOLE } else { share },
            when,
            until: until.map(|secs| Duration::from_secs(secs.into())),
            dry_run,
            answer,
            retry_after: retry_after.map(Duration::from_millis),
            reason: reason.map(Into::into),
            owner: owner.map(Into::into),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_written_is_read_again(entries in prop::collection::vec(some_entry(), 1..4)) {
        let settings = settings();
        let texts: Vec<String> = entries.iter().map(entry_as_toml).collect();
        let list = format!("[kill]\na = [\n  {},\n]\n", texts.join(",\n  "));
        let single = format!("[kill]\na = {}\n", texts[0]);
        let cases = [(list, entries.clone()), (single, vec![entries[0].clone()])];
        for (text, expected) in cases {
            // Line by line, too.
            for (text, errors) in [(text.clone(), 0), (format!("{text}!\n"), 1)] {
                let read = read_switch_entries(&SourceFile::new("switches.toml", &text), &settings);
                prop_assert_eq!(read.problems.len(), errors, "{:#?}\n{}", read.problems, text);
                let got = &read.entries[&KillKey::Route("a".into())];
                prop_assert_eq!(got, &Setting::Entries(expected.clone()), "{}", text);
            }
        }
    }
}
