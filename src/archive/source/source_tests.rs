use std::collections::BTreeSet;
use std::time::Duration;

use super::super::Growth;
use super::super::store::Selection;
use super::super::store::trial::{Site, keep_all, place, run, wait_for};
use super::*;

async fn numbers(source: &mut Source) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Some(sourced) = source.next().await.unwrap() {
        assert_eq!(sourced.id, sourced.record.id);
        numbers.push(sourced.record.request_id.parse().unwrap());
    }
    numbers
}

fn options(site: &Site) -> SourceOptions {
    SourceOptions {
        store: Some(site.store.clone()),
        journals: vec![site.scratch.path().join("journal")],
        backoff: super::super::PATIENCE_OF_TESTS,
        ..SourceOptions::new()
    }
}

#[test]
fn a_source_may_move_to_another_thread() {
    fn sendable(_: impl Send) {}
    sendable(async {
        let options = SourceOptions::new();
        let mut source = Source::open(options, Arc::new(super::super::RealDisk)).await?;
        source.next().await
    });
}

#[test]
fn a_journal_that_is_emptied_while_it_is_read_gives_each_record_once() {
    run(async {
        let site = Site::new();
        let journal = site.journal();
        for segment in 0..5 {
            keep_all(&journal, &["a", "b"], segment * 10..segment * 10 + 10, 300).await;
        }
        let mut source = Source::open(options(&site), site.disk.clone())
            .await
            .unwrap();
        let mut found = Vec::new();
        for _ in 0..3 {
            let sourced = source.next().await.unwrap().unwrap();
            found.push(sourced.record.request_id.parse::<u64>().unwrap());
        }
        let uploader = site.uploader(&journal);
        // The catalog forgets a segment before its file is gone.
        wait_for("the journal to be empty", || {
            uploader.figures().waiting == 0 && segments_left(&site).is_empty()
        })
        .await;
        found.extend(numbers(&mut source).await);
        assert_eq!(found, (0..50).collect::<Vec<_>>());
        assert_eq!(source.figures().damages, 0);
        let mut again = Source::open(options(&site), site.disk.clone())
            .await
            .unwrap();
        assert_eq!(numbers(&mut again).await, found);
        uploader.finish(Duration::from_secs(10)).await;
        journal.close().await;
    });
}

fn segments_left(site: &Site) -> Vec<SegmentInfo> {
    let directories = [site.scratch.path().join("journal")];
    super::super::segments_in(&*site.disk, &directories).unwrap()
}

fn some(numbers: impl IntoIterator<Item = u8>) -> BTreeSet<u8> {
    numbers.into_iter().collect()
}

#[test]
fn damage_is_told_and_the_stream_goes_on_behind_it() {
    run(async {
        let site = Site::new();
        // Even numbers are of route `a`, and every sixth is of the first hour.
        let cut = &model::put(&site, &some([0, 6, 12, 18]), 1)[0];
        let spoiled = &model::put(&site, &some([24, 30, 36]), 2)[0];
        let gone = &model::put(&site, &some([42, 48]), 3)[0];
        model::put(&site, &some([54, 60]), 4);
        let segment = model::segment(&site, &some([1, 2, 90]), 9, Growth::Closed);
        let whole = std::fs::read(cut).unwrap();
        std::fs::write(cut, &whole[..whole.len() - 3]).unwrap();
        let mut bytes = std::fs::read(spoiled).unwrap();
        // The last four are the checksum.
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(spoiled, bytes).unwrap();
        let mut bytes = std::fs::read(&segment).unwrap();
        bytes[64 + 20] ^= 1;
        std::fs::write(&segment, bytes).unwrap();
        let file = site.scratch.path().join("file");
        let text = [b"{\"id\":\"x\"}\n".to_vec(), model::line(70)].concat();
        std::fs::write(&file, text).unwrap();
        let mut options = options(&site);
        options.files = vec![file];
        let mut source = Source::open(options, site.disk.clone()).await.unwrap();
        std::fs::remove_file(gone).unwrap();
        assert_eq!(
            numbers(&mut source).await,
            [0, 2, 6, 12, 18, 54, 60, 70, 90]
        );
        let damage = source.take_damage();
        let told: Vec<String> = damage.iter().map(ToString::to_string).collect();
        let has = |what: &[&str]| {
            let all = |line: &&String| what.iter().all(|part| line.contains(part));
            assert_eq!(told.iter().filter(all).count(), 1, "{what:?} in {told:?}");
        };
        has(&["object route=a/", "cut off"]);
        has(&["object route=a/", "none of its records was read"]);
        has(&["object route=a/", "deleted after it was listed"]);
        has(&["segment ", "bytes are damaged"]);
        has(&["file ", "a line is no record"]);
        let figures = source.figures();
        assert_eq!((figures.damages, figures.read), (5, 9));
        assert_eq!(figures.bytes, source.total().bytes);
        assert_eq!(source.take_damage(), []);
    });
}

#[test]
fn a_store_that_fails_is_tried_again_and_never_taken_for_the_end() {
    run(async {
        let site = Site::new();
        for low in 0..6 {
            model::put(&site, &some((0..60).map(|n| n * 2)), low);
        }
        let expected: Vec<u64> = (0..60).map(|n| n * 2).collect();
        let mut options = options(&site);
        options.journals = Vec::new();
        site.faulty.fail_reads(3);
        let open = Source::open(options.clone(), site.disk.clone()).await;
        let mut source = open.unwrap();
        // Nothing is kept, so that everything is fetched again and again.
        source.room = 0;
        let mut found: Vec<u64> = Vec::new();
        let mut errors = 0;
        for turn in 0.. {
            site.faulty.fail_reads(if turn % 3 == 0 { 1000 } else { 0 });
            match source.next().await {
                Ok(Some(sourced)) => found.push(sourced.record.request_id.parse().unwrap()),
                Ok(None) => break,
                Err(SourceError::Store(error)) => {
                    assert!(error.to_string().contains("503"), "{error}");
                    errors += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(found, expected);
        assert!(errors > 0);
        site.faulty.fail_reads(1000);
        let closed = Source::open(options, site.disk.clone()).await;
        assert!(matches!(closed.err(), Some(SourceError::Store(_))));
    });
}

#[test]
fn a_list_that_fails_in_the_middle_leaves_no_day_out() {
    run(async {
        let site = Site::new();
        let day = Duration::from_secs(86_400);
        for n in 0..10 {
            place(&site, "a", day * n, Ulid::from_parts(u64::from(n), 1));
        }
        for failing in 0..=10 {
            let mut walk = site.store.walk(Selection::default());
            let mut found = 0;
            let mut failed = 0;
            loop {
                if found == failing && failed == 0 {
                    site.faulty.fail_reads(1);
                }
                match walk.next().await {
                    Ok(Some(_)) => found += 1,
                    Ok(None) => break,
                    Err(_) => failed += 1,
                }
                site.faulty.fail_reads(0);
            }
            assert_eq!(
                (found, failed),
                (10, usize::from(failing < 10)),
                "{failing}"
            );
        }
    });
}
