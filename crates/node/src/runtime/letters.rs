//! Dead letters on the store's thread: tried again or dropped because somebody asked.

use harmonylite_core::effect::PublishedPositions;
use harmonylite_core::input::{Applied, Input, LettersTended};
use harmonylite_sqlite::{Store, StoreError};
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;

use super::clock::wall_ms;
use crate::exit::{ExitCode, ExitError};
use crate::letters::{LETTERS_MAX, LetterReport, LettersAction, LettersReply, LettersRequest};

/// Somebody wants something done with dead letters.
#[derive(Debug)]
pub(crate) struct LettersCall {
    pub(crate) request: LettersRequest,
    pub(crate) reply: oneshot::Sender<LettersReply>,
}

impl LettersCall {
    /// The own streams are not read yet, and the work would stamp (R9).
    pub(crate) fn refuse(self) {
        let message = "the node is still reading what it published before it was started";
        let error = ExitError::new(ExitCode::Unexpected, message)
            .with_hint("try again when `harmonylite status` says that publishing is not `checking` any more");
        self.answer(LettersReply { outcomes: Vec::new(), error: Some(error.into()) });
    }

    /// Does it, tells the core what changed, and answers. `false` when nobody listens any more.
    pub(crate) fn perform(
        self,
        store: &mut Store,
        published: &PublishedPositions,
        inputs: &Sender<Input>,
    ) -> bool {
        let mut reply = LettersReply::default();
        let mut open = true;
        for &id in self.request.ids.iter().take(LETTERS_MAX) {
            match one(store, self.request.action, id, published) {
                Ok((report, applied)) => {
                    let tended = LettersTended { applied, gone: u64::from(report.is_gone()) };
                    reply.outcomes.push(report);
                    open &= inputs.blocking_send(Input::LettersTended(tended)).is_ok();
                }
                Err(error) => {
                    reply.error = Some(ExitError::from(error).into());
                    break;
                }
            }
        }
        self.answer(reply);
        open
    }

    fn answer(self, reply: LettersReply) {
        // Whoever asked may have gone; that is no concern of ours.
        let _gone = self.reply.send(reply);
    }
}

fn one(
    store: &mut Store,
    action: LettersAction,
    id: i64,
    published: &PublishedPositions,
) -> Result<(LetterReport, Applied), StoreError> {
    match action {
        LettersAction::Retry => {
            let (outcome, applied) = store.retry_dead_letter(id, Some(published), wall_ms())?;
            Ok((LetterReport::retried(id, outcome), applied))
        }
        LettersAction::Drop => {
            Ok((LetterReport::dropped(id, store.drop_dead_letter(id)?), Applied::default()))
        }
    }
}
