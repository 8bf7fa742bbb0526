//! Nodes as processes, each beside a real database and with a real nats-server: what users see, from outside.

mod applications;
mod bad_database;
mod bad_frames;
mod bad_peers;
mod bench;
mod burst;
mod certificates;
mod dead_letters;
mod ending;
mod exactly_once;
mod fake_member;
mod full_disk;
mod housekeeping;
mod interference;
mod joining;
mod kills;
mod kindness;
mod load;
mod logs;
mod members;
mod members_second;
mod members_shared;
mod outages;
mod power_loss;
mod random_writes;
mod reload;
mod schema_changes;
mod secrets;
mod seq_map;
mod service;
mod shared;
mod shared_refused;
mod sleep;
mod start_refused;
mod statements;
mod support;
mod transactions;
mod unseen_writes;
mod values;

/// A file that no `mod` names would be tests that never run.
#[test]
fn every_file_of_this_folder_is_a_module_of_it() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster");
    let text = include_str!("main.rs");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.strip_suffix(".rs").unwrap();
        assert!(module == "main" || text.contains(&format!("\nmod {module};\n")), "{name} is forgotten");
    }
}
