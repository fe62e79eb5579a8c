//! Join tokens.

use std::time::Duration;

use clap::{Args, Subcommand};
use enroll_core::model::{Invitation, TokenPrefix};
use enroll_http::wire::{MintedToken, NewToken, RedemptionItem, SecretText, TokenItem};

use super::super::failure::Failure;
use super::Master;
use super::paging::Paging;
use super::table::{at, or_dash, remaining, span, table};
use crate::process;

/// What is done with join tokens.
#[derive(Debug, Subcommand)]
pub(in crate::master) enum TokenCall {
    /// Mint a token; its text is shown this once
    #[command(after_help = MINT)]
    Mint(MintArgs),
    /// Tokens, newest first
    #[command(after_help = "Example:\n  enroll-master token list --include-expired")]
    List {
        /// Also those whose time is over
        #[arg(long)]
        include_expired: bool,
        #[command(flatten)]
        paging: Paging,
    },
    /// Withdraw a token; what came of it stays
    #[command(after_help = "Example:\n  enroll-master token revoke 0ujsswThIIZA")]
    Revoke {
        /// The token's id: the second part of its text
        id: String,
    },
    /// Who used a token, when, from where
    #[command(after_help = "Example:\n  enroll-master token redemptions 0ujsswThIIZA")]
    Redemptions {
        /// The token's id
        id: String,
        #[command(flatten)]
        paging: Paging,
    },
}

/// What a new token is good for.
#[derive(Debug, Args)]
pub(in crate::master) struct MintArgs {
    /// How long it lives, e.g. 90s, 10m, 24h; at least 1m, at most 24h [default: 1h]
    #[arg(long, value_name = "SPAN", value_parser = process::span)]
    ttl: Option<Duration>,
    /// For how many machines; 0 is any number within its time [default: 0]
    #[arg(long, value_name = "N")]
    max_uses: Option<u32>,
    /// The one node it may serve, once
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// A note for other operators
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

pub(super) async fn run(call: TokenCall, master: &Master) -> Result<(), Failure> {
    let client = &master.client;
    match call {
        TokenCall::Mint(args) => {
            let wish = NewToken {
                ttl_secs: args.ttl.map(|ttl| ttl.as_secs()),
                max_uses: args.max_uses,
                node_name: args.node_name,
                description: args.description,
            };
            master.show(&client.mint_token(&wish).await?, minted_text)
        }
        TokenCall::List { include_expired, paging } => {
            master.list(&paging, |page| client.tokens(include_expired, page), tokens_text).await
        }
        TokenCall::Revoke { id } => {
            client.revoke_token(&id).await?;
            master.done(&format!("Token {id} is revoked."))
        }
        TokenCall::Redemptions { id, paging } => {
            master.list(&paging, |page| client.redemptions(&id, page), redemptions_text).await
        }
    }
}

fn minted_text(token: &MintedToken) -> String {
    let bound = match &token.node_name {
        Some(name) => format!("Bound to node-name: {name} (single-use).\n"),
        None => String::new(),
    };
    let name = if token.node_name.is_some() { "" } else { " --node-name <name>" };
    let uses = match token.max_uses {
        0 => "unlimited".to_owned(),
        uses => uses.to_string(),
    };
    let mut text = format!("Token created (id: {}):\n  {}\n", token.id, token.token.expose());
    if let Some(fingerprint) = &token.ca_fingerprint {
        text.push_str(&format!("CA fingerprint:\n  {fingerprint}\n"));
    }
    if let Some(invitation) = &token.invitation {
        let invitation = invitation.expose();
        text.push_str(&format!(
            "Invitation (address, fingerprint and token in one):\n  {invitation}\n"
        ));
    }
    text.push_str(&format!(
        "Save it NOW: the master keeps only its hash, the text cannot be shown again.\n\
         Expires: {} (TTL: {}).\nMax uses: {uses}.\n{bound}",
        token.expires_at.0.to_rfc3339(),
        span(Duration::from_secs(token.ttl_secs)),
    ));
    if let Some(invitation) = &token.invitation {
        let plain = if is_plaintext(invitation) { " --allow-plaintext" } else { "" };
        text.push_str(&format!(
            "\nOn the new machine, with the invitation in the file join.txt, and --shared-secret-path \
             where this\nmaster asks for a cluster secret:\n  \
             enroll-worker serve --join-path join.txt{name}{plain}\n"
        ));
    }
    text
}

/// Whether machines are invited to enroll without TLS.
fn is_plaintext(invitation: &SecretText) -> bool {
    let invitation = Invitation::parse(&TokenPrefix::default(), invitation.expose());
    invitation.is_ok_and(|invitation| invitation.url.starts_with("http://"))
}

fn tokens_text(tokens: &[TokenItem]) -> String {
    let head = ["ID", "NODE-NAME", "TTL-REMAINING", "MAX-USES", "USES", "CREATED-BY", "STATUS"];
    let row = |token: &TokenItem| {
        let max_uses =
            if token.max_uses == 0 { "unlimited".into() } else { token.max_uses.to_string() };
        [
            token.id.to_string(),
            or_dash(token.node_name.as_ref()),
            remaining(token.expires_at),
            max_uses,
            token.uses.to_string(),
            token.created_by.clone(),
            token.status.clone(),
        ]
    };
    table(head, tokens.iter().map(row))
}

fn redemptions_text(redemptions: &[RedemptionItem]) -> String {
    let head = ["ID", "NODE-ID", "NODE-NAME", "REDEEMED-AT", "SOURCE-IP", "KEY"];
    let row = |redemption: &RedemptionItem| {
        [
            redemption.id.to_string(),
            redemption.node_id.to_string(),
            redemption.node_name.to_string(),
            at(Some(redemption.at)),
            or_dash(redemption.source_ip),
            or_dash(redemption.key_fingerprint.as_ref()),
        ]
    };
    table(head, redemptions.iter().map(row))
}

const MINT: &str = "\
Examples:
  enroll-master token mint --ttl 10m --max-uses 1                 one machine, soon
  enroll-master token mint --ttl 10m --node-name node-1           only the machine named node-1
  enroll-master token mint --ttl 24h                              any number of machines, for a day
  enroll-master token mint --output json | jq -r .invitation      what to hand to a machine";
