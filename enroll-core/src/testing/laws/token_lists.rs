//! T5: lists of tokens and of their redemptions.

use std::sync::Arc;
use std::time::Duration;

use super::fleet::{Fleet, at, some};
use crate::model::{NodeName, Timestamp, TokenId, TokenRecord};
use crate::store::{Page, Store};
use crate::testing::{Claimant, name, together};

async fn all_pages(fleet: &Fleet, limit: u32, live_at: Option<Timestamp>) -> Vec<TokenRecord> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = some(fleet.store.tokens(Page { after, limit }, live_at).await);
        assert!(page.len() <= limit as usize, "T5: a page holds {limit} rows at most");
        let Some(last) = page.last() else { return rows };
        after = Some(last.id);
        rows.extend(page);
    }
}

/// T5: tokens are listed newest first, page by page, and none twice.
pub async fn t5_tokens_are_listed_newest_first(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let mut ids: Vec<TokenId> = Vec::new();
    for number in 0..20 {
        // Minted out of order on purpose, two in each instant.
        let token = fleet.unlimited(at((number * 7 % 20) / 2)).await;
        ids.push(token.record.id);
    }
    ids.sort_by_key(|id| std::cmp::Reverse(*id));
    for limit in [1, 3, 20, 500] {
        let seen: Vec<_> = all_pages(&fleet, limit, None).await.iter().map(|row| row.id).collect();
        assert_eq!(seen, ids, "T5: by pages of {limit}");
    }
    let none = some(fleet.store.tokens(Page::first(0), None).await);
    assert!(none.is_empty(), "T5: a page of none holds none");
}

/// T5: those past their time at the instant given are left out, and do not count in a page.
pub async fn t5_tokens_past_their_time_are_left_out(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let mut live = Vec::new();
    for number in 0..10 {
        let ttl = Duration::from_secs(60 + number % 2);
        let token = fleet.minted(fleet.make.token(at(0)).ttl(ttl)).await;
        if number % 2 == 1 {
            live.push(token.record.id);
        }
    }
    live.sort_by_key(|id| std::cmp::Reverse(*id));
    let rows = all_pages(&fleet, 2, Some(at(60))).await;
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), live, "T5: at the instant");
    assert_eq!(all_pages(&fleet, 2, Some(at(61))).await.len(), 0, "T5: all are past it");
    assert_eq!(all_pages(&fleet, 2, None).await.len(), 10, "T5: and all are there");
}

/// T5: who pages while others mint sees each token that was there before exactly once, in order.
pub async fn t5_pages_are_stable_under_concurrent_inserts(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let mut ids: Vec<TokenId> = Vec::new();
    for number in 0..30 {
        ids.push(fleet.unlimited(at(2 * number)).await.record.id);
    }
    ids.sort_by_key(|id| std::cmp::Reverse(*id));
    let minting = Arc::clone(&fleet);
    let (seen, _) = together(
        {
            let fleet = Arc::clone(&fleet);
            async move { all_pages(&fleet, 4, None).await }
        },
        async move {
            for number in 0..60 {
                minting.unlimited(at(number)).await;
            }
        },
    )
    .await;
    let seen: Vec<_> = seen.iter().map(|row| row.id).collect();
    assert!(seen.is_sorted_by(|one, next| one > next), "T5: in order, none twice");
    let old: Vec<_> = seen.into_iter().filter(|id| ids.contains(id)).collect();
    assert_eq!(old, ids, "T5: none that was there is left out");
}

/// T5: redemptions are listed newest first, page by page, each under its own token.
pub async fn t5_redemptions_are_listed_newest_first(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (token, other) = (fleet.unlimited(at(0)).await, fleet.unlimited(at(0)).await);
    let mut names: Vec<NodeName> = Vec::new();
    for number in 1..=9 {
        let text = format!("machine-{number}");
        fleet.enroll(&Claimant::new(&token, &text), at(number)).await;
        fleet.enroll(&Claimant::new(&other, &format!("other-{number}")), at(number)).await;
        names.insert(0, name(&text));
    }
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = Page { after, limit: 2 };
        let page = some(fleet.store.redemptions(token.record.id, page).await);
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        rows.extend(page.into_iter().map(|row| row.node_name));
    }
    assert_eq!(rows, names, "T5");
}
