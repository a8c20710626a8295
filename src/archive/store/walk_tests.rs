use super::super::super::id::Ulid;
use super::super::Partition;
use super::super::retention::{Retain, Retained};
use super::super::trial::{NINE, Site, run};
use super::*;
use std::time::UNIX_EPOCH;

const HOUR: Duration = Duration::from_secs(3600);

fn at(hours: u32) -> Duration {
    NINE + HOUR * hours
}

/// An object of these hours after nine, last changed in its hour.
fn place(site: &Site, route: &str, hours: u32, id: u128) -> String {
    let name = ObjectName {
        partition: Partition {
            hour: Hour::of_unix(at(hours)),
            route: route.to_owned(),
        },
        id: Ulid(id),
        instance: "i".to_owned(),
    };
    let path = name.path(&Path::default()).to_string();
    put(site, &path, at(hours));
    path
}

fn put(site: &Site, path: &str, modified: Duration) {
    let file = site.root().join(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let file = std::fs::File::create(file).unwrap();
    file.set_modified(UNIX_EPOCH + modified).unwrap();
}

async fn paths(site: &Site, selection: Selection) -> Vec<String> {
    let mut walk = site.store.walk(selection);
    let mut paths = Vec::new();
    while let Some(object) = walk.next().await.unwrap() {
        paths.push(object.path().to_owned());
    }
    paths
}

#[test]
fn objects_come_oldest_first_across_routes_and_only_those_asked_for() {
    run(async {
        let site = Site::new();
        assert_eq!(paths(&site, Selection::default()).await, [""; 0]);
        let expected = [
            place(&site, "b/é", 0, 2),
            place(&site, "a", 0, 3),
            place(&site, "a", 14, 9),
            place(&site, "b/é", 15, 1),
            place(&site, "a", 40, 1),
        ];
        for stray in [
            "x.txt",
            "route=a/date=2026-11-06/hour=09/note.txt",
            "route=a/x",
            "y/z",
        ] {
            put(&site, stray, at(0));
        }
        assert_eq!(paths(&site, Selection::default()).await, expected);
        let of = |routes: &[&str], from, until| Selection {
            routes: routes.iter().map(|&r| r.to_owned()).collect(),
            from,
            until,
        };
        let some = paths(&site, of(&["b/é"], None, None)).await;
        assert_eq!(some, [expected[0].clone(), expected[3].clone()]);
        assert_eq!(paths(&site, of(&["none"], None, None)).await, [""; 0]);
        let late = HOUR * 14 + HOUR / 2;
        let some = paths(&site, of(&[], Some(NINE + late), Some(NINE + late))).await;
        assert_eq!(some, expected[2..3]);
        let some = paths(&site, of(&["a", "b/é"], Some(at(15)), None)).await;
        assert_eq!(some, expected[3..]);
        let some = paths(&site, of(&[], None, Some(at(14)))).await;
        assert_eq!(some, expected[..3]);
    });
}

#[test]
fn retain_deletes_what_is_old_by_hour_and_by_upload_and_nothing_else() {
    run(async {
        let site = Site::new();
        let old: Vec<String> = (0..5).map(|hour| place(&site, "a", hour, 1)).collect();
        let young = place(&site, "a", 60, 1);
        // Put late: its records are old, it is not.
        let late = place(&site, "b", 0, 7);
        put(&site, &late, at(60));
        put(&site, "route=a/date=2026-11-06/hour=09/note.txt", at(0));
        let days = Retain::For(HOUR * 48);
        // Each is kept until 48 hours after the end of its hour.
        let now = at(48) + HOUR * 3 + HOUR / 2;
        let pass = site.store.retain(days, now, 2).await.unwrap();
        assert_eq!((pass.deleted, pass.more), (2, true));
        let pass = site.store.retain(days, now, 2).await.unwrap();
        assert_eq!((pass.deleted, pass.more), (1, false));
        let left = paths(&site, Selection::default()).await;
        let mut expected = vec![late, old[3].clone(), old[4].clone(), young];
        expected.sort();
        let mut sorted = left.clone();
        sorted.sort();
        assert_eq!(sorted, expected);
        assert!(
            site.root()
                .join("route=a/date=2026-11-06/hour=09/note.txt")
                .exists()
        );
        let forever = site.store.retain(Retain::Forever, at(1_000_000), 9);
        let kept = forever.await.unwrap();
        assert_eq!(kept, Retained::default());
        assert_eq!(paths(&site, Selection::default()).await, left);
    });
}

#[test]
fn retain_reads_durations_and_forever() {
    assert_eq!(Retain::parse("forever").unwrap(), Retain::Forever);
    assert_eq!(Retain::parse("30d").unwrap(), Retain::For(HOUR * 720));
    assert!(Retain::parse("always").is_err());
}
