//! The end of a node with which nothing happens any more (`sleep_timeout`): for machines that are paid for by the hour.
//!
//! Every event winds a timer up again. When it fires and nothing is left to be sent or applied, the node ends in order.

use crate::effect::{Effect, Effects, Timer};
use crate::input::Input;

/// When the node falls asleep.
#[derive(Debug)]
pub(crate) struct Sleep {
    /// In milliseconds; `None` never.
    after_ms: Option<u64>,
}

impl Sleep {
    /// After so many milliseconds without an event.
    pub(crate) fn new(after_ms: Option<u64>) -> Self {
        Self { after_ms }
    }

    /// Another time from now on.
    pub(crate) fn set(&mut self, after_ms: Option<u64>, effects: &mut Effects) {
        self.after_ms = after_ms;
        self.wind_up(effects);
    }

    /// From now on the whole time has to pass again.
    pub(crate) fn wind_up(&self, effects: &mut Effects) {
        if let Some(after_ms) = self.after_ms {
            effects.push(Effect::SetTimer { timer: Timer::Sleep, after_ms });
        }
    }

    /// Somebody wrote, here or elsewhere, or what was written went on its way.
    pub(crate) fn on_input(&self, input: &Input, effects: &mut Effects) {
        let event = matches!(
            input,
            Input::LogChanged
                | Input::Published { .. }
                | Input::Delivered { .. }
                | Input::Applied(_)
                | Input::LettersTended(_)
        );
        if event {
            self.wind_up(effects);
        }
    }

    /// The time that has passed; `None` when it was set to never meanwhile.
    pub(crate) fn passed_ms(&self) -> Option<u64> {
        self.after_ms
    }
}
