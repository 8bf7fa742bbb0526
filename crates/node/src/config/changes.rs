//! What differs between two configurations, key by key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use toml::de::DeTable;

use super::keys::{KEYS, Key, Preset, Support};
use super::value::{self, Value};

/// The values of a configuration, by key. They are compared and never shown: some are secrets.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Values(BTreeMap<&'static str, Value>);

impl Values {
    pub(super) fn of<'a>(entries: impl Iterator<Item = (&'static str, &'a Value)>) -> Self {
        Self(entries.map(|(path, value)| (path, value.clone())).collect())
    }

    /// The keys that this version acts on and whose values differ in `newer`. A default that is spelled out is no
    /// difference.
    #[must_use]
    pub fn changed(&self, newer: &Self) -> Vec<&'static Key> {
        let acted_on = KEYS.iter().filter(|key| key.support != Support::Ignored);
        acted_on.filter(|key| self.effective(key) != newer.effective(key)).collect()
    }

    /// Takes over the values that `newer` has for `keys`.
    pub fn adopt(&mut self, newer: &Self, keys: &[&'static Key]) {
        let paths: BTreeSet<&str> = keys.iter().map(|key| key.path).collect();
        self.0.retain(|path, _| !paths.contains(path));
        let taken = newer.0.iter().filter(|(path, _)| paths.contains(*path));
        self.0.extend(taken.map(|(path, value)| (*path, value.clone())));
    }

    fn effective(&self, key: &Key) -> Option<Value> {
        self.0.get(key.path).cloned().or_else(|| default(key))
    }
}

/// The default; as good as not set when it is empty.
fn default(key: &Key) -> Option<Value> {
    let Preset::Default(text) = key.preset else { return None };
    let line = format!("value = {text}");
    let table = DeTable::parse(&line).ok()?;
    let value = value::from_toml(key.kind, table.get_ref().get("value")?.get_ref()).ok()?;
    Some(value).filter(|value| !value.is_empty())
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, judge};

    fn values(text: &str) -> Values {
        let text = format!("db_path = \"/a.db\"\n{text}");
        judge(Some(("node.toml", &text)), &Environment::new(&[], Some("0123")), &[]).unwrap().values
    }

    fn changed(older: &str, newer: &str) -> Vec<&'static str> {
        values(older).changed(&values(newer)).iter().map(|key| key.path).collect()
    }

    #[test]
    fn what_differs_is_named_and_a_default_spelled_out_does_not() {
        assert_eq!(
            changed("", "publish = true\ncleanup_interval = 5000\n[conflict]\nlog_max_age = \"720h\""),
            [""; 0]
        );
        assert_eq!(changed("polling_interval = 9", ""), ["polling_interval"]);
        assert_eq!(
            changed("[conflict]\nlog_max_entries = 5", "[logging]\nverbose = true"),
            ["logging.verbose", "conflict.log_max_entries"]
        );
        let password = |text: &str| format!("[nats]\nuser_name = \"a\"\nuser_password = \"{text}\"");
        assert_eq!(changed(&password("b"), &password("c")), ["nats.user_password"]);
    }

    #[test]
    fn every_default_is_understood() {
        for key in KEYS {
            let Preset::Default(text) = key.preset else { continue };
            let empty = matches!(text, "\"\"" | "[]");
            assert_eq!(default(key).is_none(), empty, "{}", key.path);
        }
    }

    #[test]
    fn a_key_that_was_not_taken_over_differs_the_next_time_too() {
        let mut running = values("polling_interval = 9\n[cluster]\nname = \"a\"");
        let newer = values("[cluster]\nname = \"b\"");
        running.adopt(&newer, &[Key::find("polling_interval").unwrap()]);
        let left: Vec<_> = running.changed(&newer).iter().map(|key| key.path).collect();
        assert_eq!(left, ["cluster.name"]);
    }

    #[test]
    fn no_value_is_shown() {
        let shown = format!("{:?}", values("[nats]\nuser_name = \"a\"\nuser_password = \"hush-hush\""));
        assert!(shown.contains("nats.user_password") && !shown.contains("hush-hush"), "{shown}");
    }
}
