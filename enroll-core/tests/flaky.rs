//! The store that fails on demand does what it was told, and nothing else.

use std::sync::Arc;

use enroll_core::decision::Decision;
use enroll_core::model::{Reason, Snapshot};
use enroll_core::store::{
    Lookup, MemoryStore, Page, RedeemOutcome, Redemptions, StoreErrorKind, Tokens,
};
use enroll_core::testing::{Claimant, Fault, Fixtures, FlakyStore, Operation, TestToken};

async fn fresh() -> FlakyStore<MemoryStore> {
    FlakyStore::new(MemoryStore::new())
}
enroll_core::store_conformance!(fresh);

fn mint(make: &Fixtures) -> TestToken {
    make.token(Fixtures::START).uses(1)
}

async fn seen(store: &impl Redemptions, token: &TestToken, claimant: &Claimant) -> Snapshot {
    let (token_id, claim) = (Some(token.record.id), claimant.claim());
    let lookup = Lookup { token_id, node_name: claimant.node_name(), claim };
    store.look_up(lookup).await.expect("nothing is scripted")
}

#[tokio::test]
async fn the_scripted_call_fails_before_anything_is_written() {
    let (store, make) = (fresh().await, Fixtures::new());
    let fail = || Fault::Before(StoreErrorKind::Unavailable);
    store.script(Operation::Mint, [Fault::None, Fault::None, fail()]);
    for call in 1..=4 {
        let token = mint(&make);
        let outcome = store.mint(make.mint(&token)).await;
        assert_eq!(outcome.is_ok(), call != 3, "call {call}");
        if let Err(error) = outcome {
            assert_eq!(error.kind(), StoreErrorKind::Unavailable);
            assert!(store.token(token.record.id).await.unwrap().is_none());
        }
    }
    assert_eq!(store.calls(Operation::Mint), 4);
    assert_eq!(store.tokens(Page::first(10), None).await.unwrap().len(), 3);
}

#[tokio::test]
async fn an_answer_is_lost_after_all_was_written() {
    let (store, make) = (fresh().await, Fixtures::new());
    store.script(Operation::Mint, [Fault::After(StoreErrorKind::Broken)]);
    let token = mint(&make);
    let error = store.mint(make.mint(&token)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Broken);
    assert!(store.token(token.record.id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_race_is_lost_on_demand() {
    let (store, make) = (fresh().await, Arc::new(Fixtures::new()));
    let token = Arc::new(mint(&make));
    let _minted = store.mint(make.mint(&token)).await.unwrap();
    let (late, at) = (Claimant::new(&token, "late"), Fixtures::at(1));
    let rival = {
        let (make, token) = (Arc::clone(&make), Arc::clone(&token));
        Fault::rival(async move |store: Arc<MemoryStore>| {
            let rival = Claimant::new(&token, "rival");
            let decision = make.decide(&rival, &seen(&*store, &token, &rival).await, at);
            let Ok(Decision::Approved(approval)) = decision else { panic!("{decision:?}") };
            let _won = store.redeem(make.redeem(approval, at)).await.unwrap();
        })
    };
    store.script(Operation::Redeem, [rival]);
    let decision = make.decide(&late, &seen(&store, &token, &late).await, at);
    let Ok(Decision::Approved(approval)) = decision else { panic!("{decision:?}") };
    let outcome = store.redeem(make.redeem(approval, at)).await.unwrap();
    let RedeemOutcome::Lost(seen) = outcome else { panic!("{outcome:?}") };
    let refused = make.lost(&late, &seen, at).unwrap_err();
    assert_eq!(refused.reason(), Reason::RaceConsumed);
}

#[tokio::test]
async fn its_debug_shows_the_script() {
    let store = fresh().await;
    store.script(
        Operation::Redeem,
        [Fault::After(StoreErrorKind::Broken), Fault::rival(async |_| ())],
    );
    let shown = format!("{store:?}");
    assert_eq!(shown, "FlakyStore { faults: {Redeem: [After(Broken), Rival(..)]}, .. }");
}
