use super::super::super::options::Backoff;
use super::super::super::sim::SimDisk;
use super::super::super::trial as simulated;
use super::super::faulty::Behaviour;
use super::super::trial::{Given, NINE, Site, keep, keep_all, run, wait_for};
use super::super::{Existence, Retain, StoreError, StoreUrl};
use super::*;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering::SeqCst;

const ODD: [&str; 4] = ["plain", "a/b c", "é%20=..", "route=x\\\"*?"];

fn is_empty(journal: &Journal) -> bool {
    closed(journal).is_empty()
}

#[test]
fn sealed_segments_go_to_the_store_and_leave_the_journal() {
    run(async {
        let site = Site::new();
        let journal = site.journal();
        let uploader = site.uploader(&journal);
        keep_all(&journal, &ODD, 0..100, 300).await;
        keep_all(&journal, &ODD, 100..200, 300).await;
        wait_for("the upload", || is_empty(&journal)).await;
        assert_eq!(site.numbers().await, (0..200).collect::<Vec<_>>());
        let content = site.content().await;
        assert_eq!(content.len(), 8, "{:?}", content.keys());
        for (path, records) in &content {
            let routes: BTreeSet<_> = records.iter().map(|r| r.route.as_str()).collect();
            assert_eq!(routes.len(), 1, "{path}");
        }
        assert_eq!(site.heard.puts(), (8, 0, 0));
        assert_eq!(journal.figures().bytes, 0);
        assert_eq!(uploader.figures().oldest, None);
        assert_eq!(uploader.finish(Duration::from_secs(10)).await, Finish::Done);
        journal.close().await;
    });
}

#[test]
fn a_crash_between_put_and_remove_gives_the_same_objects_and_no_duplicate() {
    run(async {
        let site = Site::new();
        let journal = site.journal();
        keep_all(&journal, &["a", "b"], 0..100, 300).await;
        journal.close().await;
        // The segment's files are put aside and come back: the removal was never done.
        let kept = site.scratch.path().join("kept");
        let copy = |from: &std::path::Path, to: &std::path::Path| {
            std::fs::create_dir_all(to).unwrap();
            for entry in std::fs::read_dir(from).unwrap() {
                let entry = entry.unwrap();
                std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        };
        let live = site.scratch.path().join("journal");
        copy(&live, &kept);
        for round in 0..3 {
            let journal = site.journal();
            let uploader = site.uploader(&journal);
            wait_for("the upload", || is_empty(&journal)).await;
            uploader.finish(Duration::from_secs(10)).await;
            journal.close().await;
            let (uploaded, exists, failed) = site.heard.puts();
            assert_eq!((uploaded, exists, failed), (2, 2 * round, 0));
            assert_eq!(site.numbers().await, (0..100).collect::<Vec<_>>());
            std::fs::remove_dir_all(&live).unwrap();
            copy(&kept, &live);
        }
    });
}

#[test]
fn a_crash_amid_the_objects_of_a_segment_goes_on_with_the_rest() {
    run(async {
        let site = Site::new();
        let journal = site.journal();
        keep_all(&journal, &["a", "b", "c", "d"], 0..80, 300).await;
        site.faulty.next([Behaviour::Works, Behaviour::LosesAnswer]);
        site.faulty.always(Behaviour::Hangs);
        let uploader = site.uploader(&journal);
        wait_for("two objects", || {
            site.faulty.puts.lock().unwrap().len() == 2
        })
        .await;
        // As a crash: nothing of the uploader's memory is left.
        let left = uploader.finish(Duration::ZERO).await;
        assert_eq!(left, Finish::Left { segments: 1 });
        site.faulty.always(Behaviour::Works);
        let uploader = site.uploader(&journal);
        wait_for("the upload", || is_empty(&journal)).await;
        assert_eq!(site.faulty.puts.lock().unwrap().len(), 4);
        assert_eq!(site.numbers().await, (0..80).collect::<Vec<_>>());
        uploader.finish(Duration::from_secs(10)).await;
        journal.close().await;
    });
}

#[test]
fn a_store_that_fails_for_a_while_gets_everything_once() {
    run(async {
        let site = Site::new();
        let journal = site.journal();
        let many = [
            Behaviour::Fails,
            Behaviour::LosesAnswer,
            Behaviour::Lies,
            Behaviour::Denies,
        ];
        site.faulty.next(many.into_iter().cycle().take(21));
        let uploader = site.uploader(&journal);
        for segment in 0..5 {
            keep_all(
                &journal,
                &["a", "b", "c"],
                segment * 30..(segment + 1) * 30,
                200,
            )
            .await;
        }
        wait_for("the upload", || is_empty(&journal)).await;
        assert_eq!(site.numbers().await, (0..150).collect::<Vec<_>>());
        let (uploaded, exists, failed) = site.heard.puts();
        // A put whose answer was to be lost may meet an object that is there.
        assert!((11..=21).contains(&failed), "{failed}");
        assert_eq!(uploaded + exists, 15);
        assert!(exists >= 1, "{exists}");
        assert!(
            site.heard
                .any(|e| matches!(e, StoreEvent::Recovered { .. }))
        );
        wait_for("the figures", || uploader.figures().failures == 0).await;
        uploader.finish(Duration::from_secs(10)).await;
        journal.close().await;
    });
}

#[test]
fn a_store_that_hangs_is_given_up_and_tried_again() {
    run(async {
        let mut site = Site::new();
        site.store = site.store.clone().patience(Duration::from_millis(40));
        let journal = site.journal();
        site.faulty.next([Behaviour::Hangs, Behaviour::Hangs]);
        let uploader = site.uploader(&journal);
        keep_all(&journal, &["a", "b"], 0..20, 200).await;
        wait_for("the upload", || is_empty(&journal)).await;
        assert!(site.heard.any(|event| matches!(
            event,
            StoreEvent::Delayed { obstacle: Obstacle::Store(error), .. }
                if matches!(**error, StoreError::Slow { .. })
        )));
        assert_eq!(site.numbers().await, (0..20).collect::<Vec<_>>());
        uploader.finish(Duration::from_secs(10)).await;
        journal.close().await;
    });
}

#[test]
fn a_store_that_is_down_keeps_the_journal_and_shows_the_lag() {
    run(async {
        let site = Site::new();
        let journal = site.journal();
        site.faulty.always(Behaviour::Denies);
        let uploader = site.uploader(&journal);
        let first = keep_all(&journal, &["a"], 0..10, 100).await;
        keep_all(&journal, &["a"], 10..20, 100).await;
        wait_for("failures", || uploader.figures().failures >= 5).await;
        let figures = uploader.figures();
        assert_eq!((figures.waiting, figures.window), (2, 1));
        let oldest = first.summary.first.unwrap().timestamp_ms();
        assert_eq!(figures.oldest, Some(Duration::from_millis(oldest)));
        assert!(figures.bytes > 2000);
        let begun = Clock::now();
        let left = uploader.finish(Duration::from_secs(60)).await;
        assert_eq!(left, Finish::Left { segments: 2 });
        // It does not wait for a store that fails.
        assert!(Clock::now() - begun < Duration::from_secs(30));
        assert_eq!(journal.figures().records, 20);
        journal.close().await;
    });
}

#[test]
fn one_object_that_never_succeeds_holds_up_no_other_segment() {
    run(async {
        let site = Site::new();
        let journal = site.journal();
        site.faulty.poison(Some("route=bad"));
        let uploader = site.uploader(&journal);
        keep_all(&journal, &["bad", "good"], 0..20, 100).await;
        for segment in 1..5 {
            keep_all(&journal, &["good"], segment * 20..(segment + 1) * 20, 100).await;
        }
        wait_for("the others", || closed(&journal).len() == 1).await;
        wait_for("more tries", || site.heard.puts().2 > 3).await;
        site.faulty.poison(None);
        wait_for("the last", || is_empty(&journal)).await;
        assert_eq!(site.numbers().await, (0..100).collect::<Vec<_>>());
        let (uploaded, exists, _) = site.heard.puts();
        // What was confirmed is not put again.
        assert_eq!((uploaded, exists), (6, 0));
        uploader.finish(Duration::from_secs(10)).await;
        journal.close().await;
    });
}

#[test]
fn puts_run_side_by_side_up_to_four() {
    run(async {
        let site = Site::new();
        let journal = site.journal();
        site.faulty.latency(Duration::from_millis(30));
        let routes: Vec<String> = (0..40).map(|n| format!("r{n}")).collect();
        let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
        keep_all(&journal, &routes, 0..80, 100).await;
        let uploader = site.uploader(&journal);
        wait_for("the upload", || is_empty(&journal)).await;
        assert_eq!(site.faulty.most.load(SeqCst), pace::MOST_PUTS);
        wait_for("the window", || {
            uploader.figures().window == pace::MOST_PUTS as u64
        })
        .await;
        assert_eq!(uploader.finish(Duration::from_secs(10)).await, Finish::Done);
        journal.close().await;
    });
}

#[test]
fn finishing_uploads_what_is_sealed_within_its_time() {
    run(async {
        let site = Site::new();
        let journal = site.journal();
        site.faulty.latency(Duration::from_millis(5));
        let uploader = site.uploader(&journal);
        for segment in 0..4 {
            keep_all(&journal, &["a", "b"], segment * 10..(segment + 1) * 10, 100).await;
        }
        let given = Given {
            route: "a",
            time: NINE,
            number: 40,
            body: 1,
        };
        keep(&journal, given).await;
        journal.seal().await.unwrap();
        assert_eq!(uploader.finish(Duration::from_secs(30)).await, Finish::Done);
        journal.close().await;
        assert_eq!(site.numbers().await, (0..41).collect::<Vec<_>>());
    });
}

#[test]
fn a_store_that_cannot_be_opened_at_start_is_opened_later() {
    run(async {
        let site = Site::new();
        let journal = site.journal();
        let base = site.scratch.path().join("mount");
        std::fs::write(&base, "a file is in the way").unwrap();
        let url = StoreUrl::parse(&format!("file:{}/store", base.display())).unwrap();
        let opener: Opener = Arc::new(move || url.open(&[], Existence::Made));
        let uploader = site.uploader_with(&journal, opener);
        keep_all(&journal, &["a"], 0..10, 100).await;
        wait_for("failures", || uploader.figures().failures > 2).await;
        assert!(site.heard.any(|event| matches!(
            event,
            StoreEvent::Delayed { segment: None, obstacle: Obstacle::Store(error), .. }
                if error.to_string().contains("archive.store")
        )));
        std::fs::remove_file(&base).unwrap();
        wait_for("the upload", || is_empty(&journal)).await;
        assert!(base.join("store/route=a").is_dir());
        drop(uploader);
        journal.close().await;
    });
}

#[test]
fn who_asks_does_not_wait_for_the_next_try() {
    run(async {
        let site = Site::new();
        let journal = site.journal();
        let mended = Arc::new(AtomicBool::new(false));
        let (store, works) = (site.store.clone(), mended.clone());
        let open: Opener = Arc::new(move || match works.load(SeqCst) {
            true => Ok(store.clone()),
            false => Err(StoreUrl::parse("").unwrap_err()),
        });
        let mut options = UploadOptions::new(Retain::Forever);
        let hours = Duration::from_secs(100 * 3600);
        options.backoff = Backoff {
            first: hours,
            longest: hours,
        };
        let source = (journal.clone(), site.disk.clone());
        let uploader = Uploader::start(options, source, open, site.heard.clone()).unwrap();
        keep_all(&journal, &["a"], 0..10, 300).await;
        wait_for("a failure", || uploader.figures().failures > 0).await;
        mended.store(true, SeqCst);
        uploader.hurry();
        wait_for("the upload", || is_empty(&journal)).await;
        journal.close().await;
    });
}

#[test]
fn a_damaged_segment_gives_the_rest_and_says_so() {
    run(async {
        let mut site = Site::new();
        let disk = SimDisk::new(1);
        site.disk = Arc::new(disk.clone());
        let (journal, _heard) = simulated::open(&disk, &simulated::options(1));
        for number in 0..20 {
            simulated::stored(simulated::store(&journal, number, 500).await);
        }
        journal.seal().await.unwrap();
        let files = disk.files_in(std::path::Path::new("/0"));
        let segment = files.iter().find(|f| f.extension().is_some()).unwrap();
        disk.spoil(segment, 3000..3010);
        let uploader = site.uploader(&journal);
        wait_for("the upload", || is_empty(&journal)).await;
        uploader.finish(Duration::from_secs(10)).await;
        assert_eq!(site.numbers().await.len(), 19);
        let damaged = |event: &StoreEvent| match event {
            StoreEvent::Damaged { bytes, .. } => *bytes > 500,
            StoreEvent::Uploaded { .. }
            | StoreEvent::Delayed { .. }
            | StoreEvent::Recovered { .. }
            | StoreEvent::Retained { .. }
            | StoreEvent::RetainFailed(_) => false,
        };
        assert!(site.heard.any(damaged));
        journal.close().await;
    });
}

#[test]
fn a_read_only_directory_keeps_the_journal_until_it_can_be_written() {
    run(async {
        let site = Site::new();
        let journal = site.journal();
        // Where tests run as root, modes bind nobody: a file stands where a directory is due.
        let way = site.root().join("route=a");
        std::fs::write(&way, "in the way").unwrap();
        let uploader = site.uploader(&journal);
        keep_all(&journal, &["a"], 0..10, 100).await;
        wait_for("failures", || uploader.figures().failures > 2).await;
        std::fs::remove_file(&way).unwrap();
        wait_for("the upload", || is_empty(&journal)).await;
        assert_eq!(site.numbers().await, (0..10).collect::<Vec<_>>());
        drop(uploader);
        journal.close().await;
    });
}
