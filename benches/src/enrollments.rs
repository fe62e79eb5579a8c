//! Whole enrollments over TLS, beside a bare hello over the same TLS.

use std::path::Path;
use std::time::Duration;

use enroll_core::issue::x509::{Authority, AuthorityOptions, RootCertificate};
use enroll_core::model::{Clock as _, SystemClock, SystemEntropy};
use enroll_core::testing::{Fixtures, TestToken};
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};
use serde_json::json;

use crate::client::{Crowd, Target, post};
use crate::issuing;
use crate::measure::{Figure, Section, Unit, per_second};
use crate::plan::{Failure, Plan};
use crate::process::Server;
use crate::server::What;
use crate::tokens;

/// Clients at once, many and few.
const MANY: usize = 64;
const FEW: usize = 16;

/// One shape of load.
struct Shape {
    clients: usize,
    fresh: bool,
    kind: Kind,
    rate: Vec<f64>,
    cpu: Vec<f64>,
    p99: Vec<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing but the connection and a fixed answer.
    Hello,
    /// An enrollment with a P-384 request, or a P-256 one, on SQLite.
    P384,
    P256,
    /// With a P-384 request on a store in memory.
    Memory,
}

impl Shape {
    const fn new(clients: usize, fresh: bool, kind: Kind) -> Self {
        Self { clients, fresh, kind, rate: Vec::new(), cpu: Vec::new(), p99: Vec::new() }
    }
}

/// The servers, and what is asked of them.
struct Stage {
    hello: (Server, Target),
    sqlite: (Server, Target),
    memory: (Server, Target),
    stored: std::vec::IntoIter<TestToken>,
    remembered: std::vec::IntoIter<TestToken>,
    p384: String,
    p256: String,
}

/// Measures every shape in turn, round by round.
pub(crate) async fn measure(plan: &Plan) -> Result<Section, Failure> {
    let dir = tempfile::Builder::new().prefix("enroll-bench-").tempdir_in(&plan.dir)?;
    let mut shapes = [
        Shape::new(MANY, true, Kind::Hello),
        Shape::new(MANY, true, Kind::P384),
        Shape::new(MANY, true, Kind::P256),
        Shape::new(MANY, true, Kind::Memory),
        Shape::new(FEW, true, Kind::Hello),
        Shape::new(FEW, true, Kind::P384),
        Shape::new(MANY, false, Kind::Hello),
        Shape::new(MANY, false, Kind::P384),
    ];
    let mut stage = Stage::set(plan, dir.path()).await?;
    for round in 1..=plan.rounds {
        eprintln!("enrollments: round {round} of {}", plan.rounds);
        for shape in &mut shapes {
            stage.run(shape, plan.redemptions).await?;
        }
    }
    Ok(Section {
        title: "whole enrollments over TLS 1.3".into(),
        notes: vec![format!(
            "clients share the processors; CPU is the server's; {} tokens in the table",
            plan.tokens
        )],
        figures: figures(&shapes),
    })
}

fn figures(shapes: &[Shape; 8]) -> Vec<Figure> {
    let [hello, p384, p256, memory, hello_few, p384_few, kept_hello, kept] = shapes;
    let rate = |what: &str, of: &Shape, limit: &str, beside: &Shape| {
        Figure::beside(what, Unit::PerSecond, &of.rate, limit, &beside.rate)
    };
    let bare = "a bare hello";
    vec![
        rate("64 clients, fresh connections, P-384", p384, bare, hello),
        Figure::beside("  CPU each", Unit::Micros, &p384.cpu, bare, &hello.cpu),
        rate("64 clients, fresh connections, P-256", p256, bare, hello),
        rate("64 clients, fresh connections, P-384", p384, "the same on a store in memory", memory),
        rate("16 clients, fresh connections, P-384", p384_few, bare, hello_few),
        Figure::beside("  99 of 100 within", Unit::Millis, &p384_few.p99, bare, &hello_few.p99),
        rate("64 clients, kept connections, P-384", kept, bare, kept_hello),
        Figure::beside("  CPU each", Unit::Micros, &kept.cpu, bare, &kept_hello.cpu),
    ]
}

impl Stage {
    async fn set(plan: &Plan, dir: &Path) -> Result<Self, Failure> {
        let ca = dir.join("ca");
        let root = authority(&ca)?;
        // Three shapes are served from the database, one from memory.
        let (here, there) = (plan.rounds * plan.redemptions * 4, plan.rounds * plan.redemptions);
        let since = SystemClock::new().now().before(Duration::from_secs(60 * 60));
        let fixtures = Fixtures::new();
        let stored = tokens::make(&fixtures, since, plan.tokens + here);
        let database = dir.join("fleet.db");
        tokens::write(&fixtures, &stored, &database).await?;
        let remembered = tokens::make(&Fixtures::new(), since, there);
        let server = |what, more: &[String]| {
            let server = Server::start(what, &ca, more)?;
            let target = Target::new(server.address, &root, None)?;
            Ok::<_, Failure>((server, target))
        };
        let prefilled = [format!("--tokens={there}"), format!("--since={}", since.unix_millis())];
        Ok(Self {
            hello: server(What::Hello, &[])?,
            sqlite: server(What::Enroll, &[format!("--store={}", database.display())])?,
            memory: server(What::Enroll, &prefilled)?,
            stored: stored.into_iter(),
            remembered: remembered.into_iter(),
            p384: issuing::csr(&PKCS_ECDSA_P384_SHA384)?,
            p256: issuing::csr(&PKCS_ECDSA_P256_SHA256)?,
        })
    }

    async fn run(&mut self, shape: &mut Shape, count: u32) -> Result<(), Failure> {
        let requests = self.requests(shape.kind, count as usize);
        let mut clients = vec![Vec::new(); shape.clients];
        for (place, request) in requests.into_iter().enumerate() {
            clients[place % shape.clients].push(request);
        }
        let (server, target) = match shape.kind {
            Kind::Hello => &self.hello,
            Kind::P384 | Kind::P256 => &self.sqlite,
            Kind::Memory => &self.memory,
        };
        let cpu = server.usage().cpu()?;
        let mut crowd = Crowd::of(target, clients, shape.fresh).await?;
        let cpu = server.usage().cpu()? - cpu;
        shape.rate.push(per_second(count, crowd.took));
        shape.cpu.push(cpu.as_secs_f64() * 1e6 / f64::from(count));
        shape.p99.push(crowd.percentile(0.99));
        Ok(())
    }

    fn requests(&mut self, kind: Kind, count: usize) -> Vec<Vec<u8>> {
        let (tokens, csr) = match kind {
            Kind::Hello => return vec![HELLO.to_vec(); count],
            Kind::P384 => (&mut self.stored, &self.p384),
            Kind::P256 => (&mut self.stored, &self.p256),
            Kind::Memory => (&mut self.remembered, &self.p384),
        };
        tokens.take(count).map(|token| enroll(&token, csr)).collect()
    }
}

const HELLO: &[u8] = b"GET /hello HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// The call by which the machine of `token` enrolls.
pub(crate) fn enroll(token: &TestToken, csr: &str) -> Vec<u8> {
    let body = json!({
        "token": token.token.expose(),
        "node_name": tokens::name(token),
        "csr": csr,
        "facts": { "arch": "x86_64", "os": "linux", "hostname": "bench", "version": "1" },
    });
    post("/v1/enroll", None, &body.to_string())
}

/// Makes an authority in `dir`.
pub(crate) fn authority(dir: &Path) -> Result<RootCertificate, Failure> {
    let (clock, entropy) = (SystemClock::new(), SystemEntropy::new());
    let made: Authority = AuthorityOptions::new().open_or_create(dir, clock.now(), &entropy)?;
    Ok(made.root().clone())
}
