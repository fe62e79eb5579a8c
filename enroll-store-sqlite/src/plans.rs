//! How SQLite carries the statements out: no write and no look-up walks a table, and no index stands
//! that none of them reads.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::{Connection, StatementStatus};

use crate::options::Options;
use crate::{
    commands, connection, identities, journal, masters, node_list, nodes, redemptions, schema,
    settings, tokens, touched,
};

/// Every statement that has a plan, by the name in its doc.
const STATEMENTS: &[(&str, &str)] = &[
    ("spend_use", tokens::SPEND_USE),
    ("replace_unspent", tokens::REPLACE_UNSPENT),
    ("revoke", tokens::REVOKE),
    ("revoke_bound", tokens::REVOKE_BOUND),
    ("token_by_id", tokens::TOKEN_BY_ID),
    ("list_tokens", tokens::LIST_TOKENS),
    ("list_live", tokens::LIST_LIVE),
    ("list_redemptions", tokens::LIST_REDEMPTIONS),
    ("prior_redemption", redemptions::PRIOR_REDEMPTION),
    ("redemption_by_id", redemptions::REDEMPTION_BY_ID),
    ("close_of_node", redemptions::CLOSE_OF_NODE),
    ("close_of_token", redemptions::CLOSE_OF_TOKEN),
    ("close", redemptions::CLOSE),
    ("node_by_name", nodes::NODE_BY_NAME),
    ("node_by_id", nodes::NODE_BY_ID),
    ("deleted_at", nodes::DELETED_AT),
    ("set_labels", nodes::SET_LABELS),
    ("take_free", nodes::TAKE_FREE),
    ("take_pending", nodes::TAKE_PENDING),
    ("take_held", nodes::TAKE_HELD),
    ("list_nodes", node_list::LIST_NODES),
    ("count_nodes", node_list::COUNT_NODES),
    ("set_cordon", nodes::SET_CORDON),
    ("transition", nodes::TRANSITION),
    ("delete_node", nodes::DELETE_NODE),
    ("record_beat", nodes::RECORD_BEAT),
    ("identity_by_id", identities::IDENTITY_BY_ID),
    ("identity_by_serial", identities::IDENTITY_BY_SERIAL),
    ("identity_by_api_key", identities::IDENTITY_BY_API_KEY),
    ("identities_by_external_id", identities::IDENTITIES_BY_EXTERNAL_ID),
    ("identities_of_redemption", identities::IDENTITIES_OF_REDEMPTION),
    ("successor", identities::SUCCESSOR),
    ("renewable", identities::RENEWABLE),
    ("standing", identities::STANDING),
    ("touched_ends", touched::TOUCHED_ENDS),
    ("touched", touched::TOUCHED),
    ("use_identity", identities::USE_IDENTITY),
    ("revoke_identity", identities::REVOKE_IDENTITY),
    ("revoke_identities_of_node", identities::REVOKE_IDENTITIES_OF_NODE),
    ("revoke_replaced", identities::REVOKE_REPLACED),
    ("revoke_unused_successor", identities::REVOKE_UNUSED_SUCCESSOR),
    ("queue_command", commands::QUEUE_COMMAND),
    ("command_by_id", commands::COMMAND_BY_ID),
    ("open_commands", commands::OPEN_COMMANDS),
    ("mark_delivered", commands::MARK_DELIVERED),
    ("finish_command", commands::FINISH_COMMAND),
    ("trim_commands", commands::TRIM_COMMANDS),
    ("delete_commands", commands::DELETE_COMMANDS),
    ("list_commands", commands::LIST_COMMANDS),
    ("keep_attempts", journal::KEEP_ATTEMPTS),
    ("trim_attempts", journal::TRIM_ATTEMPTS),
    ("trim_unproven", journal::TRIM_UNPROVEN),
    ("list_attempts", journal::LIST_ATTEMPTS),
    ("trim_events", journal::TRIM_EVENTS),
    ("list_events", journal::LIST_EVENTS),
    ("admin_by_digest", settings::ADMIN_BY_DIGEST),
    ("list_admins", settings::LIST_ADMINS),
    ("remove_admin", settings::REMOVE_ADMIN),
    ("setting", settings::SETTING),
    ("change_setting", settings::CHANGE_SETTING),
    ("take_duty", masters::TAKE_DUTY),
];

/// Statements that came after the migration which makes the index they read: what has landed is
/// never changed, not even its comments.
const LATER: &[(&str, &str)] = &[
    ("enroll_commands_open", "standing"),
    ("enroll_commands_open", "identity_by_serial"),
    ("enroll_commands_open", "identity_by_api_key"),
];

/// Those that walk a table: of operators, who are few, and of nodes, to count them.
const WALKING: &[&str] = &["list_admins", "remove_admin", "count_nodes"];

/// Those that sort: few rows each, and the groups of nodes that are counted.
const SORTED: &[&str] = &["list_live", "identities_of_redemption", "successor", "count_nodes"];

fn fresh() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::migrate(&mut connection, Path::new("test")).unwrap();
    connection
}

fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let mut rows = statement.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get(3).unwrap());
    }
    steps
}

#[test]
fn no_statement_walks_a_table_or_sorts_but_where_it_is_said() {
    let connection = fresh();
    for (name, sql) in STATEMENTS {
        for step in plan(&connection, sql) {
            let walks = step.starts_with("SCAN enroll_") && !WALKING.contains(name);
            let sorts = step.contains("TEMP B-TREE") && !SORTED.contains(name);
            assert!(!walks && !sorts, "{name}: {step}");
        }
    }
}

#[test]
fn every_index_is_read_by_the_statements_that_the_schema_names() {
    let connection = fresh();
    let schema = &schema::MIGRATIONS.concat();
    for (name, sql) in STATEMENTS {
        for step in plan(&connection, sql) {
            let Some((_, rest)) = step.split_once("INDEX enroll_") else { continue };
            let index = format!("enroll_{}", rest.split(' ').next().unwrap());
            assert!(readers(schema, &index).contains(*name), "{name} reads {index}");
        }
    }
    for (index, readers) in indexes(&connection).iter().map(|index| (index, readers(schema, index)))
    {
        assert!(!readers.is_empty(), "{index} names no statement");
        for reader in readers {
            let sql = STATEMENTS.iter().find(|(name, _)| *name == reader).unwrap().1;
            let used = plan(&connection, sql).iter().any(|step| step.contains(index.as_str()));
            assert!(used, "{reader} does not read {index}");
        }
    }
}

/// A statement that is prepared anew whenever another value is bound costs more than it does.
#[test]
fn no_statement_is_prepared_twice() {
    let directory = tempfile::tempdir().unwrap();
    let path = connection::create(&directory.path().join("enroll.db")).unwrap();
    let mut connection = connection::open_writer(&path, &Options::default()).unwrap();
    schema::migrate(&mut connection, &path).unwrap();
    for (name, sql) in STATEMENTS {
        let mut statement = connection.prepare(sql).unwrap();
        for value in 0..3 {
            for at in 1..=statement.parameter_count() {
                statement.raw_bind_parameter(at, value).unwrap();
            }
            // What is bound fits no row, and not every column; that says nothing of the plan.
            let mut rows = statement.raw_query();
            while matches!(rows.next(), Ok(Some(_))) {}
        }
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0, "{name}");
    }
}

fn indexes(connection: &Connection) -> Vec<String> {
    let mut statement = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")
        .unwrap();
    let names = statement.query_map([], |row| row.get(0)).unwrap();
    names.collect::<Result<_, _>>().unwrap()
}

/// The statements that read an index, as the comment before it says and [`LATER`].
fn readers<'a>(schema: &'a str, index: &str) -> BTreeSet<&'a str> {
    let made = schema.find(&format!("INDEX {index} ")).unwrap();
    let said = schema[..made].rfind("-- Read by: ").unwrap();
    let (list, _) = schema[said + "-- Read by: ".len()..].split_once(".\n").unwrap();
    let later = LATER.iter().filter(|(read, _)| *read == index).map(|(_, reader)| *reader);
    list.split(", ").chain(later).collect()
}
