//! Runs the real binaries for a test: started, awaited, stopped, and heard when something fails.

#![allow(dead_code, unused_imports, reason = "each test uses a part of it")]

mod api;
mod master;
mod worker;

pub(crate) use api::{Answer, Api};
pub(crate) use master::{Home, Master, Said, program, run};
pub(crate) use worker::{Machine, Serving, at, worker};

use std::process::Command;
use std::time::{Duration, Instant};

/// How long anything that has to happen may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Looks until there is something; the test fails where it does not come.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Looks, where looking is a call, until there is something.
pub(crate) async fn in_time<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What is read at a plain URL.
pub(crate) fn curl(url: &str) -> String {
    let said = run(Command::new("curl").args(["-sSf", "--noproxy", "*", url]));
    assert_eq!(said.code, 0, "{said:?}");
    said.out
}

/// How many times `small` something is done: `ENROLL_TEST_SCALE` is a whole number to multiply it
/// by, or `full` for `full` times.
pub(crate) fn times(small: usize, full: usize) -> usize {
    const SCALE: &str = "ENROLL_TEST_SCALE";
    let times = match std::env::var(SCALE).as_deref() {
        Err(_) => small,
        Ok("full") => full,
        Ok(text) => match text.parse::<usize>() {
            Ok(factor @ 1..) => small.saturating_mul(factor).min(full),
            _ => panic!("{SCALE} is a whole number from 1 on, or `full`"),
        },
    };
    eprintln!("{times} times; {SCALE}=full is {full}");
    times
}

/// Ports of the loopback that were free a moment ago.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let sockets = [(); N].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    sockets.map(|socket| socket.local_addr().expect("its address").port())
}

/// A command without the settings that this process may have in its environment.
pub(crate) fn quiet(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ENROLL_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command
}
