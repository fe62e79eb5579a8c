//! Masters that are started again whenever they end, as a service manager does.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::harness::{Api, Home, Master};

/// Masters on one store, each on ports that it keeps.
pub(crate) struct Herd {
    enroll: Vec<u16>,
    homes: Vec<Arc<Home>>,
    ca: String,
    kill: Vec<Sender<()>>,
    stop: Arc<AtomicBool>,
    keepers: Vec<JoinHandle<usize>>,
}

impl Herd {
    /// `count` masters of the fleet of `first`, which ends.
    pub(crate) fn start(first: Master, count: usize, args: &[&str]) -> Self {
        let ca = std::fs::read_to_string(first.data().join("ca.crt")).expect("a root");
        let homes: Vec<_> = (0..count).map(|_| Arc::new(Home::of_the_fleet_of(&first))).collect();
        drop(first);
        let stop = Arc::new(AtomicBool::new(false));
        let (mut enroll, mut kill, mut keepers) = (Vec::new(), Vec::new(), Vec::new());
        for home in &homes {
            let ports = free_ports();
            let mut serve = home.serve_on(ports);
            serve.args(args);
            let (sender, receiver) = channel();
            let (home, stop) = (Arc::clone(home), Arc::clone(&stop));
            keepers.push(std::thread::spawn(move || keep(&home, serve, &receiver, &stop)));
            enroll.push(ports[0]);
            kill.push(sender);
        }
        Self { enroll, homes, ca, kill, stop, keepers }
    }

    /// Ends a master as a power failure does; it is started again.
    pub(crate) fn kill(&self, which: usize) {
        self.kill[which % self.kill.len()].send(()).expect("somebody keeps it");
    }

    /// A caller of each.
    pub(crate) fn callers(&self) -> Vec<Api> {
        let api = |port| Api::new(&format!("https://127.0.0.1:{port}"), &self.ca, None);
        self.enroll.iter().map(api).collect()
    }

    /// Ends them all; how often they were started in all.
    pub(crate) fn end(mut self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        let started =
            self.keepers.drain(..).map(|keeper| keeper.join().expect("it does not panic"));
        started.sum()
    }
}

impl Drop for Herd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for keeper in self.keepers.drain(..) {
            let _panicked = keeper.join();
        }
        if std::thread::panicking() {
            for home in &self.homes {
                let log = home.log();
                let last = log.len().saturating_sub(4_000);
                let last = (last..log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(0);
                eprintln!("---- the end of a master's log\n{}----", &log[last..]);
            }
        }
    }
}

/// Starts it whenever it has ended; how often that was.
fn keep(home: &Home, mut serve: Command, kill: &Receiver<()>, stop: &AtomicBool) -> usize {
    let mut started = 0;
    while !stop.load(Ordering::SeqCst) {
        let log = File::options().create(true).append(true).open(home.beside("master.log"));
        serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.expect("a log file"));
        let mut child = serve.spawn().expect("enroll-master starts");
        started += 1;
        while !stop.load(Ordering::SeqCst) && runs(&mut child) {
            if kill.recv_timeout(Duration::from_millis(20)).is_ok() {
                break;
            }
        }
        // It may have ended by itself.
        let _ended = child.kill();
        child.wait().expect("the child is ours");
    }
    started
}

fn runs(child: &mut Child) -> bool {
    child.try_wait().expect("the child is ours").is_none()
}

/// Ports that nobody has now.
pub(crate) fn free_ports() -> [u16; 3] {
    let bound = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    bound.map(|socket| socket.local_addr().expect("an address").port())
}
