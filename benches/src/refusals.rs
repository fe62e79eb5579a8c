//! What it costs a master to refuse, by reason, beside what it costs to admit.

use std::path::Path;
use std::time::Duration;

use enroll_core::model::{Clock as _, Reason, SystemClock, What as Event};
use enroll_core::store::Tokens as _;
use enroll_core::testing::{Fixtures, TestToken};
use enroll_store_sqlite::SqliteStore;
use rcgen::PKCS_ECDSA_P384_SHA384;
use serde_json::{Value, json};

use crate::client::{Target, post};
use crate::enrollments::authority;
use crate::measure::{Figure, Section, Unit};
use crate::plan::{Failure, Plan};
use crate::process::Server;
use crate::server::What;
use crate::{issuing, tokens};

/// One call again and again, each of which is refused for the same reason.
struct Case {
    reason: Reason,
    what: &'static str,
    call: Vec<u8>,
    micros: Vec<f64>,
}

/// Measures every reason in turn, over one kept connection each, after as many admissions.
pub(crate) async fn measure(plan: &Plan) -> Result<Section, Failure> {
    let dir = tempfile::Builder::new().prefix("enroll-bench-").tempdir_in(&plan.dir)?;
    let ca = dir.path().join("ca");
    let root = authority(&ca)?;
    let csr = issuing::csr(&PKCS_ECDSA_P384_SHA384)?;
    let now = SystemClock::new().now();
    let fixtures = Fixtures::new();
    let good = tokens::make(&fixtures, now.before(HOUR), plan.rounds * plan.redemptions + 1);
    let database = dir.path().join("fleet.db");
    tokens::write(&fixtures, &good, &database).await?;
    let mut good = good.into_iter();
    let spent = good.next().ok_or("no token")?;
    let mut cases = cases(&fixtures, &database, &spent, &csr).await?;
    let store = [format!("--store={}", database.display())];
    let server = Server::start(What::Enroll, &ca, &store)?;
    let limited = Server::start(What::Limited, &ca, &[])?;
    let target = Target::new(server.address, &root, None)?;
    let strangers = Target::new(limited.address, &root, None)?;
    once(&target, &call(&spent, "spent", &csr), 200).await?;
    let mut admitted = Vec::new();
    for round in 1..=plan.rounds {
        eprintln!("refusals: round {round} of {}", plan.rounds);
        let calls: Vec<_> = good
            .by_ref()
            .take(plan.redemptions as usize)
            .map(|token| call(&token, &tokens::name(&token), &csr))
            .collect();
        admitted.push(cpu(&server, &target, &calls, None).await?);
        for case in &mut cases {
            let (server, target) = match case.reason {
                Reason::RateLimited => (&limited, &strangers),
                _ => (&server, &target),
            };
            let calls = vec![case.call.clone(); plan.redemptions as usize];
            case.micros.push(cpu(server, target, &calls, Some(case.reason)).await?);
        }
    }
    let figure = |case: &Case| {
        let what = format!("{}: {}", case.reason.code(), case.what);
        Figure::beside(what, Unit::Micros, &case.micros, "to admit one", &admitted)
    };
    Ok(Section {
        title: "refusing, over one kept connection".into(),
        notes: vec!["CPU of the master for each call, journal and SQLite included".into()],
        figures: cases.iter().map(figure).collect(),
    })
}

const HOUR: Duration = Duration::from_secs(60 * 60);

/// The reasons for which a call of a stranger, or of somebody with a token, is refused.
async fn cases(
    fixtures: &Fixtures,
    database: &Path,
    spent: &TestToken,
    csr: &str,
) -> Result<Vec<Case>, Failure> {
    let now = SystemClock::new().now();
    let store = SqliteStore::open(database).await?;
    let minted = now.before(HOUR);
    let unknown = fixtures.token(minted);
    let expired = fixtures.token(minted).ttl(Duration::from_secs(1));
    let revoked = fixtures.token(minted).ttl(2 * HOUR);
    let bound = fixtures.token(minted).bound_to("bound").ttl(2 * HOUR);
    let fleet = fixtures.token(minted).ttl(2 * HOUR);
    for token in [&expired, &revoked, &bound, &fleet] {
        let _minted = store.mint(fixtures.mint(token)).await?;
    }
    let id = revoked.record.id;
    let event = enroll_core::model::Event::new(now, Event::TokenRevoked { token_id: id });
    store.revoke(id, now, event).await?;
    let case = |reason, what, call: Vec<u8>| Case { reason, what, call, micros: Vec::new() };
    let mistyped = {
        let text = unknown.token.expose();
        let last = if text.ends_with('0') { '1' } else { '0' };
        format!("{}{last}", &text[..text.len() - 1])
    };
    Ok(vec![
        case(Reason::RateLimited, "too many calls", call(&unknown, "any", csr)),
        case(Reason::BadRequest, "no JSON", post("/v1/enroll", None, &"{".repeat(600))),
        case(Reason::InvalidToken, "mistyped", with_token(&mistyped, "any", csr)),
        case(Reason::InvalidToken, "not known", call(&unknown, "any", csr)),
        case(Reason::Expired, "an hour late", call(&expired, "any", csr)),
        case(Reason::Revoked, "revoked", call(&revoked, "any", csr)),
        case(Reason::AlreadyConsumed, "spent by another", call(spent, "any", csr)),
        case(Reason::NameMismatch, "bound to another name", call(&bound, "any", csr)),
        case(Reason::NameTaken, "a member has the name", call(&fleet, "spent", csr)),
        case(Reason::BadCsr, "no request", call(&fleet, "any", "nothing")),
        case(Reason::BadCsr, "a forged signature", call(&fleet, "any", &forged(csr)?)),
    ])
}

/// The request with another signature, of the same shape.
fn forged(csr: &str) -> Result<String, Failure> {
    let mut lines: Vec<String> = csr.lines().map(str::to_owned).collect();
    let at = lines.len().checked_sub(2).ok_or("no request")?;
    let line = lines.get_mut(at).ok_or("no request")?;
    let other = if line.starts_with('A') { "B" } else { "A" };
    line.replace_range(..1, other);
    Ok(lines.join("\n"))
}

fn call(token: &TestToken, name: &str, csr: &str) -> Vec<u8> {
    with_token(token.token.expose(), name, csr)
}

fn with_token(token: &str, name: &str, csr: &str) -> Vec<u8> {
    let body = json!({ "token": token, "node_name": name, "csr": csr });
    post("/v1/enroll", None, &body.to_string())
}

async fn once(target: &Target, call: &[u8], wanted: u16) -> Result<(), Failure> {
    match target.connect().await?.ask(call).await? {
        (status, _) if status == wanted => Ok(()),
        (status, body) => Err(format!("{status}: {}", String::from_utf8_lossy(body)).into()),
    }
}

/// What each of `calls` costs `server` on the processors, in microseconds; each has to be refused for
/// `reason`, or admitted.
async fn cpu(
    server: &Server,
    target: &Target,
    calls: &[Vec<u8>],
    reason: Option<Reason>,
) -> Result<f64, Failure> {
    let mut connection = target.connect().await?;
    let before = server.usage().cpu()?;
    for call in calls {
        let (status, body) = connection.ask(call).await?;
        let said = serde_json::from_slice::<Value>(body).unwrap_or_default()["reason"].take();
        let as_wanted = match reason {
            // One of them comes through each minute, and finds no token.
            Some(Reason::RateLimited) => matches!(status, 401 | 429),
            Some(reason) => said.as_str() == Some(reason.code()),
            None => status == 200,
        };
        if !as_wanted {
            let wanted = reason.map_or("to be admitted", Reason::code);
            return Err(format!("{status} {said} where {wanted} was wanted").into());
        }
    }
    let used = server.usage().cpu()? - before;
    Ok(used.as_secs_f64() * 1e6 / calls.len() as f64)
}
