//! How long everybody works.

use std::io::{BufRead, Read, stdin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Result;

/// A working day: so many turns for everybody, or until somebody says that it is enough.
pub struct Shift {
    turns: Option<u64>,
    over: Arc<AtomicBool>,
}

impl Shift {
    /// So many turns.
    pub fn of(turns: u64) -> Shift {
        Shift { turns: Some(turns), over: Arc::default() }
    }

    /// Says `ready`, begins when a line is typed, and is over when the input ends.
    pub fn typed() -> Result<Shift> {
        println!("ready");
        stdin().lock().read_line(&mut String::new())?;
        let over: Arc<AtomicBool> = Arc::default();
        let end = Arc::clone(&over);
        std::thread::spawn(move || {
            let _ = stdin().lock().read_to_end(&mut Vec::new());
            end.store(true, Ordering::Relaxed);
        });
        Ok(Shift { turns: None, over })
    }

    /// The turns that one of those who work takes.
    pub fn turns(&self) -> impl Iterator<Item = u64> + '_ {
        let last = self.turns.unwrap_or(u64::MAX);
        (0..last).take_while(|_| !self.over.load(Ordering::Relaxed))
    }
}
