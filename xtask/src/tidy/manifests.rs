//! What the crates may depend on: a crate boundary is worth having exactly when its list is a promise.

use toml::{Table, Value};

use super::{Finding, TextFile};

/// Crates whose dependencies are a closed list.
const CLOSED: &[(&str, &[&str])] = &[
    ("crates/core/Cargo.toml", &["minicbor", "thiserror", "xxhash-rust", "zstd"]),
    ("crates/late-lock/Cargo.toml", &["rusqlite", "rustix"]),
    (
        "crates/sqlite/Cargo.toml",
        &["harmonylite-core", "harmonylite-late-lock", "rusqlite", "thiserror", "xxhash-rust"],
    ),
];

/// What a crate must not depend on, but for its tests.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("crates/node/Cargo.toml", &["anyhow", "harmonylite-sim", "harmonylite-testkit", "rusqlite"]),
    ("crates/sim/Cargo.toml", &["harmonylite", "tokio"]),
];

/// Tables of a manifest that name dependencies.
const TABLES: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];

/// Checks the manifest of one crate.
pub(crate) fn check(file: &TextFile) -> Vec<Finding> {
    let manifest = match file.text.parse::<Table>() {
        Ok(manifest) => manifest,
        Err(error) => {
            return vec![Finding::new(&file.path, 1, format!("not a manifest: {}", error.message()))];
        }
    };
    let member = manifest.contains_key("package") && !manifest.contains_key("workspace");
    if !member {
        return Vec::new();
    }
    let messages =
        outside_the_list(&file.path, &manifest).chain(own_versions(&manifest)).chain(own_lints(&manifest));
    messages.map(|(name, message)| Finding::new(&file.path, line_of(&file.text, &name), message)).collect()
}

fn outside_the_list<'a>(path: &'a str, manifest: &'a Table) -> impl Iterator<Item = (String, String)> + 'a {
    let list = |lists: &'static [(&str, &'static [&'static str])]| {
        lists.iter().find(|(crate_path, _)| *crate_path == path).map(|(_, names)| *names)
    };
    let (closed, forbidden) = (list(CLOSED), list(FORBIDDEN).unwrap_or_default());
    let wrong = move |name: &&String| {
        closed.is_some_and(|names| !names.contains(&name.as_str())) || forbidden.contains(&name.as_str())
    };
    names(manifest, "dependencies").filter(wrong).map(|name| {
        (name.clone(), format!("`{name}`: not among what this crate promises to depend on (ARCHITECTURE.md)"))
    })
}

/// Versions stand in the workspace's manifest only.
fn own_versions(manifest: &Table) -> impl Iterator<Item = (String, String)> + '_ {
    let all = TABLES.iter().filter_map(|table| manifest.get(*table)?.as_table()).flatten();
    let own = all.filter(|(_, value)| value.get("workspace") != Some(&Value::Boolean(true)));
    own.map(|(name, _)| {
        (name.clone(), format!("`{name}`: write `{name}.workspace = true`, the version goes to the root"))
    })
}

/// Lints stand in the workspace's manifest only.
fn own_lints(manifest: &Table) -> Option<(String, String)> {
    let shared =
        manifest.get("lints").and_then(|lints| lints.get("workspace")) == Some(&Value::Boolean(true));
    (!shared).then(|| ("package".into(), "write `[lints]` and `workspace = true`".into()))
}

fn names<'a>(manifest: &'a Table, table: &str) -> impl Iterator<Item = &'a String> {
    manifest.get(table).and_then(Value::as_table).into_iter().flat_map(Table::keys)
}

fn line_of(text: &str, name: &str) -> usize {
    let position = text.lines().position(|line| line.trim_start_matches('[').starts_with(name));
    position.map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "[package]\nname = \"x\"\n[lints]\nworkspace = true\n";

    fn lines(path: &str, rest: &str) -> Vec<usize> {
        check(&TextFile::new(path, &format!("{HEAD}{rest}")))
            .into_iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn a_dependency_outside_a_crates_promise_is_found() {
        assert_eq!(lines("crates/core/Cargo.toml", "[dependencies]\ntokio.workspace = true\n"), [6]);
        assert_eq!(lines("crates/node/Cargo.toml", "[dependencies]\nanyhow.workspace = true\n"), [6]);
        assert_eq!(
            lines("crates/core/Cargo.toml", "[dependencies]\nzstd.workspace = true\n"),
            Vec::<usize>::new()
        );
    }

    #[test]
    fn tests_may_depend_on_more() {
        let text = "[dev-dependencies]\nharmonylite-testkit.workspace = true\n";
        assert_eq!(lines("crates/node/Cargo.toml", text), Vec::<usize>::new());
    }

    #[test]
    fn versions_and_lints_of_a_crate_of_its_own_are_found() {
        assert_eq!(lines("xtask/Cargo.toml", "[dev-dependencies]\ntempfile = \"3\"\n"), [6]);
        assert_eq!(check(&TextFile::new("xtask/Cargo.toml", "[package]\nname = \"x\"\n")).len(), 1);
        assert_eq!(check(&TextFile::new("xtask/Cargo.toml", "[package\n")).len(), 1);
    }
}
