//! The tour as the README has it: which blocks are run, and what they should print.

use anyhow::{Context, Result, bail};

/// The heading of the section that is run.
const HEADING: &str = "## Tour";

/// A block of commands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Step {
    /// Its first line in the file, from 1.
    pub(super) line: usize,
    /// What the shell reads.
    pub(super) commands: String,
    /// It runs beside the following ones, until the end.
    pub(super) background: bool,
    /// What it prints, when the file says so: see [`super::expected`].
    pub(super) expected: Option<String>,
}

/// A fenced block.
struct Block {
    line: usize,
    info: String,
    text: String,
    /// Nothing but empty lines stands between the block before and this one.
    adjoins: bool,
}

/// Reads the section "Tour" of a Markdown text.
///
/// Every fenced block in it is run or compared, so that nothing there can go stale: `sh` is run, `sh background` is
/// started, and a `text` block directly behind one of them is what it prints.
///
/// # Errors
/// When there is no such section or no command in it, or a block is none of these.
pub(super) fn read(markdown: &str) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    for block in blocks(markdown)? {
        let Block { line, text, .. } = block;
        match block.info.as_str() {
            "sh" => steps.push(Step { line, commands: text, background: false, expected: None }),
            "sh background" => steps.push(Step { line, commands: text, background: true, expected: None }),
            "text" => match steps.last_mut() {
                Some(step) if block.adjoins && step.expected.is_none() && !step.background => {
                    step.expected = Some(text);
                }
                _ => bail!("line {line}: a text block belongs directly behind the sh block that prints it"),
            },
            other => bail!("line {line}: `{other}`: blocks of the tour are `sh`, `sh background` or `text`"),
        }
    }
    if steps.is_empty() {
        bail!("there is nothing to run in the section `{HEADING}`");
    }
    Ok(steps)
}

fn blocks(markdown: &str) -> Result<Vec<Block>> {
    let mut lines = markdown.lines().enumerate();
    lines.find(|(_, line)| line.trim_end() == HEADING).context("there is no section `## Tour`")?;
    let mut blocks = Vec::new();
    let mut adjoins = false;
    while let Some((index, line)) = lines.next() {
        if line.starts_with("## ") || line.starts_with("# ") {
            break;
        }
        if let Some(info) = line.strip_prefix("```") {
            let inside: Vec<&str> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            let (info, text) = (info.trim().to_owned(), inside.join("\n"));
            blocks.push(Block { line: index + 2, info, text, adjoins });
            adjoins = true;
        } else if !line.trim().is_empty() {
            adjoins = false;
        }
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = "# A\n\n```sh\nnot this\n```\n\n## Tour\n\nFirst:\n\n```sh\n## no heading\nls\n```\n\n```text\na\nb\n```\n\n\
                          then\n\n```sh background\nserve\n```\n\n### More\n\n```sh\nend\n```\n\n## After\n\n```sh\nnor this\n```\n";

    #[test]
    fn blocks_of_the_section_are_found_in_order_with_what_they_print() -> Result<()> {
        let step = |line, commands: &str, background, expected: Option<&str>| Step {
            line,
            commands: commands.into(),
            background,
            expected: expected.map(str::to_owned),
        };
        let wanted = [
            step(12, "## no heading\nls", false, Some("a\nb")),
            step(24, "serve", true, None),
            step(30, "end", false, None),
        ];
        assert_eq!(read(README)?, wanted);
        Ok(())
    }

    #[test]
    fn what_would_not_be_tried_is_an_error() {
        for (text, part) in [
            ("# A\n", "no section"),
            ("## Tour\nText.\n", "nothing to run"),
            ("## Tour\n```sh\nls\n```\nIt prints:\n```text\na\n```\n", "line 7"),
            ("## Tour\n```text\na\n```\n", "line 3"),
            ("## Tour\n```console\n$ ls\n```\n", "`console`"),
            ("## Tour\n```\nls\n```\n", "blocks of the tour"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
}
