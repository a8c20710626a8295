//! The archive beside the requests: `keeper` opens the journal when something may archive,
//! `uploads` brings sealed segments into the store, `telling` says how that goes, `requests` hears
//! `seawall archive flush`, `report` is the status of it all.

mod keeper;
mod report;
mod requests;
mod telling;
mod uploads;

pub(super) use keeper::Keeper;
pub(super) use report::ArchiveReport;
pub use requests::{FlushRequest, flush_request};
pub use uploads::Uploads;
