//! The stream a member hears its commands from.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use enroll_core::master::{AuthenticatedNode, Enroller};
use enroll_core::model::{CommandId, CommandRecord};
use futures_util::{Stream, stream};
use tokio::time::Instant;
use tonic::Status;

use super::Caller;
use super::incoming::{Open, ended};
use crate::fleet::{status, v1};
use crate::server::answer::trouble;

/// How often what is not acknowledged is handed over again.
const AGAIN: Duration = Duration::from_secs(30);
/// How soon what comes after a full hand is looked for: nobody calls when an acknowledgement, given to
/// whichever master, makes room for it.
const MORE: Duration = Duration::from_millis(500);

/// Hands commands over: what waits when the stream begins, what is queued later, and from time to
/// time what was not acknowledged.
pub(super) struct Outgoing {
    caller: Caller,
    open: Open,
    /// What is to be sent before anything else is looked at.
    waiting: VecDeque<v1::Instruction>,
    /// What was sent since [`AGAIN`].
    sent: HashSet<CommandId>,
    again: Instant,
    /// Whether as many were handed over as can be, so that more may wait.
    is_full: bool,
    begun: bool,
    over: bool,
}

impl Outgoing {
    pub(super) fn open(caller: Caller, member: &AuthenticatedNode) -> Result<Self, Status> {
        let open = Open::of(&caller, member)?;
        let terms = caller.enroller.terms(member);
        Ok(Self {
            caller,
            open,
            waiting: VecDeque::from([terms.into()]),
            sent: HashSet::new(),
            again: Instant::now() + AGAIN,
            is_full: false,
            begun: false,
            over: false,
        })
    }

    /// What the member hears, fetched as it is read. It ends with the first error.
    pub(super) fn instructions(self) -> impl Stream<Item = Result<v1::Instruction, Status>> {
        stream::unfold(self, |mut outgoing| async {
            if outgoing.over {
                return None;
            }
            let next = outgoing.next().await;
            outgoing.over = next.is_err();
            Some((next, outgoing))
        })
    }

    async fn next(&mut self) -> Result<v1::Instruction, Status> {
        loop {
            // A peer that reads slowly may have been held up by what it did not read for long.
            if let Some(why) = self.open.watch.end() {
                return Err(ended(why));
            }
            if let Some(next) = self.waiting.pop_front() {
                return Ok(next);
            }
            let again = tokio::time::sleep_until(self.again);
            if std::mem::replace(&mut self.begun, true) {
                tokio::select! {
                    called = self.open.called() => called?,
                    () = again => self.begin_again().await?,
                    () = tokio::time::sleep(MORE), if self.is_full => {}
                }
            }
            self.fetch().await?;
        }
    }

    /// From time to time everything is said again, the terms too.
    async fn begin_again(&mut self) -> Result<(), Status> {
        self.sent.clear();
        self.again = Instant::now() + AGAIN;
        let member = self.caller.member().await?;
        let terms = self.caller.enroller.terms(&member);
        self.waiting.push_back(terms.into());
        Ok(())
    }

    /// Gets what is to be done, judged by the node as it stands now.
    async fn fetch(&mut self) -> Result<(), Status> {
        let member = self.caller.member().await?;
        let commands = self.caller.enroller.deliver(&member).await;
        let commands = commands.map_err(|error| status(&trouble(&error)))?;
        self.is_full = commands.len() >= Enroller::COMMANDS_AT_ONCE as usize;
        let fresh =
            commands.into_iter().filter(|command: &CommandRecord| self.sent.insert(command.id));
        self.waiting.extend(fresh.map(v1::Instruction::from));
        Ok(())
    }
}
