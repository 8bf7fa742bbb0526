//! A source: looks at a stream and follows it, as the core asks.

use std::collections::VecDeque;
use std::time::Duration;

use harmonylite_core::effect::{Follow, Observe};
use harmonylite_core::input::{Input, StreamFacts};
use harmonylite_core::model::{SourceId, StreamSequence};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::pull::{Pulled, Puller};
use super::stream::{
    StreamIdentity, StreamSettings, ensure_stream, keep_stream, observe_own_stream, observe_stream,
};
use super::{Connection, NatsError};

/// How long an `Observe` waits for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Which stream, and where.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// What the core calls it.
    pub id: SourceId,
    /// The stream's name there.
    pub stream: String,
    /// Its server. Sources of one server share a connection; an own stream uses the one that publishes to it.
    pub connection: Connection,
    /// An own or a shared stream is made when it is missing, and checked, at every look.
    pub own: Option<(StreamSettings, StreamIdentity)>,
}

/// What a source can be asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SourceInput {
    /// Look. Answer: `StreamObserved` or `SourceLost`.
    Observe(Observe),
    /// Deliver; ends an earlier `Follow` without a word. Answers: `Delivered` each; `SourceLost` ends it.
    Follow(Follow),
    /// So many more messages.
    Credit(u32),
    /// Stop delivering.
    Unfollow,
}

/// Runs a source until `cancel`, or until one of the channels is closed. It never waits for room in `inputs` without
/// reading `requests`, so that whoever serves both cannot be locked out; how much is kept is bounded by the credit.
pub fn spawn_source(
    settings: SourceSettings,
    requests: mpsc::Receiver<SourceInput>,
    inputs: mpsc::Sender<Input>,
    cancel: CancellationToken,
) -> JoinHandle<()> {
    let source = Source { settings, ensured: false, following: None, outbox: VecDeque::new() };
    tokio::spawn(async move {
        tokio::select! {
            biased;
            () = cancel.cancelled() => {}
            () = source.run(requests, inputs) => {}
        }
    })
}

struct Following {
    epoch: u64,
    puller: Puller,
}

struct Source {
    settings: SourceSettings,
    /// The settings of an own stream were seen to be as they should be.
    ensured: bool,
    following: Option<Following>,
    /// What the core is to know and has not been told.
    outbox: VecDeque<Input>,
}

impl Source {
    async fn run(mut self, mut requests: mpsc::Receiver<SourceInput>, inputs: mpsc::Sender<Input>) {
        loop {
            tokio::select! {
                biased;
                permit = inputs.reserve(), if !self.outbox.is_empty() => match permit {
                    Ok(permit) => if let Some(input) = self.outbox.pop_front() { permit.send(input) },
                    Err(_) => return,
                },
                request = requests.recv() => match request {
                    Some(request) => self.carry_out(request).await,
                    None => return,
                },
                pulled = next(&mut self.following) => self.take(pulled).await,
            }
        }
    }

    async fn carry_out(&mut self, request: SourceInput) {
        match request {
            SourceInput::Observe(observe) => self.observe(observe.at).await,
            SourceInput::Follow(follow) => self.follow(&follow).await,
            SourceInput::Unfollow => self.following = None,
            SourceInput::Credit(messages) => {
                if let Some(following) = &mut self.following {
                    following.puller.allow(messages);
                }
                self.ask().await;
            }
        }
    }

    async fn observe(&mut self, at: StreamSequence) {
        let source = self.settings.id.clone();
        let input = match self.look(at).await {
            Ok(stream) => Input::StreamObserved { source, stream },
            Err(error) => Input::SourceLost { source, epoch: None, error: error.to_string() },
        };
        self.outbox.push_back(input);
    }

    async fn look(&mut self, at: StreamSequence) -> Result<StreamFacts, NatsError> {
        let SourceSettings { connection, stream, own, .. } = &self.settings;
        let peer = connection.ready(CONNECT_TIMEOUT).await?;
        let Some((settings, identity)) = own else { return observe_stream(connection, stream, at).await };
        peer.check_version(connection.server())?;
        if self.ensured {
            keep_stream(connection, settings, identity).await?;
        } else {
            ensure_stream(connection, settings, identity).await?;
            self.ensured = true;
        }
        observe_own_stream(connection, stream, at).await
    }

    async fn follow(&mut self, follow: &Follow) {
        self.following = None;
        let SourceSettings { connection, stream, .. } = &self.settings;
        match Puller::start(connection, stream, follow.after, follow.credit).await {
            Ok(puller) => {
                self.following = Some(Following { epoch: follow.epoch, puller });
                self.ask().await;
            }
            Err(error) => self.lost(follow.epoch, error.to_string()),
        }
    }

    async fn take(&mut self, pulled: (u64, Pulled)) {
        let (epoch, pulled) = pulled;
        match pulled {
            Pulled::Message { sequence, bytes } => {
                let source = self.settings.id.clone();
                self.outbox.push_back(Input::Delivered { source, epoch, sequence, bytes });
                self.ask().await;
            }
            Pulled::Nothing => self.ask().await,
            Pulled::Ended(reason) => self.end(reason),
        }
    }

    async fn ask(&mut self) {
        let Some(following) = &mut self.following else { return };
        if let Err(error) = following.puller.ask().await {
            self.end(error.to_string());
        }
    }

    fn end(&mut self, reason: String) {
        if let Some(following) = self.following.take() {
            self.lost(following.epoch, reason);
        }
    }

    fn lost(&mut self, epoch: u64, error: String) {
        let source = self.settings.id.clone();
        self.outbox.push_back(Input::SourceLost { source, epoch: Some(epoch), error });
    }
}

/// What comes of the stream that is followed; forever nothing when none is.
async fn next(following: &mut Option<Following>) -> (u64, Pulled) {
    match following {
        Some(following) => (following.epoch, following.puller.next().await),
        None => std::future::pending().await,
    }
}
