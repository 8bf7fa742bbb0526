//! An application that writes at a steady pace while a test does something else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rusqlite::Connection;

/// A thread with a connection of its own. It stops at the first write that fails, when asked, or when dropped.
#[derive(Debug)]
pub struct Writer {
    written: Arc<AtomicU64>,
    stop: SyncSender<()>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Writer {
    /// Calls `write` with the numbers 0, 1, 2 .. , one every `interval`. After a write that took longer the next ones
    /// follow at once until the pace is kept again.
    pub fn start<F>(connection: Connection, interval: Duration, mut write: F) -> Writer
    where
        F: FnMut(&mut Connection, u64) -> rusqlite::Result<()> + Send + 'static,
    {
        let (stop, stopped) = sync_channel(1);
        let written = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&written);
        let mut connection = connection;
        let mut due = Instant::now();
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(due.saturating_duration_since(Instant::now()))
                == Err(RecvTimeoutError::Timeout)
            {
                let number = counter.load(Ordering::Relaxed);
                write(&mut connection, number).with_context(|| format!("write {number} failed"))?;
                counter.store(number + 1, Ordering::Relaxed);
                due += interval;
            }
            Ok(())
        });
        Writer { written, stop, thread: Some(thread) }
    }

    /// How many writes have succeeded.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Ends it and gives the number of writes.
    ///
    /// # Errors
    /// When a write has failed: the application would have noticed us.
    pub fn stop(mut self) -> Result<u64> {
        self.end()?;
        Ok(self.written())
    }

    fn end(&mut self) -> Result<()> {
        // Full or gone: it has been asked, or has ended.
        let _ = self.stop.try_send(());
        self.thread
            .take()
            .map_or(Ok(()), |thread| thread.join().map_err(|_| anyhow!("the writer panicked"))?)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waiting::wait;

    fn table(limit: u64) -> Result<Connection> {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch(&format!("CREATE TABLE t(id INTEGER PRIMARY KEY CHECK(id < {limit}))"))?;
        Ok(connection)
    }

    #[test]
    fn it_writes_at_its_pace_until_stopped() -> Result<()> {
        let start = Instant::now();
        let writer =
            Writer::start(table(u64::from(u32::MAX))?, Duration::from_millis(5), |connection, number| {
                connection.execute("INSERT INTO t VALUES(?1)", [number as i64]).map(drop)
            });
        wait("ten writes", Duration::from_secs(10), || writer.written() >= 10)?;
        assert!(start.elapsed() >= Duration::from_millis(45));
        assert!(writer.stop()? >= 10);
        Ok(())
    }

    #[test]
    fn a_failed_write_is_told_at_the_end() -> Result<()> {
        let writer = Writer::start(table(20)?, Duration::ZERO, |connection, number| {
            connection.execute("INSERT INTO t VALUES(?1)", [number as i64]).map(drop)
        });
        wait("twenty writes", Duration::from_secs(10), || writer.written() == 20)?;
        let error = format!("{:#}", writer.stop().unwrap_err());
        assert!(error.contains("write 20 failed") && error.contains("CHECK"), "{error}");
        Ok(())
    }
}
