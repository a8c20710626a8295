use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use toml_edit::Value;

use super::super::file::process_environment;
use super::super::validate::examine;
use super::*;

const NAMES: [&str; 6] = ["alpha", "bravo", "charlie", "delta", "mode", "v1.stats"];

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| {
    let route = |name: &str| {
        format!("[routes.\"{name}\"]\npath = \"/{name}\"\nmethods = [\"POST\"]\nrespond = {{}}\n")
    };
    let text: String = NAMES.map(route).concat();
    let files = [SourceFile::new("seawall.toml", &text)];
    let examined = examine(&files, &*process_environment());
    assert!(examined.errors.is_empty(), "{:?}", examined.errors);
    examined.settings
});

fn file(text: &str) -> SourceFile {
    SourceFile::new("config/switches.toml", text)
}

fn apply(text: &str, key: &str, change: &Change) -> Result<Edited, EditError> {
    edit(&file(text), key, change, &SETTINGS)
}

fn set(text: &str, key: &str, word: &str) -> String {
    let change = Change::Set(EntryText::word(word));
    match apply(text, key, &change) {
        Ok(edited) => edited.text,
        Err(error) => panic!("{error}\n{text}"),
    }
}

fn remove(text: &str, key: &str) -> String {
    match apply(text, key, &Change::Remove) {
        Ok(edited) => edited.text,
        Err(error) => panic!("{error}\n{text}"),
    }
}

/// Old text, key, the text with `KEY = "reject"`, and the text without the key.
type Case = (&'static str, &'static str, &'static str, &'static str);

#[test]
fn a_new_entry_comes_after_the_last_one() {
    for (old, new) in [
        ("", "[kill]\nalpha = \"reject\"\n"),
        ("# c", "# c\n\n[kill]\nalpha = \"reject\"\n"),
        ("[kill]", "[kill]\nalpha = \"reject\"\n"),
        (
            "\u{feff}[kill]\r\n",
            "\u{feff}[kill]\r\nalpha = \"reject\"\r\n",
        ),
        (
            "# top\n[kill] # here\n# delta = \"drop\"\n\n",
            "# top\n[kill] # here\nalpha = \"reject\"\n# delta = \"drop\"\n\n",
        ),
        (
            "[kill]\n  # one\n  bravo = \"drop\" # b\n\n# of delta\n[kill.delta] # d\nmode = \"drop\"\n",
            "[kill]\n  # one\n  bravo = \"drop\" # b\n  alpha = \"reject\"\n\n# of delta\n[kill.delta] # d\nmode = \"drop\"\n",
        ),
        (
            "[kill]\nbravo = \"drop\"",
            "[kill]\nbravo = \"drop\"\nalpha = \"reject\"\n",
        ),
        ("kill = {}", "kill = { alpha = \"reject\" }"),
        (
            "kill = { bravo = \"drop\", # b\n}",
            "kill = { bravo = \"drop\", alpha = \"reject\", # b\n}",
        ),
        (
            "kill.bravo = \"drop\" # b\n# end\n",
            "kill.bravo = \"drop\" # b\nkill.alpha = \"reject\"\n# end\n",
        ),
        (
            "[kill.bravo]\nmode = \"drop\"\n",
            "[kill.bravo]\nmode = \"drop\"\n\n[kill]\nalpha = \"reject\"\n",
        ),
        (
            "[kill]\nbravo = { mode = \"drop\",\n  reason = \"x\" }\n#\n",
            "[kill]\nbravo = { mode = \"drop\",\n  reason = \"x\" }\nalpha = \"reject\"\n#\n",
        ),
    ] {
        let edited = set(old, "alpha", "reject");
        assert_eq!(edited, new);
        assert_eq!(set(&edited, "alpha", "reject"), new);
        let back = remove(&edited, "alpha");
        let read = |text: &str| read_switch_entries(&file(text), &SETTINGS).entries;
        assert_eq!(read(&back), read(old), "{back}");
    }
}

#[test]
fn an_entry_is_replaced_in_its_place_and_removed_from_it() {
    const CASES: &[Case] = &[
        (
            "[kill]\nbravo = \"drop\" # b\nalpha  =  \"drop\"  # why\n# c\ncharlie = \"off\"\n",
            "alpha",
            "[kill]\nbravo = \"drop\" # b\nalpha  =  \"reject\"  # why\n# c\ncharlie = \"off\"\n",
            "[kill]\nbravo = \"drop\" # b\n# c\ncharlie = \"off\"\n",
        ),
        (
            "[kill]\r\nalpha = { mode = \"drop\",\r\n reason = \"x\" } # why\r\nbravo = \"drop\"",
            "alpha",
            "[kill]\r\nalpha = \"reject\" # why\r\nbravo = \"drop\"",
            "[kill]\r\nbravo = \"drop\"",
        ),
        (
            "[kill]\n'tier:core' = \"drop\"\n\"v1.stats\" = \"drop\"\n",
            "v1.stats",
            "[kill]\n'tier:core' = \"drop\"\n\"v1.stats\" = \"reject\"\n",
            "[kill]\n'tier:core' = \"drop\"\n",
        ),
        (
            "[kill]\nalpha.mode = \"drop\" # a\n# c\nalpha.reason = \"x\" # b\nbravo = \"drop\"\n",
            "alpha",
            "[kill]\nalpha = \"reject\" # a\n# c\n# b\nbravo = \"drop\"\n",
            "[kill]\n# c\nbravo = \"drop\"\n",
        ),
        (
            "kill.alpha.mode = \"drop\"\nkill.bravo = \"drop\"\n",
            "alpha",
            "kill.alpha = \"reject\"\nkill.bravo = \"drop\"\n",
            "kill.bravo = \"drop\"\n",
        ),
        (
            "kill.alpha = \"drop\"\n",
            "alpha",
            "kill.alpha = \"reject\"\n",
            "[kill]\n",
        ),
        (
            "kill = { bravo = \"drop\", alpha = \"drop\" }\n",
            "alpha",
            "kill = { bravo = \"drop\", alpha = \"reject\" }\n",
            "kill = { bravo = \"drop\" }\n",
        ),
        (
            "kill = { alpha.mode = \"drop\", alpha.reason = \"x\", bravo = \"drop\" }\n",
            "alpha",
            "kill = { alpha = \"reject\", bravo = \"drop\" }\n",
            "kill = { bravo = \"drop\" }\n",
        ),
        (
            "kill = {\n  bravo = \"drop\", # b, c\n  alpha = \"drop\", # a\n}\n",
            "alpha",
            "kill = {\n  bravo = \"drop\", # b, c\n  alpha = \"reject\", # a\n}\n",
            "kill = {\n  bravo = \"drop\" # b, c\n  , # a\n}\n",
        ),
        (
            "# c\n[kill.alpha] # a\n# d\nmode = \"drop\" # m\n\n[kill.bravo]\nmode = \"drop\"\n",
            "alpha",
            "# c\n[kill] # a\nalpha = \"reject\"\n# d\n# m\n\n[kill.bravo]\nmode = \"drop\"\n",
            "# c\n# d\n\n[kill.bravo]\nmode = \"drop\"\n",
        ),
        (
            "[kill]\nbravo = \"drop\"\n\n[kill.alpha]\nmode = \"drop\"\n",
            "alpha",
            "[kill]\nbravo = \"drop\"\nalpha = \"reject\"\n\n",
            "[kill]\nbravo = \"drop\"\n\n",
        ),
        (
            "[kill.alpha]\nmode = \"drop\"\n",
            "alpha",
            "[kill]\nalpha = \"reject\"\n",
            "[kill]\n",
        ),
        (
            "alpha = \"drop\"\n[kill]\nbravo = \"drop\"\n",
            "alpha",
            "[kill]\nbravo = \"drop\"\nalpha = \"reject\"\n",
            "[kill]\nbravo = \"drop\"\n",
        ),
        (
            "[[kill.alpha]]\nmode = \"drop\"\n[[kill.alpha]]\nmode = \"off\"\n[kill.bravo]\nmode = \"drop\"\n",
            "alpha",
            "[kill]\nalpha = \"reject\"\n[kill.bravo]\nmode = \"drop\"\n",
            "[kill.bravo]\nmode = \"drop\"\n",
        ),
        (
            "[kill]\nalpha = [ # two\n  { mode = \"drop\" },\n] # end\n",
            "alpha",
            "[kill]\nalpha = \"reject\" # end\n",
            "[kill]\n",
        ),
        // Not TOML any more.
        (
            "[kill]\nbravo = \"drop\"\nalpha = \"drop # why\ncharlie = \"drop\"\n",
            "alpha",
            "[kill]\nbravo = \"drop\"\nalpha = \"reject\" # why\ncharlie = \"drop\"\n",
            "[kill]\nbravo = \"drop\"\ncharlie = \"drop\"\n",
        ),
        (
            "[kill]\nalpha = \"drop\"\nbravo = \"dr",
            "alpha",
            "[kill]\nalpha = \"reject\"\nbravo = \"dr",
            "[kill]\nbravo = \"dr",
        ),
        (
            "[kill]\nalpha = {\n  status = 200,\n  reason = \"x\"\nbravo = \"drop\"\n",
            "alpha",
            "[kill]\nalpha = \"reject\"\nbravo = \"drop\"\n",
            "[kill]\nbravo = \"drop\"\n",
        ),
        (
            "[kill]\nalpha = \"drop\"\nalpha = \"off\"\nbravo = \"drop\n",
            "alpha",
            "[kill]\nalpha = \"reject\"\nbravo = \"drop\n",
            "[kill]\nbravo = \"drop\n",
        ),
        (
            "[kill]\nv1.stats = \"drop\"\nbravo = \"drop\"\n",
            "v1.stats",
            "[kill]\n\"v1.stats\" = \"reject\"\nbravo = \"drop\"\n",
            "[kill]\nbravo = \"drop\"\n",
        ),
    ];
    for (old, key, new, without) in CASES {
        assert_eq!(set(old, key, "reject"), *new);
        assert_eq!(remove(old, key), *without);
    }
}

#[test]
fn a_broken_file_takes_new_entries() {
    for (old, new) in [
        (
            "[kill]\nbravo = \"drop\ncharlie = \"drop\"\n",
            "[kill]\nbravo = \"drop\ncharlie = \"drop\"\nalpha = \"reject\"\n",
        ),
        (
            "[kill]\nbravo = { mode = \"drop\",",
            "[kill]\nbravo = { mode = \"drop\",\nalpha = \"reject\"\n",
        ),
        (
            "[kill\nbravo = \"drop\"\n",
            "[kill\nbravo = \"drop\"\n\n[kill]\nalpha = \"reject\"\n",
        ),
        (
            "kill = { bravo = \"drop\"",
            "kill = { bravo = \"drop\"\n\n[kill]\nalpha = \"reject\"\n",
        ),
    ] {
        assert_eq!(set(old, "alpha", "reject"), new);
    }
}

#[test]
fn what_is_not_valid_is_said_where_it_would_stand() {
    let shipped = "# c\n[kill]\nbravo = \"drop\"\n";
    for (key, value, said) in [
        (
            "alhpa",
            EntryText::word("drop"),
            "config/switches.toml:4:1: kill.alhpa: there is no route `alhpa`; did you mean `alpha`?",
        ),
        (
            "bravo",
            EntryText::word("dorp"),
            "config/switches.toml:3:9: kill.bravo: expected",
        ),
        (
            "alpha",
            EntryText::table(vec![
                ("mode", Value::from("drop")),
                ("resaon", Value::from("x")),
            ]),
            "config/switches.toml:4:26: kill.alpha.resaon: unknown key `resaon`",
        ),
    ] {
        let error = apply(shipped, key, &Change::Set(value)).unwrap_err();
        let EditError::Invalid(problems) = &error else {
            panic!("{error}");
        };
        assert_eq!(problems.len(), 1);
        assert!(error.to_string().starts_with(said), "{error}");
    }
    let absent = apply(shipped, "alpha", &Change::Remove).unwrap();
    assert!(absent.difference.is_empty() && absent.text == shipped);
}

#[test]
fn an_edit_that_would_disturb_another_key_is_refused() {
    // One line with a mistake mentions both.
    let old = "kill = { alpha = \"drop\", bravo = }\n";
    let error = apply(old, "alpha", &Change::Remove).unwrap_err();
    let said = error.to_string();
    assert!(said.starts_with("cannot remove the entry"), "{said}");
    assert!(
        said.contains("correct the file first: config/switches.toml:1"),
        "{said}"
    );
}

#[test]
fn a_difference_is_what_somebody_would_do_by_hand() {
    let told = |old: &str, new: &str| Difference::between(old, new).to_string();
    assert_eq!(told("a\nb\n", "a\nc\nb\n"), "add below line 1:\n    c");
    assert_eq!(
        told("", "[kill]\na\n"),
        "add at the top:\n    [kill]\n    a"
    );
    assert_eq!(told("a\nb\n", "a\n"), "remove from line 2:\n    b");
    assert_eq!(
        told("a\nb\nc", "a\nd\nc"),
        "replace from line 2:\n    b\nwith:\n    d"
    );
    assert_eq!(told("a", "a"), "nothing to change");
}

fn word() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["drop", "reject", "off"])
}

fn key() -> impl Strategy<Value = &'static str> {
    let keys = ["alpha", "bravo", "charlie", "delta", "mode", "v1.stats"];
    prop::sample::select([&keys[..], &["all", "tier:core", "tier:sheddable"]].concat())
}

/// One entry under `[kill]`, in one of its shapes.
fn entry(key: &str, word: &str, shape: u8) -> String {
    let key = key_text(key);
    match shape % 8 {
        0 => format!("{key} = \"{word}\"\n"),
        1 => format!("  {key} = {{ mode = \"{word}\", reason = \"a # b\" }} # tail\n"),
        2 => format!(
            "{key} = {{ # why\n  mode = '{word}',\n  owner = \"\"\"amy\n[kill]\n\"\"\" }}\n"
        ),
        3 => format!("{key}.mode = \"{word}\" # m\n{key}.owner = \"amy\"\n"),
        4 => format!("\n# note on {key}\n{key} = \"{word}\" # t\n"),
        5 => format!("# {key} = \"drop\"\n{key} = \"{word}\"\r\n"),
        6 => format!(
            "{key} = [ # two\n  {{ mode = \"drop\", percent = 5 }}, # one\n\n  {{ mode = \"{word}\" }}\n] # end\n"
        ),
        _ => format!(
            "{key}.until = 2126-11-06T09:00:00Z\n# between\n{key}.when.query = {{ a = \"]\" }}\n{key}.mode = \"{word}\"\n"
        ),
    }
}

/// A well-formed file, some in shapes that are read although they are not advised, and what it
/// says about each key.
fn files() -> impl Strategy<Value = (String, Vec<(&'static str, String)>)> {
    let entries = prop::collection::btree_map(key(), (word(), any::<u8>()), 0..6);
    (entries, 0_u8..5).prop_map(|(entries, style)| {
        let part = |(key, (word, shape)): (&'static str, (&'static str, u8))| {
            let name = key_text(key);
            let part = match style {
                0 => format!("{name} = \"{word}\""),
                1 => format!("# of {key}\n[kill.{name}] # h\nmode = \"{word}\"\n"),
                2 => format!("kill.{name} = \"{word}\" # d\n"),
                _ => entry(key, word, shape),
            };
            (key, part)
        };
        let parts: Vec<_> = entries.into_iter().map(part).collect();
        let texts: Vec<&str> = parts.iter().map(|(_, text)| text.as_str()).collect();
        let text = match style {
            0 => format!("# top\nkill = {{ {} }} # end\n", texts.join(", ")),
            1 => texts.join("\n"),
            2 => texts.concat(),
            _ => format!("# top\n\n[kill] # header\n{}# end", texts.concat()),
        };
        (text, parts)
    })
}

fn change() -> impl Strategy<Value = Change> {
    let table = |word: &str| {
        let fields = vec![
            ("mode", Value::from(word)),
            ("reason", Value::from("a\nb # \"c\"")),
        ];
        Change::Set(EntryText::table(fields))
    };
    prop_oneof![
        word().prop_map(|word| Change::Set(EntryText::word(word))),
        word().prop_map(table),
        Just(Change::Remove),
    ]
}

fn told(text: &str) -> BTreeMap<String, Option<String>> {
    let read = read_switch_entries(&file(text), &SETTINGS);
    let told = outcomes(&read.entries, &read.in_error).into_iter();
    told.map(|(key, entry)| (key, entry.map(|entry| format!("{entry:?}"))))
        .collect()
}

fn comments(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| line.starts_with('#')).collect()
}

/// What holds for each edit, whatever the file: other keys as they were, twice is once. `None`
/// when the edit was refused.
fn holds(text: &str, key: &str, change: &Change) -> Result<Option<String>, TestCaseError> {
    let edited = match apply(text, key, change) {
        Ok(edited) => edited.text,
        Err(EditError::WouldDisturb { .. }) => return Ok(None),
        Err(error) => return Err(TestCaseError::fail(format!("{error}\n{text}"))),
    };
    let (mut before, mut after) = (told(text), told(&edited));
    before.remove(key);
    let own = after.remove(key);
    prop_assert_eq!(before, after);
    match change {
        Change::Set(_) => prop_assert!(matches!(own, Some(Some(_)))),
        Change::Remove => prop_assert!(own.is_none()),
    }
    match apply(&edited, key, change) {
        Ok(again) => prop_assert_eq!(&again.text, &edited),
        Err(error) => prop_assert!(false, "{}\n{}", error, edited),
    }
    Ok(Some(edited))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_edit_of_a_sound_file_changes_its_key_alone(
        (text, parts) in files(), key in key(), change in change(),
    ) {
        prop_assert_eq!(form(&text), Form::Whole);
        let edited = holds(&text, key, &change)?;
        let Some(edited) = edited else {
            return Err(TestCaseError::fail(format!("refused\n{text}")));
        };
        prop_assert_eq!(form(&edited), Form::Whole);
        let kept = comments(&edited);
        for comment in comments(&text) {
            prop_assert!(kept.contains(&comment), "{} lost\n{}\n->\n{}", comment, text, edited);
        }
        // What it says about the others is there to the byte, in its order.
        let mut rest = edited.as_str();
        for (_, part) in parts.iter().filter(|(other, _)| *other != key) {
            let found = rest.find(part.as_str());
            prop_assert!(found.is_some(), "{} lost\n{}\n->\n{}", part, text, edited);
            rest = &rest[found.unwrap_or_default() + part.len()..];
        }
    }

    #[test]
    fn set_then_removed_reads_as_before((text, _) in files(), key in key(), word in word()) {
        let text = remove(&text, key);
        let edited = set(&text, key, word);
        prop_assert_eq!(told(&remove(&edited, key)), told(&text));
    }

    #[test]
    fn a_damaged_file_is_edited_soundly_or_refused(
        (text, _) in files(), key in key(), change in change(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..5, any::<char>()), 1..4),
    ) {
        let mut damaged: Vec<char> = text.chars().collect();
        for (at, kind, c) in damage {
            if damaged.is_empty() {
                break;
            }
            let at = at.index(damaged.len());
            match kind {
                0 => damaged.truncate(at),
                1 => damaged[at] = c,
                2 => {
                    damaged.remove(at);
                }
                3 => damaged.insert(at, '"'),
                _ => {
                    let end = (at + 20).min(damaged.len());
                    damaged.drain(at..end);
                }
            }
        }
        let damaged: String = damaged.into_iter().collect();
        holds(&damaged, key, &change)?;
    }
}

/// The shipped file with its examples in effect, and the structure it is for.
fn launch_night() -> (String, Settings) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let files = super::super::read_structure(&dir).unwrap();
    let settings = examine(&files, &*process_environment()).settings;
    let shipped = std::fs::read_to_string(dir.join("switches.toml")).unwrap();
    let (_, examples) = shipped.split_once("[kill]\n").unwrap();
    let thrown = format!("# now\n[kill]\n{}", examples.replace("# ", ""));
    (thrown, settings)
}

/// Edits each of some keys both ways; says how many edits were taken and how many refused.
fn edits(text: &[u8], settings: &Settings) -> (usize, usize) {
    let (mut taken, mut refused) = (0, 0);
    let file = SourceFile::of_bytes("config/switches.toml", text);
    for key in ["leaderboard", "join-match", "tier:core"] {
        for change in [Change::Set(EntryText::word("reject")), Change::Remove] {
            match edit(&file, key, &change, settings) {
                Ok(_) => taken += 1,
                Err(EditError::WouldDisturb { .. }) => refused += 1,
                Err(EditError::Invalid(problems)) => panic!("{problems:?}"),
            }
        }
    }
    (taken, refused)
}

#[test]
fn every_truncation_of_the_shipped_file_can_be_edited() {
    let (text, settings) = launch_night();
    for end in 0..=text.len() {
        let (_, refused) = edits(&text.as_bytes()[..end], &settings);
        assert_eq!(refused, 0, "{}", &text[..end]);
    }
}

#[test]
fn nearly_every_corruption_of_the_shipped_file_can_be_edited() {
    let (text, settings) = launch_night();
    let mut state = 0x5ea_3a11_u64;
    let mut roll = move |sides: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 16).unwrap() % sides
    };
    let mut total = (0, 0);
    for _ in 0..300 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..=roll(3) {
            let at = roll(bytes.len());
            match roll(3) {
                0 => bytes[at] = u8::try_from(roll(256)).unwrap(),
                1 => bytes[at] ^= 1 << roll(8),
                _ => {
                    let end = (at + roll(20)).min(bytes.len());
                    bytes.drain(at..end);
                }
            }
        }
        let (taken, refused) = edits(&bytes, &settings);
        total = (total.0 + taken, total.1 + refused);
    }
    // None of 1,800 at the time of writing.
    assert!(total.1 * 100 < total.0, "taken, refused: {total:?}");
}
