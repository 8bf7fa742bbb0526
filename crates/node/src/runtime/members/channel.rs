//! Shared mode: all members hear all others on one subject, so nobody has to be dialled. A record is only answered when
//! it is refused, or when its node asks whether it may start.

use std::sync::Arc;

use harmonylite_core::members::{Answer, Heard, decode_answer, encode_answer};

use super::Shared;
use crate::nats::{Connection, MemberChannel, Word};
use crate::runtime::own_streams::members_subject;

/// Speaks and listens until the task is dropped.
pub(super) async fn run(shared: Arc<Shared>, connection: Connection) {
    let mut channel = match MemberChannel::open(&connection, members_subject(&shared.settings)).await {
        Ok(channel) => channel,
        Err(error) => return tracing::error!(%error, "other members are not heard"),
    };
    let mut record = shared.record.subscribe();
    loop {
        tokio::select! {
            changed = record.changed() => {
                if changed.is_err() {
                    return;
                }
                let bytes = record.borrow_and_update().clone();
                if let Err(error) = channel.say(bytes).await {
                    tracing::debug!(%error, "other members do not hear us");
                }
            }
            word = channel.next() => match word {
                Some(word) => take(&shared, &channel, word).await,
                None => return,
            }
        }
    }
}

async fn take(shared: &Shared, channel: &MemberChannel, word: Word) {
    match word {
        Word::Record { bytes, reply } => {
            let (answer, asks) = shared.answer(&bytes);
            if let Some(reply) = reply.filter(|_| asks || matches!(answer, Answer::Refused(_))) {
                channel.answer(reply, encode_answer(&answer)).await;
            }
        }
        Word::Answer(bytes) => match decode_answer(&bytes) {
            Ok(answer) => note(shared, &answer),
            Err(error) => tracing::debug!(%error, "an answer is not understood"),
        },
    }
}

fn note(shared: &Shared, answer: &Answer) {
    let now = shared.now();
    let mut state = shared.state();
    if let Heard::Refused(refusal) = state.roster.on_answer(now, answer)
        && state.channel_refusal.as_ref() != Some(&refusal)
    {
        tracing::warn!(reason = %refusal, "a member refuses us");
        state.channel_refusal = Some(refusal);
    }
    shared.look_again(&state);
}
