//! A model of a JetStream stream: what publishing and reading need of it, and no more.
//!
//! `crates/node/tests/nats/model.rs` runs the same script against this model and a real nats-server.

use std::collections::{BTreeMap, BTreeSet};

use harmonylite_core::codec::Message;
use harmonylite_core::limits::ATOMIC_BATCH_MAX;

/// How long a stream remembers message ids, in milliseconds: the duplicate window that we ask JetStream for.
pub const DUPLICATE_WINDOW_MS: u64 = 120_000;

/// Why a batch is not stored. Nothing of it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The stream's last sequence is not the expected one (10071, 10164).
    OtherLast,
    /// A message's id is among the remembered ones, or twice in the batch (10201; for a single message: `duplicate` in
    /// the answer).
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
    /// Message ids and when they were stored. A running server keeps them longer than the messages.
    remembered: BTreeMap<String, u64>,
}

impl Stream {
    /// An empty stream that was just made, with its identity from the metadata.
    #[must_use]
    pub const fn new(id: String) -> Self {
        Self { id, messages: Vec::new(), first: 1, remembered: BTreeMap::new() }
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

    /// Stores a group as the product publishes it; gives the sequence of its last message. It is one batch, all or
    /// nothing, up to [`ATOMIC_BATCH_MAX`] messages. A larger one is several, each expected behind the one before.
    ///
    /// # Errors
    ///
    /// A [`Refusal`], and nothing is stored of that batch and of those behind it.
    pub fn publish(
        &mut self,
        now_ms: u64,
        expected_last: Option<u64>,
        group: Vec<Message>,
    ) -> Result<u64, Refusal> {
        let mut group = group.into_iter().peekable();
        let mut expected = expected_last;
        while group.peek().is_some() {
            let batch: Vec<_> = group.by_ref().take(ATOMIC_BATCH_MAX).collect();
            self.check(now_ms, expected, &batch)?;
            self.remembered.extend(batch.iter().map(|message| (message.id.clone(), now_ms)));
            self.messages.extend(batch.into_iter().map(|message| Stored { at_ms: now_ms, message }));
            expected = expected.map(|_| self.last());
        }
        Ok(self.last())
    }

    /// Which refusal, when there is reason for both: for a single message the other last sequence; the messages of a
    /// batch are looked at in order, each one's id first, and the expectation stands in the first message.
    fn check(&self, now_ms: u64, expected_last: Option<u64>, batch: &[Message]) -> Result<(), Refusal> {
        let other_last = expected_last.is_some_and(|expected| expected != self.last());
        if other_last && batch.len() == 1 {
            return Err(Refusal::OtherLast);
        }
        let remembered = |id: &String| {
            self.remembered.get(id).is_some_and(|at_ms| now_ms.saturating_sub(*at_ms) < DUPLICATE_WINDOW_MS)
        };
        let mut in_batch = BTreeSet::new();
        for Message { id, .. } in batch {
            if remembered(id) || !in_batch.insert(id) {
                return Err(Refusal::Duplicate);
            }
            if other_last {
                return Err(Refusal::OtherLast);
            }
        }
        Ok(())
    }

    /// The message at `sequence`, if the stream still has it.
    #[must_use]
    pub fn message(&self, sequence: u64) -> Option<&Message> {
        let index = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.messages.get(index).map(|stored| &stored.message)
    }

    /// What the first message must be for a source that follows the stream behind `after`; `None` when the stream ends
    /// before that, and the source is lost at once.
    #[must_use]
    pub fn follow(&self, after: u64) -> Option<u64> {
        (after <= self.last()).then(|| self.first.max(after + 1))
    }

    /// The first message at or after `sequence`, with its sequence. A source to which another one comes than the one
    /// that must come is lost: messages were discarded while it was followed.
    #[must_use]
    pub fn next(&self, sequence: u64) -> Option<(u64, &Message)> {
        let at = sequence.max(self.first);
        self.message(at).map(|message| (at, message))
    }

    /// Messages below `first` are gone, by limits or a purge; their ids are remembered. Sequences go on, from `first`
    /// when that is beyond the end.
    pub fn truncate(&mut self, first: u64) {
        let gone = usize::try_from(first.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.messages.drain(..gone.min(self.messages.len()));
        self.first = self.first.max(first);
    }

    /// The server starts again, in order or after a crash: it remembers the ids of those messages that it still has.
    pub fn restart(&mut self) {
        let ids = self.messages.iter().map(|stored| (stored.message.id.clone(), stored.at_ms));
        self.remembered = ids.collect();
    }

    /// Messages above `last` are gone, as after a crash of a server that had not synced: sequences are given again.
    pub fn roll_back(&mut self, last: u64) {
        let keep = (last + 1).saturating_sub(self.first);
        self.messages.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
        self.restart();
    }
}
