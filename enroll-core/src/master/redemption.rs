//! Carrying a decision out: credentials in memory, one conditional write, undo what lost.

use super::enroll::{Admission, Attempt, Verdict};
use super::enroller::Enroller;
use super::error::{Error, causes};
use super::policy::Candidate;
use crate::decision::{Approval, Redelivery, Take};
use crate::failpoint;
use crate::issue::{Grant, IssueError, Issued};
use crate::model::{
    AttemptId, AttemptOutcome, AttemptRecord, Credential, Event, IdentityId, IdentityRecord,
    Method, NameState, NodeId, NodeName, NodeRecord, Reason, RedemptionId, Rejection, Snapshot,
    What,
};
use crate::store::{Redeem, RedeemOutcome, Redeliver, RedeliverOutcome};

/// What carrying a decision out came to.
pub(super) enum Step {
    /// It is the answer.
    Done(Verdict),
    /// Somebody else was quicker: this is what the store holds now.
    Lost(Box<Snapshot>),
}

impl Enroller {
    /// Policy, credentials in memory, one write.
    pub(super) async fn redeem(
        &self,
        attempt: &Attempt<'_>,
        approval: Approval,
        before: &NameState,
    ) -> Result<Step, Error> {
        let made = match self.make_for(attempt, &approval).await {
            Ok(made) => made,
            Err(rejection) => return Ok(Step::Done(Verdict::Refused(rejection))),
        };
        failpoint::hit(failpoint::ISSUED);
        let redeem = match self.redemption(attempt, approval, &made) {
            Ok(redeem) => redeem,
            Err(cause) => return Err(self.give_up(&made, cause).await),
        };
        let event = redeem.event();
        let outcome = self.store.redeem(redeem).await;
        failpoint::hit(failpoint::REDEEMED);
        match outcome {
            Ok(RedeemOutcome::Enrolled(node)) => {
                self.tell(&event);
                self.note_unfamiliar(attempt, &event.what, &node);
                if let NameState::Held(before) = before {
                    self.unfuse(before, attempt.at).await;
                    self.leave_mesh().await;
                }
                Ok(admit(*node, made.into_iter().map(|issued| issued.credential), false))
            }
            Ok(RedeemOutcome::Lost(seen)) => {
                self.undo_all(&made).await;
                Ok(Step::Lost(seen))
            }
            Err(cause) => Err(self.give_up(&made, cause.into()).await),
        }
    }

    /// A name that auto-enrollment let in is one nobody had registered: operators want to know.
    fn note_unfamiliar(&self, attempt: &Attempt<'_>, enrolled: &What, node: &NodeRecord) {
        if let What::Enrolled { method: Method::Secret, replaced: false, .. } = enrolled {
            self.note(Event::new(
                attempt.at,
                What::UnfamiliarName {
                    node_id: node.id,
                    node_name: node.name.clone(),
                    source_ip: attempt.origin.source_ip,
                },
            ));
        }
    }

    /// What can be handed over twice, else a new one; one write.
    pub(super) async fn redeliver(
        &self,
        attempt: &Attempt<'_>,
        redelivery: Box<Redelivery>,
    ) -> Result<Step, Error> {
        let (again, made) = match self.make_again(attempt, &redelivery).await {
            Ok(both) => both,
            Err(rejection) => return Ok(Step::Done(Verdict::Refused(rejection))),
        };
        let redeliver = match self.redelivering(attempt, redelivery, &made) {
            Ok(redeliver) => redeliver,
            Err(cause) => return Err(self.give_up(&made, cause).await),
        };
        let event = redeliver.event.clone();
        match self.store.redeliver(redeliver).await {
            Ok(RedeliverOutcome::Redelivered(node)) => {
                self.tell(&event);
                let anew = made.into_iter().map(|issued| issued.credential);
                Ok(admit(*node, again.into_iter().chain(anew), true))
            }
            Ok(RedeliverOutcome::Closed(seen)) => {
                self.undo_all(&made).await;
                Ok(Step::Lost(seen))
            }
            Err(cause) => Err(self.give_up(&made, cause.into()).await),
        }
    }

    /// Asks the policy, then every issuer.
    async fn make_for(
        &self,
        attempt: &Attempt<'_>,
        approval: &Approval,
    ) -> Result<Vec<Issued>, Rejection> {
        let candidate = Candidate {
            node_name: approval.node_name(),
            method: approval.method(),
            origin: attempt.origin,
            facts: &attempt.request.facts,
            replaces: matches!(approval.take(), Take::Held(_)),
        };
        self.policy.admit(&candidate).await.map_err(|denial| {
            let denied = Rejection::new(Reason::Denied).with_detail(denial.words);
            match denial.retry_after {
                Some(span) => denied.with_retry_after(span),
                None => denied,
            }
        })?;
        let grant = self.grant(attempt, approval.node_name(), approval.method());
        let mut made = Vec::with_capacity(self.issuers.len());
        for issuer in &self.issuers {
            match issuer.issue(&grant).await {
                Ok(issued) => made.push(issued),
                Err(failure) => {
                    self.undo_all(&made).await;
                    return Err(refusal(&failure));
                }
            }
        }
        Ok(made)
    }

    /// The credentials of an earlier answer: those that can be shown twice, and those made anew
    /// after the earlier one was taken back or ran out.
    async fn make_again(
        &self,
        attempt: &Attempt<'_>,
        redelivery: &Redelivery,
    ) -> Result<(Vec<Credential>, Vec<Issued>), Rejection> {
        let node = redelivery.node();
        let grant = self.grant(attempt, &node.name, redelivery.redemption().method);
        let (mut again, mut made) = (Vec::new(), Vec::new());
        for issuer in &self.issuers {
            let kind = issuer.kind();
            let earlier = redelivery.identities().iter().find(|i| i.credential.kind() == kind);
            let alive = earlier.filter(|identity| !identity.has_expired(attempt.at));
            if let Some(credential) = alive.and_then(|i| issuer.again(&i.credential)) {
                again.push(credential);
                continue;
            }
            let anew = async {
                if let Some(earlier) = earlier {
                    issuer.undo(&earlier.credential).await?;
                }
                issuer.issue(&grant).await
            };
            match anew.await {
                Ok(issued) => made.push(issued),
                Err(failure) => {
                    self.undo_all(&made).await;
                    return Err(refusal(&failure));
                }
            }
        }
        Ok((again, made))
    }

    fn grant<'a>(
        &'a self,
        attempt: &'a Attempt<'_>,
        node_name: &'a NodeName,
        method: Method,
    ) -> Grant<'a> {
        Grant {
            node_name,
            method: Some(method),
            #[cfg(feature = "x509")]
            key: attempt.claimant.proven_key(),
            facts: &attempt.request.facts,
            master_hosts: &self.config.hosts,
            at: attempt.at,
            entropy: &*self.entropy,
        }
    }

    /// Takes back outside what was made, and says why.
    async fn give_up(&self, made: &[Issued], cause: Error) -> Error {
        self.undo_all(made).await;
        cause
    }

    /// Takes back outside what was made for a redemption that is not to be.
    pub(super) async fn undo_all(&self, made: &[Issued]) {
        for issued in made {
            let Some(issuer) = self.issuer(&issued.record.kind()) else { continue };
            if let Err(cause) = issuer.undo(&issued.record).await {
                tracing::warn!(kind = %issued.record.kind(), %cause, "a credential made outside could not be taken back");
                self.leave_key(&issued.record);
            }
        }
    }

    fn redemption(
        &self,
        attempt: &Attempt<'_>,
        approval: Approval,
        made: &[Issued],
    ) -> Result<Redeem, Error> {
        let (at, entropy) = (attempt.at, &*self.entropy);
        let id = RedemptionId::generate(at, entropy)?;
        let new_node_id = NodeId::generate(at, entropy)?;
        let name = approval.node_name();
        let identities = self.identities(made, attempt, new_node_id, name, id)?;
        Ok(Redeem {
            id,
            at,
            new_node_id,
            identities,
            facts: attempt.request.facts.clone(),
            origin: attempt.origin,
            approval,
        })
    }

    fn redelivering(
        &self,
        attempt: &Attempt<'_>,
        redelivery: Box<Redelivery>,
        made: &[Issued],
    ) -> Result<Redeliver, Error> {
        let (node, redemption) = (redelivery.node(), redelivery.redemption());
        let replacements = self.identities(made, attempt, node.id, &node.name, redemption.id)?;
        let record = AttemptRecord {
            id: AttemptId::generate(attempt.at, &*self.entropy)?,
            at: attempt.at,
            node_name: Some(node.name.clone()),
            outcome: AttemptOutcome::Redelivered,
            source_ip: attempt.origin.source_ip,
            token_id: redemption.token_id,
            proven: true,
        };
        let what = What::Redelivered {
            node_id: node.id,
            node_name: node.name.clone(),
            redemption_id: redemption.id,
        };
        Ok(Redeliver {
            at: attempt.at,
            replacements,
            attempt: record,
            event: Event::new(attempt.at, what),
            redelivery,
        })
    }

    fn identities(
        &self,
        made: &[Issued],
        attempt: &Attempt<'_>,
        node_id: NodeId,
        node_name: &NodeName,
        redemption_id: RedemptionId,
    ) -> Result<Vec<IdentityRecord>, Error> {
        let record = |issued: &Issued| {
            Ok(IdentityRecord {
                id: IdentityId::generate(attempt.at, &*self.entropy)?,
                node_id,
                node_name: node_name.clone(),
                redemption_id,
                predecessor: None,
                credential: issued.record.clone(),
                issued_at: attempt.at,
                expires_at: issued.expires_at,
                first_used_at: None,
                revoked_at: None,
            })
        };
        made.iter().map(record).collect()
    }
}

fn admit(
    node: NodeRecord,
    credentials: impl Iterator<Item = Credential>,
    redelivered: bool,
) -> Step {
    let admission = Admission { node, credentials: credentials.collect(), redelivered };
    Step::Done(Verdict::Admitted(Box::new(admission)))
}

fn refusal(failure: &IssueError) -> Rejection {
    tracing::warn!(cause = causes(failure), "{failure}");
    Rejection::new(failure.reason())
}
