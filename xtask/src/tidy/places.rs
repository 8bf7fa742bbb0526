//! Files that must be there, and names of machines that must not be in any.

use super::files::line_at;
use super::{Finding, TextFile};

const REQUIRED: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "LICENSE",
    "Makefile",
    "deny.toml",
    ".ci/run",
];

/// Folders of one machine. Written in two parts, or this file would find itself.
const MACHINE_FOLDERS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/tmp/", "wt/")];

/// Package registries: which one is used is the business of whoever builds.
const REGISTRY_HOSTS: &[&str] = &[
    concat!("pythonho", "sted"),
    concat!("index.cra", "tes.io"),
    concat!("static.cra", "tes.io"),
    concat!("registry.n", "pmjs"),
    concat!("deb.de", "bian.org"),
    concat!("artifac", "tory"),
];

/// Written by tools, which put registries into them.
const LOCK_FILES: &[&str] = &["Cargo.lock", "package-lock.json"];

/// Checks that what every project has is there.
pub(crate) fn check_required(files: &[TextFile]) -> Vec<Finding> {
    let missing = REQUIRED.iter().filter(|path| !files.iter().any(|file| file.path == **path));
    missing.map(|path| Finding::new(path, 1, "this file is missing")).collect()
}

/// Looks for names of machines.
pub(crate) fn check(file: &TextFile) -> Vec<Finding> {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    if LOCK_FILES.contains(&name) {
        return Vec::new();
    }
    let folders = MACHINE_FOLDERS.iter().flat_map(|folder| machine_paths(&file.text, folder));
    let hosts = REGISTRY_HOSTS.iter().flat_map(|host| file.text.match_indices(host));
    let folders = folders.map(|(at, text)| (at, format!("`{text}` is a folder of one machine")));
    let hosts =
        hosts.map(|(at, text)| (at, format!("`{text}` is a registry: leave the choice to who builds")));
    folders
        .chain(hosts)
        .map(|(at, message)| Finding::new(&file.path, line_at(&file.text, at), message))
        .collect()
}

/// Where `folder` begins a path: it is not the middle of a longer one.
fn machine_paths<'a>(text: &'a str, folder: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    text.match_indices(folder).filter(|(at, _)| {
        let before = text[..*at].chars().next_back();
        !before.is_some_and(|character| character.is_alphanumeric() || "._-}>)".contains(character))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_registries_of_a_machine_are_found() {
        for secret in MACHINE_FOLDERS.iter().chain(REGISTRY_HOSTS) {
            let findings = check(&TextFile::new("docs/a.md", &format!("first\nsee `{secret}x`")));
            assert_eq!(findings.iter().map(|finding| finding.line).collect::<Vec<_>>(), [2], "{secret}");
        }
    }

    #[test]
    fn the_same_inside_a_longer_path_or_a_lock_file_is_fine() {
        let inside = format!("net{}x", MACHINE_FOLDERS[0]);
        assert_eq!(check(&TextFile::new("docs/a.md", &inside)), []);
        assert_eq!(check(&TextFile::new("x/package-lock.json", REGISTRY_HOSTS[0])), []);
    }

    #[test]
    fn missing_files_are_named() {
        let files: Vec<TextFile> = REQUIRED.iter().skip(1).map(|path| TextFile::new(path, "")).collect();
        let missing: Vec<String> = check_required(&files).into_iter().map(|finding| finding.path).collect();
        assert_eq!(missing, [REQUIRED[0]]);
    }
}
