//! What a failover of the store leaves to be known.

use clap::Subcommand;
use enroll_http::wire::{FenceView, FenceWish};

use super::super::failure::Failure;
use super::Master;
use super::table::at;

/// What is done with the fence.
#[derive(Debug, Subcommand)]
pub(in crate::master) enum FenceCall {
    /// Whether the store was promoted or restored: tokens minted before that are void
    #[command(after_help = "Example:\n  enroll-master fence show")]
    Show,
    /// Say that you know of it, once new tokens are minted and members that are missing are found
    #[command(after_help = "Example:\n  enroll-master fence acknowledge")]
    Acknowledge {
        /// Only if it is of this epoch [default: whichever it is of now]
        #[arg(long, value_name = "N")]
        epoch: Option<u64>,
    },
}

pub(super) async fn run(call: FenceCall, master: &Master) -> Result<(), Failure> {
    let fence = match call {
        FenceCall::Show => master.client.fence().await?,
        FenceCall::Acknowledge { epoch } => {
            master.client.acknowledge_fence(&FenceWish { epoch }).await?
        }
    };
    master.show(&fence, text)
}

fn text(fence: &FenceView) -> String {
    let Some(epoch) = fence.epoch else {
        return "The store was never promoted or restored.\n".to_owned();
    };
    let next = match fence.acknowledged_at {
        Some(_) => "",
        None => {
            "Mint new tokens, look for members that are missing, then: enroll-master fence acknowledge\n"
        }
    };
    format!(
        "The store was promoted or restored: join tokens minted before are void.\n  epoch         \
         {epoch}\n  noticed       {}\n  acknowledged  {}\n{next}",
        at(fence.raised_at),
        at(fence.acknowledged_at),
    )
}
