use super::super::store::trial::{Site, keep_all, run, wait_for};
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
        wait_for("the journal to be empty", || {
            uploader.figures().waiting == 0
        })
        .await;
        assert!(segments_left(&site).is_empty());
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
