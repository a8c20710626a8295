//! `seawall archive verify`: reads everything, and says what is not as it was written.

use std::io::Write;
use std::sync::Arc;

use super::places::Places;
use super::{Found, Stop};
use crate::archive::store::{Selection, Store, StoreError};
use crate::archive::{Checksum, Disk, RealDisk, segments_in, verify as verify_segment};

/// A line for each copy of a segment and for each object.
pub(super) async fn verify(places: &Places, out: &mut impl Write) -> Result<Found, Stop> {
    let mut found = places.found;
    journal(places, out, &mut found)?;
    if let Some(store) = &places.store {
        objects(store, out, &mut found).await?;
    }
    Ok(found)
}

fn journal(places: &Places, out: &mut impl Write, found: &mut Found) -> Result<(), Stop> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let segments = segments_in(&*disk, &places.journals).unwrap_or_else(|error| {
        found.fault(format_args!("the journal cannot be read: {error}"));
        Vec::new()
    });
    for segment in &segments {
        let copies = match verify_segment(&disk, segment) {
            Ok(copies) => copies,
            // Uploaded and removed meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                found.fault(format_args!("segment {}: {error}", segment.id));
                continue;
            }
        };
        for verified in copies {
            let state = match (verified.damaged, verified.checksum) {
                (0, Checksum::Holds) => "whole",
                (0, Checksum::Unsealed) => "whole, not sealed yet",
                (_, Checksum::Holds | Checksum::Unsealed | Checksum::Differs) => {
                    *found = Found::Faulty;
                    "DAMAGED"
                }
            };
            let directory = verified.copy.directory.display();
            let (records, damaged) = (verified.records, verified.damaged);
            writeln!(
                out,
                "{} {directory}: {records} records, {damaged} bytes damaged: {state}",
                segment.id
            )?;
        }
    }
    Ok(())
}

async fn objects(store: &Store, out: &mut impl Write, found: &mut Found) -> Result<(), Stop> {
    let mut walk = store.walk(Selection::default());
    loop {
        let object = match walk.next_patiently().await {
            Ok(Some(object)) => object,
            Ok(None) => return Ok(()),
            Err(error) => {
                found.fault(format_args!("{error}; not all objects were read"));
                return Ok(());
            }
        };
        let path = object.path();
        match store.verify(&object).await {
            Ok(verified) => {
                let records = verified.records;
                writeln!(out, "{path}: {records} records: whole")?;
            }
            Err(StoreError::Object { source, .. }) => {
                *found = Found::Faulty;
                writeln!(out, "{path}: {source}: DAMAGED")?;
            }
            // Deleted meanwhile, as `retain` says.
            Err(error) if error.is_missing() => {}
            Err(error) => found.fault(format_args!("object {path}: {error}")),
        }
    }
}
