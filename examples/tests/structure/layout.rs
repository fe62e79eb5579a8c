//! What may stand at the top of the repository.

use std::collections::BTreeSet;

use crate::workspace::{Metadata, root};

/// Files, and the directories that hold no crate. What begins with a dot may stand beside them.
const FILES: [&str; 10] = [
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "clippy.toml",
    "deny.toml",
    "rustfmt.toml",
    "test",
];

/// What a build or a run leaves behind; git ignores it.
const LEFT_BEHIND: [&str; 2] = ["enroll-data", "target"];

#[test]
fn only_the_crates_and_what_serves_them_all_stands_at_the_top() {
    let metadata = Metadata::read();
    let crates = metadata.members().map(|package| {
        let directory = package.manifest_path.parent().expect("a manifest is in a directory");
        assert_eq!(
            directory.parent(),
            Some(root().as_path()),
            "{} is not at the top",
            package.name
        );
        directory.file_name().expect("a directory has a name").to_string_lossy().into_owned()
    });
    let files = FILES.iter().chain(&LEFT_BEHIND).map(|name| (*name).to_owned());
    let allowed: BTreeSet<String> = crates.chain(files).collect();
    let strangers: Vec<String> = std::fs::read_dir(root())
        .expect("the root can be read")
        .map(|entry| {
            entry.expect("an entry can be read").file_name().to_string_lossy().into_owned()
        })
        .filter(|name| !name.starts_with('.') && !allowed.contains(name))
        .collect();
    assert!(strangers.is_empty(), "not of the top level: {strangers:?}");
}
