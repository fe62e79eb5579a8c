//! Q1 to Q4: commands, queued per node.

use std::sync::Arc;

use super::fleet::{Fleet, at, event, is_collision, some};
use crate::model::{CommandClass, CommandId, CommandRecord, CommandStatus, NodeRecord};
use crate::store::{Finish, Page, QueueOutcome, Store};
use crate::testing::{Claimant, name, race};

/// A command for `node`, queued at second `secs`.
pub(super) fn command(fleet: &Fleet, node: &NodeRecord, secs: u64) -> CommandRecord {
    let id = CommandId::generate(at(secs), fleet.make.entropy());
    CommandRecord {
        id: id.expect("counting entropy never runs out"),
        node_id: node.id,
        node_name: node.name.clone(),
        kind: "logs".into(),
        payload: serde_json::json!({ "lines": 100, "of": ["a \"unit\"", null] }),
        class: CommandClass::Monitor,
        status: CommandStatus::Queued,
        queued_by: "tests".into(),
        queued_at: at(secs),
        delivered_at: None,
        finished_at: None,
        output: None,
    }
}

async fn queue(fleet: &Fleet, command: &CommandRecord) -> QueueOutcome {
    some(fleet.store.queue_command(command.clone(), event("queued", at(2))).await)
}

async fn queued(fleet: &Fleet, command: &CommandRecord) {
    assert_eq!(queue(fleet, command).await, QueueOutcome::Queued, "Q2: nothing stands against it");
}

/// Queues `count` commands, several at once.
async fn queue_many(fleet: &Arc<Fleet>, node: &NodeRecord, count: u64) -> Vec<CommandRecord> {
    let commands: Vec<_> = (0..count).map(|secs| command(fleet, node, 2 + secs)).collect();
    for some_at_once in commands.chunks(50) {
        let queueing = some_at_once.iter().map(|command| {
            let (fleet, command) = (Arc::clone(fleet), command.clone());
            async move { queued(&fleet, &command).await }
        });
        race(queueing.collect::<Vec<_>>()).await;
    }
    commands
}

fn finish(command: &CommandRecord, status: CommandStatus) -> Finish {
    Finish {
        node_id: command.node_id,
        id: command.id,
        at: at(9_000),
        status,
        output: Some("said\nso".into()),
        event: event("finished", at(9_000)),
    }
}

async fn open(fleet: &Fleet, node: &NodeRecord, limit: u32) -> Vec<CommandRecord> {
    some(fleet.store.open_commands(node.id, limit).await)
}

/// Q1: commands are handed over in the order they were queued, though all at one instant, and each
/// to its own node.
pub async fn q1_commands_are_handed_over_in_their_order(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (node, other) = (fleet.enrolled("a").await, fleet.enrolled("b").await);
    let mut expected = Vec::new();
    for _ in 0..12 {
        let one = command(&fleet, &node, 2);
        queued(&fleet, &one).await;
        queued(&fleet, &command(&fleet, &other, 2)).await;
        expected.push(one);
    }
    assert_eq!(open(&fleet, &node, 500).await, expected, "Q1: whole, and in order");
    assert_eq!(open(&fleet, &node, 5).await, expected[..5], "Q1: the oldest first");
    assert_eq!(open(&fleet, &node, 0).await, [], "Q1: none is none");
    assert_eq!(open(&fleet, &other, 500).await.len(), 12, "Q1: another node has its own");
}

/// Q1: what was delivered is handed over again, in its place, until it is acknowledged.
pub async fn q1_a_delivered_command_is_handed_over_again(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (node, other) = (fleet.enrolled("a").await, fleet.enrolled("b").await);
    let mut commands = Vec::new();
    for secs in 2..5 {
        commands.push(command(&fleet, &node, secs));
        queued(&fleet, &commands[commands.len() - 1]).await;
    }
    let ids = vec![commands[1].id, commands[0].id];
    some(fleet.store.mark_delivered(other.id, ids.clone(), at(6)).await);
    assert_eq!(open(&fleet, &node, 9).await, commands, "Q1: another node received nothing");
    some(fleet.store.mark_delivered(node.id, ids.clone(), at(7)).await);
    for delivered in &mut commands[..2] {
        (delivered.status, delivered.delivered_at) = (CommandStatus::Delivered, Some(at(7)));
    }
    assert_eq!(open(&fleet, &node, 9).await, commands, "Q1: delivered, and open");
    some(fleet.store.mark_delivered(node.id, ids, at(8)).await);
    assert_eq!(open(&fleet, &node, 9).await, commands, "Q1: the first delivery stays");
    let done = some(fleet.store.finish(finish(&commands[0], CommandStatus::Done)).await);
    assert_eq!(done.map(|one| one.delivered_at), Some(Some(at(7))), "Q3: as delivered");
    some(fleet.store.mark_delivered(node.id, vec![commands[0].id], at(9)).await);
    let kept = some(fleet.store.command(commands[0].id).await).map(|one| one.status);
    assert_eq!(kept, Some(CommandStatus::Done), "Q1: a finished one stays finished");
    assert_eq!(open(&fleet, &node, 9).await, commands[1..], "Q1: it is acknowledged");
}

/// Q1: a member comes with whether a command of its node is open, delivered or not.
pub async fn q1_an_open_command_is_told_with_the_member(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let mut enrolled = Vec::new();
    for name in ["a", "b"] {
        let token = fleet.unlimited(at(0)).await;
        enrolled.push(fleet.enroll(&Claimant::new(&token, name), at(1)).await);
    }
    let told = async |place: usize| {
        let found = fleet.member(&enrolled[place].x509).await.expect("I1: it is there");
        found.has_open_commands
    };
    let (one, two) = (command(&fleet, &enrolled[0].node, 2), command(&fleet, &enrolled[0].node, 3));
    assert!(!told(0).await, "Q1: nothing was queued yet");
    queued(&fleet, &one).await;
    queued(&fleet, &two).await;
    assert!(told(0).await && !told(1).await, "Q1: queued for this node alone");
    some(fleet.store.mark_delivered(enrolled[0].node.id, vec![one.id, two.id], at(4)).await);
    assert!(told(0).await, "Q1: delivered, and open");
    let _done = some(fleet.store.finish(finish(&one, CommandStatus::Done)).await);
    assert!(told(0).await, "Q1: the other is still open");
    let _failed = some(fleet.store.finish(finish(&two, CommandStatus::Failed)).await);
    assert!(!told(0).await, "Q1: both are acknowledged");
}

/// Q2: as many as may wait are queued, and no more, however many are queued at once.
pub async fn q2_so_many_wait_and_no_more(store: Arc<dyn Store>) {
    const ROOM: u32 = 8;
    let fleet = Fleet::new(store);
    let (node, other) = (fleet.enrolled("a").await, fleet.enrolled("b").await);
    let waiting = queue_many(&fleet, &node, u64::from(CommandRecord::MAX_OPEN - ROOM)).await;
    let late = (0..32).map(|_| {
        let (fleet, command) = (Arc::clone(&fleet), command(&fleet, &node, 5_000));
        async move { queue(&fleet, &command).await }
    });
    let outcomes = race(late.collect::<Vec<_>>()).await;
    let full = outcomes.iter().filter(|one| **one == QueueOutcome::Full).count();
    assert_eq!(full, 24, "Q2: the last places: {outcomes:?}");
    let before = fleet.events().await.len();
    assert_eq!(queue(&fleet, &command(&fleet, &node, 5_001)).await, QueueOutcome::Full, "Q2");
    assert_eq!(fleet.events().await.len(), before, "Q2: refused, and not journalled");
    assert_eq!(open(&fleet, &node, 2_000).await.len(), CommandRecord::MAX_OPEN as usize, "Q2");
    queued(&fleet, &command(&fleet, &other, 5_000)).await;
    let _done = some(fleet.store.finish(finish(&waiting[0], CommandStatus::Done)).await);
    queued(&fleet, &command(&fleet, &node, 5_002)).await;
}

/// Q2: of finished commands the newest are kept, and none that waits gives way.
pub async fn q2_the_newest_finished_ones_are_kept(store: Arc<dyn Store>) {
    const OVER: usize = 20;
    let fleet = Fleet::new(store);
    let (node, other) = (fleet.enrolled("a").await, fleet.enrolled("b").await);
    let beside = command(&fleet, &other, 2);
    queued(&fleet, &beside).await;
    let _done = some(fleet.store.finish(finish(&beside, CommandStatus::Done)).await);
    let waiting = command(&fleet, &node, 1);
    queued(&fleet, &waiting).await;
    let half = (CommandRecord::KEPT as usize + OVER) as u64 / 2;
    let mut ids = Vec::new();
    for _ in 0..2 {
        for command in queue_many(&fleet, &node, half).await {
            let _done = some(fleet.store.finish(finish(&command, CommandStatus::Done)).await);
            ids.push(command.id);
        }
    }
    let mut kept = 0;
    for id in &ids {
        kept += usize::from(some(fleet.store.command(*id).await).is_some());
    }
    assert_eq!(kept, CommandRecord::KEPT as usize, "Q2: so many are kept");
    let newest = some(fleet.store.command(ids[ids.len() - 1]).await);
    assert!(newest.is_some(), "Q2: the newest is one of them");
    assert_eq!(open(&fleet, &node, 9).await, [waiting], "Q2: what waits is not finished");
    assert!(some(fleet.store.command(beside.id).await).is_some(), "Q2: another node has its own");
}

/// Q2: a node that is gone is queued nothing for, and an id that is there is a collision.
pub async fn q2_what_cannot_be_queued_writes_nothing(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (node, gone) = (fleet.enrolled("a").await, fleet.enrolled("gone").await);
    let _gone = fleet.delete(&gone.name, at(2)).await;
    let there = command(&fleet, &node, 2);
    queued(&fleet, &there).await;
    let before = fleet.events().await.len();
    let for_nobody = command(&fleet, &gone, 3);
    assert_eq!(queue(&fleet, &for_nobody).await, QueueOutcome::NoSuchNode, "Q2");
    assert_eq!(some(fleet.store.command(for_nobody.id).await), None, "Q2: it is not there");
    let twin = CommandRecord { kind: "other".into(), ..there.clone() };
    let outcome = fleet.store.queue_command(twin, event("queued", at(3))).await;
    assert!(is_collision(outcome), "Q2: the id was there");
    assert_eq!(open(&fleet, &node, 9).await, [there], "Q2: the first stays");
    assert_eq!(fleet.events().await.len(), before, "Q2: nothing was journalled");
}

/// Q3: a command ends once, with what was said of it, by its own node.
pub async fn q3_a_command_ends_once(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (node, other) = (fleet.enrolled("a").await, fleet.enrolled("b").await);
    for status in [CommandStatus::Done, CommandStatus::Failed] {
        let one = command(&fleet, &node, 2);
        queued(&fleet, &one).await;
        let before = fleet.events().await.len();
        let mut stolen = finish(&one, status);
        stolen.node_id = other.id;
        assert_eq!(some(fleet.store.finish(stolen).await), None, "Q3: by another node");
        assert_eq!(some(fleet.store.command(one.id).await), Some(one.clone()), "Q3: untouched");
        let expected = CommandRecord {
            status,
            finished_at: Some(at(9_000)),
            output: Some("said\nso".into()),
            ..one.clone()
        };
        let ended = some(fleet.store.finish(finish(&one, status)).await);
        assert_eq!(ended.as_ref(), Some(&expected), "Q3");
        let again = Finish { output: None, ..finish(&one, CommandStatus::Failed) };
        assert_eq!(some(fleet.store.finish(again).await), None, "Q3: it has ended");
        assert_eq!(some(fleet.store.command(one.id).await), ended, "Q3: the first end stays");
        let events = fleet.events().await;
        assert_eq!(events[before..], [event("finished", at(9_000))], "Q3: one event");
    }
    let unknown = command(&fleet, &node, 3);
    let outcome = some(fleet.store.finish(finish(&unknown, CommandStatus::Done)).await);
    assert_eq!(outcome, None, "Q3: an unknown id");
}

/// Q3: of many that end one command at once, one does.
pub async fn q3_of_many_ends_at_once_one_is_kept(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let node = fleet.enrolled("a").await;
    let one = command(&fleet, &node, 2);
    queued(&fleet, &one).await;
    let before = fleet.events().await.len();
    let ends = (0..16).map(|number| {
        let (store, mut finish) = (Arc::clone(&fleet.store), finish(&one, CommandStatus::Done));
        finish.output = Some(format!("by {number}"));
        async move { some(store.finish(finish).await) }
    });
    let ended: Vec<_> = race(ends.collect::<Vec<_>>()).await.into_iter().flatten().collect();
    assert_eq!(ended.len(), 1, "Q3: one ended it");
    let kept = some(fleet.store.command(one.id).await);
    assert_eq!(kept.as_ref(), ended.first(), "Q3: and that is kept");
    assert_eq!(fleet.events().await.len(), before + 1, "Q3: one event");
}

/// Q4: with a node its commands go, and a node of the same name begins without any.
pub async fn q4_with_a_node_its_commands_go(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (node, other) = (fleet.enrolled("a").await, fleet.enrolled("b").await);
    let commands = [command(&fleet, &node, 2), command(&fleet, &node, 3)];
    for command in &commands {
        queued(&fleet, command).await;
    }
    let beside = command(&fleet, &other, 2);
    queued(&fleet, &beside).await;
    let _done = some(fleet.store.finish(finish(&commands[0], CommandStatus::Done)).await);
    let _gone = fleet.delete(&node.name, at(4)).await;
    fleet.bound("a", at(5)).await;
    for command in &commands {
        assert_eq!(some(fleet.store.command(command.id).await), None, "Q4");
    }
    assert_eq!(open(&fleet, &node, 9).await, [], "Q4: none waits");
    let listed = some(fleet.store.commands(&name("a"), Page::first(9)).await);
    assert_eq!(listed, [], "Q4: a node of the same name is another");
    assert_eq!(open(&fleet, &other, 9).await, [beside], "Q4: another node's stay");
}

/// The commands of a node are listed newest first, page by page, whole, and under its own name.
pub async fn q_commands_are_listed_newest_first(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (node, other) = (fleet.enrolled("a").await, fleet.enrolled("b").await);
    let mut expected = Vec::new();
    for secs in 2..11 {
        let mut one = command(&fleet, &node, secs);
        one.class = CommandClass::ALL[secs as usize % CommandClass::ALL.len()];
        queued(&fleet, &one).await;
        queued(&fleet, &command(&fleet, &other, secs)).await;
        expected.insert(0, one);
    }
    let ended = some(fleet.store.finish(finish(&expected[4], CommandStatus::Failed)).await);
    expected[4] = ended.expect("Q3: it was open");
    for limit in [1, 4, 500] {
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let page = some(fleet.store.commands(&node.name, Page { after, limit }).await);
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            rows.extend(page);
        }
        assert_eq!(rows, expected, "commands: by pages of {limit}");
    }
    let nobody = some(fleet.store.commands(&name("c"), Page::first(9)).await);
    assert_eq!(nobody, [], "commands: nobody has none");
}
