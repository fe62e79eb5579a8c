//! Nodes as people read them.

use enroll_core::model::NodeName;
use enroll_http::wire::{AttemptItem, CommandItem, NodeView, RegisteredNode, ShownNode};

use super::node::Snippet;
use super::output::plain;
use super::table::{at, or_dash, table};

/// Nodes in a table.
pub(super) fn nodes(nodes: &[ShownNode], show_ids: bool) -> String {
    let rows = nodes.iter().map(Row::of);
    if !show_ids {
        return table(HEAD, rows.map(|row| row.cells));
    }
    let [name, state, health, status, arch, seen] = HEAD;
    let head = ["ID", name, state, health, status, arch, seen];
    let with_id = |row: Row| {
        let [name, state, health, status, arch, seen] = row.cells;
        [or_dash(row.id), name, state, health, status, arch, seen]
    };
    table(head, rows.map(with_id))
}

const HEAD: [&str; 6] = ["NAME", "STATE", "HEALTH", "STATUS", "ARCH", "LAST-SEEN-AT"];

/// What of a node every role is shown, and the id for those who see it.
struct Row {
    id: Option<String>,
    cells: [String; 6],
}

impl Row {
    fn of(node: &ShownNode) -> Self {
        let cells = |name: &NodeName, words: [&String; 3], arch: Option<&String>, seen| {
            let [state, health, status] = words.map(String::clone);
            [name.to_string(), state, health, status, or_dash(arch), at(seen)]
        };
        match node {
            ShownNode::Full(node) => {
                let words = [&node.state, &node.health, &node.status];
                let cells = cells(&node.name, words, node.arch.as_ref(), node.last_seen_at);
                Self { id: Some(node.id.to_string()), cells }
            }
            ShownNode::Summary(node) => {
                let words = [&node.state, &node.health, &node.status];
                let cells = cells(&node.name, words, node.arch.as_ref(), node.last_seen_at);
                Self { id: None, cells }
            }
        }
    }
}

/// One node, a line per fact.
pub(super) fn node(node: &ShownNode, show_ids: bool) -> String {
    match node {
        ShownNode::Full(node) => lines(full(node, show_ids)),
        ShownNode::Summary(_) => {
            let keys = HEAD.map(|head| head.to_lowercase().replace('-', " "));
            lines(keys.into_iter().zip(Row::of(node).cells).collect())
        }
    }
}

/// One node of which all is known, without its id.
pub(super) fn full_node(node: &NodeView) -> String {
    lines(full(node, false))
}

fn lines(facts: Vec<(String, String)>) -> String {
    let width = facts.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0);
    let line = |(key, value): &(String, String)| {
        let (key, value) = (plain(key), plain(value));
        format!("{key:width$}  {value}\n")
    };
    facts.iter().map(line).collect()
}

fn full(node: &NodeView, show_ids: bool) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut say = |key: &str, value: String| facts.push((key.to_owned(), value));
    say("name", node.name.to_string());
    if show_ids {
        say("id", node.id.to_string());
    }
    say("state", node.state.clone());
    if let Some(beneath) = &node.last_state {
        say("last state", beneath.clone());
    }
    say("health", node.health.clone());
    say("status", node.status.clone());
    say("arch", or_dash(node.arch.as_ref()));
    say("method", or_dash(node.method.as_ref()));
    say("created at", at(Some(node.created_at)));
    say("enrolled at", at(node.enrolled_at));
    say("last seen at", at(node.last_seen_at));
    for (key, value) in &node.labels {
        say("label", format!("{key}={value}"));
    }
    if let Ok(serde_json::Value::Object(said)) = serde_json::to_value(&node.facts) {
        for (key, value) in said.iter().filter(|(key, _)| *key != "labels") {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            say("fact", format!("{key}={value}"));
        }
    }
    if let Some(fuse) = &node.fuse {
        say("fuse began at", at(Some(fuse.started_at)));
        say("fuse deadline", at(Some(fuse.deadline)));
        if let Some(ticket) = &fuse.ticket {
            say("fuse ticket", ticket.clone());
        }
        say("fuse ended at", at(fuse.ended_at));
        if let Some(failure) = &fuse.failure {
            say("fuse failed", format!("{}: {}", failure.source, failure.detail));
        }
    }
    say("may", node.actions.join(", "));
    facts
}

/// A node just registered: its token, and what to paste.
pub(super) fn registered(made: &RegisteredNode, snippet: Option<Snippet>) -> String {
    if let (Some(snippet), Some(install)) = (snippet, &made.install) {
        return match snippet {
            Snippet::Docker => install.docker.expose().to_owned(),
            Snippet::Systemd => install.systemd.expose().to_owned(),
            Snippet::Shell => install.shell.expose().to_owned(),
        };
    }
    let mut text = format!(
        "{} is {}. Its token (id: {}), good once, until {}:\n  {}\n",
        made.node.name,
        made.node.state,
        made.id,
        made.expires_at.0.to_rfc3339(),
        made.token.expose(),
    );
    if let Some(invitation) = &made.invitation {
        let invitation = invitation.expose();
        text.push_str(&format!(
            "Invitation (address, fingerprint and token in one):\n  {invitation}\n"
        ));
    }
    text.push_str("Save it NOW: the master keeps only its hash, the text cannot be shown again.\n");
    if let Some(install) = &made.install {
        let kinds = [
            ("as a service (systemd)", &install.systemd),
            ("in a container (docker)", &install.docker),
            ("in the foreground (shell)", &install.shell),
        ];
        for (how, snippet) in kinds {
            text.push_str(&format!("\n# On the machine, {how}:\n{}", snippet.expose()));
        }
    }
    text
}

/// Calls to enroll.
pub(super) fn attempts(attempts: &[AttemptItem]) -> String {
    let row = |attempt: &AttemptItem| {
        [
            at(Some(attempt.at)),
            attempt.outcome.clone(),
            or_dash(attempt.reason.as_ref()),
            or_dash(attempt.source_ip),
            or_dash(attempt.token_id),
        ]
    };
    table(["AT", "OUTCOME", "REASON", "SOURCE-IP", "TOKEN-ID"], attempts.iter().map(row))
}

/// Commands of a node.
pub(super) fn commands(commands: &[CommandItem]) -> String {
    let head = ["ID", "KIND", "STATUS", "QUEUED-BY", "QUEUED-AT", "FINISHED-AT", "OUTPUT"];
    let row = |command: &CommandItem| {
        [
            command.id.to_string(),
            command.kind.clone(),
            command.status.clone(),
            command.queued_by.clone(),
            at(Some(command.queued_at)),
            at(command.finished_at),
            or_dash(command.output.as_ref()),
        ]
    };
    table(head, commands.iter().map(row))
}
