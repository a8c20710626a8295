//! How switches end: what comes back, when, and who is never held back.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::covers;
use crate::policy::kill::{KillEntry, KillKey, KillSettings, Mode, Setting};
use crate::policy::rules::Rules;
use crate::policy::samples::{
    NOW, Request, Sample, exact, off, percent, requests, routes, settings, version, word,
};
use crate::policy::share::{Share, Sticky};
use crate::vocab::Tier;

/// `restore` is 30 s by default.
const THIRD: Duration = Duration::from_secs(10);

fn kill(key: KillKey, entries: &[KillEntry]) -> KillSettings {
    KillSettings::from([(key, Setting::Entries(entries.to_vec()))])
}

fn nothing() -> KillSettings {
    KillSettings::new()
}

fn drop() -> KillEntry {
    word(Mode::Drop)
}

fn half() -> KillEntry {
    KillEntry {
        share: percent(50.0),
        ..drop()
    }
}

/// A route, and its rules from change to change.
struct Story {
    sample: Sample,
    rules: Option<Rules>,
    now: Duration,
}

impl Story {
    fn begin(settings: &KillSettings) -> Story {
        Story::of(Sample::of(Tier::Standard), settings)
    }

    fn of(sample: Sample, settings: &KillSettings) -> Story {
        let rules = sample.rules(settings);
        Story {
            sample,
            rules,
            now: NOW,
        }
    }

    fn pass(&mut self, time: Duration) -> &mut Story {
        self.now += time;
        self
    }

    fn edit(&mut self, settings: &KillSettings) -> &mut Story {
        let before = self.rules.as_ref();
        self.rules = Rules::compile(self.sample.subject(), settings, before, self.now);
        self
    }

    /// The share of 2,000 clients that is killed now, in percent.
    fn killed(&self) -> f64 {
        let killed = (0..2_000).filter(|n| {
            let player = format!("p{n}");
            let request = Request::new(Some("1"), Some(&player), 1);
            request.killed(self.rules.as_ref(), self.now)
        });
        killed.count() as f64 / 20.0
    }

    /// What the gauge says.
    fn gauge(&self) -> f64 {
        let shares = self.rules.as_ref().map(|rules| rules.shares(self.now));
        shares.map_or(0.0, |shares| shares[Mode::Drop.index()].percent())
    }

    fn assert_about(&self, expected: f64) {
        let killed = self.killed();
        assert!(
            (killed - expected).abs() < 4.0,
            "{killed} % instead of {expected} %"
        );
        let gauge = self.gauge();
        assert!(
            (gauge - expected).abs() < 0.01,
            "the gauge: {gauge} instead of {expected}"
        );
    }
}

fn by_player() -> Sample {
    let mut sample = Sample::of(Tier::Standard);
    sample.own.sticky = Sticky::Header("x-player".parse().unwrap());
    sample
}

fn story(settings: &KillSettings) -> Story {
    Story::of(by_player(), settings)
}

#[test]
fn a_clock_that_is_set_back_begins_the_return_again_and_no_more() {
    let mut story = story(&kill(KillKey::All, &[drop()]));
    story.edit(&nothing()).pass(THIRD).assert_about(200.0 / 3.0);
    story.now -= 50 * THIRD;
    story.edit(&nothing()).assert_about(100.0);
    story.pass(THIRD).assert_about(200.0 / 3.0);
    story.pass(2 * THIRD).edit(&nothing()).assert_about(0.0);
    assert!(story.rules.is_none());
}

#[test]
fn after_an_edit_traffic_comes_back_linearly() {
    let mut story = story(&kill(KillKey::All, &[drop()]));
    story.assert_about(100.0);
    story.edit(&nothing()).assert_about(100.0);
    story.pass(THIRD).assert_about(200.0 / 3.0);
    story.pass(THIRD).assert_about(100.0 / 3.0);
    // Something else is edited meanwhile: the return goes on as it was.
    story.edit(&kill(KillKey::Route("q".into()), &[drop()]));
    story.assert_about(100.0 / 3.0);
    story.pass(THIRD).assert_about(0.0);
    assert!(
        story.edit(&nothing()).rules.is_none(),
        "nothing is left of it"
    );
}

#[test]
fn after_its_end_traffic_comes_back_linearly() {
    let ends = KillEntry {
        until: Some(NOW + THIRD),
        ..half()
    };
    let settings = kill(KillKey::All, &[ends]);
    let mut story = story(&settings);
    story.assert_about(50.0);
    story.pass(THIRD).assert_about(50.0);
    story.pass(THIRD).assert_about(100.0 / 3.0);
    // Removed from the file, or read again with it: the same.
    story.edit(&settings).assert_about(100.0 / 3.0);
    story.edit(&nothing()).assert_about(100.0 / 3.0);
    story.pass(THIRD).assert_about(50.0 / 3.0);
    story.pass(THIRD).assert_about(0.0);
}

#[test]
fn those_who_come_back_stay_back() {
    let mut story = story(&kill(KillKey::All, &[drop()]));
    story.edit(&nothing());
    let requests: Vec<Request> = (0..200)
        .map(|n| Request::new(None, Some(&format!("p{n}")), 1))
        .collect();
    let mut before = vec![true; requests.len()];
    for _ in 0..31 {
        let killed: Vec<bool> = requests
            .iter()
            .map(|request| request.killed(story.rules.as_ref(), story.now))
            .collect();
        assert!(
            before
                .iter()
                .zip(&killed)
                .all(|(before, killed)| *before || !killed)
        );
        before = killed;
        story.pass(Duration::from_secs(1));
    }
    assert!(!before.contains(&true));
}

#[test]
fn a_switch_thrown_again_takes_all_at_once() {
    let thrown = kill(KillKey::All, &[drop()]);
    let mut story = story(&thrown);
    story
        .edit(&nothing())
        .pass(THIRD * 2)
        .assert_about(100.0 / 3.0);
    story.edit(&thrown).assert_about(100.0);
    assert!(story.rules.as_ref().unwrap().fading.is_empty());
    // And its end begins anew.
    story.edit(&nothing()).assert_about(100.0);
    // With a share of its own it is that share, not what was left of the old one.
    story
        .edit(&kill(KillKey::All, &[half()]))
        .assert_about(50.0);
}

#[test]
fn another_share_mode_or_reason_holds_at_once() {
    let mut story = story(&kill(KillKey::All, &[drop()]));
    story
        .edit(&kill(KillKey::All, &[half()]))
        .assert_about(50.0);
    let quarter = KillEntry {
        share: percent(25.0),
        reason: Some("calmer".into()),
        ..drop()
    };
    story
        .edit(&kill(KillKey::All, &[quarter]))
        .assert_about(25.0);
    let reject = KillEntry {
        share: percent(25.0),
        ..word(Mode::Reject)
    };
    story.edit(&kill(KillKey::All, &[reject]));
    let mode = (0..100).find_map(|n| {
        let request = Request {
            id: n,
            ..Request::new(None, Some(&format!("p{n}")), 1)
        };
        Some(request.order(story.rules.as_ref(), story.now)?.mode)
    });
    assert_eq!(mode, Some(Mode::Reject));
    assert!(story.rules.as_ref().unwrap().fading.is_empty());
}

#[test]
fn an_off_that_takes_a_route_from_its_tier_lets_it_back_slowly() {
    let mut settings = kill(KillKey::Tier(Tier::Standard), &[drop()]);
    let mut story = story(&settings);
    settings.extend(kill(KillKey::Route("r".into()), &[off()]));
    story.edit(&settings).assert_about(100.0);
    story.pass(THIRD).assert_about(200.0 / 3.0);
    story.pass(THIRD * 2).assert_about(0.0);
}

#[test]
fn restore_zero_is_at_once() {
    let ends = KillEntry {
        until: Some(NOW + THIRD),
        ..drop()
    };
    let mut sample = by_player();
    sample.own.restore = Duration::ZERO;
    let mut story = Story::of(sample, &kill(KillKey::All, &[ends, half()]));
    story.pass(THIRD).assert_about(50.0);
    story.edit(&nothing());
    assert!(story.rules.is_none());
}

#[test]
fn a_dry_run_or_an_off_leaves_nothing_to_come_back() {
    for entry in [
        KillEntry {
            dry_run: true,
            ..drop()
        },
        off(),
    ] {
        let mut story = Story::begin(&kill(KillKey::All, &[entry]));
        assert!(story.edit(&nothing()).rules.is_none());
    }
}

/// Version 1 was exempt; it must not be killed because the switch for the others ended.
#[test]
fn who_was_never_killed_is_not_held_back() {
    let exempt = KillEntry {
        when: version(exact("1")),
        ..off()
    };
    let ends = KillEntry {
        until: Some(NOW + THIRD),
        ..drop()
    };
    let one = Request::new(Some("1"), None, 1);
    let two = Request::new(Some("2"), None, 1);
    for entry in [drop(), ends] {
        let mut settings = kill(KillKey::Route("r".into()), std::slice::from_ref(&exempt));
        settings.extend(kill(KillKey::All, &[entry]));
        let mut story = Story::begin(&settings);
        let killed = |story: &Story| {
            [&one, &two].map(|request| request.killed(story.rules.as_ref(), story.now))
        };
        assert_eq!(killed(&story), [false, true]);
        story.pass(THIRD);
        assert_eq!(killed(&story), [false, true]);
        story.edit(&nothing());
        assert_eq!(killed(&story), [false, true]);
    }
}

#[test]
fn a_route_that_flaps_remembers_a_bounded_number_of_ends() {
    let mut story = Story::begin(&nothing());
    for n in 0..100 {
        let when = version(exact(&n.to_string()));
        story.edit(&kill(KillKey::All, &[KillEntry { when, ..drop() }]));
        story.pass(Duration::from_millis(10));
    }
    story.edit(&nothing());
    let fading = &story.rules.as_ref().unwrap().fading;
    assert_eq!(fading.len(), super::MOST_FADING);
    // The latest are the ones kept.
    assert_eq!(fading.last().unwrap().clause.when, version(exact("99")));
}

#[test]
fn what_covers_what() {
    let about = |value: &str| KillEntry {
        when: version(exact(value)),
        ..drop()
    };
    let until = |seconds| KillEntry {
        until: Some(NOW + Duration::from_secs(seconds)),
        ..drop()
    };
    let all = |entries: &[KillEntry]| kill(KillKey::All, entries);
    let sample = Sample::of(Tier::Standard);
    for (line, before, after, expected) in [
        ("nothing", nothing(), nothing(), true),
        ("the same", all(&[drop()]), all(&[drop()]), true),
        ("more", all(&[half()]), all(&[drop()]), true),
        ("less", all(&[drop()]), all(&[half()]), false),
        (
            "by another key",
            all(&[drop()]),
            kill(KillKey::Tier(Tier::Standard), &[drop()]),
            true,
        ),
        (
            "in another mode",
            all(&[drop()]),
            all(&[word(Mode::Reject)]),
            true,
        ),
        ("gone", all(&[drop()]), nothing(), false),
        (
            "a condition more",
            all(&[drop()]),
            all(&[about("1")]),
            false,
        ),
        ("a condition less", all(&[about("1")]), all(&[drop()]), true),
        (
            "another condition",
            all(&[about("1")]),
            all(&[about("2")]),
            false,
        ),
        ("longer", all(&[until(5)]), all(&[until(9)]), true),
        ("shorter", all(&[until(9)]), all(&[until(5)]), false),
        (
            "no longer for good",
            all(&[drop()]),
            all(&[until(5)]),
            false,
        ),
        (
            "a dry run of it",
            all(&[drop()]),
            all(&[KillEntry {
                dry_run: true,
                ..drop()
            }]),
            false,
        ),
        (
            "an exemption more",
            all(&[drop()]),
            all(&[
                KillEntry {
                    when: version(exact("1")),
                    ..off()
                },
                drop(),
            ]),
            false,
        ),
        (
            "an exemption less",
            all(&[
                KillEntry {
                    when: version(exact("1")),
                    ..off()
                },
                drop(),
            ]),
            all(&[drop()]),
            true,
        ),
        (
            "a dry run was nothing",
            all(&[KillEntry {
                dry_run: true,
                ..drop()
            }]),
            nothing(),
            true,
        ),
    ] {
        let (before, after) = (sample.rules(&before), sample.rules(&after));
        assert_eq!(
            covers(after.as_ref(), before.as_ref(), NOW),
            expected,
            "{line}"
        );
    }
}

#[test]
fn a_share_of_other_clients_covers_nothing() {
    let settings = kill(KillKey::All, &[half()]);
    let before = Sample::of(Tier::Standard).rules(&settings);
    let after = by_player().rules(&settings);
    assert!(!covers(after.as_ref(), before.as_ref(), NOW));
    let whole = by_player().rules(&kill(KillKey::All, &[drop()]));
    assert!(covers(whole.as_ref(), before.as_ref(), NOW));
}

/// The settings, changed a little: what an edit does.
fn edited(settings: &KillSettings, choice: usize, share: Share) -> KillSettings {
    let mut settings = settings.clone();
    let count = settings.len().max(1);
    let Some(key) = settings.keys().nth(choice % count).cloned() else {
        return settings;
    };
    let Some(Setting::Entries(entries)) = settings.get_mut(&key) else {
        settings.remove(&key);
        return settings;
    };
    match choice / count % 5 {
        0 => drop_key(&mut settings, &key),
        1 => entries[0].share = share,
        2 => entries[0].dry_run = !entries[0].dry_run,
        3 => entries[0].until = None,
        _ => entries.reverse(),
    }
    settings
}

fn drop_key(settings: &mut KillSettings, key: &KillKey) {
    settings.remove(key);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// What is said to be covered is: now, and until the switches of before end.
    #[test]
    fn who_was_killed_is_killed_by_what_covers(
        before in settings(),
        after in settings(),
        edit in prop::option::weighted(0.8, 0_usize..40),
        share in 0.0..100.0_f64,
        route in routes(),
        requests in vec(requests(), 12),
    ) {
        let after = match edit {
            Some(choice) => edited(&before, choice, percent(share)),
            None => after,
        };
        let mut route = route;
        // Returns are about what was thrown before that.
        route.own.restore = Duration::ZERO;
        let (before, after) = (route.rules(&before), route.rules(&after));
        if covers(after.as_ref(), before.as_ref(), NOW) {
            for request in &requests {
                for later in [0, 5, 50, 200] {
                    let at = NOW + Duration::from_secs(later);
                    // Of what was live then: what a later end uncovers is another matter.
                    let Some(taken) = request.order(before.as_ref(), at) else { break };
                    if request.order(before.as_ref(), NOW) != Some(taken) { break }
                    prop_assert!(request.killed(after.as_ref(), at), "{request:?} {later}");
                }
            }
        }
    }

    /// Nobody is killed by a return who was not killed before it.
    #[test]
    fn a_return_holds_back_only_who_was_killed(
        settings in settings(),
        choice in 0_usize..40,
        share in 0.0..100.0_f64,
        route in routes(),
        requests in vec(requests(), 12),
        later in prop::sample::select(vec![0, 5, 15, 50]),
    ) {
        let before = route.rules(&settings);
        let next = edited(&settings, choice, percent(share));
        let alone = route.rules(&next);
        let after = Rules::compile(route.subject(), &next, before.as_ref(), NOW);
        let at = NOW + Duration::from_secs(later);
        for request in &requests {
            let held = request.killed(after.as_ref(), at) && !request.killed(alone.as_ref(), at);
            prop_assert!(!held || request.killed(before.as_ref(), NOW), "{request:?}");
        }
    }

    /// And whoever was killed still is in the first moment after everything is restored.
    #[test]
    fn removing_everything_lets_nobody_through_at_once(
        settings in settings(),
        route in routes(),
        requests in vec(requests(), 12),
    ) {
        let mut route = route;
        route.own.restore = Duration::from_secs(30);
        let before = route.rules(&settings);
        let most = super::MOST_FADING;
        prop_assume!(before.as_ref().is_none_or(|before| before.clauses.len() <= most));
        let after = Rules::compile(route.subject(), &KillSettings::new(), before.as_ref(), NOW);
        for request in &requests {
            let killed = request.killed(before.as_ref(), NOW);
            prop_assert_eq!(request.killed(after.as_ref(), NOW), killed, "{:?}", request);
        }
    }
}
