//! What serves beside a test, on a thread and a runtime of its own: a test that waits does not hold it up.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

/// How long it may take until it serves.
const PATIENCE: Duration = Duration::from_secs(60);

/// Something that serves until it is dropped.
#[derive(Debug)]
pub struct Background {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts what `serve` makes, and waits until it has sent that it serves.
    ///
    /// # Panics
    ///
    /// When it does not serve in time.
    #[track_caller]
    pub fn start<F>(serve: impl FnOnce(SyncSender<()>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()>,
    {
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("the system gives a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = serve(ready) => {}
                    _ = stopped => {}
                }
            });
        });
        is_ready
            .recv_timeout(PATIENCE)
            .expect("what runs beside the test serves in time");
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // What it panicked with is on standard error.
            thread.join().ok();
        }
    }
}
