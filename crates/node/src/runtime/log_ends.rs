//! Notes where transactions end in the log while the store's thread is busy, so that what gathers meanwhile is read as several
//! change sets and not as a large one. In between, that thread looks itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use harmonylite_sqlite::LogEndWatch;

/// Between two looks: a change set more for every millisecond in which somebody commits, at most.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// The thread that looks; dropping ends it, and closes its connection.
#[derive(Debug)]
pub(crate) struct LogEndsThread {
    over: Arc<AtomicBool>,
    join: Option<JoinHandle<()>>,
}

impl LogEndsThread {
    /// Starts it; it looks whenever it is unparked.
    pub(crate) fn start(watch: LogEndWatch) -> std::io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let ended = over.clone();
        let join =
            std::thread::Builder::new().name("log-ends".to_owned()).spawn(move || run(watch, &ended))?;
        Ok(Self { over, join: Some(join) })
    }

    /// Whom to unpark when something was written.
    pub(crate) fn thread(&self) -> Option<Thread> {
        self.join.as_ref().map(|join| join.thread().clone())
    }
}

impl Drop for LogEndsThread {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Some(join) = self.join.take() {
            join.thread().unpark();
            // When it panicked, the process is ending.
            let _ended = join.join();
        }
    }
}

fn run(mut watch: LogEndWatch, over: &AtomicBool) {
    loop {
        std::thread::park();
        if over.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = watch.look() {
            tracing::debug!(%error, "cannot look where the log ends");
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}
