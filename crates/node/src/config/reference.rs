//! The key table as an example file and as a page of the documentation.
//!
//! `config.example.toml` and `docs/configuration.md` are compared with these texts by a test, which also writes them
//! when `HARMONYLITE_BLESS` is set.

use super::keys::{KEYS, Key, Kind, Preset, Support};

const EXAMPLE_HEAD: &str = "\
# The configuration of HarmonyLite. Every key that is understood stands here with its default.
#
# Lines that begin with `#` directly followed by a key are the defaults (or, where it says so, an example): remove the
# `#` to change one. Each key can also be set by an environment variable, which wins over this file: db_path is
# HARMONYLITE_DB_PATH, nats.user_password is HARMONYLITE_NATS_USER_PASSWORD. Options of the command line win over both.
# `harmonylite check-config --config FILE` reports everything that is wrong with a file.
";

/// The example file.
#[must_use]
pub fn example_file() -> String {
    let mut text = EXAMPLE_HEAD.to_owned();
    let mut section = "";
    for key in KEYS {
        if key.section() != section {
            section = key.section();
            text.push_str(&format!("\n[{section}]\n"));
        }
        text.push('\n');
        text.push_str(&comment(key));
        let mark = if matches!(key.preset, Preset::Required(_)) { "" } else { "#" };
        text.push_str(&format!("{mark}{} = {}\n", key.name(), key.preset.text()));
    }
    text
}

fn comment(key: &Key) -> String {
    let mut words = key.doc.to_owned();
    match key.preset {
        Preset::Required(_) => words.push_str(" Required."),
        Preset::Example(_) => words.push_str(" No default; this is an example."),
        Preset::Default(_) => {}
    }
    words.push_str(note(key.support));
    wrap(&words, "# ", 110)
}

const fn note(support: Support) -> &'static str {
    match support {
        Support::Full => "",
        Support::Ignored => " Not acted on by this version.",
    }
}

fn wrap(words: &str, prefix: &str, width: usize) -> String {
    let mut lines = vec![prefix.to_owned()];
    for word in words.split_whitespace() {
        let line = lines.last().map_or(0, String::len);
        if line > prefix.len() && line + 1 + word.len() > width {
            lines.push(prefix.to_owned());
        }
        if let Some(line) = lines.last_mut() {
            if line.len() > prefix.len() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n") + "\n"
}

/// The tables of the documentation, one per section.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::new();
    let mut section = None;
    for key in KEYS {
        if section != Some(key.section()) {
            section = Some(key.section());
            text.push_str(&heading(key.section()));
        }
        text.push_str(&format!(
            "| `{}`{} | {} | {} | {}{} |\n",
            key.name(),
            if key.changes_at_run_time() { " *" } else { "" },
            kind(key.kind),
            default(key.preset),
            escape(key.doc),
            note(key.support)
        ));
    }
    text
}

fn heading(section: &str) -> String {
    let title =
        if section.is_empty() { "Before the first section".to_owned() } else { format!("`[{section}]`") };
    format!("\n### {title}\n\n| key | type | default | meaning |\n|---|---|---|---|\n")
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Bool => "true or false".into(),
        Kind::Integer { min, max } if max == i64::MAX => format!("number, at least {min}"),
        Kind::Integer { min, max } => format!("number, {min} to {max}"),
        Kind::Text => "text".into(),
        Kind::Secret => "text, never shown".into(),
        Kind::Choice(words) => {
            words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ")
        }
        Kind::List => "list of texts".into(),
        Kind::Duration => "duration".into(),
        Kind::Size => "size".into(),
    }
}

fn default(preset: Preset) -> String {
    match preset {
        Preset::Default(text) => format!("`{text}`"),
        Preset::Example(text) => format!("none, e.g. `{text}`"),
        Preset::Required(text) => format!("**required**, e.g. `{text}`"),
    }
}

fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Environment, Loaded, Settings, judge};

    const EXAMPLE: &str = include_str!("../../../../config.example.toml");

    fn load_text(text: &str) -> Loaded {
        judge(Some(("config.example.toml", text)), &Environment::new(&[], Some("0123")), &[]).unwrap()
    }

    /// All commented keys of the example whose values are defaults, uncommented.
    fn example_with_defaults() -> String {
        let is_default = |line: &str, section: &str| {
            let name = line.trim_start_matches('#').split(" = ").next().unwrap_or_default();
            let path = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
            Key::find(&path).is_some_and(|key| matches!(key.preset, Preset::Default(_)))
        };
        let mut section = String::new();
        let mut lines = Vec::new();
        for line in EXAMPLE.lines() {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']').to_owned();
            }
            let uncommented = line.strip_prefix('#').filter(|_| is_default(line, &section));
            lines.push(uncommented.unwrap_or(line));
        }
        lines.join("\n")
    }

    #[test]
    fn the_example_file_is_accepted_as_it_is_and_holds_the_defaults() {
        let path = std::path::PathBuf::from("/var/lib/app/app.db");
        let plain = load_text(EXAMPLE);
        assert!(plain.warnings.is_empty());
        let uncommented = example_with_defaults();
        let spelled_out = load_text(&uncommented);
        assert_eq!(plain.settings, spelled_out.settings);
        let mut expected = Settings::new(path, plain.settings.node_id);
        expected.machine = plain.settings.machine;
        expected.node_id_derived = true;
        assert_eq!(spelled_out.settings, expected);
        for key in KEYS {
            let line = format!("{} = {}", key.name(), key.preset.text());
            assert!(uncommented.contains(&line), "{} is not in config.example.toml", key.path);
        }
    }

    #[test]
    fn the_example_file_and_the_documentation_are_what_the_key_table_says() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        compare(&root.join("config.example.toml"), &example_file());
        let page = root.join("docs/configuration.md");
        let text = std::fs::read_to_string(&page).unwrap();
        let head = text.split_inclusive("<!-- the key table -->\n").next().unwrap();
        compare(&page, &format!("{head}{}", markdown()));
    }

    #[test]
    fn every_example_of_the_documentation_is_a_good_configuration() {
        let page = include_str!("../../../../docs/configuration.md");
        let blocks: Vec<&str> =
            page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(!blocks.is_empty());
        for block in blocks {
            assert_eq!(load_text(block).warnings, [], "{block}");
        }
    }

    #[track_caller]
    fn compare(file: &Path, expected: &str) {
        if std::env::var_os("HARMONYLITE_BLESS").is_some() {
            std::fs::write(file, expected).unwrap();
        }
        let found = std::fs::read_to_string(file).unwrap();
        assert!(found == expected, "{} is stale: run this test with HARMONYLITE_BLESS=1", file.display());
    }
}
