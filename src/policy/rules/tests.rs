//! "Which entry decides": a case for each line of what is promised.

mod clients;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::Rules;
use crate::matching::{ValueTest, When};
use crate::policy::kill::{
    AnswerSpec, KillEntry, KillKey, KillSettings, Mode, Plan, PlanUse, Position, Setting,
};
use crate::policy::samples::{NOW, Request, Sample, exact, off, percent, version, word};
use crate::policy::share::{Share, Sticky};
use crate::vocab::Tier;

const ALL: KillKey = KillKey::All;

fn route() -> KillKey {
    KillKey::Route("r".into())
}

fn tier() -> KillKey {
    KillKey::Tier(Tier::Standard)
}

fn drop() -> KillEntry {
    word(Mode::Drop)
}

fn reject() -> KillEntry {
    word(Mode::Reject)
}

fn own(key: KillKey, entries: &[KillEntry]) -> (KillKey, Setting) {
    (key, Setting::Entries(entries.to_vec()))
}

fn plan(name: &str, entries: &[(KillKey, KillEntry)]) -> (KillKey, Setting) {
    let mut plan = Plan::new();
    for (key, entry) in entries {
        plan.entry(key.clone()).or_default().push(entry.clone());
    }
    let used = PlanUse {
        on: true,
        plan: Arc::new(plan),
        until: None,
        dry_run: false,
        reason: None,
        owner: None,
    };
    (KillKey::Plan(name.into()), Setting::Plan(used))
}

/// Another version of the client than 1.
fn other(entry: KillEntry) -> KillEntry {
    KillEntry {
        when: version(exact("2")),
        ..entry
    }
}

fn expired(entry: KillEntry) -> KillEntry {
    KillEntry {
        until: Some(Duration::from_secs(1)),
        ..entry
    }
}

fn ending(entry: KillEntry) -> KillEntry {
    KillEntry {
        until: Some(NOW + Duration::from_secs(60)),
        ..entry
    }
}

fn rehearsal(entry: KillEntry) -> KillEntry {
    KillEntry {
        dry_run: true,
        ..entry
    }
}

fn nobody(entry: KillEntry) -> KillEntry {
    KillEntry {
        share: Share::NONE,
        ..entry
    }
}

fn rules(sample: &Sample, settings: &[(KillKey, Setting)]) -> Option<Rules> {
    let settings: KillSettings = settings.iter().cloned().collect();
    sample.rules(&settings)
}

/// What a request of version 1 to a route of this tier gets.
fn mode(tier: Tier, settings: &[(KillKey, Setting)]) -> Option<Mode> {
    let rules = rules(&Sample::of(tier), settings);
    let request = Request::new(Some("1"), None, 1);
    request.order(rules.as_ref(), NOW).map(|order| order.mode)
}

#[test]
fn which_entry_decides() {
    const DROP: Option<Mode> = Some(Mode::Drop);
    const REJECT: Option<Mode> = Some(Mode::Reject);
    for (line, settings, expected) in [
        ("nothing thrown", vec![], None),
        ("a route", vec![own(route(), &[drop()])], DROP),
        (
            "another route",
            vec![own(KillKey::Route("q".into()), &[drop()])],
            None,
        ),
        ("a tier", vec![own(tier(), &[drop()])], DROP),
        (
            "another tier",
            vec![own(KillKey::Tier(Tier::Core), &[drop()])],
            None,
        ),
        ("all", vec![own(ALL, &[drop()])], DROP),
        (
            "route before tier",
            vec![own(route(), &[drop()]), own(tier(), &[reject()])],
            DROP,
        ),
        (
            "tier before all",
            vec![own(tier(), &[drop()]), own(ALL, &[reject()])],
            DROP,
        ),
        (
            "[kill] before plans",
            vec![own(route(), &[drop()]), plan("a", &[(route(), reject())])],
            DROP,
        ),
        (
            "a plan's route before a tier",
            vec![own(tier(), &[drop()]), plan("a", &[(route(), reject())])],
            REJECT,
        ),
        (
            "plans by name",
            vec![
                plan("b", &[(tier(), drop())]),
                plan("a", &[(tier(), reject())]),
            ],
            REJECT,
        ),
        (
            "plan all after tier of later plan",
            vec![
                plan("a", &[(ALL, drop())]),
                plan("b", &[(tier(), reject())]),
            ],
            REJECT,
        ),
        (
            "off exempts from tier and all",
            vec![
                own(route(), &[off()]),
                own(tier(), &[drop()]),
                own(ALL, &[drop()]),
            ],
            None,
        ),
        (
            "off of a tier exempts from all",
            vec![own(tier(), &[off()]), own(ALL, &[drop()])],
            None,
        ),
        (
            "off of all exempts from nothing more specific",
            vec![own(ALL, &[off()]), own(tier(), &[drop()])],
            DROP,
        ),
        (
            "off exempts from plans",
            vec![own(route(), &[off()]), plan("a", &[(route(), drop())])],
            None,
        ),
        (
            "off in a plan exempts",
            vec![own(ALL, &[drop()]), plan("a", &[(route(), off())])],
            None,
        ),
        (
            "the first of a list that applies",
            vec![own(route(), &[other(drop()), reject(), drop()])],
            REJECT,
        ),
        (
            "a when that fails is passed over",
            vec![own(route(), &[other(drop())]), own(ALL, &[reject()])],
            REJECT,
        ),
        (
            "off with a when that fails is passed over",
            vec![own(route(), &[other(off())]), own(ALL, &[reject()])],
            REJECT,
        ),
        (
            "what has expired is passed over",
            vec![own(route(), &[expired(drop())]), own(ALL, &[reject()])],
            REJECT,
        ),
        (
            "off that has expired is passed over",
            vec![own(route(), &[expired(off())]), own(ALL, &[reject()])],
            REJECT,
        ),
        (
            "what will expire holds",
            vec![own(route(), &[ending(drop())]), own(ALL, &[reject()])],
            DROP,
        ),
        (
            "a dry run is passed over",
            vec![own(route(), &[rehearsal(drop())]), own(ALL, &[reject()])],
            REJECT,
        ),
        (
            "a dry run of off is passed over",
            vec![own(route(), &[rehearsal(off())]), own(ALL, &[reject()])],
            REJECT,
        ),
        (
            "outside its percent requests pass",
            vec![own(route(), &[nobody(drop())]), own(ALL, &[reject()])],
            None,
        ),
        (
            "also past a when",
            vec![
                own(
                    route(),
                    &[KillEntry {
                        when: version(exact("1")),
                        ..nobody(drop())
                    }],
                ),
                own(ALL, &[reject()]),
            ],
            None,
        ),
        (
            "also in a list",
            vec![own(route(), &[nobody(drop()), reject()])],
            None,
        ),
        (
            "no mode anywhere is inert",
            vec![
                own(route(), &[KillEntry::word(Position::Thrown(None))]),
                own(ALL, &[reject()]),
            ],
            REJECT,
        ),
    ] {
        assert_eq!(mode(Tier::Standard, &settings), expected, "{line}");
    }
}

#[test]
fn core_is_not_reached_by_all() {
    let core = |settings: &[(KillKey, Setting)]| mode(Tier::Core, settings).is_some();
    assert!(!core(&[own(ALL, &[drop()])]));
    assert!(!core(&[plan("a", &[(ALL, drop())])]));
    assert!(!core(&[own(tier(), &[drop()])]));
    assert!(core(&[own(KillKey::Tier(Tier::Core), &[drop()])]));
    assert!(core(&[own(route(), &[drop()])]));
    assert!(core(&[plan("a", &[(route(), drop())])]));
}

/// Changes what is said of a plan as a whole.
fn with(plan: (KillKey, Setting), change: impl Fn(&mut PlanUse)) -> (KillKey, Setting) {
    let (key, Setting::Plan(mut used)) = plan else {
        panic!("no plan");
    };
    change(&mut used);
    (key, Setting::Plan(used))
}

#[test]
fn what_is_said_of_a_plan_holds_for_its_entries() {
    let thrown = || plan("a", &[(ALL, ending(drop()))]);
    let takes = |plan| mode(Tier::Standard, &[plan]).is_some();
    assert!(takes(thrown()));
    assert!(!takes(with(thrown(), |plan| plan.on = false)));
    assert!(!takes(with(thrown(), |plan| plan.dry_run = true)));
    assert!(!takes(
        with(thrown(), |plan| plan.until = Some(Duration::from_secs(1)))
    ));
    // The earlier of two ends; the entry's own words before the plan's.
    let ends = |until| {
        let plan = with(thrown(), |plan| plan.until = Some(until));
        rules(&Sample::of(Tier::Standard), &[plan])
            .unwrap()
            .expires(NOW)
    };
    let (soon, late) = (NOW + Duration::from_secs(5), NOW + Duration::from_secs(500));
    assert_eq!(ends(soon), Some(soon));
    assert_eq!(ends(late), Some(NOW + Duration::from_secs(60)));
    let mine = KillEntry {
        owner: Some("amy".into()),
        ..drop()
    };
    let named = with(plan("a", &[(ALL, mine)]), |plan| {
        plan.owner = Some("bob".into());
        plan.reason = Some("launch".into());
    });
    let rules = rules(&Sample::of(Tier::Standard), &[named]);
    let request = Request::new(None, None, 1);
    let order = request.order(rules.as_ref(), NOW).unwrap();
    let said = (order.owner.as_deref(), order.reason.as_deref());
    assert_eq!(said, (Some("amy"), Some("launch")));
}

#[test]
fn a_mode_comes_from_the_entry_or_the_route() {
    let thrown = |mode| [own(route(), &[KillEntry::word(Position::Thrown(mode))])];
    let mut sample = Sample::of(Tier::Standard);
    let request = Request::new(None, None, 1);
    let mut asked = |own: Option<Mode>, said: Option<Mode>| {
        sample.own.mode = own;
        let rules = rules(&sample, &thrown(said));
        request.order(rules.as_ref(), NOW).map(|order| order.mode)
    };
    assert_eq!(asked(None, None), None);
    assert_eq!(asked(Some(Mode::Reject), None), Some(Mode::Reject));
    assert_eq!(
        asked(Some(Mode::Reject), Some(Mode::Drop)),
        Some(Mode::Drop)
    );
}

#[test]
fn the_answer_is_the_entrys_then_the_routes_then_the_default() {
    let answer = |status, body: &'static str| AnswerSpec {
        status: StatusCode::from_u16(status).ok(),
        body: Some(body.as_bytes().into()),
        content_type: None,
    };
    let nothing = AnswerSpec::default;
    for (mode, said, own_answer, status, body) in [
        (Mode::Drop, nothing(), nothing(), 200, ""),
        (Mode::Drop, nothing(), answer(202, "own"), 202, "own"),
        (Mode::Drop, answer(204, ""), answer(202, "own"), 204, ""),
        (Mode::Archive, nothing(), answer(202, "own"), 202, "own"),
        // The route's answer is one of success: a rejection does not take it.
        (Mode::Reject, nothing(), answer(202, "own"), 503, ""),
        (
            Mode::Reject,
            answer(429, "said"),
            answer(202, "own"),
            429,
            "",
        ),
    ] {
        let mut sample = Sample::of(Tier::Standard);
        sample.own.answer = own_answer;
        let entry = KillEntry {
            answer: said,
            ..word(mode)
        };
        let rules = rules(&sample, &[own(route(), &[entry])]);
        let request = Request::new(None, None, 1);
        let order = request.order(rules.as_ref(), NOW).unwrap();
        assert_eq!(
            (order.status.as_u16(), &order.body[..]),
            (status, body.as_bytes())
        );
        assert_eq!(order.retry_after, Duration::from_secs(10));
    }
}

#[test]
fn a_dry_run_is_counted_where_it_would_have_decided() {
    let rehearsed = |entries: &[KillEntry]| {
        let rules = rules(&Sample::of(Tier::Standard), &[own(route(), entries)]);
        let request = Request::new(Some("1"), None, 1);
        request.decide(rules.as_ref(), NOW).rehearsed
    };
    let dry = || rehearsal(drop());
    assert_eq!(rehearsed(&[dry()]), Some(Mode::Drop));
    assert_eq!(rehearsed(&[dry(), reject()]), Some(Mode::Drop));
    assert_eq!(rehearsed(&[dry(), rehearsal(reject())]), Some(Mode::Drop));
    for nothing in [
        vec![reject(), dry()],
        vec![off(), dry()],
        vec![other(dry())],
        vec![expired(dry())],
        vec![nobody(dry())],
        vec![rehearsal(off()), dry()],
        vec![nobody(reject()), dry()],
        vec![drop()],
    ] {
        assert_eq!(rehearsed(&nothing), None, "{nothing:?}");
    }
}

#[test]
fn what_takes_everybody_needs_no_asking() {
    let plain = |entries: &[KillEntry]| {
        let rules = rules(&Sample::of(Tier::Standard), &[own(route(), entries)]);
        rules.is_some_and(|rules| rules.plain().is_some())
    };
    assert!(plain(&[drop()]));
    assert!(plain(&[drop(), other(reject())]));
    for asking in [
        vec![],
        vec![off()],
        vec![other(drop())],
        vec![other(drop()), drop()],
        vec![ending(drop())],
        vec![rehearsal(drop()), drop()],
        vec![KillEntry {
            share: percent(99.0),
            ..drop()
        }],
    ] {
        assert!(!plain(&asking), "{asking:?}");
    }
}

#[test]
fn the_gauge_is_the_share_of_what_takes_requests() {
    let shares = |settings: &[(KillKey, Setting)]| {
        let rules = rules(&Sample::of(Tier::Standard), settings);
        rules.map_or([0.0; 3], |rules| rules.shares(NOW).map(Share::percent))
    };
    let half = |entry| KillEntry {
        share: percent(50.0),
        ..entry
    };
    assert_eq!(shares(&[own(route(), &[half(drop())])]), [50.0, 0.0, 0.0]);
    assert_eq!(
        shares(&[own(route(), &[half(other(drop())), reject()])]),
        [50.0, 0.0, 100.0]
    );
    // What decides for all hides what comes after it.
    assert_eq!(
        shares(&[own(route(), &[half(drop())]), own(ALL, &[reject()])]),
        [50.0, 0.0, 0.0]
    );
    let held = [own(route(), &[ending(half(drop()))]), own(ALL, &[reject()])];
    assert_eq!(shares(&held), [50.0, 0.0, 0.0]);
    assert_eq!(
        shares(&[own(route(), &[rehearsal(drop()), expired(drop())])]),
        [0.0; 3]
    );
}

#[test]
fn conditions_may_be_of_any_kind_and_must_all_hold() {
    let mut when: When = version(ValueTest::Prefix("1".to_owned()));
    when.client_ip.push("10.0.0.1/32".parse().unwrap());
    let entry = KillEntry { when, ..drop() };
    let settings: BTreeMap<_, _> = [own(route(), &[entry])].into();
    let rules = Sample::of(Tier::Standard).rules(&settings);
    let killed = |version, host| Request::new(version, None, host).killed(rules.as_ref(), NOW);
    assert!(killed(Some("1"), 1));
    assert!(!killed(Some("1"), 2));
    assert!(!killed(Some("2"), 1));
    assert!(!killed(None, 1));
}
