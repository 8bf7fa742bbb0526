//! A stream of a supervised nats-server and the simulator's model of it: whatever is done is done to both, and then both
//! must show the same.

use std::path::{Path, PathBuf};

use async_nats::jetstream;
use harmonylite::nats::{
    Connection, PublishError, Server, SourceInput, ensure_stream, observe_stream, publish_group,
};
use harmonylite_core::codec::Message;
use harmonylite_core::input::Input;
use harmonylite_core::model::StreamSequence;
use harmonylite_sim::stream::Refusal::{Duplicate, OtherLast};
use harmonylite_sim::stream::{Refusal, Stream};
use tempfile::TempDir;

use crate::source::Followed;
use crate::stream::group;
use crate::support::{
    STREAM, SUBJECT, child_pid, connect, identity, kill, raw_client, settings, soon, start, stream_settings,
};

/// More messages than a reader leaves unread here, and few enough for the requests that a consumer can have waiting.
const CREDIT: u32 = 4000;
/// No script takes as long as the duplicate window.
pub(crate) const NOW_MS: u64 = 1;

/// A stream of a supervised server and its model.
pub(crate) struct Both {
    dir: TempDir,
    server: Server,
    pub(crate) connection: Connection,
    pub(crate) raw: jetstream::Context,
    pub(crate) model: Stream,
    /// Reads to the end at every step.
    tail: Reader,
    /// The model when the server's files were copied.
    pub(crate) kept: Option<Stream>,
    /// Messages made so far: each has other bytes.
    made: i64,
}

impl Both {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (server, connection, raw) = serve(dir.path()).await;
        let made = ensure_stream(&connection, &stream_settings(), &identity()).await.unwrap();
        let model = Stream::new(made.stream_id);
        let tail = Reader::start(&connection, &model, 0, CREDIT).await;
        let mut both = Self { dir, server, connection, raw, model, tail, kept: None, made: 0 };
        both.agree().await;
        both
    }

    /// Publishes messages with these ids on both sides.
    pub(crate) async fn publish<'i>(
        &mut self,
        ids: impl IntoIterator<Item = &'i str>,
        expected: impl Into<Option<u64>>,
    ) -> Result<u64, Refusal> {
        let make = |id: &str| {
            self.made += 1;
            let mut message = group(self.made).remove(0);
            message.id = id.to_owned();
            message
        };
        let group: Vec<Message> = ids.into_iter().map(make).collect();
        let ids: Vec<_> = group.iter().take(10).map(|message| message.id.clone()).collect();
        let expected = expected.into();
        let after = expected.map(StreamSequence);
        let real =
            soon("answer", publish_group(&self.connection, STREAM, SUBJECT, group.clone(), after)).await;
        let model = self.model.publish(NOW_MS, expected, group);
        assert_eq!(model, outcome(real), "publishing {ids:?} after {expected:?}");
        self.agree().await;
        model
    }

    /// Everything below `first` is purged.
    pub(crate) async fn purge(&mut self, first: u64) {
        self.raw.get_stream(STREAM).await.unwrap().purge().sequence(first).await.unwrap();
        self.model.truncate(first);
        self.agree().await;
    }

    /// The stream is limited to `keep` messages.
    pub(crate) async fn limit(&mut self, keep: u64) {
        self.set_limit(keep).await;
        self.model.truncate((self.model.last() + 1).saturating_sub(keep));
        self.agree().await;
    }

    /// The limit is taken away.
    pub(crate) async fn lift(&mut self) {
        self.set_limit(0).await;
        self.agree().await;
    }

    async fn set_limit(&self, max_messages: u64) {
        let mut settings = stream_settings();
        settings.max_messages = max_messages;
        settings.update_existing = true;
        ensure_stream(&self.connection, &settings, &identity()).await.unwrap();
    }

    /// The stream is deleted, and made again as the product makes a missing one.
    pub(crate) async fn recreate(&mut self) {
        self.raw.delete_stream(STREAM).await.unwrap();
        self.tail.expect_lost().await;
        let made = ensure_stream(&self.connection, &stream_settings(), &identity()).await.unwrap();
        assert_ne!(made.stream_id, self.model.id(), "the identity is another one");
        self.model = Stream::new(made.stream_id);
        self.tail = Reader::start(&self.connection, &self.model, 0, CREDIT).await;
        self.agree().await;
    }

    /// The server ends and starts again; in between something is done to its files and to the model.
    pub(crate) async fn between(self, files: impl FnOnce(&Path), change: impl FnOnce(&mut Stream)) -> Self {
        let Self { dir, server, mut model, kept, made, .. } = self;
        soon("stop", server.stop()).await;
        files(dir.path());
        change(&mut model);
        let (server, connection, raw) = serve(dir.path()).await;
        let tail = Reader::start(&connection, &model, 0, CREDIT).await;
        let mut both = Self { dir, server, connection, raw, model, tail, kept, made };
        both.agree().await;
        both
    }

    pub(crate) async fn restart(self) -> Self {
        self.between(|_| {}, Stream::restart).await
    }

    /// Kills the server, which is then not started again.
    pub(crate) fn kill(&self) {
        kill(child_pid(self.dir.path()));
    }

    pub(crate) async fn crash(self) -> Self {
        self.kill();
        self.restart().await
    }

    /// The server's files are copied.
    pub(crate) async fn keep(self) -> Self {
        let files = |dir: &Path| {
            let _ = std::fs::remove_dir_all(copy(dir));
            copy_files(&store(dir), &copy(dir));
        };
        let mut both = self.between(files, Stream::restart).await;
        both.kept = Some(both.model.clone());
        both
    }

    /// The copied files are put back.
    pub(crate) async fn go_back(self) -> Self {
        let kept = self.kept.clone().unwrap();
        let files = |dir: &Path| {
            std::fs::remove_dir_all(store(dir)).unwrap();
            copy_files(&copy(dir), &store(dir));
        };
        let change = |model: &mut Stream| {
            if (kept.id(), kept.first()) == (model.id(), model.first()) {
                model.roll_back(kept.last());
            } else {
                // Older in other ways, too: discarded messages are back, or another stream.
                *model = kept;
                model.restart();
            }
        };
        self.between(files, change).await
    }

    /// Both sides show the same.
    async fn agree(&mut self) {
        self.agree_at(self.model.first()).await;
        self.agree_at(self.model.last()).await;
        self.tail.read(&self.model).await;
        if self.tail.next.is_none() {
            self.tail = Reader::start(&self.connection, &self.model, self.model.last(), CREDIT).await;
            // It must stand before the stream changes again: what it is to get first was said for this one.
            self.tail.read(&self.model).await;
        }
    }

    async fn agree_at(&self, at: u64) {
        let (id, first, last) = (self.model.id(), self.model.first(), self.model.last());
        let mark = self.model.message(at).map(|message| message.mark);
        let real = observe_stream(&self.connection, STREAM, StreamSequence(at)).await.unwrap();
        let real = (real.stream_id.as_str(), real.first.0, real.last.0, real.mark);
        assert_eq!((id, first, last, mark), real, "at {at}");
    }

    /// Both sides have the same messages, and readers that begin anywhere get the same one first.
    pub(crate) async fn agree_in_all(&self) {
        let (first, last) = (self.model.first(), self.model.last());
        for at in [0, first - 1, first.midpoint(last), last + 1, u64::MAX] {
            self.agree_at(at).await;
        }
        for after in [0, first - 1, first, first.midpoint(last), last.saturating_sub(1), last + 1, last + 7] {
            Reader::start(&self.connection, &self.model, after, 1).await.read(&self.model).await;
        }
        Reader::start(&self.connection, &self.model, 0, CREDIT).await.read(&self.model).await;
    }
}

/// A reader on both sides: the product's source, and what the model says that it gets.
pub(crate) struct Reader {
    source: Followed,
    credit: u32,
    /// What must come next; `None`: it is lost.
    pub(crate) next: Option<u64>,
}

impl Reader {
    pub(crate) async fn start(connection: &Connection, model: &Stream, after: u64, credit: u32) -> Self {
        let mut reader = Self { source: Followed::new(connection), credit, next: model.follow(after) };
        reader.source.follow(1, after, credit).await;
        if reader.next.is_none() {
            reader.expect_lost().await;
        }
        reader
    }

    pub(crate) async fn allow(&mut self, messages: u32) {
        self.credit += messages;
        self.source.send(SourceInput::Credit(messages)).await;
    }

    /// The same messages come on both sides as far as there is credit, or it is lost on both.
    pub(crate) async fn read(&mut self, model: &Stream) {
        while self.credit > 0
            && let Some(next) = self.next
            && let Some((sequence, message)) = model.next(next)
        {
            if sequence != next {
                return self.expect_lost().await;
            }
            match soon("message", self.source.next()).await {
                Input::Delivered { sequence, bytes, .. } => {
                    assert_eq!((sequence.0, &bytes), (next, &message.bytes));
                }
                other => panic!("not message {next}: {other:?}"),
            }
            self.next = Some(next + 1);
            self.credit -= 1;
        }
        if self.next.is_some() {
            // What the source had to say before that would come before the answer.
            self.source.observe().await.unwrap();
        }
    }

    async fn expect_lost(&mut self) {
        let input = soon("loss", self.source.next()).await;
        assert!(matches!(input, Input::SourceLost { epoch: Some(1), .. }), "{input:?}");
        self.next = None;
    }
}

async fn serve(dir: &Path) -> (Server, Connection, jetstream::Context) {
    let (server, _) = start(settings(dir)).await;
    let connection = connect(&server.connect_settings()).await;
    let raw = jetstream::new(raw_client(&server, dir).await);
    (server, connection, raw)
}

pub(crate) fn outcome(real: Result<StreamSequence, PublishError>) -> Result<u64, Refusal> {
    real.map(|last| last.0).map_err(|PublishError { error }| {
        let says = |words: &[&str]| words.iter().any(|word| error.contains(word));
        match (says(&["(10071)", "(10164)"]), says(&["(10201)", "already, at sequence"])) {
            (true, false) => OtherLast,
            (false, true) => Duplicate,
            _ => panic!("another error: {error}"),
        }
    })
}

/// Where node 1's server has its files.
fn store(dir: &Path) -> PathBuf {
    dir.join("nats/harmonylite-node-1")
}

fn copy(dir: &Path) -> PathBuf {
    dir.join("copy")
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).unwrap();
        if entry.is_dir() {
            copy_files(&entry, &target);
        } else {
            std::fs::copy(&entry, &target).unwrap();
        }
    }
}
