//! Which crate may import which, and what the published ones promise.

use std::collections::{BTreeMap, BTreeSet};

use crate::workspace::{LIBRARIES, Metadata, PROGRAMS, cargo, read};

/// Libraries that speak HTTP or SQL, or open sockets: `mio` and `socket2` are in the closure as soon as
/// tokio's own sockets are.
const NOT_IN_CORE: [&str; 19] = [
    "axum",
    "deadpool_postgres",
    "h2",
    "http",
    "hyper",
    "hyper_util",
    "libsqlite3_sys",
    "mio",
    "postgres_types",
    "prost",
    "reqwest",
    "rusqlite",
    "rustls",
    "socket2",
    "sqlx",
    "tokio_postgres",
    "tokio_rustls",
    "tonic",
    "tower",
];

/// Core knows nobody; the stores and HTTP know core and never each other; the programs know all.
fn allowed(name: &str) -> BTreeSet<&'static str> {
    match name {
        "enroll-core" => BTreeSet::new(),
        "enroll-http" | "enroll-store-postgres" | "enroll-store-sqlite" => {
            BTreeSet::from(["enroll-core"])
        }
        "enroll-benches" | "enroll-examples" => BTreeSet::from(LIBRARIES),
        other => panic!("{other} has no place in the table of allowed imports"),
    }
}

#[test]
fn a_crate_imports_only_what_its_place_allows() {
    for package in Metadata::read().members() {
        let mut imports = package.imports();
        // A crate asks for itself once more to turn a feature on for its own tests.
        imports.remove(package.name.as_str());
        let allowed = allowed(&package.name);
        let strangers: Vec<_> = imports.difference(&allowed).collect();
        assert!(strangers.is_empty(), "{} may not import {strangers:?}", package.name);
    }
}

#[test]
fn the_readme_draws_the_crates_as_they_are() {
    let metadata = Metadata::read();
    let real: BTreeMap<&str, BTreeSet<&str>> =
        metadata.members().map(|package| (package.name.as_str(), package.builds_on())).collect();
    let readme = read("README.md");
    assert_eq!(drawn(&readme), real, "left: README.md, right: cargo metadata");
}

/// The lines `crate → imported, imported` between the two marks.
fn drawn(readme: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let (_, after) = readme.split_once("<!-- crates -->").expect("the drawing begins");
    let (drawing, _) = after.split_once("<!-- /crates -->").expect("the drawing ends");
    let lines = drawing.lines().filter(|line| line.starts_with("enroll-"));
    lines
        .map(|line| {
            let (name, imports) = line.split_once('→').unwrap_or((line, ""));
            let imports = imports.split(',').map(str::trim).filter(|import| !import.is_empty());
            // What stands behind a name without imports is for people.
            let name = name.split_whitespace().next().expect("a line begins with a name");
            (name, imports.collect())
        })
        .collect()
}

#[test]
fn core_knows_no_http_no_sql_and_no_socket() {
    let tree = cargo(&[
        "tree",
        "--locked",
        "--package=enroll-core",
        "--all-features",
        "--edges=normal",
        "--prefix=none",
        "--format={lib}",
    ]);
    let reached: BTreeSet<&str> = tree.lines().collect();
    assert!(reached.contains("tokio"), "the tree is not what it was taken for:\n{tree}");
    let met: Vec<_> = reached.intersection(&BTreeSet::from(NOT_IN_CORE)).copied().collect();
    assert!(met.is_empty(), "enroll-core reaches {met:?}");
}

#[test]
fn nothing_a_library_needs_asks_for_a_newer_rust() {
    let metadata = Metadata::read();
    for library in LIBRARIES {
        let promised = metadata.member(library).rust_version.as_deref().expect("it promises one");
        for package in metadata.needed_by(library) {
            let asked = package.rust_version.as_deref().unwrap_or("1.0");
            assert!(
                number(asked) <= number(promised),
                "{library} promises Rust {promised}, but {} {} asks for {asked}",
                package.name,
                package.version,
            );
        }
    }
}

fn number(version: &str) -> Vec<u32> {
    let mut parts: Vec<u32> =
        version.split('.').map(|part| part.parse().expect("a number")).collect();
    parts.resize(3, 0);
    parts
}

#[test]
fn the_libraries_are_published_and_the_programs_are_not() {
    let metadata = Metadata::read();
    for package in metadata.members() {
        let published = package.publish.is_none();
        assert_eq!(published, LIBRARIES.contains(&package.name.as_str()), "{}", package.name);
    }
    let members = metadata.members().map(|package| package.name.as_str());
    assert_eq!(members.collect::<BTreeSet<_>>(), LIBRARIES.into_iter().chain(PROGRAMS).collect());
}

#[test]
fn every_crate_is_held_to_the_lints_of_the_workspace() {
    for package in Metadata::read().members() {
        let manifest: toml::Table = read(&package.manifest_path).parse().expect("TOML");
        let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        assert_eq!(inherits, Some(&toml::Value::Boolean(true)), "{}", package.name);
    }
}

#[test]
fn no_crate_can_write_unsafe_code() {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("TOML");
    let level = manifest["workspace"]["lints"]["rust"]["unsafe_code"].as_str();
    // `deny` could be allowed again further down; `forbid` cannot.
    assert_eq!(level, Some("forbid"));
}
