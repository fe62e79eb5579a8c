//! The table of features in the manual, held against the tests it names.

use std::collections::BTreeMap;

use crate::workspace::{read, root};

const TABLE: &str = "enroll-core/src/manual/features.md";

/// Every row there has to be.
const FEATURES: &str = "A1 A2 A3 A4 A5 A6 A7 A8 A8b A9 A10 A11 A12 A13 A14 A15 A16 A17 A18 A19 A20 A21 \
                        B1 B2 B3 B4 B5 B6 B7 B8 B9 B10 B11 B12 \
                        C1 C2 C3 C4 C5 C6 C7 C8 D1 D2 D4 D5 D7 D8";

/// The tests of each row: the file, the function.
fn rows() -> BTreeMap<String, Vec<(String, String)>> {
    let mut rows = BTreeMap::new();
    for line in read(root().join(TABLE)).lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [id, _, shown] = cells[..] else { continue };
        if id == "id" || id.starts_with('-') {
            continue;
        }
        let earlier = rows.insert(id.to_owned(), named(shown));
        assert!(earlier.is_none(), "{id} stands twice in {TABLE}");
    }
    rows
}

/// Files and the functions behind each: what stands between backticks.
fn named(shown: &str) -> Vec<(String, String)> {
    let mut file = "";
    let mut tests = Vec::new();
    for name in shown.split('`').skip(1).step_by(2) {
        if name.ends_with(".rs") {
            file = name;
        } else {
            tests.push((file.to_owned(), name.to_owned()));
        }
    }
    tests
}

#[test]
fn every_feature_has_a_test_that_carries_its_id() {
    let rows = rows();
    for id in FEATURES.split(' ') {
        let tests = rows.get(id).unwrap_or_else(|| panic!("{id} is not in {TABLE}"));
        assert!(!tests.is_empty(), "{id} is shown by nothing");
    }
    for (id, tests) in &rows {
        for (file, test) in tests {
            let word = id.to_lowercase();
            assert!(test.split('_').any(|part| part == word), "{test} does not carry {id}");
            assert!(is_a_test(&read(root().join(file)), test), "{file} has no test {test}");
        }
    }
}

/// Whether the function of this name is one that `cargo test` runs.
fn is_a_test(source: &str, name: &str) -> bool {
    let Some(at) = source.find(&format!("fn {name}(")) else { return false };
    let line = source[..at].rfind('\n').map_or(0, |end| end + 1);
    let mut attributes = source[..line].lines().rev().take_while(|line| line.starts_with("#["));
    attributes.any(|line| line == "#[test]" || line.starts_with("#[tokio::test"))
}

#[test]
fn a_function_is_a_test_only_under_its_attribute() {
    assert!(is_a_test("#[test]\nfn a1_x() {}", "a1_x"));
    assert!(is_a_test("#[tokio::test(flavor = \"multi_thread\")]\nasync fn a1_x() {}", "a1_x"));
    assert!(!is_a_test("#[test]\nfn b() {}\n\nfn a1_x() {}", "a1_x"));
    assert!(!is_a_test("// fn a1_x\n#[test]\nfn a1_xy() {}", "a1_x"));
}
