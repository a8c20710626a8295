//! Automatic kills, second by second, and against the rules written once more.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn spec() -> AutoKillSpec {
    AutoKillSpec {
        above: Rate::parse("100/s").unwrap(),
        lasting: SECOND * 5,
        hold: SECOND * 60,
        restore: SECOND * 10,
    }
}

/// A route, looked at once a second.
#[derive(Default)]
struct Story {
    auto: AutoKill,
    look: Option<Look>,
    changes: Vec<(u64, Change)>,
}

impl Story {
    /// So many requests in each of so many seconds.
    fn pass(&mut self, seconds: u64, each: u64) -> &mut Story {
        self.pass_under(Permission::Given, seconds, each)
    }

    fn pass_under(&mut self, permission: Permission, seconds: u64, each: u64) -> &mut Story {
        for _ in 0..seconds {
            let begin = Look {
                total: 0,
                now: Duration::ZERO,
            };
            let look = self.look.map_or(begin, |last| Look {
                total: last.total + each,
                now: last.now + SECOND,
            });
            self.look = Some(look);
            let change = self.auto.look(&spec(), permission, look);
            if change != Change::None {
                self.changes.push((look.now.as_secs(), change));
            }
        }
        self
    }

    fn share(&self) -> Share {
        self.auto.share(&spec(), self.look.unwrap().now)
    }
}

#[test]
fn a_storm_kills_holds_and_traffic_comes_back() {
    let mut story = Story::default();
    assert_eq!(story.pass(11, 50).pass(5, 101).share(), Share::NONE);
    assert_eq!(story.pass(1, 101).share(), Share::WHOLE);
    assert_eq!(story.auto.until(), Some(SECOND * 76));
    assert_eq!(story.pass(59, 50).share(), Share::WHOLE);
    story.pass(1, 50);
    assert_eq!(story.auto.until(), None);
    assert_eq!(story.share(), Share::WHOLE);
    assert_eq!(story.pass(5, 50).share().percent(), 50.0);
    assert_eq!(story.pass(5, 50).share(), Share::NONE);
    let until = SECOND * 76;
    let changes = [
        (16, Change::Thrown { until }),
        (76, Change::Ended),
        (86, Change::Restored),
    ];
    assert_eq!(story.changes, changes);
}

#[test]
fn exactly_the_rate_and_short_bursts_are_no_storm() {
    let mut story = Story::default();
    story.pass(100, 100);
    for _ in 0..10 {
        story.pass(5, 1_000_000).pass(1, 100);
    }
    assert_eq!(story.changes, []);
}

#[test]
fn a_storm_that_goes_on_renews_the_hold() {
    let mut story = Story::default();
    story.pass(200, 500);
    let at = |second: u64| SECOND * (second as u32 + 60);
    let changes = [
        (6, Change::Thrown { until: at(6) }),
        (66, Change::Renewed { until: at(66) }),
        (126, Change::Renewed { until: at(126) }),
        (186, Change::Renewed { until: at(186) }),
    ];
    assert_eq!(story.changes, changes);
}

#[test]
fn a_storm_that_returns_with_the_traffic_kills_again() {
    let mut story = Story::default();
    story.pass(7, 500).pass(61, 0).pass(5, 500);
    assert!(story.share() < Share::WHOLE);
    story.pass(1, 500);
    assert_eq!(story.share(), Share::WHOLE);
    assert!(matches!(
        story.changes[..],
        [_, (_, Change::Ended), (_, Change::Thrown { .. })]
    ));
}

#[test]
fn core_is_never_killed_and_off_ends_it() {
    for (tier, exemption, denial) in [
        (Tier::Core, Exemption::Nothing, Denial::Core),
        (Tier::Core, Exemption::Off, Denial::Core),
        (Tier::Standard, Exemption::Off, Denial::Off),
        (Tier::Sheddable, Exemption::Off, Denial::Off),
    ] {
        let denied = Permission::of(tier, exemption);
        assert_eq!(denied, Permission::Denied(denial));
        let mut story = Story::default();
        story.pass_under(denied, 100, 1_000_000);
        assert_eq!(story.changes, []);
        story.pass(7, 500);
        assert_eq!(story.share(), Share::WHOLE);
        story.pass_under(denied, 1, 500);
        assert_eq!(story.share(), Share::NONE);
        assert_eq!(story.changes.last(), Some(&(107, Change::Lifted(denial))));
        // And what was seen does not count when it is allowed again.
        story.pass(6, 500);
        assert_eq!(story.share(), Share::NONE);
        assert_eq!(story.pass(1, 500).share(), Share::WHOLE);
    }
    for tier in [Tier::Standard, Tier::Sheddable] {
        assert_eq!(Permission::of(tier, Exemption::Nothing), Permission::Given);
    }
}

#[test]
fn looks_that_come_fast_are_put_together() {
    let mut auto = AutoKill::default();
    for milli in 0..5_500_u64 {
        // 111 a second, each of which alone would be 1,000 a second.
        let now = Duration::from_millis(milli);
        let look = Look {
            total: milli / 9,
            now,
        };
        assert_eq!(auto.look(&spec(), Permission::Given, look), Change::None);
    }
    let look = Look {
        total: 700,
        now: SECOND * 11 / 2,
    };
    let until = look.now + SECOND * 60;
    let change = auto.look(&spec(), Permission::Given, look);
    assert_eq!(change, Change::Thrown { until });
}

#[test]
fn a_count_that_begins_anew_is_no_storm() {
    let mut auto = AutoKill::default();
    for second in 0..20_u32 {
        let total = if second % 4 == 0 {
            7
        } else {
            u64::from(second) * 500
        };
        let look = Look {
            total,
            now: SECOND * second,
        };
        assert_eq!(auto.look(&spec(), Permission::Given, look), Change::None);
    }
}

#[test]
fn without_restore_traffic_is_back_at_once() {
    let spec = AutoKillSpec {
        restore: Duration::ZERO,
        ..spec()
    };
    let returning = AutoKill {
        phase: Phase::Returning { since: SECOND },
        ..AutoKill::default()
    };
    assert_eq!(returning.share(&spec, SECOND), Share::NONE);
}

#[test]
fn a_storm_is_killed_no_sooner_than_it_has_lasted() {
    let spec = AutoKillSpec {
        lasting: SECOND,
        ..spec()
    };
    // 1,000 a second from the 500th millisecond on, looked at when it is due or a second later.
    let came = |now: Duration| u64::try_from(now.as_millis()).unwrap().saturating_sub(500);
    for jitter in 0..100 {
        let mut auto = AutoKill::default();
        let mut now = Duration::ZERO;
        let change = loop {
            let look = Look {
                total: came(now),
                now,
            };
            let change = auto.look(&spec, Permission::Given, look);
            if change != Change::None {
                break change;
            }
            let next = now + Duration::from_millis(950 + jitter);
            now = auto.due(&spec).map_or(next, |due| due.min(next));
        };
        let late = now.checked_sub(Duration::from_millis(1_500));
        assert!(late.is_some_and(|late| late <= SECOND), "{now:?}");
        assert_eq!(
            change,
            Change::Thrown {
                until: now + SECOND * 60
            }
        );
        assert_eq!(auto.due(&spec), None);
    }
}

#[test]
fn what_was_not_measured_is_no_storm() {
    let spec = AutoKillSpec {
        lasting: SECOND / 2,
        ..spec()
    };
    let mut auto = AutoKill::default();
    let mut look = |total, ms| {
        let now = Duration::from_millis(ms);
        auto.look(&spec, Permission::Given, Look { total, now })
    };
    assert_eq!(look(0, 0), Change::None);
    assert_eq!(look(500, 1_000), Change::None);
    // It was over at once.
    assert_eq!(look(501, 1_499), Change::None);
    assert_eq!(look(501, 1_500), Change::None);
    assert_eq!(auto.due(&spec), None);
}

/// The rules again, over whole seconds: killed whole in the hold after five seconds in a row
/// with too many, behind the first; renewed; then back over ten.
fn expected(counts: &[u64]) -> Vec<f64> {
    let mut shares = Vec::new();
    let (mut row, mut until, mut ended) = (0, None, None);
    for (at, count) in (1..).zip(counts) {
        row = if *count > 100 { row + 1 } else { 0 };
        let over = until.is_none_or(|end| at >= end);
        if row > 5 && over {
            (until, ended) = (Some(at + 60), None);
        } else if until.is_some() && over {
            (until, ended) = (None, Some(at));
        }
        let back = ended.map_or(1.0, |since| f64::from(at - since) / 10.0);
        shares.push(if until.is_some() {
            1.0
        } else {
            (1.0 - back).max(0.0)
        });
    }
    shares
}

proptest! {
    #[test]
    fn it_does_what_the_rules_say(
        runs in vec((1..40_usize, prop::sample::select(vec![0, 99, 100, 101, 5_000])), 1..30),
    ) {
        let counts: Vec<u64> = runs.iter().flat_map(|(n, count)| vec![*count; *n]).collect();
        let mut story = Story::default();
        story.pass(1, 0);
        for (count, share) in counts.iter().zip(expected(&counts)) {
            story.pass(1, *count);
            prop_assert!((story.share().fraction() - share).abs() < 1e-9);
        }
    }
}
