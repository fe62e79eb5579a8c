//! The limit: the same statements, prepared once, values bound beforehand, nothing around them.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use enroll_core::model::{CredentialRecord, IdentityRecord};
use enroll_core::store::Redeem;
use enroll_store_sqlite::statements::REDEMPTION;
use rusqlite::types::Value;
use rusqlite::{Connection, Statement};

use crate::plan::Failure;

/// A connection with the durability of the store's own.
pub(crate) struct Bare(Connection);

/// The values of one redemption, statement by statement, in the order of its parameters.
type Bound = Vec<Vec<Value>>;

impl Bare {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let connection = Connection::open(path)?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             PRAGMA cache_size = -8192;",
        )?;
        Ok(Self(connection))
    }

    /// Runs `wishes`, so many in each transaction; how long the transactions took.
    pub(crate) fn run(&mut self, wishes: &[Redeem], together: usize) -> Result<Duration, Failure> {
        let connection = &self.0;
        let mut statements = Vec::new();
        for sql in REDEMPTION {
            statements.push(connection.prepare(sql)?);
        }
        let bound: Vec<Bound> = wishes
            .iter()
            .map(|wish| bind(&statements, &values(wish)?, &ids(wish)?))
            .collect::<Result<_, Failure>>()?;
        let mut begin = connection.prepare("BEGIN IMMEDIATE")?;
        let mut commit = connection.prepare("COMMIT")?;
        let began = Instant::now();
        for transaction in bound.chunks(together) {
            begin.execute([])?;
            for redemption in transaction {
                for (statement, values) in statements.iter_mut().zip(redemption) {
                    step(statement, values)?;
                    if connection.changes() != 1 {
                        return Err("a statement wrote other than one row".into());
                    }
                }
            }
            commit.execute([])?;
        }
        Ok(began.elapsed())
    }
}

fn step(statement: &mut Statement<'_>, values: &[Value]) -> Result<(), Failure> {
    for (place, value) in values.iter().enumerate() {
        statement.raw_bind_parameter(place + 1, value)?;
    }
    let mut rows = statement.raw_query();
    while rows.next()?.is_some() {}
    Ok(())
}

fn bind(
    statements: &[Statement<'_>],
    values: &HashMap<&str, Value>,
    ids: &[Value; REDEMPTION.len()],
) -> Result<Bound, Failure> {
    let bind_one = |(statement, id): (&Statement<'_>, &Value)| {
        let value = |place: usize| match statement.parameter_name(place) {
            Some(":id") => Ok(id.clone()),
            Some(name) => {
                values.get(name).cloned().ok_or_else(|| format!("no value for {name}").into())
            }
            None => Err("a parameter without a name".into()),
        };
        (1..=statement.parameter_count()).map(value).collect()
    };
    statements.iter().zip(ids).map(bind_one).collect()
}

/// What `:id` is in each of the statements: that of the row it writes.
fn ids(wish: &Redeem) -> Result<[Value; REDEMPTION.len()], Failure> {
    let [identity] = wish.identities.as_slice() else { return Err("not one identity".into()) };
    let token = wish.approval.token_id().ok_or("no token")?.to_string();
    Ok([
        Value::Text(token),
        Value::Blob(wish.new_node_id.as_bytes().to_vec()),
        Value::Null,
        Value::Blob(wish.id.as_bytes().to_vec()),
        Value::Blob(identity.id.as_bytes().to_vec()),
    ])
}

/// Every other value that the statements name: each name means one thing in all of them.
fn values(wish: &Redeem) -> Result<HashMap<&'static str, Value>, Failure> {
    let [identity] = wish.identities.as_slice() else { return Err("not one identity".into()) };
    let token = wish.approval.token_id().ok_or("no token")?.to_string();
    let at = Value::Integer(wish.at.unix_millis());
    let blob = |bytes: &[u8]| Value::Blob(bytes.to_vec());
    let text = |text: &str| Value::Text(text.to_owned());
    let event = serde_json::to_string(&wish.event())?;
    let mut values = HashMap::from([
        (":token_id", text(&token)),
        (":at", at.clone()),
        (":name", text(wish.approval.node_name().as_str())),
        (":node_name", text(wish.approval.node_name().as_str())),
        (":state", text("monitoring")),
        (":facts", text("{\"v\":1}")),
        (":method", text(wish.approval.method().as_str())),
        (":minted_at", Value::Integer(wish.approval.minted_at().unix_millis())),
        (":event", text(&event)),
        (":node_id", blob(wish.new_node_id.as_bytes())),
        (":source_ip", Value::Null),
        (":closed_at", Value::Null),
        (":redemption_id", blob(wish.id.as_bytes())),
        (":issued_at", at),
    ]);
    let claim = wish.approval.claim().map(|claim| blob(claim.digest().as_bytes()));
    values.insert(":claim", claim.unwrap_or(Value::Null));
    insert_identity(&mut values, identity);
    Ok(values)
}

fn insert_identity(values: &mut HashMap<&'static str, Value>, identity: &IdentityRecord) {
    let null = [":predecessor", ":api_key_digest", ":external_id", ":first_used_at", ":revoked_at"];
    values.extend(null.map(|name| (name, Value::Null)));
    let end = identity.expires_at.map(|at| Value::Integer(at.unix_millis()));
    values.insert(":expires_at", end.unwrap_or(Value::Null));
    values.insert(":kind", Value::Text(identity.credential.kind().as_str().to_owned()));
    if let CredentialRecord::X509 { serial, key_digest, certificate } = &identity.credential {
        values.insert(":serial", Value::Blob(serial.as_bytes().to_vec()));
        values.insert(":key_digest", Value::Blob(key_digest.as_bytes().to_vec()));
        values.insert(":certificate", Value::Blob(certificate.clone()));
    }
}
