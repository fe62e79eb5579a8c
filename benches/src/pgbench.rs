//! The limit: the statements of a redemption run by pgbench, prepared, in one pipeline.

use std::fmt::Write as _;
use std::process::Stdio;

use enroll_core::model::Timestamp;
use enroll_core::testing::Fixtures;
use enroll_store_postgres::statements::{PLANNED_ONCE, REDEMPTION, SHARDS};
use enroll_store_postgres::testing::Cluster;

use crate::plan::Failure;

const AT: Timestamp = Fixtures::START;

/// A script, the tokens that it redeems, and how many of them it has.
pub(crate) struct Script {
    text: String,
    schema: String,
    redeemed: u32,
}

impl Script {
    /// Puts so many one-shot tokens into the schema that `url` names.
    pub(crate) fn prepare(cluster: &Cluster, url: &str, tokens: u32) -> Result<Self, Failure> {
        let (_, schema) = url.rsplit_once("%3D").ok_or("no schema")?;
        let at = AT.unix_millis();
        cluster.sql(&format!(
            "INSERT INTO {schema}.enroll_tokens
                (id, digest, created_at, expires_at, max_uses, uses, created_by, epoch)
            SELECT '0' || lpad(n::text, 11, '0'), '', {at}, {at} + 3600000, 1, 0, 'pgbench', 1
            FROM generate_series(1, {tokens}) AS n"
        ))?;
        cluster.sql("VACUUM ANALYZE")?;
        Ok(Self { text: text()?, schema: schema.to_owned(), redeemed: 0 })
    }

    /// Redeems so many by each of so many connections; redemptions per second.
    pub(crate) fn run(
        &mut self,
        cluster: &Cluster,
        connections: u32,
        each: u32,
    ) -> Result<f64, Failure> {
        let path = tempfile::NamedTempFile::new()?;
        std::fs::write(path.path(), &self.text)?;
        // The server's user has to be able to read it.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(path.path(), open)?;
        let from = self.redeemed;
        self.redeemed += each * connections;
        let address = format!("{} options='-csearch_path={}'", cluster.address(), self.schema);
        let output = cluster
            .program("pgbench")
            .args(["--no-vacuum", "--protocol", "prepared"])
            .args(["--client", &connections.to_string(), "--jobs", "2"])
            .args(["--transactions", &each.to_string()])
            .args(["--define", &format!("each={each}"), "--define", &format!("from={from}")])
            .args(["--define", "i=0", "--file"])
            .arg(path.path())
            .arg(&address)
            .stdin(Stdio::null())
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() || said.contains("number of failed transactions: 1") {
            return Err(
                format!("pgbench: {}{said}", String::from_utf8_lossy(&output.stderr)).into()
            );
        }
        self.check(cluster)?;
        rate(&said).ok_or_else(|| format!("pgbench says no rate: {said}").into())
    }

    /// That all of them were redeemed: a statement that lost would be quicker.
    fn check(&self, cluster: &Cluster) -> Result<(), Failure> {
        let count = cluster.sql(&format!(
            "SELECT count(*) FROM {}.enroll_redemptions WHERE node_name LIKE 'bench-%'",
            self.schema
        ))?;
        if count == self.redeemed.to_string() {
            return Ok(());
        }
        Err(format!("pgbench redeemed {count} tokens, not {}", self.redeemed).into())
    }
}

fn rate(said: &str) -> Option<f64> {
    let line = said.lines().find(|line| line.starts_with("tps = "))?;
    line.split_whitespace().nth(2)?.parse().ok()
}

/// What each transaction runs.
fn text() -> Result<String, Failure> {
    let [lock, redeem] = REDEMPTION;
    let mut text = String::from(
        "\\set i :i + 1\n\\set n :from + :client_id * :each + :i\n\\startpipeline\n\
        BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;\nSET LOCAL synchronous_commit = on;\n\
        SET LOCAL statement_timeout = 5000;\n\
        SET LOCAL idle_in_transaction_session_timeout = 5000;\n",
    );
    for setting in PLANNED_ONCE.split("; ") {
        writeln!(text, "{setting};")?;
    }
    let shards = format!("{SHARDS}::int");
    let locked = [
        of("bigint", "hashtextextended(:n::text, 0)"),
        of("uuid", ID),
        of("text", TOKEN),
        shards.clone(),
    ];
    for (statement, values) in [(lock, &locked[..]), (redeem, &redeem_values(&shards))] {
        writeln!(text, "{};", bound(statement, values))?;
    }
    text.push_str("COMMIT;\n\\endpipeline\n");
    Ok(text)
}

/// The statement on one line, its parameters replaced.
fn bound(statement: &str, values: &[String]) -> String {
    let line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    let places = values.iter().enumerate().rev();
    places.fold(line, |line, (place, value)| line.replace(&format!("${}", place + 1), value))
}

/// A column of one value.
fn of(kind: &str, value: &str) -> String {
    format!("ARRAY[{value}]::{kind}[]")
}

/// `$1` to `$29` of one redemption with one certificate.
fn redeem_values(shards: &str) -> Vec<String> {
    let at = AT.unix_millis().to_string();
    let (none, serial) = ("NULL", "decode(lpad(:n::text, 32, '0'), 'hex')");
    let redemption = [
        of("uuid", ID),
        of("bigint", &at),
        of("text", TOKEN),
        of("text", "'token'"),
        of("uuid", ID),
        of("text", NAME),
        of("text", "'{\"v\": 1}'"),
        of("text", none),
        of("bigint", &at),
        of("text", none),
        of("bytea", CLAIM),
        of("text", EVENT),
        of("uuid", none),
        "99::bigint".to_owned(),
    ];
    let identity = [
        of("uuid", ID),
        of("uuid", ID),
        of("text", NAME),
        of("uuid", ID),
        of("uuid", none),
        of("text", "'x509'"),
        of("bytea", serial),
        of("bytea", CLAIM),
        of("bytea", "decode(repeat('5a', 600), 'hex')"),
        of("bytea", none),
        of("text", none),
        of("bigint", &at),
        of("bigint", &at),
        of("bigint", none),
    ];
    redemption.into_iter().chain(identity).chain([shards.to_owned()]).collect()
}

const ID: &str = "('0190' || lpad(:n::text, 28, '0'))::uuid";
const TOKEN: &str = "('0' || lpad(:n::text, 11, '0'))::text";
const NAME: &str = "('bench-' || :n::text)::text";
const CLAIM: &str = "decode(lpad(:n::text, 64, '0'), 'hex')";
const EVENT: &str = "('{\"type\":\"enrolled\",\"node_name\":\"bench-' || :n::text || '\"}')";
