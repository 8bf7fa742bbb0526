//! A tour as the document has it: which blocks are run, on which host, and what they should print.

use anyhow::{Context, Result, bail};

/// A block of commands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Step {
    /// Its first line in the file, from 1.
    pub(super) line: usize,
    /// What the shell reads.
    pub(super) commands: String,
    /// The host that it runs on; `None`: here.
    pub(super) host: Option<String>,
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

/// Reads the section of a Markdown text that has this heading.
///
/// Every fenced block in it is run or compared, so that nothing there can go stale: `sh` is run, `sh background` is
/// started, `sh NAME` and `sh NAME background` the same on the host of that name, and a `text` block directly behind one of
/// them is what it prints.
///
/// # Errors
/// When there is no such section or no command in it, or a block is none of these.
pub(super) fn read(markdown: &str, heading: &str) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    for Block { line, info, text, adjoins } in blocks(markdown, heading)? {
        let words: Vec<&str> = info.split_whitespace().collect();
        let (host, background) = match *words.as_slice() {
            ["text"] => {
                match steps.last_mut() {
                    Some(step) if adjoins && step.expected.is_none() && !step.background => {
                        step.expected = Some(text);
                    }
                    _ => {
                        bail!("line {line}: a text block belongs directly behind the sh block that prints it")
                    }
                }
                continue;
            }
            ["sh"] => (None, false),
            ["sh", "background"] => (None, true),
            ["sh", host] => (Some(host.to_owned()), false),
            ["sh", host, "background"] => (Some(host.to_owned()), true),
            _ => bail!(
                "line {line}: `{info}`: blocks here are `sh`, `sh background`, both with a host, or `text`"
            ),
        };
        steps.push(Step { line, commands: text, host, background, expected: None });
    }
    if steps.is_empty() {
        bail!("there is nothing to run in the section `{heading}`");
    }
    Ok(steps)
}

fn blocks(markdown: &str, heading: &str) -> Result<Vec<Block>> {
    let mut lines = markdown.lines().enumerate();
    lines
        .find(|(_, line)| line.trim_end() == heading)
        .with_context(|| format!("there is no section `{heading}`"))?;
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

    const HEADING: &str = "## Tour";
    const README: &str = "# A\n\n```sh\nnot this\n```\n\n## Tour\n\nFirst:\n\n```sh\n## no heading\nls\n```\n\n```text\na\nb\n```\n\n\
                          then\n\n```sh background\nserve\n```\n\n### More\n\n```sh db2\nend\n```\n\n## After\n\n```sh\nnor this\n```\n";

    #[test]
    fn blocks_of_the_section_are_found_in_order_with_what_they_print() -> Result<()> {
        let step = |line, commands: &str, background, expected: Option<&str>| Step {
            line,
            commands: commands.into(),
            host: (line == 30).then(|| "db2".to_owned()),
            background,
            expected: expected.map(str::to_owned),
        };
        let wanted = [
            step(12, "## no heading\nls", false, Some("a\nb")),
            step(24, "serve", true, None),
            step(30, "end", false, None),
        ];
        assert_eq!(read(README, HEADING)?, wanted);
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
            ("## Tour\n```\nls\n```\n", "blocks here are"),
        ] {
            let error = read(text, HEADING).unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
}
