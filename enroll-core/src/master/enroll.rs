//! The line: screen, one read, the decision, issuing in memory, one conditional write, the answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::budget::Budget;
use super::claimant::Claimant;
use super::enroller::Enroller;
use super::error::Error;
use super::redemption::Step;
use crate::decision::{Decision, Rules, Screened, decide, lost, screen};
use crate::model::{
    AttemptId, AttemptOutcome, AttemptRecord, Credential, EnrollRequest, Event, Method, NodeName,
    NodeRecord, Origin, Presented, Reason, Rejection, Snapshot, Timestamp, TokenId, What,
};
use crate::store::Lookup;

/// What a request to become a member comes to. A refusal is an answer, not an error.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub enum Verdict {
    /// The machine is a member.
    Admitted(Box<Admission>),
    /// It is not.
    Refused(Rejection),
}

/// What a new member is given.
#[derive(Debug)]
#[non_exhaustive]
pub struct Admission {
    /// The node.
    pub node: NodeRecord,
    /// Its credentials, secrets among them.
    pub credentials: Vec<Credential>,
    /// Whether it is an answer that was given before and lost.
    pub redelivered: bool,
}

/// One request on its way.
pub(super) struct Attempt<'a> {
    pub(super) request: &'a EnrollRequest,
    pub(super) origin: Origin,
    pub(super) at: Timestamp,
    pub(super) claimant: Claimant,
}

/// What is known of an attempt that was refused.
#[derive(Default)]
struct Trace {
    token_id: Option<TokenId>,
    node_name: Option<NodeName>,
    proven: bool,
}

/// How many refusals the journal still takes: of those with a valid proof, and of those without.
pub(super) struct Refusals {
    proven: Mutex<Budget>,
    unproven: Mutex<Budget>,
}

impl Refusals {
    pub(super) const fn new() -> Self {
        let budget = Budget::new(Enroller::REFUSALS_AT_ONCE, REFUSAL_EVERY);
        Self { proven: Mutex::new(budget), unproven: Mutex::new(budget) }
    }

    fn may_say(&self, proven: bool, at: Timestamp) -> bool {
        let budget = if proven { &self.proven } else { &self.unproven };
        budget.lock().unwrap_or_else(PoisonError::into_inner).take(1, at) > 0
    }
}

/// Five a minute of either kind: a journal of 100,000 events reaches back a week then.
const REFUSAL_EVERY: Duration = Duration::from_secs(12);

/// How often a redemption that lost is judged anew before the master gives up for now.
const ROUNDS: u32 = 4;

impl Enroller {
    /// How many refusals a master journals in one go, of requests with a valid proof and of those
    /// without: 600 each. Afterwards five a minute. Observers are told of all.
    pub const REFUSALS_AT_ONCE: u32 = 600;

    /// Judges one request to become a member, and carries the judgement out.
    ///
    /// Exactly one write spends the token and records everything; a request that is refused, or
    /// fails, has spent nothing. The same claimant asking again is given the same identity (see
    /// [`decision`](crate::decision)).
    ///
    /// # Errors
    /// [`Error`] when the master cannot decide; nothing was spent that the same request, repeated,
    /// would not be given.
    pub async fn enroll(&self, request: EnrollRequest, origin: Origin) -> Result<Verdict, Error> {
        let at = self.clock.now();
        let claimant = Claimant::of(&request, self.key_needed());
        let attempt = Attempt { request: &request, origin, at, claimant };
        let mut trace = Trace { node_name: request.node_name.clone(), ..Trace::default() };
        let outcome = self.judge(&attempt, &mut trace).await;
        let took = self.clock.now().since(at);
        match &outcome {
            Ok((method, Verdict::Admitted(_))) => self.answered(Ok(*method), took),
            Ok((_, Verdict::Refused(rejection))) => {
                self.answered(Err(rejection.reason()), took);
                self.note_refusal(&attempt, trace, rejection.reason())?;
            }
            Err(_) => self.answered(Err(Reason::Unavailable), took),
        }
        outcome.map(|(_, verdict)| verdict)
    }

    /// Counts a refusal that never became a request: `rate_limited`, or a body that is none.
    pub fn count_refusal(&self, reason: Reason) {
        self.answered(Err(reason), Duration::ZERO);
    }

    async fn judge(
        &self,
        attempt: &Attempt<'_>,
        trace: &mut Trace,
    ) -> Result<(Method, Verdict), Error> {
        let auto = match attempt.request.presented {
            Presented::Secret(_) => self.known_auto().await?,
            _ => Arc::default(),
        };
        let rules = Rules {
            cluster_secrets: &self.cluster_secrets,
            csr_required: self.key_needed(),
            ..Rules::new(&self.prefix, &auto, &self.reserved)
        };
        let asked = match screen(attempt.request, attempt.claimant.claim(), &rules, attempt.at) {
            Ok(asked) => asked,
            Err(rejection) => return Ok((Method::Token, Verdict::Refused(rejection))),
        };
        let mut seen = self.store.look_up(lookup(&asked)).await?;
        trace.learn(&asked, &seen);
        let mut decision = decide(&asked, &seen, &attempt.claimant, attempt.at);
        for _round in 0..ROUNDS {
            let now = match decision {
                Err(rejection) => return Ok((asked.method(), Verdict::Refused(rejection))),
                Ok(Decision::Redeliver(redelivery)) => self.redeliver(attempt, redelivery).await?,
                Ok(Decision::Approved(approval)) => {
                    self.redeem(attempt, approval, &seen.name).await?
                }
            };
            match now {
                Step::Done(verdict) => {
                    self.note_old_secret(&asked, &verdict, attempt.at);
                    return Ok((asked.method(), verdict));
                }
                Step::Lost(now) => {
                    seen = *now;
                    decision = lost(&asked, &seen, &attempt.claimant, attempt.at);
                }
            }
        }
        Err(Error::contended("the name or the token kept changing while the request was judged"))
    }
}

impl Enroller {
    fn answered(&self, outcome: Result<Method, Reason>, took: Duration) {
        for observer in &self.observers {
            observer.answered(outcome, took);
        }
    }

    /// Who still uses a secret that was replaced is what ends a rotation.
    fn note_old_secret(&self, asked: &Screened, verdict: &Verdict, at: Timestamp) {
        if let (Verdict::Admitted(admission), Some(1..)) = (verdict, asked.accepted_secret()) {
            let node_name = admission.node.name.clone();
            self.note(Event::new(at, What::OldSecretUsed { node_name, method: asked.method() }));
        }
    }

    /// Journals a refusal off the request's path, and tells who observes. Every attempt is kept among
    /// those under its name; in the journal refusals must not take the place of what operators did.
    fn note_refusal(
        &self,
        attempt: &Attempt<'_>,
        trace: Trace,
        reason: Reason,
    ) -> Result<(), Error> {
        let source_ip = attempt.origin.source_ip;
        let what = What::Refused {
            reason: reason.code().to_owned(),
            node_name: trace.node_name.clone(),
            source_ip,
        };
        let event = Event::new(attempt.at, what);
        match self.refusals.may_say(trace.proven, attempt.at) {
            false => self.tell(&event),
            true => self.note(event),
        }
        self.refused.push(AttemptRecord {
            id: AttemptId::generate(attempt.at, &*self.entropy)?,
            at: attempt.at,
            node_name: trace.node_name,
            outcome: AttemptOutcome::Refused(reason),
            source_ip,
            token_id: trace.token_id,
            proven: trace.proven,
        });
        Ok(())
    }
}

impl Trace {
    /// Takes down what the look-up showed of who asked.
    fn learn(&mut self, asked: &Screened, seen: &Snapshot) {
        let token = asked.token();
        self.token_id = token.map(|token| token.id());
        let matched = token
            .zip(seen.token.as_ref())
            .filter(|(presented, kept)| kept.digest.verify(presented).is_some());
        self.proven = matched.is_some() || asked.accepted_secret().is_some();
        if let (None, Some((_, kept))) = (&self.node_name, matched) {
            self.node_name.clone_from(&kept.bound_to);
        }
    }
}

fn lookup(asked: &Screened) -> Lookup<'_> {
    Lookup {
        token_id: asked.token().map(|token| token.id()),
        node_name: asked.node_name(),
        claim: asked.claim(),
    }
}
