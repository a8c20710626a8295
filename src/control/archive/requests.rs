//! `seawall archive flush` reaches the gateway through the journal's directory: who may write
//! there may ask, and no listener or token is needed.

use std::fs::{self, OpenOptions};
use std::future::Future;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::thread;
use std::time::Duration;

use super::uploads::Uploads;
use crate::archive::Journal;
use crate::snapshot::Live;

/// The request, an empty file. No name of a segment, and none that recovery knows.
const REQUEST: &str = "flush";

/// How often the directories are looked at.
const POLL: Duration = Duration::from_millis(200);

/// A request that was left in a directory. The gateway removes it once it has sealed.
#[derive(Debug)]
pub struct FlushRequest(PathBuf);

/// Asks the gateway that has this journal directory to seal now.
///
/// # Errors
/// The directory cannot be written to.
pub fn flush_request(directory: &Path) -> io::Result<FlushRequest> {
    let path = directory.join(REQUEST);
    // Two that ask at a time ask with one file.
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)?;
    Ok(FlushRequest(path))
}

impl FlushRequest {
    /// Whether the gateway has not acted on it yet.
    pub fn is_pending(&self) -> bool {
        fs::symlink_metadata(&self.0).is_ok()
    }

    /// Takes it back.
    pub fn withdraw(self) {
        let _ = fs::remove_file(self.0);
    }
}

/// Acts on requests in these directories for as long as the gateway lives.
pub(super) fn follow(
    live: &Weak<Live>,
    directories: &[PathBuf],
    journal: &Journal,
    uploads: &Uploads,
) {
    while live.strong_count() > 0 && !uploads.is_over() {
        for directory in directories {
            let request = FlushRequest(directory.join(REQUEST));
            if request.is_pending() {
                act(request, journal, uploads);
            }
        }
        thread::sleep(POLL);
    }
}

fn act(request: FlushRequest, journal: &Journal, uploads: &Uploads) {
    // A queue that is full has room later: the request stays.
    if let Ok(Ok(_)) = wait(journal.seal()) {
        tracing::info!("journal sealed as `archive flush` asked for");
        uploads.hurry();
        request.withdraw();
    }
}

/// Waits on a thread that has no runtime.
fn wait<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    Ok(runtime.block_on(work))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use super::*;
    use crate::archive::{Options, RealDisk, segments_in};

    #[test]
    fn a_request_is_private_and_no_segment_and_goes_once_it_is_done() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().to_owned();
        let options = Options::new(vec![directory.clone()]);
        let journal = Journal::open(options, Arc::new(RealDisk), Arc::new(())).unwrap();
        let request = flush_request(&directory).unwrap();
        assert!(flush_request(&directory).unwrap().is_pending());
        let about = fs::metadata(directory.join(REQUEST)).unwrap();
        assert_eq!(about.permissions().mode() & 0o777, 0o600);
        assert_eq!(segments_in(&RealDisk, &[directory]).unwrap(), []);
        act(
            FlushRequest(request.0.clone()),
            &journal,
            &Uploads::default(),
        );
        assert!(!request.is_pending());
        // A journal that is closed seals nothing: the request stays.
        wait(journal.close()).unwrap();
        let request = flush_request(scratch.path()).unwrap();
        act(
            FlushRequest(request.0.clone()),
            &journal,
            &Uploads::default(),
        );
        assert!(request.is_pending());
    }
}
