//! The better-sqlite3 example: a chat server in JavaScript, two of which have guests at the same time.

mod node_js;

use std::path::Path;

use anyhow::Result;
use harmonylite_testkit::{Node, Rng};

use self::node_js::NodeJs;
use super::instance::Instance;
use super::stage::Stage;

/// A virtual table holds no rows of its own.
const INDEX: &str = "message_search";

/// It rises with messages and with what their authors do to them.
const PROGRESS: &str = "SELECT coalesce(sum(1 + edited), 0) FROM message";

/// Runs the example.
pub(super) fn run(root: &Path, binary: &Path) -> Result<()> {
    let node_js = NodeJs::install(root, &root.join("examples/better-sqlite3"))?;
    let chat = |node: &Node, arguments: &[&str]| {
        let mut command = node_js.command("main.js");
        command.arg(node.db()).args(arguments);
        command
    };
    let mut rng = Rng::from_environment();
    let mut stage = Stage::prepare("better-sqlite3", binary, &[INDEX], |node| {
        Instance::run(node, chat(node, &["open"])).map(drop)
    })?;
    let start = |node: &Node, writes: bool| {
        let server = node.id().to_string();
        let arguments = if writes { &["talk", &server][..] } else { &["watch"] };
        Instance::start(node, chat(node, arguments))
    };
    let reports = stage.write_at_once(&start, PROGRESS, &mut rng)?;
    stage.nothing_is_lost(&reports, &|node, server| {
        Instance::run(node, chat(node, &["check", &server.to_string()]))
    })?;
    stage.finish()
}
