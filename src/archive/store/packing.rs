//! The thread that reads segments and compresses objects. One, with buffers that it keeps: threads
//! that come and go would each leave their freed memory with the allocator.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use tokio::sync::oneshot;

use super::pack::Tools;

type Work = Box<dyn FnOnce(&mut Tools) + Send>;

/// The way to the thread; it ends with its last work once this is gone.
#[derive(Debug)]
pub(super) struct Packing(SyncSender<Work>);

impl Packing {
    pub(super) fn start() -> io::Result<Packing> {
        let mut tools = Tools::new()?;
        let (work, works) = sync_channel::<Work>(1);
        thread::Builder::new()
            .name("archive-pack".to_owned())
            .spawn(move || {
                for work in works {
                    // A panic drops the sender of the answer, which is told as an error.
                    let _ = catch_unwind(AssertUnwindSafe(|| work(&mut tools)));
                }
            })?;
        Ok(Packing(work))
    }

    /// Has the thread do it. One after the other: nobody asks again before the answer.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tools) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (done, answer) = oneshot::channel();
        let work = Box::new(move |tools: &mut Tools| {
            let _ = done.send(work(tools));
        });
        let gone = || io::Error::other("the packing thread gives no answer");
        self.0.try_send(work).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::run;
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_the_thread_goes_on() {
        run(async {
            let packing = Packing::start().unwrap();
            let panics = packing.run(|_| -> io::Result<()> { panic!("on purpose") });
            assert!(panics.await.is_err());
            assert_eq!(packing.run(|_| Ok(7)).await.unwrap(), 7);
        });
    }
}
