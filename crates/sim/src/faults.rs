//! What the outside does to the world: the acts of the plan, and the end of all faults.

use harmonylite_core::input::Input;
use harmonylite_core::model::{Incarnation, NodeId};

use crate::Failure;
use crate::application::{self, Rows, Transaction};
use crate::checkers;
use crate::journal::RowKey;
use crate::node::options;
use crate::plan::{Act, Mode, Planned};
use crate::random::Random;
use crate::stream::Stream;
use crate::world::{Happening, World};

impl World<'_> {
    pub(crate) fn act(&mut self, index: usize) -> Result<(), Failure> {
        let Planned { node, act, random, .. } = self.plan.acts[index].clone();
        self.history.note(self.now, || format!("act {index}: node {} {act:?}", node + 1));
        let struck = match act {
            Act::Write => self.write(node, random)?,
            Act::LongWrite { hold_ms } => self.write_slowly(node, random, hold_ms)?,
            Act::Kill { down_ms } => self.kill(node, down_ms),
            Act::Restart { down_ms } => self.restart(node, down_ms)?,
            Act::Image => self.keep_image(node)?,
            Act::PowerLoss { which, down_ms } => {
                let images = self.nodes[node].kept.len() as u64;
                self.go_back(node, which.checked_rem(images), down_ms)?
            }
            Act::OlderCopy { down_ms } => {
                let some = !self.nodes[node].kept.is_empty();
                self.go_back(node, some.then_some(0), down_ms)?
            }
            Act::Clock { off_ms } => {
                self.nodes[node].clock_off_ms = off_ms;
                true
            }
            Act::Cut { other } => self.cut(node, other),
            Act::CutOff => self.cut_off(node),
            Act::Drop => self.drop_connections(node),
            Act::Outage { ms } => self.outage(node, ms),
            Act::OtherId => self.other_id(node)?,
            Act::Truncate { keep } => self.truncate(node, keep),
            Act::RollBack { lose } => self.roll_back(node, lose),
            Act::Recreate => self.recreate(node),
        };
        if struck {
            self.history.counts.note(act.name());
        }
        Ok(())
    }

    fn write(&mut self, node: usize, mut random: Random) -> Result<bool, Failure> {
        if self.nodes[node].open.is_some() {
            return Ok(false);
        }
        self.open_transaction(node, &mut random)?;
        self.commit(node)?;
        Ok(true)
    }

    fn write_slowly(&mut self, node: usize, mut random: Random, hold_ms: u64) -> Result<bool, Failure> {
        if self.nodes[node].open.is_some() {
            return Ok(false);
        }
        self.open_transaction(node, &mut random)?;
        self.schedule(hold_ms, Happening::Commit(node));
        Ok(true)
    }

    fn open_transaction(&mut self, node: usize, random: &mut Random) -> Result<(), Failure> {
        let (now, number, schema) = (self.clock(node), self.nodes[node].number(), self.plan.profile.schema);
        let transaction = application::begin(self.nodes[node].app(), schema, random, now, number)?;
        self.nodes[node].open = Some(transaction);
        Ok(())
    }

    /// The application works whether our process runs or not.
    pub(crate) fn commit(&mut self, node: usize) -> Result<(), Failure> {
        let Some(Transaction { before, writes }) = self.nodes[node].open.take() else { return Ok(()) };
        let mut seen = Vec::new();
        for write in &writes {
            let visible = self.visible(node, &before, &write.row)?;
            let entries = visible.iter().filter_map(|index| self.journal.entry(*index));
            // Two nodes may have written the same row, by a cascade: it saw one of them.
            let least = entries.min_by_key(|entry| entry.write.clock);
            if let Some(above) = least.filter(|least| least.write.clock >= write.clock) {
                let text =
                    format!("G3: {write:?} was written after seeing {:?}, and is not above it", above.write);
                return Err(Failure::new(text));
            }
            seen.extend(visible);
        }
        self.nodes[node].app().prepare_cached("COMMIT")?.execute([])?;
        self.history.note(self.now, || format!("node {} writes {writes:?}", node + 1));
        seen.into_iter().for_each(|index| self.journal.succeed(index));
        writes.into_iter().for_each(|write| self.journal.record(write));
        self.tell(node, Input::LogChanged);
        Ok(())
    }

    /// The writes of a row that its writer may have seen: those of the row that is there, or of the tombstone.
    fn visible(&self, node: usize, before: &Rows, row: &RowKey) -> Result<Vec<usize>, Failure> {
        if let Some(image) = before.get(row) {
            return Ok(self.journal.writers_of(row, image));
        }
        let tombstone = checkers::tombstone(self.nodes[node].app(), self.plan.profile.schema, row)?;
        Ok(tombstone.map(|(clock, by)| self.journal.with_version(row, clock, by)).unwrap_or_default())
    }

    fn kill(&mut self, node: usize, down_ms: u64) -> bool {
        let alive = self.nodes[node].process.is_some();
        if alive {
            self.end_process(node);
            self.schedule(down_ms, Happening::Start(node));
        }
        alive
    }

    fn end_process(&mut self, node: usize) {
        self.nodes[node].end();
        if self.plan.profile.mode == Mode::Mesh {
            self.lose_server(Some(node));
        }
    }

    fn restart(&mut self, node: usize, down_ms: u64) -> Result<bool, Failure> {
        let alive = self.nodes[node].process.is_some();
        self.input(node, Input::ShutdownRequested)?;
        self.schedule(5_000 + down_ms, Happening::Start(node));
        Ok(alive)
    }

    fn keep_image(&mut self, node: usize) -> Result<bool, Failure> {
        // In the middle of a transaction the application's connection would show what is not committed.
        if self.nodes[node].open.is_some() {
            return Ok(false);
        }
        let writes = self.journal.count(self.nodes[node].number());
        self.nodes[node].keep(writes)?;
        Ok(true)
    }

    /// The streams are ahead of the database then.
    fn go_back(&mut self, node: usize, image: Option<u64>, down_ms: u64) -> Result<bool, Failure> {
        let Some(image) = image.and_then(|image| usize::try_from(image).ok()) else { return Ok(false) };
        let left = self.nodes[node].put_back(image)?;
        let lost = self.journal.lose(self.nodes[node].number(), left);
        self.history.note(self.now, || format!("node {} loses {lost} writes", node + 1));
        self.end_process(node);
        self.schedule(down_ms, Happening::Start(node));
        Ok(true)
    }

    fn cut(&mut self, node: usize, other: usize) -> bool {
        let pair = match self.plan.profile.mode {
            Mode::Mesh => (node.min(other), node.max(other)),
            Mode::Shared => (node, node),
        };
        if pair.0 == pair.1 && self.plan.profile.mode == Mode::Mesh {
            return false;
        }
        if self.cut.remove(&pair) {
            return false;
        }
        self.cut.insert(pair);
        true
    }

    fn cut_off(&mut self, node: usize) -> bool {
        match self.plan.profile.mode {
            Mode::Mesh => {
                let others = (0..self.nodes.len()).filter(|other| *other != node);
                self.cut.extend(others.map(|other| (node.min(other), node.max(other))));
            }
            Mode::Shared => {
                self.cut.insert((node, node));
            }
        }
        true
    }

    fn drop_connections(&mut self, node: usize) -> bool {
        let ids: Vec<_> = self.streams.iter().map(|placed| placed.id.clone()).collect();
        ids.iter().for_each(|id| self.lose_source(node, id));
        true
    }

    fn outage(&mut self, node: usize, ms: u64) -> bool {
        let owner = (self.plan.profile.mode == Mode::Mesh).then_some(node);
        if !self.away.insert(owner.unwrap_or(0)) {
            return false;
        }
        self.lose_server(owner);
        self.schedule(ms, Happening::Back(owner.unwrap_or(0)));
        true
    }

    /// G9: a database under another node's id is refused, and nothing of it changes.
    fn other_id(&mut self, node: usize) -> Result<bool, Failure> {
        if self.nodes[node].open.is_some() {
            return Ok(false);
        }
        let other = NodeId::new(1000 + node as u64).ok_or_else(|| Failure::new("simulator: node id"))?;
        let options = options(other, Incarnation::from_random(7), self.plan.profile.shards);
        let before = checkers::contents(self)?;
        match self.nodes[node].database.open_store(&options) {
            Ok(_) => Err(Failure::new(format!("G9: the database of node {} opens for {other}", node + 1))),
            Err(_) if checkers::contents(self)? != before => {
                Err(Failure::new(format!("G9: the refusal of {other} changed node {}", node + 1)))
            }
            Err(error) if is_refusal(&error) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// A stream of the node; in shared mode any.
    fn some_stream(&mut self, node: usize) -> usize {
        let own: Vec<usize> = (0..self.streams.len())
            .filter(|index| self.streams[*index].owner.is_none_or(|owner| owner == node))
            .collect();
        self.random.pick(&own)
    }

    fn truncate(&mut self, node: usize, keep: u64) -> bool {
        let index = self.some_stream(node);
        let stream = &mut self.streams[index].stream;
        let (before, first) = (stream.first(), (stream.last() + 1).saturating_sub(keep));
        stream.truncate(first);
        let struck = self.streams[index].stream.first() > before;
        self.lost_messages |= struck;
        struck
    }

    fn roll_back(&mut self, node: usize, lose: u64) -> bool {
        let index = self.some_stream(node);
        let stream = &mut self.streams[index].stream;
        let before = stream.last();
        stream.roll_back(before.saturating_sub(lose).max(stream.first() - 1));
        let struck = self.streams[index].stream.last() < before;
        self.lost_messages |= struck;
        self.lose_server(self.streams[index].owner);
        struck
    }

    fn recreate(&mut self, node: usize) -> bool {
        let index = self.some_stream(node);
        let placed = &mut self.streams[index];
        let struck = placed.stream.last() > 0;
        placed.stream = Stream::new(format!("{}.{}", placed.id, self.now));
        self.lost_messages |= struck;
        self.lose_server(self.streams[index].owner);
        struck
    }

    pub(crate) fn heal(&mut self) -> Result<(), Failure> {
        self.healed = true;
        self.cut.clear();
        self.away.clear();
        self.history.note(self.now, || "healed".to_owned());
        for node in 0..self.nodes.len() {
            self.commit(node)?;
            self.start(node)?;
        }
        Ok(())
    }

    /// Are all streams read once more from their beginnings, when everything is at rest? A publish that nobody waits for any
    /// more may still be on its way: what comes with that would be new.
    pub(crate) fn replays(&mut self) -> bool {
        !self.lost_messages && self.random.chance(15) && !self.is_publish_under_way()
    }

    /// The checkpoints are forgotten, in half of the cases the positions too: whatever comes again changes nothing (G5).
    pub(crate) fn replay(&mut self) -> Result<(), Failure> {
        self.history.note(self.now, || "everything is delivered once more".to_owned());
        self.history.counts.note("replays");
        let positions = self.random.chance(50);
        for node in 0..self.nodes.len() {
            self.end_process(node);
            let app = self.nodes[node].app();
            app.execute_batch("DELETE FROM __harmonylite___checkpoint")?;
            if positions {
                app.execute_batch("DELETE FROM __harmonylite___position")?;
            }
            self.nodes[node].rows_applied.clear();
        }
        for node in 0..self.nodes.len() {
            self.start(node)?;
        }
        Ok(())
    }
}

/// Of a database that is another node's; on files a sidecar that runs on it is met first.
fn is_refusal(error: &Failure) -> bool {
    let text = error.to_string();
    text.contains("belongs to node") || text.contains("works on this database")
}
