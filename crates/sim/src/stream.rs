//! A model of a JetStream stream: what publishing and reading need of it, and no more.
//!
//! `crates/node/tests/nats/model.rs` runs the same script against this model and a real nats-server.

use harmonylite_core::codec::Message;

/// How long a stream remembers message ids, in milliseconds: the duplicate window that we ask JetStream for.
pub const DUPLICATE_WINDOW_MS: u64 = 120_000;

/// Why a batch is not stored. Nothing of it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The stream's last sequence is not the expected one (10071, 10164).
    OtherLast,
    /// A message's id is among the remembered ones (10201; for a single message: `duplicate` in the answer).
    Duplicate,
}

#[derive(Clone, Debug)]
struct Stored {
    at_ms: u64,
    message: Message,
}

/// A stream with one subject.
#[derive(Clone, Debug)]
pub struct Stream {
    id: String,
    messages: Vec<Stored>,
    /// The sequence of the first message; last + 1 when there is none.
    first: u64,
}

impl Stream {
    /// An empty stream that was just made, with its identity from the metadata.
    #[must_use]
    pub const fn new(id: String) -> Self {
        Self { id, messages: Vec::new(), first: 1 }
    }

    /// Its identity.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The first sequence that it has; last + 1 when it is empty.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// The last sequence that it ever had.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.first + self.messages.len() as u64 - 1
    }

    /// Stores a batch, all or nothing; gives the sequence of its last message.
    ///
    /// # Errors
    ///
    /// A [`Refusal`], and nothing is stored.
    pub fn publish(
        &mut self,
        now_ms: u64,
        expected_last: Option<u64>,
        batch: Vec<Message>,
    ) -> Result<u64, Refusal> {
        let remembered = |message: &Message| {
            let recent = |stored: &&Stored| now_ms.saturating_sub(stored.at_ms) < DUPLICATE_WINDOW_MS;
            self.messages.iter().filter(recent).any(|stored| stored.message.id == message.id)
        };
        if batch.iter().any(remembered) {
            return Err(Refusal::Duplicate);
        }
        if expected_last.is_some_and(|expected| expected != self.last()) {
            return Err(Refusal::OtherLast);
        }
        self.messages.extend(batch.into_iter().map(|message| Stored { at_ms: now_ms, message }));
        Ok(self.last())
    }

    /// The message at `sequence`, if the stream still has it.
    #[must_use]
    pub fn message(&self, sequence: u64) -> Option<&Message> {
        let index = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.messages.get(index).map(|stored| &stored.message)
    }

    /// The first message at or after `sequence`, with its sequence.
    #[must_use]
    pub fn next(&self, sequence: u64) -> Option<(u64, &Message)> {
        let at = sequence.max(self.first);
        self.message(at).map(|message| (at, message))
    }

    /// Messages below `first` are gone, by limits or a purge. Sequences go on.
    pub fn truncate(&mut self, first: u64) {
        let gone = first.min(self.last() + 1).saturating_sub(self.first);
        self.messages.drain(..usize::try_from(gone).unwrap_or(usize::MAX));
        self.first += gone;
    }

    /// Messages above `last` are gone, as after a crash of a server that had not synced: sequences are given again.
    pub fn roll_back(&mut self, last: u64) {
        let keep = (last + 1).saturating_sub(self.first);
        self.messages.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
    }
}
