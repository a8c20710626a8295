use super::super::Selection;
use super::super::trial::{Site, keep_all, run, wait_for};
use super::*;
use std::process::Command;

async fn uploaded(site: &Site, records: std::ops::Range<u64>, body: usize) -> StoredObject {
    let journal = site.journal();
    let uploader = site.uploader(&journal);
    keep_all(&journal, &["a"], records, body).await;
    wait_for("the upload", || uploader.figures().waiting == 0).await;
    uploader.finish(std::time::Duration::from_secs(10)).await;
    journal.close().await;
    let mut walk = site.store.walk(Selection::default());
    walk.next().await.unwrap().unwrap()
}

#[test]
fn long_and_short_records_come_back_in_order() {
    run(async {
        let site = Site::new();
        let object = uploaded(&site, 0..6, 700_000).await;
        let mut lines = site.store.read(&object).await.unwrap();
        let mut last = None;
        let mut count = 0;
        while let Some(line) = lines.next_line().await.unwrap() {
            let record = StoredRecord::decode(line).unwrap();
            assert_eq!(record.body().len(), 700_000);
            assert!(last < Some(record.id));
            last = Some(record.id);
            count += 1;
        }
        assert_eq!(count, 6);
        assert!(lines.next_line().await.unwrap().is_none());
        let verified = site.store.verify(&object).await.unwrap();
        assert_eq!((verified.records, verified.last), (6, last));
    });
}

#[test]
fn the_zstd_tool_reads_the_objects() {
    run(async {
        let site = Site::new();
        let object = uploaded(&site, 0..50, 200).await;
        let path = site.root().join(object.path());
        let ours = zstd::decode_all(std::fs::File::open(&path).unwrap()).unwrap();
        assert_eq!(ours.iter().filter(|&&byte| byte == b'\n').count(), 50);
        // The tool is not everywhere; the library above read the same.
        match Command::new("zstd").arg("-dc").arg(&path).output() {
            Ok(output) => assert!(output.status.success() && output.stdout == ours),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
        }
    });
}

#[test]
fn cut_and_changed_objects_are_told_from_whole_ones() {
    run(async {
        let site = Site::new();
        let object = uploaded(&site, 0..40, 300).await;
        let path = site.root().join(object.path());
        let whole = std::fs::read(&path).unwrap();
        for length in [1, 3, 10, whole.len() / 2, whole.len() - 5, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = site.store.verify(&object).await.unwrap_err();
            assert!(
                matches!(error, StoreError::Object { .. }),
                "{length}: {error}"
            );
        }
        let text = zstd::decode_all(&*whole).unwrap();
        let mut unseen = 0;
        for at in (0..whole.len()).step_by(97) {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            std::fs::write(&path, &changed).unwrap();
            if site.store.verify(&object).await.is_ok() {
                // zstd has a few bits that mean nothing; the records are the same then.
                assert_eq!(zstd::decode_all(&*changed).unwrap(), text, "{at}");
                unseen += 1;
            }
        }
        assert!(unseen < whole.len() / 97 / 4, "{unseen}");
        // Several frames one after another are one text, as for the tool.
        let mut twice = zstd::encode_all(&b""[..], 3).unwrap();
        twice.extend_from_slice(&whole);
        std::fs::write(&path, &twice).unwrap();
        assert_eq!(site.store.verify(&object).await.unwrap().records, 40);
        std::fs::write(&path, b"").unwrap();
        assert!(site.store.verify(&object).await.is_err());
        let open = zstd::encode_all(&b"{}"[..], 3).unwrap();
        std::fs::write(&path, &open).unwrap();
        assert!(site.store.verify(&object).await.is_err());
        std::fs::remove_file(&path).unwrap();
        let gone = site.store.verify(&object).await.unwrap_err();
        assert!(matches!(gone, StoreError::Request { .. }), "{gone}");
    });
}
