use super::*;
use crate::matching::{QueryMatch, ValueTest};
use crate::policy::kill::{KillEntry, Plan};

#[test]
fn a_long_list_is_cut_with_a_count() {
    assert_eq!(cut(&["a", "b"]), "a,b");
    let many = vec!["r"; 25];
    assert!(cut(&many).ends_with(",r and 5 more"));
}

fn listed(from: Vec<KillEntry>, to: Vec<KillEntry>) -> Vec<(String, String, Option<String>)> {
    let change = Change {
        key: KillKey::All,
        from: (!from.is_empty()).then_some(Setting::Entries(from)),
        to: (!to.is_empty()).then_some(Setting::Entries(to)),
    };
    let lines = lines(&change, &[]).into_iter();
    lines.map(|line| (line.from, line.to, line.when)).collect()
}

fn thrown(mode: Mode, query: Option<&str>) -> KillEntry {
    let mut entry = KillEntry::word(Position::Thrown(Some(mode)));
    let tests = query.map(|name| QueryMatch {
        name: name.to_owned(),
        test: ValueTest::Present(true),
    });
    entry.when.query.extend(tests);
    entry
}

#[test]
fn what_did_not_change_is_not_reported() {
    let key = |name: &str| KillKey::Route(name.into());
    let drop = Setting::Entries(vec![thrown(Mode::Drop, None)]);
    let off = Setting::Entries(vec![KillEntry::word(Position::Off)]);
    let before = Entries::from([(key("a"), drop.clone()), (key("b"), drop.clone())]);
    let after = Entries::from([(key("b"), drop), (key("c"), off)]);
    let changes = changes(&before, &after);
    let keys: Vec<String> = changes.iter().map(|c| c.key.to_string()).collect();
    assert_eq!(keys, ["a", "c"]);
    let line = &lines(&changes[0], &[])[0];
    assert_eq!(
        (&*line.from, &*line.to, line.exempt),
        ("drop", "off", false)
    );
    let line = &lines(&changes[1], &[])[0];
    assert_eq!((&*line.from, &*line.to, line.exempt), ("off", "off", true));
}

#[test]
fn an_entry_is_known_by_its_condition() {
    let (a, b) = (Some("a"), Some("b"));
    let list = |modes: &[(Mode, Option<&str>)]| -> Vec<KillEntry> {
        modes
            .iter()
            .map(|(mode, query)| thrown(*mode, *query))
            .collect()
    };
    let text = |name: &str| Some(format!("query {name} {}", ValueTest::Present(true)));
    let word = str::to_owned;
    assert_eq!(
        listed(
            list(&[(Mode::Drop, a), (Mode::Drop, b)]),
            list(&[(Mode::Reject, b), (Mode::Drop, None)])
        ),
        [
            (word("drop"), word("reject"), text("b")),
            (word("off"), word("drop"), None),
            (word("drop"), word("off"), text("a")),
        ]
    );
    let swapped = listed(
        list(&[(Mode::Drop, a), (Mode::Drop, b)]),
        list(&[(Mode::Drop, b), (Mode::Drop, a)]),
    );
    assert_eq!(swapped.len(), 1);
    let mut rehearsal = thrown(Mode::Drop, None);
    rehearsal.dry_run = true;
    let rehearsed = listed(list(&[(Mode::Drop, None)]), vec![rehearsal]);
    assert_eq!(rehearsed, [(word("drop"), word("dry_run"), None)]);
}

#[test]
fn a_plan_is_a_line_and_each_of_its_entries_another() {
    let plan = Plan::from([
        (KillKey::All, vec![thrown(Mode::Drop, None)]),
        (KillKey::Route("a".into()), vec![thrown(Mode::Reject, None)]),
    ]);
    let mut used = PlanUse {
        on: true,
        plan: Arc::new(plan),
        until: None,
        dry_run: false,
        reason: Some("INC-7".into()),
        owner: None,
    };
    let on = Setting::Plan(used.clone());
    used.on = false;
    let change = Change {
        key: KillKey::Plan("night".into()),
        from: Some(Setting::Plan(used)),
        to: Some(on),
    };
    let lines = lines(&change, &[]);
    let said: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                &*line.key,
                line.plan.map(|plan| &**plan),
                &*line.from,
                &*line.to,
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            ("plan:night", None, "off", "on"),
            ("a", Some("night"), "off", "reject"),
            ("all", Some("night"), "off", "drop"),
        ]
    );
    assert!(
        lines
            .iter()
            .all(|line| line.reason.as_deref() == Some("INC-7"))
    );
}
