use std::time::Duration;

use super::super::retention::Retain;
use super::super::trial::{NINE, Site, run};
use super::super::walk::Selection;
use super::*;

const TARGET: &str = "http://127.0.0.1:1/a?b";

fn batch(route: &str, target: &str, numbers: impl IntoIterator<Item = u64>) -> AcceptedBatch {
    let mut ids = IdSet::default();
    for number in numbers {
        ids.insert(id(number));
    }
    AcceptedBatch {
        route: route.to_owned(),
        target: target.to_owned(),
        run: "2026-11-06T10:00:00Z".parse().unwrap(),
        ids,
    }
}

/// Ten ids a millisecond.
fn id(number: u64) -> Ulid {
    let ms = u64::try_from(NINE.as_millis()).unwrap() + number / 10;
    Ulid::from_parts(ms, u128::from(number % 10) + 5)
}

async fn accepted(site: &Site, route: &str, target: &str) -> Vec<u64> {
    let mut accepted = Accepted::by(site.store.clone(), target);
    let mut numbers = Vec::new();
    for number in 0..100 {
        match accepted.standing(route, id(number)).await.unwrap() {
            Standing::Accepted => numbers.push(number),
            Standing::Open => {}
        }
    }
    numbers
}

#[test]
fn exactly_what_was_recorded_is_accepted_for_its_route_and_target() {
    run(async {
        let site = Site::new();
        let even = (0..100).filter(|n| n % 2 == 0).collect::<Vec<_>>();
        let one = batch("a/b", TARGET, even.clone());
        site.store.record_accepted(&one).await.unwrap();
        // The same run again, as after a crash that lost the answer.
        site.store.record_accepted(&one).await.unwrap();
        let mut expected = even.clone();
        assert_eq!(accepted(&site, "a/b", TARGET).await, expected);
        // Ids from amid the span that came into the store later are open.
        assert!(!expected.contains(&51));
        for (route, target) in [("a", TARGET), ("a/b", "http://other"), ("a/b", "")] {
            assert_eq!(accepted(&site, route, target).await, [0; 0]);
        }
        let more = batch("a/b", TARGET, [51, 52, 53]);
        site.store.record_accepted(&more).await.unwrap();
        expected.extend([51, 53]);
        expected.sort_unstable();
        assert_eq!(accepted(&site, "a/b", TARGET).await, expected);
        let mut walk = site.store.walk(Selection::default());
        assert_eq!(walk.next().await.unwrap(), None);
    });
}

#[test]
fn asking_for_an_earlier_id_again_gives_the_same_answer() {
    run(async {
        let site = Site::new();
        for numbers in [0..20, 30..40, 35..60] {
            let batch = batch("a", TARGET, numbers);
            site.store.record_accepted(&batch).await.unwrap();
        }
        let mut accepted = Accepted::by(site.store.clone(), TARGET);
        for number in [70, 5, 25, 59, 36, 20, 19, 0, 99] {
            let expected = match number {
                0..20 | 30..60 => Standing::Accepted,
                _ => Standing::Open,
            };
            let standing = accepted.standing("a", id(number)).await.unwrap();
            assert_eq!(standing, expected, "{number}");
        }
        assert!(accepted.routes["a"].loaded.is_empty());
        assert!(accepted.unreadable().is_empty());
    });
}

#[test]
fn a_set_that_cannot_be_understood_accepts_nothing_and_is_named() {
    run(async {
        let site = Site::new();
        let batch = batch("a", TARGET, 0..50);
        site.store.record_accepted(&batch).await.unwrap();
        let below = site.store.replayed("a", TARGET);
        let found = site.store.accepted_below(&below).await.unwrap();
        let path = site.root().join(found[0].1.location.as_ref());
        let whole = std::fs::read_to_string(&path).unwrap();
        for text in [
            whole[..whole.len() / 2].to_owned(),
            whole.replace("\"version\":1", "\"version\":2"),
            whole.replace("\"records\":50", "\"records\":51"),
            whole.replace("\"route\":\"a\"", "\"route\":\"b\""),
        ] {
            assert_ne!(text, whole);
            std::fs::write(&path, text).unwrap();
            let mut accepted = Accepted::by(site.store.clone(), TARGET);
            let standing = accepted.standing("a", id(3)).await.unwrap();
            assert_eq!(standing, Standing::Open);
            assert_eq!(accepted.unreadable(), [found[0].1.location.to_string()]);
        }
    });
}

#[test]
fn retain_deletes_it_a_day_after_the_records() {
    run(async {
        let site = Site::new();
        let batch = batch("a", TARGET, 0..50);
        site.store.record_accepted(&batch).await.unwrap();
        let below = site.store.replayed_root();
        let found = site.store.accepted_below(&below).await.unwrap();
        let path = site.root().join(found[0].1.location.as_ref());
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + NINE).unwrap();
        let hour = Duration::from_secs(3600);
        let retain = Retain::For(hour * 48);
        for (now, deleted) in [(hour * 72, 0), (hour * 73, 1), (hour * 74, 0)] {
            let pass = site.store.retain(retain, NINE + now, 10).await.unwrap();
            assert_eq!((pass.deleted, pass.more), (deleted, false), "{now:?}");
            assert_eq!(path.exists(), deleted == 0 && now < hour * 73);
        }
    });
}
