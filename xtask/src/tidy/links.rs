//! Relative links of the documentation must lead somewhere.

use super::files::line_at;
use super::{Finding, TextFile};

/// Checks the links of one Markdown file against the files that there are.
pub(crate) fn check(file: &TextFile, files: &[TextFile]) -> Vec<Finding> {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let dead = targets(&file.text).filter(|(_, target)| !resolves(folder, target, files));
    dead.map(|(at, target)| {
        Finding::new(&file.path, line_at(&file.text, at), format!("the link to `{target}` leads nowhere"))
    })
    .collect()
}

/// Relative targets of `[text](target)`, outside of code.
fn targets(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let starts = text.match_indices("](").map(|(at, _)| at + 2);
    starts.filter(|&at| !in_code(text, at)).filter_map(|at| {
        let target = text[at..].split([')', ' ', '\n']).next()?.split('#').next()?;
        let elsewhere = target.is_empty() || target.contains("://") || target.starts_with("mailto:");
        (!elsewhere).then_some((at, target))
    })
}

/// Whether a place is in a fenced block or between backticks of its line.
fn in_code(text: &str, at: usize) -> bool {
    let fences = text[..at].lines().filter(|line| line.trim_start().starts_with("```")).count();
    let line_start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    fences % 2 == 1 || text[line_start..at].matches('`').count() % 2 == 1
}

fn resolves(folder: &str, target: &str, files: &[TextFile]) -> bool {
    let Some(path) = join(folder, target) else { return false };
    let inside = format!("{path}/");
    path.is_empty() || files.iter().any(|file| file.path == path || file.path.starts_with(&inside))
}

/// The path of `target` seen from `folder`; nothing when it leaves the workspace.
fn join(folder: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(text: &str) -> Vec<String> {
        let file = TextFile::new("docs/adr/README.md", text);
        let others = ["docs/format.md", "crates/core/src/lib.rs"].map(|path| TextFile::new(path, ""));
        check(&file, &others).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let text = "[a](../format.md), [b](../formats.md), [c](../../../x), [d](0001.md#part)";
        let targets: Vec<String> =
            dead(text).iter().filter_map(|message| Some(message.split('`').nth(1)?.to_owned())).collect();
        assert_eq!(targets, ["../formats.md", "../../../x", "0001.md"]);
    }

    #[test]
    fn files_folders_anchors_addresses_and_code_are_fine() {
        let text = "[a](../format.md#x) [b](../../crates/core) [c](#here) [d](https://example.org/x)\n\
                    `[e](nowhere.md)`\n```text\n[f](nowhere.md)\n```\n";
        assert_eq!(dead(text), Vec::<String>::new());
    }
}
