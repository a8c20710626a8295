use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::config::{load, read_structure};

fn settings(text: &str) -> Settings {
    let files = [SourceFile::new("seawall.toml", text)];
    load(&files, &|_| None).unwrap().settings
}

fn shipped() -> Settings {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    load(&read_structure(&dir).unwrap(), &|_| None)
        .unwrap()
        .settings
}

/// As from disk: what is not UTF-8 is replaced.
fn read(bytes: &[u8], settings: &Settings) -> SwitchesRead {
    let text = String::from_utf8_lossy(bytes);
    read_switch_entries(&SourceFile::new("switches.toml", &text), settings)
}

/// The shipped file with its examples in effect, and more of every form.
fn launch_night() -> String {
    let shipped = include_str!("../../../config/switches.toml");
    let (head, examples) = shipped.split_once("[kill]\n").unwrap();
    let examples = examples.replace("# ", "");
    format!(
        "{head}[kill]\n{examples}
# by the runbook
all = {{ mode = \"reject\", retry_after = \"1m\", reason = \"\"\"several
lines = \"off\"
\"\"\", owner = 'amy' }}   # trailing
friends = {{
  mode = \"drop\",
  reason = \"on its own lines\"
}}
\"tier:standard\" = {{ mode = \"reject\", status = 429 }}

[kill.ping]
mode = \"reject\"
owner = \"bob\"
"
    )
}

/// Each entry with the bytes of its own lines.
fn owners(text: &str, settings: &Settings) -> Vec<(KillKey, KillEntry, Range<usize>)> {
    let read = read(text.as_bytes(), settings);
    assert_eq!(read.problems, [], "the text under test is free of errors");
    let starts: Vec<(usize, KillKey)> = read
        .entries
        .keys()
        .map(|key| {
            let name = key.to_string();
            let forms = [
                format!("\n{name} ="),
                format!("\n\"{name}\" ="),
                format!("\n[kill.{name}]"),
            ];
            let at = forms
                .iter()
                .find_map(|form| text.find(form.as_str()))
                .unwrap();
            (at + 1, key.clone())
        })
        .collect();
    let end_of = |start: usize| {
        let rest = &text[start..];
        let long = [("all = {", 3), ("friends = {", 4), ("[kill.", 3)];
        let long = long.iter().find(|(begin, _)| rest.starts_with(begin));
        let lines = rest
            .split_inclusive('\n')
            .take(long.map_or(1, |(_, lines)| *lines));
        start + lines.map(str::len).sum::<usize>()
    };
    starts
        .into_iter()
        .map(|(start, key)| {
            let entry = read.entries[&key].clone();
            (key, entry, start..end_of(start))
        })
        .collect()
}

/// What must hold when only the bytes of `damage` changed.
fn holds(bytes: &[u8], original: &str, damage: Range<usize>, settings: &Settings) {
    let read = read(bytes, settings);
    // The lines the damage is in: what they now say is theirs.
    let begin = original[..damage.start].rfind('\n').map_or(0, |at| at + 1);
    let end = original[damage.end..]
        .find('\n')
        .map_or(original.len(), |at| damage.end + at + 1);
    let header = original.find("\n[kill]\n").unwrap() + 1;
    for (key, entry, lines) in owners(original, settings) {
        let intact = lines.end <= begin || lines.start >= end;
        let named =
            String::from_utf8_lossy(&bytes[begin..end.min(bytes.len())]).contains(&key.to_string());
        if !intact || (named && lines.start >= end) {
            let weaker = read
                .entries
                .get(&key)
                .is_some_and(|e| e.position == Position::Off);
            let was_off = entry.position == Position::Off;
            assert!(!weaker || was_off, "{key} became weaker");
            continue;
        }
        let header_gone = begin <= header && header < end;
        if header_gone && entry.position == Position::Off {
            assert!(read.in_error.contains(&key) || read.entries.contains_key(&key));
            continue;
        }
        if lines.start < end && named {
            continue;
        }
        assert_eq!(
            read.entries.get(&key),
            Some(&entry),
            "{key} is lost; {:#?}\n{}",
            read.problems,
            String::from_utf8_lossy(bytes)
        );
    }
}

#[test]
fn every_truncation_keeps_the_entries_before_it() {
    let settings = shipped();
    let text = launch_night();
    let owners = owners(&text, &settings);
    for cut in 0..text.len() {
        let read = read(&text.as_bytes()[..cut], &settings);
        for (key, entry, lines) in &owners {
            let got = read.entries.get(key);
            if lines.end <= cut + 1 {
                assert_eq!(got, Some(entry), "{key} at {cut}: {:#?}", read.problems);
            } else if entry.position != Position::Off {
                assert!(
                    got.is_none_or(|got| got.position != Position::Off),
                    "{key} at {cut}"
                );
            }
        }
    }
}

#[test]
fn a_thousand_corruptions_refuse_no_neighbour() {
    let settings = shipped();
    let text = launch_night();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    const NASTY: &[u8] = b"\"'[]{}=,#\n\r\\\0\xff .:x-";
    for _ in 0..1_000 {
        let at = random(text.len());
        let mut bytes = text.clone().into_bytes();
        bytes[at] = match random(2) {
            0 => NASTY[random(NASTY.len())],
            _ => random(256) as u8,
        };
        holds(&bytes, &text, at..at + 1, &settings);
    }
}

#[test]
fn the_shipped_file_survives_the_same() {
    let settings = shipped();
    let text = include_str!("../../../config/switches.toml");
    for cut in 0..=text.len() {
        let read = read(&text.as_bytes()[..cut], &settings);
        assert!(
            read.entries
                .values()
                .all(|entry| entry.position != Position::Off)
        );
    }
}

#[test]
fn line_by_line_reads_what_the_parser_reads() {
    let settings = shipped();
    let text = launch_night();
    let whole = read(text.as_bytes(), &settings);
    let broken = text.replacen("[kill]\n", "[kill]\n!!\n", 1);
    let salvaged = read(broken.as_bytes(), &settings);
    assert_eq!(salvaged.entries, whole.entries);
    assert_eq!(salvaged.in_error.len(), 0);
    assert_eq!(salvaged.problems.len(), 1, "{:#?}", salvaged.problems);
    assert!(salvaged.has_kill_table && salvaged.parsed);
}

const THREE: &str = r#"
    [routes.a]
    path = "/a"
    methods = ["POST"]
    respond = {}
    [routes.b]
    path = "/b"
    methods = ["POST"]
    respond = {}
    [routes."v1.c"]
    path = "/c"
    methods = ["POST"]
    respond = {}
"#;

fn sum_up(text: &str) -> String {
    let read = read(text.as_bytes(), &settings(THREE));
    let mut out = String::new();
    for (key, entry) in &read.entries {
        let what = match entry.position {
            Position::Off => "off",
            Position::Thrown(Some(mode)) => mode.as_str(),
            Position::Thrown(None) => "thrown",
        };
        write!(out, "{key}={what} ").unwrap();
    }
    for key in &read.in_error {
        write!(out, "{key}=? ").unwrap();
    }
    let errors = read.problems.len();
    write!(
        out,
        "errors={errors} kill={} parsed={}",
        read.has_kill_table, read.parsed
    )
    .unwrap();
    out
}

#[test]
fn broken_files_are_read_entry_by_entry() {
    let cases: BTreeMap<&str, &str> = [
        ("", "errors=0 kill=false parsed=true"),
        ("[kill]\n", "errors=0 kill=true parsed=true"),
        ("kill = {}\n", "errors=0 kill=true parsed=true"),
        ("!!!\n", "errors=1 kill=false parsed=false"),
        (
            "kill = { a = \"drop\", b = \n",
            "a=? b=? errors=1 kill=false parsed=false",
        ),
        (
            "[kill]\na = \"drop\nb = \"drop\"\n",
            "b=drop a=? errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\na\nb = \"drop\"\n",
            "b=drop a=? errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\na = [\nb = \"drop\"\n",
            "b=drop a=? errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\na = \"\"\"x\nb = \"off\"\n",
            "b=off a=? errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\na = { mode = \"drop\"\nb = \"off\"\n",
            "b=off a=? errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\na = \"drop\"\na = \"reject\"\n",
            "a=reject errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\na = \"drop\"\na = \"off\"\n",
            "a=off errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\na = \"drop\"\na = \"of\n",
            "a=drop errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\na = \"off\"\na = \"dr\n",
            "a=? errors=1 kill=true parsed=true",
        ),
        (
            "[kill\na = \"drop\"\nb = \"off\"\n",
            "a=drop b=? errors=1 kill=false parsed=true",
        ),
        (
            "[kil]\na = \"drop\"\nb = \"off\"\n",
            "a=drop b=? errors=1 kill=false parsed=true",
        ),
        ("[other]\na = \"drop\"\n", "errors=1 kill=false parsed=true"),
        (
            "[other]\na = \"drop\n[kill]\nb = \"drop\"\n",
            "b=drop errors=2 kill=true parsed=true",
        ),
        (
            "a = \"drop\"\nb = \"off\"\n",
            "a=drop b=? errors=2 kill=false parsed=true",
        ),
        (
            "[kill.a]\nmode = \"drop\"\n[kill]\nb = \"off\"\n",
            "a=drop b=off errors=0 kill=true parsed=true",
        ),
        (
            "[kill.a]\nmode = \"drop\n[kill.b]\nmode = \"drop\"\n",
            "b=drop a=? errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\ntier:core = \"drop\"\nb = \"drop\"\n",
            "b=drop tier:core=? errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\nv1.c = \"drop\"\n",
            "v1.c=? errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\nv1.c = \"drop\"\n!\n",
            "v1.c=? errors=2 kill=true parsed=true",
        ),
        (
            "kill.a = \"drop\"\n!\n",
            "a=drop errors=1 kill=true parsed=true",
        ),
        (
            "\u{feff}[kill]\na = \"drop\"\n!\n",
            "a=drop errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\r\na = \"drop\"\r\nb = \r\n",
            "a=drop b=? errors=1 kill=true parsed=true",
        ),
        (
            "[[kill]]\na = \"drop\"\n!\n",
            "a=drop errors=2 kill=false parsed=true",
        ),
    ]
    .into();
    let mut wrong = Vec::new();
    for (text, expected) in cases {
        let got = sum_up(text);
        wrong.extend((got != expected).then(|| format!("{text:?}: {got}, not {expected}")));
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn an_entry_says_everything_an_answer_needs() {
    let text = "[kill]\na = { mode = \"drop\", status = 202, body = \"x\", content_type = \"a/b\", \
                retry_after = \"7s\", reason = \"r\", owner = \"o\" }\n\"tier:core\" = \"off\"\n";
    let read = read(text.as_bytes(), &settings(THREE));
    let entry = &read.entries[&KillKey::Route("a".into())];
    assert_eq!(entry.position, Position::Thrown(Some(Mode::Drop)));
    assert_eq!(entry.answer.status.map(|status| status.as_u16()), Some(202));
    assert_eq!(entry.answer.body.as_deref(), Some(&b"x"[..]));
    assert_eq!(entry.retry_after, Some(std::time::Duration::from_secs(7)));
    assert_eq!(
        (entry.reason.as_deref(), entry.owner.as_deref()),
        (Some("r"), Some("o"))
    );
    assert_eq!(
        read.entries[&KillKey::Tier(Tier::Core)].position,
        Position::Off
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_fail(text in "(\\[|\\]|\\{|\\}|\"|'|=|,|\\.|#|\n|\r| |kill|a|b|all|tier:core|drop|off|mode|\\\\|é|\u{fffd}){0,60}") {
        let settings = settings(THREE);
        let read = read(text.as_bytes(), &settings);
        prop_assert!(read.entries.keys().all(|key| !read.in_error.contains(key)));
    }

    #[test]
    fn no_bytes_make_the_reader_fail(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        read(&bytes, &settings(THREE));
    }
}
