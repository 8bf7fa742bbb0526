//! What `harmonylite dead-letters` and a running node say to each other over the control socket: one JSON document each
//! way. Without a node the command makes the same reports itself.

use harmonylite_sqlite::LetterOutcome;
use serde::{Deserialize, Serialize};

use crate::orders::Failure;

/// Letters of one request at most: the store does nothing else meanwhile.
pub const LETTERS_MAX: usize = 100;

/// What is asked of a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LettersRequest {
    /// What to do.
    pub action: LettersAction,
    /// With which dead letters; at most [`LETTERS_MAX`].
    pub ids: Vec<i64>,
}

/// What to do with dead letters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LettersAction {
    /// Try them again.
    Retry,
    /// Take them out.
    Drop,
}

/// What it answers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LettersReply {
    /// What became of the letters, in the order asked for; fewer when an error ended it.
    pub outcomes: Vec<LetterReport>,
    /// What ended it early.
    pub error: Option<Failure>,
}

/// What became of one letter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LetterReport {
    /// Its number.
    pub id: i64,
    /// One word: `applied`, `displaced`, `superseded`, `failed`, `postponed`, `missing`, `dropped`.
    pub outcome: String,
    /// Why, when it failed or was postponed.
    pub reason: Option<String>,
}

impl LetterReport {
    /// Of a letter that was tried again.
    #[must_use]
    pub fn retried(id: i64, outcome: LetterOutcome) -> Self {
        let (word, reason) = match outcome {
            LetterOutcome::Applied => ("applied", None),
            LetterOutcome::Displaced => ("displaced", None),
            LetterOutcome::Superseded => ("superseded", None),
            LetterOutcome::Failed(reason) => ("failed", Some(reason)),
            LetterOutcome::Postponed(reason) => ("postponed", Some(reason)),
            LetterOutcome::Missing => ("missing", None),
        };
        Self { id, outcome: word.to_owned(), reason }
    }

    /// Is the letter gone, and was it there?
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.reason.is_none() && !self.is_missing()
    }

    /// Was there no such letter?
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.outcome == "missing"
    }

    /// Of a letter that was to be taken out, and was there or not.
    #[must_use]
    pub fn dropped(id: i64, there: bool) -> Self {
        let word = if there { "dropped" } else { "missing" };
        Self { id, outcome: word.to_owned(), reason: None }
    }
}
