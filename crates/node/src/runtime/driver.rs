//! The driver: inputs in, effects out, one arm for each.
//!
//! It decides nothing. Everything it starts answers through the one channel of inputs, which is bounded: a source that
//! is faster than the database waits.

use std::collections::BTreeMap;
use std::time::Duration;

use harmonylite_core::effect::{Effect, Publish};
use harmonylite_core::input::{Input, Timestamp};
use harmonylite_core::model::{Incarnation, Shard, SourceId};
use harmonylite_core::replicator::Replicator;
use harmonylite_core::status::Status;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::letters::LettersCall;
use super::reload::Retuning;
use super::store_thread::{Request, StoreHandle};
use super::timers::Timers;
use super::watchdog::Watchdog;
use crate::nats::SourceInput;
use crate::telemetry::events;

/// Inputs on their way to the core. Small: what waits here is in no account of the core's.
pub(crate) const INPUTS_MAX: usize = 64;
/// How long an orderly end may take. After it the process ends as if killed, which loses nothing either.
const SHUTDOWN_MAX: Duration = Duration::from_secs(8);

/// A source that became known while running.
#[derive(Debug)]
pub(crate) struct NewSource {
    pub(crate) id: SourceId,
    pub(crate) shard: Shard,
    pub(crate) requests: mpsc::Sender<SourceInput>,
}

/// What reaches the driver besides inputs.
#[derive(Debug)]
pub(crate) enum Call {
    /// Somebody asks for the status.
    Status(oneshot::Sender<Status>),
    /// Somebody wants something done with dead letters.
    Letters(LettersCall),
    /// A peer's stream is to be read, or is reached another way from now on.
    Source(NewSource),
    /// The configuration was read again.
    Retune(Retuning),
    /// It is not to be read any more.
    NoSource(SourceId),
    /// Members came, went or moved; the answer is whether the list was saved.
    SaveMembers(Vec<u8>, oneshot::Sender<bool>),
}

/// Where effects go.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) store: StoreHandle,
    pub(crate) publishers: BTreeMap<Shard, mpsc::Sender<Publish>>,
    pub(crate) sources: BTreeMap<SourceId, mpsc::Sender<SourceInput>>,
}

/// Why the driver ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DriverError {
    /// The store thread is gone: it panicked.
    #[error("the store thread ended")]
    StoreGone,
    /// An orderly end took too long.
    #[error("the orderly end took longer than {} s", SHUTDOWN_MAX.as_secs())]
    ShutdownTooSlow,
}

/// Runs one node.
pub(crate) struct Driver {
    replicator: Replicator,
    world: World,
    timers: Timers,
    clock: Clock,
    ended: bool,
}

impl Driver {
    /// Carries out what the replicator asked for when it was made.
    pub(crate) fn start(
        replicator: Replicator,
        world: World,
        effects: Vec<Effect>,
    ) -> Result<Self, DriverError> {
        let (timers, clock) = (Timers::default(), Clock::default());
        let mut driver = Self { replicator, world, timers, clock, ended: false };
        driver.perform(effects)?;
        Ok(driver)
    }

    /// Until the core says that everything is saved, after `stop`; gives its last status.
    pub(crate) async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut calls: mpsc::Receiver<Call>,
        mut watchdog: Watchdog,
        stop: CancellationToken,
    ) -> Result<Status, DriverError> {
        let mut deadline = None;
        while !self.ended {
            let next_timer = self.timers.next();
            tokio::select! {
                input = inputs.recv() => self.handle(input.ok_or(DriverError::StoreGone)?)?,
                Some(call) = calls.recv() => self.answer(call)?,
                () = at(next_timer) => {
                    for timer in self.timers.take_due() {
                        self.handle(Input::TimerFired(timer))?;
                    }
                }
                () = at(watchdog.next()) => watchdog.look(&self.replicator.status()),
                () = stop.cancelled(), if deadline.is_none() => {
                    watchdog.manager.stopping();
                    deadline = Some(Instant::now() + SHUTDOWN_MAX);
                    self.handle(Input::ShutdownRequested)?;
                }
                () = at(deadline) => return Err(DriverError::ShutdownTooSlow),
            }
        }
        if deadline.is_none() {
            watchdog.manager.stopping();
        }
        Ok(self.replicator.status())
    }

    fn answer(&mut self, call: Call) -> Result<(), DriverError> {
        match call {
            Call::Status(reply) => {
                // Whoever asked may have gone; that is no concern of ours.
                let _gone = reply.send(self.replicator.status());
                Ok(())
            }
            Call::Letters(call) => match self.replicator.published().cloned() {
                Some(published) => self.ask_store(Request::Letters(call, published)),
                None => {
                    call.refuse();
                    Ok(())
                }
            },
            Call::Retune(Retuning { core, retention, poll }) => {
                self.world.store.retune(retention, poll);
                self.handle(Input::Retuned(core))
            }
            Call::Source(NewSource { id, shard, requests }) => {
                let before = self.world.sources.insert(id.clone(), requests);
                self.handle(Input::SourceAdded { source: id.clone(), shard })?;
                if before.is_none() {
                    return Ok(());
                }
                // The task that read it ends with its channel, and can say so no more.
                let error = "its node is reached another way now".to_owned();
                self.handle(Input::SourceLost { source: id, epoch: None, error })
            }
            Call::NoSource(id) => {
                self.handle(Input::SourceRemoved { source: id.clone() })?;
                self.world.sources.remove(&id);
                Ok(())
            }
            Call::SaveMembers(members, reply) => self.ask_store(Request::SaveMembers(members, reply)),
        }
    }

    fn handle(&mut self, input: Input) -> Result<(), DriverError> {
        let mut effects = Vec::new();
        let now: Timestamp = self.clock.now();
        self.replicator.handle(now, input, &mut effects);
        self.perform(effects)
    }

    fn perform(&mut self, effects: Vec<Effect>) -> Result<(), DriverError> {
        for effect in effects {
            match effect {
                Effect::ReadLog(request) => self.ask_store(Request::ReadLog(request))?,
                Effect::Apply(batch) => self.ask_store(Request::Apply(batch))?,
                Effect::InspectOwnFrames(groups) => self.ask_store(Request::InspectOwnFrames(groups))?,
                Effect::MintIncarnation => self.ask_store(Request::MintIncarnation(random_incarnation()))?,
                Effect::Housekeep(request) => self.ask_store(Request::Housekeep(request))?,
                Effect::Scan(request) => self.ask_store(Request::Scan(request))?,
                Effect::ReadSchema => self.ask_store(Request::ReadSchema)?,
                Effect::Publish(publish) => self.publish(publish)?,
                Effect::Observe(request) => {
                    let source = request.source.clone();
                    self.ask_source(&source, SourceInput::Observe(request), Some(None))?;
                }
                Effect::Follow(request) => {
                    let (source, epoch) = (request.source.clone(), request.epoch);
                    self.ask_source(&source, SourceInput::Follow(request), Some(Some(epoch)))?;
                }
                Effect::Credit { source, messages } => {
                    self.ask_source(&source, SourceInput::Credit(messages), None)?;
                }
                Effect::Unfollow { source } => self.ask_source(&source, SourceInput::Unfollow, None)?,
                Effect::SetTimer { timer, after_ms } => self.timers.set(timer, after_ms),
                Effect::Emit(event) => events::log(&event),
                Effect::Exit => self.ended = true,
            }
        }
        Ok(())
    }

    fn ask_store(&self, request: Request) -> Result<(), DriverError> {
        if self.world.store.send(request) { Ok(()) } else { Err(DriverError::StoreGone) }
    }

    /// The channel holds one publish and the core sends no second one before the answer.
    fn publish(&mut self, publish: Publish) -> Result<(), DriverError> {
        let shard = publish.shard;
        let sent =
            self.world.publishers.get(&shard).is_some_and(|publisher| publisher.try_send(publish).is_ok());
        if sent {
            return Ok(());
        }
        let error = "the publisher of this shard is gone".to_owned();
        self.handle(Input::PublishFailed { shard, error })
    }

    /// `answer`: the request promises one (with that epoch); if the source is gone or does not keep up, it is ours.
    fn ask_source(
        &mut self,
        source: &SourceId,
        request: SourceInput,
        answer: Option<Option<u64>>,
    ) -> Result<(), DriverError> {
        let sent = self.world.sources.get(source).is_some_and(|requests| requests.try_send(request).is_ok());
        match answer {
            Some(epoch) if !sent => {
                let error = "its task does not take requests".to_owned();
                self.handle(Input::SourceLost { source: source.clone(), epoch, error })
            }
            _ => Ok(()),
        }
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// A fresh incarnation. Without random numbers the clock serves: two lives of one database do not begin in one
/// nanosecond.
pub(crate) fn random_incarnation() -> Incarnation {
    let nanos = std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64);
    Incarnation::from_random(getrandom::u64().unwrap_or(nanos))
}
