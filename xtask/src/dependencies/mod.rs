//! Licences, banned crates and sources of everything we build on, held to the lists of `deny.toml`.
//!
//! cargo-deny does the same and more; it takes minutes to build, so continuous integration uses this and reads the same
//! file.

mod licence;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value as Json;
use toml::{Table, Value};

/// What we build, by folder: the product with its tests, and what fuzzing builds.
const WORKSPACES: &[&str] = &[".", "fuzz"];

/// Checks the dependencies of the workspaces at `root`.
///
/// # Errors
/// When cargo does not answer, `deny.toml` cannot be read, or anything is found.
pub(crate) fn run(root: &Path) -> Result<()> {
    let rules = Rules::parse(&std::fs::read_to_string(root.join("deny.toml")).context("reading deny.toml")?)?;
    let mut findings = BTreeSet::new();
    for target in &rules.targets {
        for workspace in WORKSPACES {
            let metadata = metadata(&root.join(workspace), target)?;
            findings.extend(packages(&metadata).flat_map(|package| rules.check(package)));
        }
    }
    let list: Vec<&str> = findings.iter().map(String::as_str).collect();
    ensure!(list.is_empty(), "{}\ndependencies: {} findings", list.join("\n"), list.len());
    Ok(())
}

/// What `deny.toml` asks for, as far as we hold it.
struct Rules {
    targets: Vec<String>,
    licences: BTreeSet<String>,
    banned: BTreeSet<String>,
    registries: BTreeSet<String>,
}

impl Rules {
    fn parse(text: &str) -> Result<Rules> {
        let deny: Table = text.parse().context("reading deny.toml")?;
        let list = |section: &str, key: &str| {
            let found = deny.get(section).and_then(|section| section.get(key)).and_then(Value::as_array);
            found.with_context(|| format!("deny.toml has no {section}.{key}"))
        };
        let texts = |values: &[Value]| values.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let crates = list("bans", "deny")?.iter().filter_map(|ban| ban.get("crate").and_then(Value::as_str));
        let registries: Vec<String> = texts(list("sources", "allow-registry")?);
        Ok(Rules {
            targets: texts(list("graph", "targets")?),
            licences: BTreeSet::from_iter::<Vec<String>>(texts(list("licenses", "allow")?)),
            banned: crates.map(str::to_owned).collect(),
            registries: registries.into_iter().map(|url| format!("registry+{url}")).collect(),
        })
    }

    fn check(&self, package: &Json) -> Vec<String> {
        let name = package["name"].as_str().unwrap_or_default();
        let version = package["version"].as_str().unwrap_or_default();
        let mut problems = Vec::new();
        if self.banned.contains(name) {
            problems.push("is banned by deny.toml".into());
        }
        // What has no source is our own.
        if let Some(source) = package["source"].as_str() {
            let licence = package["license"].as_str().unwrap_or("no licence named");
            if !licence::allows(licence, &self.licences) {
                problems.push(format!("has the licence `{licence}`, which deny.toml does not allow"));
            }
            if !self.registries.contains(source) {
                problems.push(format!("comes from {source}, which deny.toml does not allow"));
            }
        }
        problems.into_iter().map(|problem| format!("{name} {version} {problem}")).collect()
    }
}

fn metadata(root: &Path, target: &str) -> Result<Json> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", target];
    let output =
        Command::new(cargo).args(arguments).current_dir(root).output().context("running cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("reading what cargo metadata says")
}

/// The packages that are really built: `packages` also lists those of other platforms.
fn packages(metadata: &Json) -> impl Iterator<Item = &Json> {
    let nodes = metadata["resolve"]["nodes"].as_array().into_iter().flatten();
    let used: BTreeSet<&str> = nodes.filter_map(|node| node["id"].as_str()).collect();
    let all = metadata["packages"].as_array().into_iter().flatten();
    all.filter(move |package| package["id"].as_str().is_some_and(|id| used.contains(id)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RULES: &str = "[graph]\ntargets = [\"a\"]\n[licenses]\nallow = [\"MIT\"]\n[bans]\n\
        deny = [{ crate = \"openssl-sys\" }]\n[sources]\nallow-registry = [\"https://r\"]\n";

    fn problems(name: &str, licence: Json, source: Json) -> Result<usize> {
        let package = json!({"name": name, "version": "1.0.0", "license": licence, "source": source});
        Ok(Rules::parse(RULES)?.check(&package).len())
    }

    #[test]
    fn licences_bans_and_sources_are_checked() -> Result<()> {
        let ours = json!("registry+https://r");
        assert_eq!(problems("a", json!("MIT OR Apache-2.0"), ours.clone())?, 0);
        assert_eq!(problems("a", json!("GPL-3.0"), ours.clone())?, 1);
        assert_eq!(problems("a", Json::Null, ours.clone())?, 1);
        assert_eq!(problems("openssl-sys", json!("MIT"), ours)?, 1);
        assert_eq!(problems("a", json!("MIT"), json!("git+https://r"))?, 1);
        assert_eq!(problems("ours", Json::Null, Json::Null)?, 0);
        Ok(())
    }

    #[test]
    fn packages_of_other_platforms_do_not_count() {
        let metadata = json!({
            "packages": [{"id": "used"}, {"id": "windows"}],
            "resolve": {"nodes": [{"id": "used"}]},
        });
        let ids: Vec<_> = packages(&metadata).map(|package| package["id"].clone()).collect();
        assert_eq!(ids, ["used"]);
    }

    #[test]
    fn a_missing_list_is_an_error_and_not_an_empty_one() {
        let without = RULES.replace("allow = [\"MIT\"]", "");
        assert!(Rules::parse(&without).is_err());
    }
}
