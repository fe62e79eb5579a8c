//! Nodes.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use enroll_http::client::NodeQuery;
use enroll_http::wire::{NewCommand, NewNode, RegisteredNode, ShownNode};
use serde_json::Value;

use super::super::failure::Failure;
use super::Master;
use super::name::Name;
use super::node_text as text;
use super::paging::Paging;
use crate::process;

/// What is done with nodes.
#[derive(Debug, Subcommand)]
pub(in crate::master) enum NodeCall {
    /// Register a node before its machine exists; shows its token and what to paste there
    #[command(after_help = ADD)]
    Add(AddArgs),
    /// Nodes by name
    #[command(after_help = "Example:\n  enroll-master node list --status degraded")]
    List(ListArgs),
    /// One node
    #[command(after_help = "Example:\n  enroll-master node get worker-1 --show-ids")]
    Get {
        #[command(flatten)]
        name: Name,
        /// Show ids too
        #[arg(long)]
        show_ids: bool,
    },
    /// Mint a fresh token for a node; its earlier unspent ones are refused from now on
    #[command(after_help = "Example:\n  enroll-master node token worker-1")]
    Token {
        #[command(flatten)]
        name: Name,
        /// Print only what to paste on the machine
        #[arg(long, value_name = "KIND")]
        snippet: Option<Snippet>,
    },
    /// Calls to enroll under a name, newest first
    #[command(after_help = "Example:\n  enroll-master node attempts worker-1")]
    Attempts {
        #[command(flatten)]
        name: Name,
        #[command(flatten)]
        paging: Paging,
    },
    /// The commands of a node, newest first; or, with --send, one more
    #[command(after_help = COMMANDS)]
    Commands(CommandsArgs),
    /// Keep new work away from a node
    #[command(after_help = "Example:\n  enroll-master node cordon worker-1")]
    Cordon {
        #[command(flatten)]
        name: Name,
    },
    /// Let new work onto a node again
    #[command(after_help = "Example:\n  enroll-master node uncordon worker-1")]
    Uncordon {
        #[command(flatten)]
        name: Name,
    },
    /// Bring a member under full control
    #[command(after_help = "Example:\n  enroll-master node fuse worker-1")]
    Fuse {
        #[command(flatten)]
        name: Name,
    },
    /// Delete a node: its identity is refused from the next request on
    #[command(after_help = "Example:\n  enroll-master node delete worker-1")]
    Delete {
        #[command(flatten)]
        name: Name,
        /// Even while it is in use
        #[arg(long)]
        force: bool,
    },
}

/// A new node.
#[derive(Debug, Args)]
pub(in crate::master) struct AddArgs {
    #[command(flatten)]
    name: Name,
    /// A label KEY=VALUE, which wins over the machine's own; repeatable
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// How long its token lives, e.g. 10m [default: 24h]
    #[arg(long, value_name = "SPAN", value_parser = process::span)]
    token_ttl: Option<Duration>,
    /// Print only what to paste on the machine
    #[arg(long, value_name = "KIND")]
    snippet: Option<Snippet>,
}

/// Which nodes.
#[derive(Debug, Args)]
pub(in crate::master) struct ListArgs {
    /// Only of this status: waiting, ready, degraded, cordoned
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// Only in this state: pending, monitoring, fusing, fused, degraded
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only of this CPU architecture, as the machines say it
    #[arg(long, value_name = "ARCH", alias = "architecture")]
    arch: Option<String>,
    /// Show ids too
    #[arg(long)]
    show_ids: bool,
    #[command(flatten)]
    paging: Paging,
}

/// Commands of a node, or one more.
#[derive(Debug, Args)]
pub(in crate::master) struct CommandsArgs {
    #[command(flatten)]
    name: Name,
    /// Queue a command of this kind
    #[arg(long, value_name = "KIND")]
    send: Option<String>,
    /// What goes with it, JSON
    #[arg(long, value_name = "JSON", requires = "send", value_parser = json)]
    payload: Option<Value>,
    #[command(flatten)]
    paging: Paging,
}

/// What to paste on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::master) enum Snippet {
    /// Runs the worker in a container
    Docker,
    /// Installs it as a service
    Systemd,
    /// Runs it in the foreground
    Shell,
}

pub(super) async fn run(call: NodeCall, master: &Master) -> Result<(), Failure> {
    let client = &master.client;
    match call {
        NodeCall::Add(args) => add(args, master).await,
        NodeCall::List(args) => list(args, master).await,
        NodeCall::Get { name, show_ids } => {
            let node = client.node(name.as_str()).await?;
            master.show(&node, |node| text::node(node, show_ids))
        }
        NodeCall::Token { name, snippet } => {
            let made = client.regenerate_token(name.as_str()).await?;
            show_registered(&made, snippet, master)
        }
        NodeCall::Attempts { name, paging } => {
            let call = |page| client.attempts(name.as_str(), page);
            master.list(&paging, call, text::attempts).await
        }
        NodeCall::Commands(args) => commands(args, master).await,
        NodeCall::Cordon { name } => {
            master.show(&client.cordon_node(name.as_str()).await?, text::full_node)
        }
        NodeCall::Uncordon { name } => {
            master.show(&client.uncordon_node(name.as_str()).await?, text::full_node)
        }
        NodeCall::Fuse { name } => {
            master.show(&client.fuse_node(name.as_str()).await?, text::full_node)
        }
        NodeCall::Delete { name, force } => {
            client.delete_node(name.as_str(), force).await?;
            master.done(&format!("{} is deleted.", name.as_str()))
        }
    }
}

async fn add(args: AddArgs, master: &Master) -> Result<(), Failure> {
    let wish = NewNode {
        name: args.name.as_str().to_owned(),
        labels: (!args.labels.is_empty()).then(|| args.labels.into_iter().collect()),
        token_ttl_secs: args.token_ttl.map(|ttl| ttl.as_secs()),
    };
    let made = master.client.register_node(&wish).await?;
    show_registered(&made, args.snippet, master)
}

/// Where only what is to be pasted was asked for, nothing else goes where that was to go.
fn show_registered(
    made: &RegisteredNode,
    snippet: Option<Snippet>,
    master: &Master,
) -> Result<(), Failure> {
    if snippet.is_some() && made.install.is_none() && !master.shows_json() {
        let name = &made.node.name;
        return Err(Failure::new(format!(
            "{name} is registered, but this master names no address to enroll at, so there is \
             nothing to paste"
        ))
        .next(format!(
            "Get its token with `node token {name}`, and the address from whoever runs the master."
        )));
    }
    master.show(made, |made| text::registered(made, snippet))
}

async fn list(args: ListArgs, master: &Master) -> Result<(), Failure> {
    let only = NodeQuery { status: args.status, state: args.state, arch: args.arch };
    let table = |nodes: &[ShownNode]| text::nodes(nodes, args.show_ids);
    master.list(&args.paging, |page| master.client.nodes(&only, page), table).await
}

async fn commands(args: CommandsArgs, master: &Master) -> Result<(), Failure> {
    let (client, name) = (&master.client, args.name.as_str());
    let Some(kind) = args.send else {
        return master.list(&args.paging, |page| client.commands(name, page), text::commands).await;
    };
    let wish = NewCommand { kind, payload: args.payload.unwrap_or_default() };
    master.show(&client.queue_command(name, &wish).await?, |queued| {
        format!("Command {} is queued: the node gets it when it next listens.", queued.id)
    })
}

fn label(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE"),
    }
}

fn json(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text)
}

const ADD: &str = "\
Examples:
  enroll-master node add worker-1 --label rack=b2
  enroll-master node add worker-1 --snippet systemd | ssh root@worker-1 sh";

const COMMANDS: &str = "\
Examples:
  enroll-master node commands worker-1
  enroll-master node commands worker-1 --send ping
  enroll-master node commands worker-1 --send restart --payload '{\"unit\":\"db\"}'";
