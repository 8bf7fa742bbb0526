//! What fails again and again, and has been failing since when: said once when it begins and once when it is over, and kept
//! for the status in between.

use std::collections::BTreeMap;

use crate::effect::{Effect, Effects};
use crate::event::Event;
use crate::input::{Input, StoreRequest};
use crate::model::Shard;
use crate::status::Trouble;

/// What fails at the moment.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    failing: BTreeMap<Work, String>,
}

/// Something that is tried until it succeeds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Work {
    Apply,
    Store(StoreRequest),
    Publish(Shard),
}

impl Troubles {
    /// The store refused a request, and not because it was busy.
    pub(crate) fn on_store(&mut self, request: StoreRequest, error: &str, effects: &mut Effects) {
        self.on_failed(Work::Store(request), error, effects);
    }

    /// A group could not be applied, for a reason that is not its own.
    pub(crate) fn on_apply(&mut self, error: &str, effects: &mut Effects) {
        self.on_failed(Work::Apply, error, effects);
    }

    /// A group is not known to be stored.
    pub(crate) fn on_publish(&mut self, shard: Shard, error: &str, effects: &mut Effects) {
        self.on_failed(Work::Publish(shard), error, effects);
    }

    /// What succeeds fails no more.
    pub(crate) fn on_input(&mut self, input: &Input, effects: &mut Effects) {
        let done = match input {
            Input::Applied(_) => Work::Apply,
            Input::LogRead(_) => Work::Store(StoreRequest::ReadLog),
            Input::OwnFramesInspected { .. } => Work::Store(StoreRequest::InspectOwnFrames),
            Input::IncarnationMinted(_) => Work::Store(StoreRequest::MintIncarnation),
            Input::Housekept(_) => Work::Store(StoreRequest::Housekeep),
            Input::SchemaRead(_) => Work::Store(StoreRequest::ReadSchema),
            Input::Scanned(_) => Work::Store(StoreRequest::Scan),
            Input::Published { shard, .. } => Work::Publish(*shard),
            _ => return,
        };
        if self.failing.remove(&done).is_some() {
            effects.push(Effect::Emit(Event::TroubleOver { what: done.name() }));
        }
    }

    /// For the status.
    pub(crate) fn status(&self) -> Vec<Trouble> {
        let trouble = |(work, error): (&Work, &String)| Trouble { what: work.name(), error: error.clone() };
        self.failing.iter().map(trouble).collect()
    }

    /// The same error again is no news.
    fn on_failed(&mut self, work: Work, error: &str, effects: &mut Effects) {
        if self.failing.insert(work, error.to_owned()).as_deref() != Some(error) {
            effects.push(Effect::Emit(match work {
                Work::Publish(shard) => Event::PublishUncertain { shard, error: error.to_owned() },
                _ => Event::StoreTrouble { request: work.name(), error: error.to_owned() },
            }));
        }
    }
}

impl Work {
    const fn name(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Store(request) => request.name(),
            Self::Publish(_) => "publish",
        }
    }
}
