//! A member that there is no node for: it answers calls on a server of the test's, so that the streams there are followed.

use std::thread::JoinHandle;

use harmonylite::nats::{Auth, ConnectSettings, Connection, answer_hellos};
use harmonylite_core::members::{
    Identity, Life, Moment, Progress, Refusal, Roster, decode_hello, encode_answer,
};
use harmonylite_core::model::NodeId;
use harmonylite_testkit::{Context, NatsServer, Result};
use tokio_util::sync::CancellationToken;

use crate::support::DEADLINE;

/// Answers until it is dropped.
pub(crate) struct FakeMember {
    stop: CancellationToken,
    thread: Option<JoinHandle<Result<()>>>,
}

impl FakeMember {
    /// Node `id` of the default cluster, with one shard, listening on `server`.
    pub(crate) fn start(id: u64, server: &NatsServer) -> Result<Self> {
        let identity = Identity {
            node: NodeId::new(id).context("node id")?,
            process: 1,
            home: 1,
            started_ms: 1,
            cluster: "e-harmonylite".to_owned(),
            shards: 1,
            release: "0.0.0".to_owned(),
            address: None,
        };
        let settings = ConnectSettings {
            name: "fake".into(),
            servers: vec![server.url()],
            auth: Auth::Anonymous,
            tls: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = stopped.cancelled() => Ok(()),
                    outcome = serve(&settings, Roster::new(identity, Vec::new())) => outcome,
                }
            })
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for FakeMember {
    fn drop(&mut self) {
        self.stop.cancel();
        let joined = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(joined, Some(Ok(Ok(())))), "the fake member failed");
    }
}

async fn serve(settings: &ConnectSettings, mut roster: Roster) -> Result<()> {
    let connection = Connection::open(settings).await?;
    connection.ready(DEADLINE).await?;
    roster.beat(Moment::default(), Life::Running, None, Progress::default());
    let answer = |hello: &[u8]| {
        let answer = decode_hello(hello).map_or_else(
            |error| harmonylite_core::members::Answer::Refused(Refusal::format(&error)),
            |record| roster.on_hello(Moment::default(), &record),
        );
        encode_answer(&answer)
    };
    Ok(answer_hellos(&connection, answer).await?)
}
