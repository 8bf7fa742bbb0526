//! Any text as a configuration: it is understood or refused, and every error says at which line or key.

use harmonylite::config::{self, Environment, Invalid, Place, Problem};

/// After this line come variables, one a line.
const VARIABLES: &str = "# environment\n";
/// What the file is called.
const FILE: &str = "node.toml";

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return not_utf8(data) };
    let (text, variables) = text.split_once(VARIABLES).unwrap_or((text, ""));
    let variables: Vec<(&str, &str)> = variables.lines().filter_map(|line| line.split_once('=')).collect();
    for machine_id in [Some("0123456789abcdef0123456789abcdef"), None] {
        let environment = Environment::new(&variables, machine_id);
        let problems = match config::judge(Some((FILE, text)), &environment, &[]) {
            Ok(loaded) => {
                assert!(
                    loaded.warnings.iter().all(|problem| !problem.is_error()),
                    "what has errors is refused"
                );
                loaded.warnings
            }
            Err(Invalid { problems, .. }) => {
                assert!(problems.iter().any(Problem::is_error), "what is refused has errors");
                problems
            }
        };
        for problem in &problems {
            check(problem, text, &variables);
        }
    }
}

/// A file that is not UTF-8 is refused with the line.
fn not_utf8(data: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    std::fs::write(&file, data).unwrap();
    let Invalid { problems, .. } = config::load(Some(&file), &Environment::new(&[], None), &[]).unwrap_err();
    let [Problem { place: Place::File { line: Some(line), .. }, .. }] = &problems[..] else {
        panic!("no line: {problems:?}")
    };
    assert!((1..=data.split(|byte| *byte == b'\n').count()).contains(line), "{problems:?}");
}

fn check(problem: &Problem, text: &str, variables: &[(&str, &str)]) {
    let shown = problem.to_string();
    let lines: Vec<&str> = shown.split('\n').collect();
    let hint = lines.get(1).is_none_or(|line| line.starts_with("  hint: "));
    assert!(lines.len() <= 2 && hint, "a line and a hint: {shown:?}");
    assert!(!lines.concat().chars().any(char::is_control), "nothing that a terminal would act on: {shown:?}");
    assert!(!problem.message.is_empty(), "{shown}");
    match &problem.place {
        Place::File { line: Some(line), .. } => {
            assert!((1..=text.split('\n').count()).contains(line), "a line of the file: {shown}");
        }
        Place::Environment { variable } => {
            assert!(variables.iter().any(|(name, _)| name == variable), "a variable that is set: {shown}");
        }
        Place::File { line: None, .. } | Place::Nowhere {} => {
            assert!(problem.message.contains('`'), "without a line there is a key: {shown}");
        }
        Place::Option { .. } => panic!("there are no options: {shown}"),
    }
}
