//! A fleet that is connected: every machine over a connection of its own, with a stream held open.

use std::time::{Duration, Instant};

use enroll_core::issue::x509::RootCertificate;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, JoinSet};

use crate::client::{Target, post};
use crate::enrollments::authority;
use crate::measure::{Figure, Section, Unit};
use crate::members::{self, Machine};
use crate::plan::{Failure, Plan};
use crate::process::Server;
use crate::server::What;
use crate::streams::Line;

/// Each machine beats this often, ten times as often as the default: as many beats as of ten times as many
/// machines.
const BETWEEN: Duration = Duration::from_secs(3);

/// How many beats of each are measured.
const BEATS: u32 = 3;

/// Connects the fleet once, for it takes long; then lets it rest and beat in each round. Beside it, over
/// as many connections, the smallest JSON request at the same pace.
pub(crate) async fn measure(plan: &Plan) -> Result<Section, Failure> {
    let dir = tempfile::Builder::new().prefix("enroll-bench-").tempdir_in(&plan.dir)?;
    let (ca, database) = (dir.path().join("ca"), dir.path().join("fleet.db"));
    let root = authority(&ca)?;
    let machines = members::enroll(&ca, &database, plan.connected).await?;
    let bare = Server::start(What::MutualHello, &ca, &[])?;
    eprintln!("connecting {} machines to a bare server", machines.len());
    let kept = connect(&machines, |machine| Kept::open(&bare, &root, machine)).await?;
    let server = Server::start(What::Steady, &ca, &[format!("--store={}", database.display())])?;
    let idle = server.usage().resident()?;
    eprintln!("connecting {} machines", machines.len());
    let began = Instant::now();
    let lines = connect(machines, |machine| {
        let (address, root) = (server.address, root.clone());
        async move { Line::open(address, &root, machine).await }
    })
    .await?;
    let took = began.elapsed().as_secs_f64();
    let (mut resting, mut beating, mut each) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
    for round in 1..=plan.rounds {
        eprintln!("connected: round {round} of {}", plan.rounds);
        resting.push(cores(&server, tokio::time::sleep(SPAN)).await?);
        let requests = cores(&bare, paced(&kept, Kept::ask)).await?;
        let beats = cores(&server, paced(&lines, Line::beat)).await?;
        for (of, cores) in each.iter_mut().zip([beats, requests]) {
            of.push(cores * SPAN.as_secs_f64() * 1e6 / f64::from(plan.connected * BEATS));
        }
        beating.push(beats);
    }
    let memory = server.usage().resident()? - idle;
    let asked = u64::from(plan.connected) * u64::from(plan.rounds * BEATS);
    ended("answered", asked, kept, Kept::end).await?;
    ended("heard", asked + u64::from(plan.connected), lines, Line::end).await?;
    let room = memory * 1024.0 / f64::from(plan.connected);
    let limit = "a bare JSON request of each";
    Ok(Section {
        title: format!("{} machines, each with a stream open", plan.connected),
        notes: vec![format!("a beat of each in {BETWEEN:?}, ten times as often as by default")],
        figures: vec![
            Figure::alone("all connected, a fresh TLS connection each", Unit::Seconds, vec![took]),
            Figure::alone("resident above idle", Unit::Mebibytes, vec![memory]),
            Figure::alone("  KiB for each", Unit::Count, vec![room]),
            Figure::alone("cores while all rest", Unit::Count, resting),
            Figure::alone("cores while all beat", Unit::Count, beating),
            Figure::beside("  CPU each", Unit::Micros, &each[0], limit, &each[1]),
        ],
    })
}

/// How long each round rests, and beats.
const SPAN: Duration = Duration::from_secs(BETWEEN.as_secs() * BEATS as u64);

/// At most so many connect at the same time, as the machines of a fleet seldom all do.
const AT_ONCE: usize = 64;

async fn connect<M, T, F>(
    machines: impl IntoIterator<Item = M>,
    open: impl Fn(M) -> F,
) -> Result<Vec<T>, Failure>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let (mut connecting, mut open_now) = (JoinSet::new(), Vec::new());
    for machine in machines {
        if connecting.len() == AT_ONCE
            && let Some(opened) = connecting.join_next().await
        {
            open_now.push(opened??);
        }
        connecting.spawn(open(machine));
    }
    while let Some(opened) = connecting.join_next().await {
        open_now.push(opened??);
    }
    Ok(open_now)
}

/// A machine's connection to the bare server, over which it asks for as little as one can.
struct Kept {
    asks: UnboundedSender<()>,
    answered: JoinHandle<Result<u64, Failure>>,
}

impl Kept {
    fn open(
        server: &Server,
        root: &RootCertificate,
        machine: &Machine,
    ) -> impl Future<Output = Result<Self, Failure>> + Send + use<> {
        let target = Target::new(server.address, root, Some(machine.identity.clone()));
        let request = post("/json", None, &json!({ "node_name": machine.name }).to_string());
        async move {
            let mut connection = target?.connect().await?;
            let (asks, mut asked) = unbounded_channel();
            let answered = tokio::spawn(async move {
                let mut answered = 0;
                while let Some(()) = asked.recv().await {
                    let (status, _) = connection.ask(&request).await?;
                    answered += u64::from(status == 200);
                }
                Ok(answered)
            });
            Ok(Self { asks, answered })
        }
    }

    /// Makes one request.
    fn ask(&self) {
        // Were the connection over, its end would say so.
        let _over = self.asks.send(());
    }

    /// Ends the connection; how many requests were answered over it.
    async fn end(self) -> Result<u64, Failure> {
        drop(self.asks);
        self.answered.await?
    }
}

/// Has each machine do its part at its own place in every span.
async fn paced<T: Sync>(machines: &[T], part: impl Fn(&T) + Send) {
    let each = BETWEEN / u32::try_from(machines.len().max(1)).unwrap_or(u32::MAX);
    let began = tokio::time::Instant::now();
    for (place, machine) in (0..BEATS).flat_map(|_| machines).enumerate() {
        tokio::time::sleep_until(began + each * u32::try_from(place).unwrap_or(u32::MAX)).await;
        part(machine);
    }
    tokio::time::sleep_until(began + SPAN).await;
}

/// Ends all connections, over which `wanted` have to have come through.
async fn ended<T, F>(
    what: &str,
    wanted: u64,
    machines: Vec<T>,
    end: impl Fn(T) -> F,
) -> Result<(), Failure>
where
    F: Future<Output = Result<u64, Failure>>,
{
    let mut came = 0;
    for machine in machines {
        came += end(machine).await?;
    }
    if came == wanted { Ok(()) } else { Err(format!("{came} of {wanted} were {what}").into()) }
}

/// How much of the processors the server used while `work` went on.
async fn cores(server: &Server, work: impl Future<Output = ()>) -> Result<f64, Failure> {
    let (began, before) = (Instant::now(), server.usage().cpu()?);
    work.await;
    let used = server.usage().cpu()? - before;
    Ok(used.as_secs_f64() / began.elapsed().as_secs_f64())
}
