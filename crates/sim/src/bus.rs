//! The ways between nodes and streams: publishing, looking, following, with delays, cuts and lost answers.

use harmonylite_core::effect::{Follow, Publish};
use harmonylite_core::input::{Input, StreamFacts};
use harmonylite_core::model::{Shard, SourceId, StreamSequence};

use crate::Failure;
use crate::checkers;
use crate::node::{CLUSTER, Following};
use crate::stream::Refusal;
use crate::world::{Happening, Placed, World};

impl World<'_> {
    pub(crate) fn publish(&mut self, node: usize, publish: Publish) -> Result<(), Failure> {
        for message in &publish.messages {
            let content = *self.sent.entry(message.id.clone()).or_insert(message.mark.0);
            if content != message.mark.0 {
                let text = format!("R6: node {}: two messages have the id {}", node + 1, message.id);
                return Err(Failure::new(text));
            }
        }
        let unknown = !self.healed && self.random.chance(self.plan.profile.unknown_percent);
        let (after, life) = (self.delay(), self.nodes[node].life);
        let shard = publish.shard;
        if !unknown {
            self.schedule(after, Happening::Arrive { node, life, publish, answered: true });
            return Ok(());
        }
        self.history.counts.note("unknown outcomes");
        // Nobody answers: never sent, or stored all the same, perhaps much later.
        if self.random.chance(70) {
            let late = if self.random.chance(50) { after } else { self.random.below(3000) };
            self.schedule(late, Happening::Arrive { node, life, publish, answered: false });
        }
        let failed = Input::PublishFailed { shard, error: "nobody answers".to_owned() };
        self.schedule(after + 1, Happening::Input(node, life, failed));
        Ok(())
    }

    /// The stream that a node publishes a shard to.
    pub(crate) fn own_stream(&self, node: usize, shard: Shard) -> Option<usize> {
        let own = |it: &Placed| it.shard == shard && it.owner.is_none_or(|owner| owner == node);
        self.streams.iter().position(own)
    }

    pub(crate) fn arrive(
        &mut self,
        node: usize,
        life: u64,
        publish: Publish,
        answered: bool,
    ) -> Result<(), Failure> {
        let Publish { shard, expected_last, messages } = publish;
        let Some(index) = self.own_stream(node, shard) else { return Ok(()) };
        // In mesh mode the server dies with the process, and what was on its way with both.
        let owner = self.streams[index].owner;
        let gone = owner.is_some() && !self.lives(node, life);
        if gone || self.away.contains(&owner.unwrap_or(0)) || self.cut.contains(&(node, node)) {
            if answered {
                let error = "no server".to_owned();
                self.schedule(5, Happening::Input(node, life, Input::PublishFailed { shard, error }));
            }
            return Ok(());
        }
        checkers::published(self, node, &messages)?;
        let now = self.now;
        let stored = self.streams[index].stream.publish(now, expected_last.map(|last| last.0), messages);
        self.history.note(now, || format!("node {} stream: {stored:?}", node + 1));
        if answered {
            let answer = match stored {
                Ok(last) => Input::Published { shard, last: StreamSequence(last) },
                Err(refusal) => Input::PublishFailed { shard, error: refused(refusal) },
            };
            let after = self.delay();
            self.schedule(after, Happening::Input(node, life, answer));
        }
        let id = self.streams[index].id.clone();
        for follower in 0..self.nodes.len() {
            self.pump(follower, &id);
        }
        Ok(())
    }

    pub(crate) fn placed(&self, id: &SourceId) -> Option<&Placed> {
        self.streams.iter().find(|placed| placed.id == *id)
    }

    fn reaches(&self, node: usize, placed: &Placed) -> bool {
        match placed.owner {
            // A server dies with its sidecar.
            Some(owner) => {
                self.nodes[owner].process.is_some()
                    && !self.away.contains(&owner)
                    && !self.cut.contains(&(node.min(owner), node.max(owner)))
            }
            None => !self.away.contains(&0) && !self.cut.contains(&(node, node)),
        }
    }

    pub(crate) fn observe(&mut self, node: usize, id: SourceId, at: StreamSequence) {
        let reached = self.placed(&id).filter(|placed| self.reaches(node, placed));
        let answer = match reached {
            Some(placed) => Input::StreamObserved { stream: self.facts(placed, at), source: id },
            None => Input::SourceLost { source: id, epoch: None, error: "out of reach".to_owned() },
        };
        let (after, life) = (self.delay(), self.nodes[node].life);
        self.schedule(after, Happening::Input(node, life, answer));
    }

    fn facts(&self, placed: &Placed, at: StreamSequence) -> StreamFacts {
        let stream = &placed.stream;
        StreamFacts {
            stream_id: stream.id().to_owned(),
            node: placed.owner.map(|owner| self.nodes[owner].id),
            cluster: CLUSTER.to_owned(),
            shard: placed.shard,
            shards: self.plan.profile.shards,
            first: StreamSequence(stream.first()),
            last: StreamSequence(stream.last()),
            mark: stream.message(at.0).map(|message| message.mark),
            baseline: None,
        }
    }

    pub(crate) fn follow(&mut self, node: usize, follow: Follow) {
        let Follow { source, epoch, after, credit } = follow;
        let next = self.placed(&source).and_then(|placed| placed.stream.follow(after.0));
        let following = Following { epoch, next: next.unwrap_or_default(), credit, pumping: false };
        self.with_following(node, |all| {
            all.insert(source.clone(), following);
        });
        match next {
            Some(_) => self.pump(node, &source),
            None => self.lose_source(node, &source),
        }
    }

    pub(crate) fn pump(&mut self, node: usize, id: &SourceId) {
        let (after, life) = (self.delay(), self.nodes[node].life);
        let Some(process) = &mut self.nodes[node].process else { return };
        let Some(following) = process.following.get_mut(id) else { return };
        if !std::mem::replace(&mut following.pumping, true) {
            self.schedule(after, Happening::Deliver(node, life, id.clone()));
        }
    }

    pub(crate) fn deliver(&mut self, node: usize, life: u64, id: &SourceId) {
        if !self.lives(node, life) {
            return;
        }
        let Some(placed) = self.streams.iter().find(|placed| placed.id == *id) else { return };
        let reached = self.reaches(node, placed);
        let Some(process) = &mut self.nodes[node].process else { return };
        let Some(following) = process.following.get_mut(id) else { return };
        following.pumping = false;
        if !reached {
            return self.lose_source(node, id);
        }
        if following.credit == 0 {
            return;
        }
        let Some((sequence, message)) = placed.stream.next(following.next) else { return };
        if sequence != following.next {
            return self.lose_source(node, id);
        }
        let (epoch, bytes) = (following.epoch, message.bytes.clone());
        following.next = sequence + 1;
        following.credit -= 1;
        following.pumping = true;
        // In order: one message at a time is under way.
        let input = Input::Delivered { source: id.clone(), epoch, sequence: StreamSequence(sequence), bytes };
        self.schedule(0, Happening::Input(node, life, input));
        let pause = self.random.below(2);
        self.schedule(pause, Happening::Deliver(node, life, id.clone()));
    }

    /// A node's connection to a stream breaks.
    pub(crate) fn lose_source(&mut self, node: usize, id: &SourceId) {
        let Some(process) = &mut self.nodes[node].process else { return };
        let Some(following) = process.following.remove(id) else { return };
        let epoch = Some(following.epoch);
        self.tell(
            node,
            Input::SourceLost { source: id.clone(), epoch, error: "the connection broke".to_owned() },
        );
    }

    /// A server (in shared mode: the one of all streams) ends, and everybody's connections to its streams break.
    pub(crate) fn lose_server(&mut self, owner: Option<usize>) {
        let lost = self.streams.iter_mut().filter(|placed| placed.owner == owner);
        lost.for_each(|placed| placed.stream.restart());
        let ids: Vec<_> =
            self.streams.iter().filter(|it| it.owner == owner).map(|it| it.id.clone()).collect();
        for id in ids {
            for node in 0..self.nodes.len() {
                self.lose_source(node, &id);
            }
        }
    }
}

fn refused(refusal: Refusal) -> String {
    format!("refused: {refusal:?}")
}
