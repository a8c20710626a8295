use super::super::super::sim::SimDisk;
use super::super::super::trial as simulated;
use super::super::pack::{Packer, Tools};
use super::super::trial::{Given, NINE, Site, keep, keep_all, run};
use super::*;
use std::time::Duration;

fn plan(site: &Site, info: &SegmentInfo, limit: u64) -> Plan {
    Plan::with_limit(site.disk.clone(), info.clone(), limit).unwrap()
}

fn pack(site: &Site, info: &SegmentInfo, objects: Vec<Planned>) -> Vec<super::super::pack::Packed> {
    let mut tools = Tools::new().unwrap();
    let mut packer = Packer::new(site.disk.clone(), info.clone(), objects);
    std::iter::from_fn(|| packer.next(&mut tools).unwrap()).collect()
}

#[test]
fn records_are_parted_by_route_and_hour_and_every_record_is_in_one_object() {
    run(async {
        let site = Site::new();
        let journal = site.journal();
        for (number, (route, seconds)) in [("a", 0), ("b", 0), ("a", 3599), ("a", 3600), ("b", 1)]
            .into_iter()
            .enumerate()
        {
            let given = Given {
                route,
                time: NINE + Duration::from_secs(seconds),
                number: number as u64,
                body: 10,
            };
            keep(&journal, given).await;
        }
        journal.seal().await.unwrap();
        let info = journal.segments()[0].clone();
        let plan = plan(&site, &info, OBJECT_BYTES);
        assert_eq!((plan.records, plan.damaged, plan.read_errors), (5, 0, 0));
        let shapes: Vec<_> = plan
            .objects
            .iter()
            .map(|o| (o.name.to_string(), o.offsets.len()))
            .map(|(name, records)| (name[..name.rfind('/').unwrap()].to_owned(), records))
            .collect();
        let expected = [
            ("route=a/date=2026-11-06/hour=09", 2),
            ("route=b/date=2026-11-06/hour=09", 2),
            ("route=a/date=2026-11-06/hour=10", 1),
        ];
        assert_eq!(
            shapes,
            expected.map(|(name, records)| (name.to_owned(), records))
        );
        journal.close().await;
    });
}

#[test]
fn the_same_segment_gives_the_same_names_and_bytes() {
    run(async {
        let site = Site::new();
        let journal = site.journal();
        let info = keep_all(&journal, &["a", "b", "c"], 0..300, 500).await;
        let (one, two) = (plan(&site, &info, 20_000), plan(&site, &info, 20_000));
        assert_eq!(one, two);
        assert!(one.objects.len() > 6, "{}", one.objects.len());
        assert!(one.objects.iter().all(|o| o.bytes <= 20_000));
        let names: std::collections::BTreeSet<_> = one.objects.iter().map(|o| &o.name).collect();
        assert_eq!(names.len(), one.objects.len());
        // Ids rise from part to part.
        for pair in one.objects.windows(2) {
            if pair[0].name.partition == pair[1].name.partition {
                assert!(pair[0].name.id < pair[1].name.id);
            }
        }
        let packed = pack(&site, &info, one.objects.clone());
        assert_eq!(packed, pack(&site, &info, two.objects));
        assert_eq!(packed.iter().map(|p| p.records).sum::<u64>(), 300);
        // What is left of a plan gives the same objects again.
        let rest = one.objects[3..].to_vec();
        assert_eq!(pack(&site, &info, rest), packed[3..]);
        journal.close().await;
    });
}

#[test]
fn more_than_one_pass_is_read_in_bounded_groups() {
    run(async {
        let site = Site::new();
        let journal = site.journal();
        // 24 MiB on three routes by turns: two passes. One record is longer than an object.
        keep_all(&journal, &["a", "b", "c"], 0..12, 1 << 20).await;
        let info = keep_all(&journal, &["a", "b", "c"], 12..24, 1 << 20).await;
        let plan = plan(&site, &info, 600 << 10);
        assert_eq!(plan.objects.len(), plan.records as usize);
        let packed = pack(&site, &info, plan.objects);
        let lengths = packed
            .iter()
            .map(|p| zstd::decode_all(&*p.body).unwrap().len());
        assert!(lengths.into_iter().all(|length| length > 1 << 20));
        journal.close().await;
    });
}

#[test]
fn damaged_records_are_counted_and_change_the_name_of_their_object() {
    run(async {
        let disk = SimDisk::new(1);
        let (journal, _heard) = simulated::open(&disk, &simulated::options(1));
        for number in 0..9 {
            simulated::stored(simulated::store(&journal, number * 3, 500).await);
        }
        journal.seal().await.unwrap();
        let info = journal.segments()[0].clone();
        let sim: Arc<dyn Disk> = Arc::new(disk.clone());
        let whole = Plan::read(sim.clone(), info.clone()).unwrap();
        assert_eq!((whole.records, whole.objects.len()), (9, 1));
        let at = whole.objects[0].offsets[4] as usize;
        let files = disk.files_in(std::path::Path::new("/0"));
        let segment = files.iter().find(|f| f.extension().is_some()).unwrap();
        disk.spoil(segment, at + 20..at + 30);
        let rest = Plan::read(sim.clone(), info.clone()).unwrap();
        assert_eq!(rest.records, 8);
        assert!(rest.damaged > 500, "{}", rest.damaged);
        assert_ne!(rest.objects[0].name, whole.objects[0].name);
        assert_eq!(
            rest.objects[0].name.partition,
            whole.objects[0].name.partition
        );
        // A plan that the disk does not keep is an error, not a shorter object.
        let mut tools = Tools::new().unwrap();
        let mut packer = Packer::new(sim, info, whole.objects);
        assert!(packer.next(&mut tools).is_err());
        journal.close().await;
    });
}
