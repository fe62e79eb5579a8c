//! The order of the rooms inside the core crate, and what no library does behind its user's back.

use std::path::{Path, PathBuf};

use crate::workspace::{LIBRARIES, read, root};

/// Each module of the core crate's root and those it may name, itself apart.
const ROOMS: [(&str, &[&str]); 8] = [
    ("failpoint", &[]),
    ("pem", &[]),
    ("model", &["failpoint", "pem"]),
    ("decision", &["failpoint", "pem", "model"]),
    ("store", &["failpoint", "pem", "model", "decision"]),
    ("issue", &["failpoint", "pem", "model", "decision", "store"]),
    ("master", &["failpoint", "pem", "model", "decision", "store", "issue"]),
    // The worker shares its words with the master and nothing else.
    ("worker", &["failpoint", "pem", "model"]),
];

/// Modules that are no room: the root itself, the pages to read, and what tests the rooms. These may
/// name everything, and no room may name them.
const OUTSIDE: [&str; 3] = ["lib", "manual", "testing"];

/// What a library would do to the whole process, and what to do in its place.
const BEHIND_THE_BACK: [(&str, &str); 12] = [
    ("println!", "return it, or make it an event"),
    ("eprintln!", "return it, or make it an event"),
    ("print!", "return it, or make it an event"),
    ("eprint!", "return it, or make it an event"),
    ("env::var", "take it from the caller"),
    ("process::exit", "return an error"),
    ("install_default", "pass the crypto provider"),
    ("ClientConfig::builder(", "use `builder_with_provider`"),
    ("ServerConfig::builder(", "use `builder_with_provider`"),
    ("set_global_default", "the embedder chooses where its traces go"),
    ("set_global_recorder", "the embedder chooses where its metrics go"),
    ("panic::set_hook", "return an error"),
];

/// The one call an embedder makes to have the environment read.
const ASKED_FOR: [(&str, &str); 1] = [("enroll-core/src/worker/environment.rs", "env::var")];

#[test]
fn a_room_of_core_names_only_those_before_it() {
    let source = root().join("enroll-core/src");
    let mut named = 0;
    for file in rust_files(&source) {
        let room = room_of(file.strip_prefix(&source).expect("it was found there"));
        if OUTSIDE.contains(&room.as_str()) {
            continue;
        }
        let (_, allowed) = ROOMS.iter().find(|(name, _)| *name == room).unwrap_or_else(|| {
            panic!("enroll-core/src has a new room, `{room}`: give it a place in the table")
        });
        for (line, text) in production_lines(&file) {
            for other in names_from_the_root(&text) {
                named += 1;
                assert!(
                    other == room || allowed.contains(&other),
                    "{}:{line}: {room} may not name {other}",
                    file.display(),
                );
            }
            assert!(
                !text.contains("super::super::"),
                "{}:{line}: name it from `crate`, so that its room can be seen",
                file.display(),
            );
        }
    }
    assert!(named > 50, "only {named} names were found: the rooms are not where they were");
}

#[test]
fn no_library_acts_behind_its_users_back() {
    for library in LIBRARIES {
        let source = root().join(library).join("src");
        for file in rust_files(&source) {
            // The suite a store's author runs is a test, and may speak as one.
            if room_of(file.strip_prefix(&source).expect("it was found there")) == "testing" {
                continue;
            }
            for (line, text) in production_lines(&file) {
                for (found, instead) in BEHIND_THE_BACK {
                    let asked_for = ASKED_FOR
                        .iter()
                        .any(|(place, what)| root().join(place) == file && *what == found);
                    assert!(
                        asked_for || !has(&text, found),
                        "{}:{line}: {found}: {instead}",
                        file.display(),
                    );
                }
            }
        }
    }
}

/// Whether `text` holds `what` as a word of its own: `print!` is not in `println!` or `eprint!`.
fn has(text: &str, what: &str) -> bool {
    text.match_indices(what).any(|(at, _)| {
        !text[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
    })
}

/// The module of the crate's root that this file, by its path from `src`, is a part of.
fn room_of(file: &Path) -> String {
    let first = file.iter().next().expect("a file has a path");
    Path::new(first).file_stem().expect("and a name").to_string_lossy().into_owned()
}

/// Every `x` of `crate::x` and of `crate::{x, …}` in a line.
fn names_from_the_root(line: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for (at, start) in line.match_indices("crate::") {
        let rest = &line[at + start.len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(group.split(['}', ',']).map(str::trim).map(word)),
            None => names.push(word(rest)),
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn word(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    &text[..end.unwrap_or(text.len())]
}

/// The numbered lines of a file that are code, and not of its tests.
fn production_lines(file: &Path) -> Vec<(usize, String)> {
    if file.file_stem().is_some_and(|name| name == "tests") {
        return Vec::new();
    }
    let mut lines = Vec::new();
    let mut in_tests = false;
    for (index, line) in read(file).lines().enumerate() {
        match line {
            "#[cfg(test)]" => in_tests = true,
            // The item it marked ends at the margin, with a brace or a semicolon.
            _ if in_tests => {
                let at_the_margin = !line.starts_with(char::is_whitespace);
                in_tests = !(at_the_margin && (line.starts_with('}') || line.ends_with(';')));
            }
            _ if line.trim_start().starts_with("//") => {}
            _ => lines.push((index + 1, line.to_owned())),
        }
    }
    lines
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut ahead = vec![directory.to_owned()];
    while let Some(directory) = ahead.pop() {
        for entry in std::fs::read_dir(&directory).expect("a source directory can be read") {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() {
                ahead.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(!files.is_empty(), "{} holds no source", directory.display());
    files.sort();
    files
}
