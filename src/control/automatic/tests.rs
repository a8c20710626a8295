use super::*;
use crate::config::{SourceFile, load};
use crate::policy::kill::KillKey;
use crate::vocab::By;

const EPOCH: Duration = Duration::from_secs(1_800_000_000);

/// A route that is looked at once a second.
struct Story {
    table: RouteTable,
    automatic: Automatic,
    kill: Entries,
    start: Instant,
    seconds: u64,
    lines: Vec<(u64, &'static str, String, String)>,
}

fn table(keys: &str, before: Option<&RouteTable>) -> RouteTable {
    let text = format!(
        "[routes.a]\npath = \"/\"\nrespond = {{}}\n{keys}\nkill_switch = {{ mode = \"drop\", restore = \"10s\" }}\n"
    );
    let settings = load(&[SourceFile::new("seawall.toml", &text)], &|_| None);
    RouteTable::compile(Arc::new(settings.unwrap().settings), before)
}

const STORM: &str = "auto_kill = { above = \"100/s\", for = \"3s\", hold = \"20s\" }";

impl Story {
    fn begin() -> Story {
        let mut story = Story {
            table: table(STORM, None),
            automatic: Automatic::default(),
            kill: Entries::new(),
            start: Clock::now(),
            seconds: 0,
            lines: Vec::new(),
        };
        story.look();
        story
    }

    fn now(&self) -> Moment {
        let since = Duration::from_secs(self.seconds);
        Moment {
            steady: self.start + since,
            unix: EPOCH + since,
        }
    }

    fn look(&mut self) {
        let events = self.automatic.look(&self.table, &self.kill, self.now());
        self.tell(&events);
    }

    fn tell(&mut self, events: &[Event]) {
        for event in events {
            let line = event.line();
            self.lines
                .push((self.seconds, event.message(), line.from, line.to));
        }
    }

    /// So many requests in each of so many seconds.
    fn pass(&mut self, seconds: u64, each: usize) -> &mut Story {
        for _ in 0..seconds {
            self.seconds += 1;
            let metrics = &self.table.routes[0].metrics;
            for _ in 0..each {
                metrics.begin();
                metrics.end(By::Kill, 200, Duration::ZERO);
            }
            self.look();
        }
        self
    }

    fn lift(&mut self) {
        let now = self.now().unix;
        let events = self.automatic.lift(&self.table, &self.kill, now);
        self.tell(&events);
    }

    /// Seconds until the entry ends, if there is one.
    fn until(&self) -> Option<u64> {
        let entry = self.automatic.entries().get("a")?;
        Some((entry.until.unwrap() - EPOCH).as_secs())
    }
}

fn off() -> Entries {
    let entry = KillEntry::word(Position::Off);
    Entries::from([(KillKey::Route("a".into()), Setting::Entries(vec![entry]))])
}

#[test]
fn a_storm_throws_a_switch_with_an_end_and_killed_requests_keep_it() {
    let mut story = Story::begin();
    assert_eq!(story.pass(5, 100).until(), None);
    assert_eq!(story.pass(4, 101).until(), Some(29));
    let entry = &story.automatic.entries()["a"];
    assert_eq!(entry.position, Position::Thrown(Some(Mode::Drop)));
    assert_eq!(entry.reason.as_deref(), Some("more than 100/s for 3s"));
    assert_eq!(story.pass(20, 200).until(), Some(49), "the storm goes on");
    assert_eq!(story.pass(29, 1).until(), Some(49), "traffic comes back");
    assert_eq!(story.pass(2, 1).until(), None);
    let lines: Vec<_> = story
        .lines
        .iter()
        .map(|(at, what, ..)| (*at, *what))
        .collect();
    assert_eq!(
        lines,
        [(9, "kill switch changed"), (29, "kill switch renewed")]
    );
}

#[test]
fn requests_that_hang_are_a_storm_too() {
    let mut story = Story::begin();
    for _ in 0..4 {
        story.seconds += 1;
        (0..101).for_each(|_| story.table.routes[0].metrics.begin());
        story.look();
    }
    assert_eq!(story.until(), Some(24));
    // Their ends are not counted once more.
    story.automatic = Automatic::default();
    story.look();
    for _ in 0..4 {
        story.seconds += 1;
        let metrics = &story.table.routes[0].metrics;
        (0..101).for_each(|_| metrics.end(By::Gateway, 504, Duration::ZERO));
        story.look();
    }
    assert_eq!(story.until(), None);
}

#[test]
fn off_lifts_it_and_it_watches_anew() {
    let mut story = Story::begin();
    assert!(story.pass(4, 500).until().is_some());
    story.kill = off();
    story.lift();
    assert_eq!(story.until(), None);
    assert_eq!(story.pass(20, 500).until(), None);
    story.kill = Entries::new();
    assert_eq!(
        story.pass(4, 500).until(),
        None,
        "seen since the exemption alone"
    );
    assert!(story.pass(1, 500).until().is_some());
    let word = str::to_owned;
    assert_eq!(
        story.lines[1],
        (4, "kill switch changed", word("drop"), word("off"))
    );
}

#[test]
fn a_tier_that_is_off_is_exempt_and_a_written_kill_is_not() {
    let mut story = Story::begin();
    let drop = KillEntry::word(Position::Thrown(None));
    story.kill = off();
    let tier = KillKey::Tier(crate::vocab::Tier::Standard);
    let exempt = story.kill.remove(&KillKey::Route("a".into())).unwrap();
    story.kill.insert(tier, exempt);
    assert_eq!(story.pass(5, 500).until(), None);
    let own = Setting::Entries(vec![drop]);
    story.kill.insert(KillKey::Route("a".into()), own);
    assert!(story.pass(5, 500).until().is_some(), "its own key decides");
}

#[test]
fn a_reload_keeps_it_unless_the_route_is_core_or_has_none() {
    for (keys, kept) in [
        (STORM.to_owned(), true),
        (STORM.replace("20s", "90s"), true),
        (String::new(), false),
        ("tier = \"core\"".to_owned(), false),
    ] {
        let mut story = Story::begin();
        story.pass(4, 500);
        story.table = table(&keys, Some(&story.table));
        story.lift();
        assert_eq!(story.until(), kept.then_some(24), "{keys}");
        assert_eq!(story.pass(5, 500).until(), kept.then_some(24), "{keys}");
    }
}

#[test]
fn a_wall_clock_that_is_set_moves_the_end_with_it() {
    let mut story = Story::begin();
    story.pass(4, 500);
    let now = Moment {
        unix: story.now().unix + Duration::from_secs(3600),
        ..story.now()
    };
    story.automatic.look(&story.table, &story.kill, now);
    assert_eq!(story.until(), Some(3624));
}

#[test]
fn it_looks_once_a_second_and_when_a_hold_ends() {
    let mut story = Story::begin();
    let at = |story: &Story, ms| story.start + Duration::from_millis(ms);
    assert!(!story.automatic.is_due(at(&story, 500)));
    assert!(story.automatic.is_due(at(&story, 1000)));
    story.pass(2, 500);
    assert_eq!(story.automatic.due(), Some(at(&story, 4_000)));
    story.pass(21, 500);
    assert_eq!(story.automatic.due(), None);
    assert_eq!(story.until(), Some(24));
    assert!(!story.automatic.is_due(at(&story, 23_500)));
    assert!(story.automatic.is_due(at(&story, 23_960)));
}
