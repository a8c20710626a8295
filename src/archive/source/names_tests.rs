use std::time::Duration;

use super::super::super::store::trial::{Site, place, run};
use super::*;
use crate::archive::PATIENCE_OF_TESTS as PATIENCE;

#[test]
fn names_come_by_their_first_record_however_few_are_held() {
    run(async {
        let site = Site::new();
        // Filed by hour, which is not the order of the ids.
        let ids: Vec<u64> = (0..40).map(|n| (n * 17) % 40).collect();
        for (at, ms) in ids.iter().enumerate() {
            let hour = Duration::from_secs(3600) * (at as u32 % 7);
            place(&site, "a", hour, Ulid::from_parts(*ms, at as u128));
        }
        for most in [1, 3, 39, 40, 100] {
            let all = Selection::default();
            let store = site.store.clone();
            let names = Names::with_most(store, all, (PATIENCE, most)).await;
            let mut names = names.unwrap();
            assert_eq!(names.total().objects, 40);
            let mut found = Vec::new();
            while let Some(object) = names.next().await.unwrap() {
                found.push(object.name.id.timestamp_ms());
                assert!(names.ready.len() <= most);
                names.advance();
            }
            assert_eq!(found, (0..40).collect::<Vec<_>>(), "{most} at once");
        }
    });
}
