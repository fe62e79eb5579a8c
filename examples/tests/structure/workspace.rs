//! What cargo and the files say about the workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// The crates that are published, and promise an oldest Rust.
pub(crate) const LIBRARIES: [&str; 4] =
    ["enroll-core", "enroll-http", "enroll-store-postgres", "enroll-store-sqlite"];

/// The crates of the workspace that are not.
pub(crate) const PROGRAMS: [&str; 2] = ["enroll-benches", "enroll-examples"];

#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) rust_version: Option<String>,
    pub(crate) publish: Option<Vec<String>>,
    pub(crate) manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
pub(crate) struct Dependency {
    name: String,
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

impl Metadata {
    /// Everything resolved for this host, with every feature on.
    pub(crate) fn read() -> Self {
        let host = host();
        let text = cargo(&[
            "metadata",
            "--format-version=1",
            "--locked",
            "--all-features",
            "--filter-platform",
            &host,
        ]);
        serde_json::from_str(&text).expect("cargo metadata is JSON of this form")
    }

    /// The crates of the workspace.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }

    /// The crate of the workspace with this name.
    pub(crate) fn member(&self, name: &str) -> &Package {
        self.members().find(|package| package.name == name).expect("the workspace has this crate")
    }

    /// What has to be compiled before `name` is: everything but dev-dependencies, of dependencies too.
    pub(crate) fn needed_by(&self, name: &str) -> Vec<&Package> {
        let edges: BTreeMap<&str, &Node> =
            self.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let mut seen = BTreeSet::new();
        let mut ahead = vec![self.member(name).id.as_str()];
        while let Some(id) = ahead.pop() {
            if seen.insert(id) {
                let built = edges[id].deps.iter().filter(|edge| edge.is_built());
                ahead.extend(built.map(|edge| edge.pkg.as_str()));
            }
        }
        self.packages.iter().filter(|package| seen.contains(package.id.as_str())).collect()
    }
}

impl Edge {
    fn is_built(&self) -> bool {
        self.dep_kinds.iter().any(|edge| edge.kind.as_deref() != Some("dev"))
    }
}

impl Package {
    /// The crates of the workspace this one asks for itself, its tests included.
    pub(crate) fn imports(&self) -> BTreeSet<&str> {
        self.siblings().map(|sibling| sibling.name.as_str()).collect()
    }

    /// The crates of the workspace it cannot be compiled without.
    pub(crate) fn builds_on(&self) -> BTreeSet<&str> {
        let built = self.siblings().filter(|sibling| sibling.kind.as_deref() != Some("dev"));
        built.map(|sibling| sibling.name.as_str()).collect()
    }

    fn siblings(&self) -> impl Iterator<Item = &Dependency> {
        self.dependencies.iter().filter(|dependency| dependency.name.starts_with("enroll-"))
    }
}

/// The directory that holds the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("every crate is a directory of the workspace").to_owned()
}

/// A file of the workspace, by its path from the root.
pub(crate) fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What cargo prints for these arguments.
pub(crate) fn cargo(arguments: &[&str]) -> String {
    run(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()), arguments)
}

fn host() -> String {
    let version = run("rustc", &["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("rustc names its host").to_owned()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(program).args(arguments).current_dir(root()).output().expect("it starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {complaint}");
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}
