//! Bugs to plant: the test of the test. Each is a mistake that somebody could make; the simulation must find
//! it within a few seeds. They are planted from outside, in the store and on the streams: production has no
//! place for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use downbeat_core::{
    id::{Index, LeaseAt, LeaseId, RouteNo, SessionNo, TaskNo},
    reads::Reads,
    rows::{Changes, SubtaskRow},
    schedule::Schedule,
    session::Session,
    subtask::SubtaskState,
};
use downbeat_store::{Leased, Loaded, Result, Route, Store};

use downbeat_proto::v1;

use super::{World, faults, process::lock, worker::lease_at};

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
    /// Leases of a commit of unknown outcome are not found when they are looked for.
    NoLeaseLook,
    /// The answer to a worker leaves before the commit.
    SpeakThenSave,
    /// Routes are found only above the newest one that was read.
    RouteGap,
    /// A look at the sessions says who there is, and not how they are by now.
    NoSessionLook,
    /// A worker is not told that its lease was taken.
    NoLeaseLost,
    /// The store forgets when what was left for later is to be decided.
    LostPostponement,
    /// A child that a worker adds again is not recognised.
    NoKnownChild,
    /// A decision about an approval counts, whatever it was shown.
    AnyDigest,
    /// A signal that is sent again is not recognised.
    NoKnownSignal,
    /// The store forgets that the task that a subtask is has to end with it.
    LostPassing,
    /// A schedule is written by whoever comes, whatever version was seen.
    NoScheduleFence,
    /// A write to the shared context counts, whatever version it expects.
    AnyVersion,
}

impl Plant {
    /// All of them.
    pub const ALL: [Plant; 16] = [
        Plant::LostWrite,
        Plant::LostDecrement,
        Plant::NoLocks,
        Plant::NoFence,
        Plant::NoLeaseLook,
        Plant::SpeakThenSave,
        Plant::RouteGap,
        Plant::NoSessionLook,
        Plant::NoLeaseLost,
        Plant::LostPostponement,
        Plant::NoKnownChild,
        Plant::AnyDigest,
        Plant::NoKnownSignal,
        Plant::LostPassing,
        Plant::NoScheduleFence,
        Plant::AnyVersion,
    ];
}

/// What planted bugs keep in mind, in one simulation.
#[derive(Debug, Default)]
pub(super) struct Planted {
    /// Whose word counts next for a subtask, and under which lease it came.
    fences: BTreeMap<(TaskNo, Index), (SessionNo, LeaseId)>,
    /// Leases of commits of unknown outcome.
    unknown: BTreeSet<LeaseId>,
    /// Children that came by, by parent and key.
    children: BTreeSet<(TaskNo, Index, String)>,
}

impl Planted {
    /// A result came, and is to count.
    pub(super) fn take_down_fence(&mut self, at: LeaseAt, session: SessionNo) {
        self.fences.insert((at.task, at.index), (session, at.lease));
    }

    /// These changes may be durable; nobody will be told.
    pub(super) fn commit_unknown(&mut self, changes: &Changes) {
        let rows = changes.new_subtasks.iter().chain(&changes.subtasks);
        let lease = |row: &SubtaskRow| row.row.lease.filter(|_| row.row.session.is_some());
        self.unknown.extend(rows.filter_map(lease));
    }
}

/// What one replica was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    newest_route: Mutex<Option<RouteNo>>,
    sessions: Mutex<Vec<Session>>,
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
        let counts = |row: &&mut SubtaskRow| row.row.state == SubtaskState::Pending && row.row.pending > 0;
        if let Some(row) = copy.subtasks.iter_mut().find(counts) {
            row.row.pending += 1;
        }
    }
    if world.has(Plant::LostPostponement) && world.draw(|rng| rng.per_mille(300)) {
        let copy = spoiled.insert(faults::copy(changes));
        let postponed = |row: &&mut SubtaskRow| row.row.state == SubtaskState::Pending;
        copy.subtasks.iter_mut().filter(postponed).for_each(|row| row.row.wake_at = None);
    }
    if world.has(Plant::LostPassing) {
        let copy = spoiled.insert(faults::copy(changes));
        let over = |row: &&mut SubtaskRow| row.row.state.is_terminal() && row.row.wake_at.is_some();
        copy.subtasks.iter_mut().filter(over).for_each(|row| (row.row.wake_at, row.row.pending) = (None, 0));
    }
    spoiled
}

/// Children as a core must see them that does not know those it has.
pub(super) fn forget_children(world: &World, spawn: &mut v1::Spawn) {
    let Some(LeaseAt { task, index, .. }) = spawn.lease.as_ref().map(lease_at) else { return };
    if !world.has(Plant::NoKnownChild) {
        return;
    }
    let fresh: BTreeMap<String, String> = spawn
        .children
        .iter()
        .filter(|child| !world.planted().children.insert((task, index, child.key.clone())))
        .map(|child| (child.key.clone(), format!("{}-again-{}", child.key, world.number())))
        .collect();
    for child in &mut spawn.children {
        let names = std::iter::once(&mut child.key).chain(&mut child.depends_on);
        names.for_each(|name| fresh.get(name).cloned().into_iter().for_each(|other| *name = other));
    }
}

/// Rows as the core must see them to believe whoever sent a result.
pub(super) async fn take_down_fences(
    world: &World,
    store: &dyn Store,
    reads: &Reads,
    loaded: &mut Loaded,
) -> Result<()> {
    if !world.has(Plant::NoFence) {
        return Ok(());
    }
    for (task, index) in &reads.subtasks {
        let Some((session, lease)) = world.planted().fences.remove(&(*task, *index)) else { continue };
        let row = store.task(*task).await?.and_then(|record| record.subtasks.get(*index as usize).cloned());
        if let Some(mut row) = row.filter(|row| row.session.is_some()) {
            (row.session, row.lease) = (Some(session), Some(lease));
            loaded.rows.load_subtask(*task, *index, row);
        }
    }
    Ok(())
}

/// From where on routes are really read.
pub(super) fn routes_asked(world: &World, told: &Told, after: RouteNo) -> RouteNo {
    let newest = lock(&told.newest_route).filter(|_| world.has(Plant::RouteGap));
    newest.map_or(after, |newest| newest.max(after))
}

/// These routes were read.
pub(super) fn routes_told(told: &Told, routes: &[Route]) {
    let mut newest = lock(&told.newest_route);
    *newest = routes.iter().map(|route| route.no).max().max(*newest);
}

/// What a look at the sessions says.
pub(super) fn sessions_told(world: &World, told: &Told, sessions: Vec<Session>) -> Vec<Session> {
    if !world.has(Plant::NoSessionLook) {
        return sessions;
    }
    let mut before = lock(&told.sessions);
    if !before.iter().map(|row| row.no).eq(sessions.iter().map(|row| row.no)) {
        *before = sessions;
    }
    before.clone()
}

/// What a look at the leases says.
pub(super) fn leases_told(world: &World, mut leases: Vec<Leased>) -> Vec<Leased> {
    if world.has(Plant::NoLeaseLook) {
        // Those of sessions that are over are taken from them all the same.
        let open = world.audit(|auditor| auditor.open_sessions());
        let planted = world.planted();
        leases
            .retain(|leased| !(open.contains(&leased.session) && planted.unknown.contains(&leased.at.lease)));
    }
    leases
}

/// The schedule as if the version that is there had been seen.
pub(super) async fn unfenced(
    world: &World,
    store: &dyn Store,
    schedule: &Schedule,
) -> Result<Option<Schedule>> {
    if !world.has(Plant::NoScheduleFence) {
        return Ok(None);
    }
    let there = store.schedule_numbered(schedule.no).await?;
    Ok(there.map(|there| Schedule { version: there.schedule.version, ..schedule.clone() }))
}
