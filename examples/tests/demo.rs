//! The demo does what it says, in time, and leaves nothing behind.

use std::process::Command;

#[test]
fn the_demo_ends_with_all_nodes_ready_and_leaves_nothing_behind() {
    let room = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_enroll-demo"))
        .env("TMPDIR", room.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let trouble = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{trouble}");
    let (_, last_table) = said.rsplit_once("NAME").unwrap();
    assert_eq!(last_table.matches("ready").count(), 3, "{said}");
    assert!(said.contains("the answer given again 1 time"), "{said}");
    assert!(said.contains("already_consumed"), "{said}");
    assert!(said.contains("exit code 3"), "{said}");
    assert!(said.contains("degraded"), "{said}");
    assert!(!said.contains("enroll:ey"), "no invitation is printed");
    let left: Vec<_> = std::fs::read_dir(room.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    let place = room.path().to_str().unwrap();
    let running = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|process| std::fs::read_to_string(process.path().join("cmdline")).ok());
    let of_the_demo: Vec<String> = running.filter(|command| command.contains(place)).collect();
    assert!(of_the_demo.is_empty(), "{of_the_demo:?}");
}
