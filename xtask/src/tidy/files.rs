//! The text files of the workspace, without what is ignored, built or fetched.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// One text file.
#[derive(Clone, Debug)]
pub(crate) struct TextFile {
    /// Relative to the workspace, with `/`.
    pub(crate) path: String,
    /// What it says.
    pub(crate) text: String,
}

impl TextFile {
    #[cfg(test)]
    pub(crate) fn new(path: &str, text: &str) -> TextFile {
        TextFile { path: path.into(), text: text.into() }
    }
}

/// The line (from 1) at a place in a text.
pub(crate) fn line_at(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count() + 1
}

/// Reads all text files under `root`; those that are not UTF-8 are not text.
///
/// The folders are walked and not asked of git, so that the check works in an unpacked archive too.
pub(crate) fn read_all(root: &Path) -> Result<Vec<TextFile>> {
    let ignored = Ignored::read(root);
    let mut files = Vec::new();
    walk(root, "", &ignored, &mut files)?;
    files.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(files)
}

fn walk(folder: &Path, prefix: &str, ignored: &Ignored, files: &mut Vec<TextFile>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type()?;
        if ignored.matches(&path, kind.is_dir()) {
            continue;
        }
        if kind.is_dir() {
            walk(&entry.path(), &format!("{path}/"), ignored, files)?;
        } else if kind.is_file()
            && let Ok(text) = fs::read_to_string(entry.path())
        {
            files.push(TextFile { path, text });
        }
    }
    Ok(())
}

/// What `.gitignore` in the root says, as far as this project uses it: names and paths, `*.ending`, a trailing `/`.
struct Ignored {
    patterns: Vec<String>,
}

impl Ignored {
    fn read(root: &Path) -> Ignored {
        let text = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
        let patterns = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Ignored { patterns: patterns.map(str::to_owned).collect() }
    }

    fn matches(&self, path: &str, is_folder: bool) -> bool {
        path == ".git" || self.patterns.iter().any(|pattern| matches(pattern, path, is_folder))
    }
}

fn matches(pattern: &str, path: &str, is_folder: bool) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let wanted = pattern.trim_end_matches('/');
    if pattern.ends_with('/') && !is_folder {
        return false;
    }
    if let Some(ending) = wanted.strip_prefix('*') {
        return name.ends_with(ending);
    }
    if wanted.contains('/') { path == wanted.trim_start_matches('/') } else { name == wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_folders_and_binaries_are_left_out() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let write = |path: &str, bytes: &[u8]| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().context("no parent")?)?;
            fs::write(path, bytes).context("writing")
        };
        write(".gitignore", b"/target/\n__pycache__/\n*.db\n")?;
        for path in ["target/a.rs", "src/target/b.rs", "x/__pycache__/c", "x/d.db", ".git/config"] {
            write(path, b"text")?;
        }
        write("x/binary", &[0xff, 0xfe])?;
        let paths: Vec<String> = read_all(folder.path())?.into_iter().map(|file| file.path).collect();
        assert_eq!(paths, [".gitignore", "src/target/b.rs"]);
        Ok(())
    }

    #[test]
    fn lines_count_from_one() {
        assert_eq!([0, 1, 2].map(|offset| line_at("\n\n", offset)), [1, 2, 3]);
    }
}
