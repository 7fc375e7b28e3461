//! Bugs to plant: the test of the test. Each is a mistake that somebody could make; the simulation must find
//! it within a few seeds.

use std::sync::Arc;

use downbeat_core::{id::LeaseAt, rows::Changes};

use super::{World, faults};

/// A bug that the simulation shall find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// The store forgets one written row of a subtask in fifty.
    LostWrite,
    /// A finished dependency is not always counted down.
    LostDecrement,
    /// The store takes no locks.
    NoLocks,
    /// Results count under whatever lease they come.
    NoFence,
    /// Leases of a commit of unknown outcome are never looked for.
    NoLeaseLook,
    /// The answer to a worker leaves before the commit.
    SpeakThenSave,
    /// Routes are asked for only above the newest one that was read.
    RouteGap,
    /// Routes that a call learned are not told to the committer.
    RoutesUntold,
    /// Sessions are looked at only when one has changed.
    NoSessionLook,
    /// A worker is not told that its lease was taken on another replica.
    NoLeaseLost,
}

impl Plant {
    /// All of them.
    pub const ALL: [Plant; 10] = [
        Plant::LostWrite,
        Plant::LostDecrement,
        Plant::NoLocks,
        Plant::NoFence,
        Plant::NoLeaseLook,
        Plant::SpeakThenSave,
        Plant::RouteGap,
        Plant::RoutesUntold,
        Plant::NoSessionLook,
        Plant::NoLeaseLost,
    ];
}

/// The changes as a faulty store would write them; `None`: as they are.
pub(super) fn spoil(world: &World, changes: &Changes) -> Option<Changes> {
    let mut spoiled = None;
    if world.has(Plant::LostWrite) && !changes.subtasks.is_empty() && world.draw(|rng| rng.per_mille(20)) {
        let copy = spoiled.insert(faults::copy(changes));
        copy.subtasks.pop();
    }
    if world.has(Plant::LostDecrement) && world.draw(|rng| rng.per_mille(50)) {
        let copy = spoiled.insert(faults::copy(changes));
        if let Some(row) = copy
            .subtasks
            .iter_mut()
            .find(|row| row.row.state == downbeat_core::subtask::SubtaskState::Pending && row.row.pending > 0)
        {
            row.row.pending += 1;
        }
    }
    spoiled
}

/// The lease a result is taken for: its own, unless the fence was taken down.
pub(super) async fn fence(
    world: &World,
    store: &Arc<dyn downbeat_store::Store>,
    at: LeaseAt,
    session: downbeat_core::id::SessionNo,
) -> (LeaseAt, downbeat_core::id::SessionNo) {
    if !world.has(Plant::NoFence) {
        return (at, session);
    }
    let record = store.task(at.task).await.ok().flatten();
    let row = record.and_then(|record| record.subtasks.get(at.index as usize).cloned());
    match row.map(|row| (row.lease, row.session)) {
        Some((Some(lease), Some(session))) => (LeaseAt { lease, ..at }, session),
        _ => (at, session),
    }
}
