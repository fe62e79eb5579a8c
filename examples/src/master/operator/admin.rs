//! Operators.

use clap::{Args, Subcommand};
use enroll_core::model::Role;
use enroll_http::wire::{AddedAdmin, AdminItem};

use super::super::failure::Failure;
use super::Master;
use super::name::Name;
use super::paging::Paging;
use super::table::{at, table};

/// What is done with operators.
#[derive(Debug, Subcommand)]
pub(in crate::master) enum AdminCall {
    /// Add an operator; the token is shown this once
    #[command(after_help = "Example:\n  enroll-master admin add --name ann --role operator")]
    Add(AddArgs),
    /// Operators by name
    #[command(after_help = "Example:\n  enroll-master admin list")]
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// Remove an operator: the token is refused from now on
    #[command(after_help = "Example:\n  enroll-master admin remove ann")]
    Remove {
        #[command(flatten)]
        name: Name,
    },
}

/// A new operator.
#[derive(Debug, Args)]
pub(in crate::master) struct AddArgs {
    /// Their name: 1 to 64 of A-Z a-z 0-9 . _ @ -
    #[arg(long, value_name = "NAME")]
    name: String,
    /// What they may do: admin, operator, developer or viewer
    #[arg(long, value_name = "ROLE")]
    role: Role,
}

pub(super) async fn run(call: AdminCall, master: &Master) -> Result<(), Failure> {
    let client = &master.client;
    match call {
        AdminCall::Add(args) => {
            master.show(&client.add_admin(&args.name, args.role).await?, added_text)
        }
        AdminCall::List { paging } => {
            master.list(&paging, |page| client.admins(page), admins_text).await
        }
        AdminCall::Remove { name } => {
            client.remove_admin(name.as_str()).await?;
            master.done(&format!("{} is removed.", name.as_str()))
        }
    }
}

fn added_text(admin: &AddedAdmin) -> String {
    format!(
        "{} may call as {}. Their token:\n  {}\n\
         Save it NOW: the master keeps only its hash, the text cannot be shown again.\n\
         They put it into a file and give that with --admin-token-path.\n",
        admin.name,
        admin.role,
        admin.token.expose(),
    )
}

fn admins_text(admins: &[AdminItem]) -> String {
    let row =
        |admin: &AdminItem| [admin.name.clone(), admin.role.clone(), at(Some(admin.created_at))];
    table(["NAME", "ROLE", "CREATED-AT"], admins.iter().map(row))
}
