//! `harmonylite reload`: has the running node read its configuration again.

use super::arguments::ReportArguments;
use super::node_socket::order;
use super::{print, print_error, to_json};
use crate::config::Environment;
use crate::exit::{ExitCode, ExitError};
use crate::orders::{Order, Reloaded};

pub(super) fn reload(arguments: &ReportArguments, environment: &Environment) -> Result<ExitCode, ExitError> {
    // The node reads the same file, and says what is wrong with it.
    let (database, _) = arguments.config.database(environment)?;
    let reloaded: Reloaded = order(&database, &Order::Reload)?;
    if arguments.json {
        print(&to_json(&reloaded)?)?;
    } else {
        print(&render(&reloaded))?;
        reloaded.warnings.iter().for_each(|warning| print_error(warning));
    }
    Ok(if reloaded.needs_restart.is_empty() { ExitCode::Ok } else { ExitCode::NeedsRestart })
}

fn render(reloaded: &Reloaded) -> String {
    let list = |keys: &[String]| if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
    let mut text = format!("in effect now: {}\n", list(&reloaded.changed));
    if !reloaded.needs_restart.is_empty() {
        text.push_str(&format!("needs a restart: {}\n", list(&reloaded.needs_restart)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_and_what_waits_is_named() {
        assert_eq!(render(&Reloaded::default()), "in effect now: nothing\n");
        let reloaded = Reloaded {
            changed: vec!["logging.verbose".into(), "cleanup_interval".into()],
            needs_restart: vec!["cluster.name".into()],
            warnings: vec![],
        };
        let expected = "in effect now: logging.verbose, cleanup_interval\nneeds a restart: cluster.name\n";
        assert_eq!(render(&reloaded), expected);
    }
}
