//! Placement: gives what is in line to seats with free slots, in the same transaction that put it there.

use crate::{
    effect::{Assignment, Effect, Queued},
    event::What,
    flow::{shift, wake_subtask},
    id::{Index, LeaseAt, ReplicaNo, TaskNo},
    rows::Rows,
    session::{Seat, SessionState},
    subtask::Happening,
    time::Frame,
};

/// Leases what became ready in this batch, and the hinted subtasks that still are, to the seats.
///
/// Highest priority first, then who came first. A subtask whose seat vanished stays in line. What stays in
/// line is named by an [`Effect::Queued`].
pub fn place(
    rows: &mut Rows,
    frame: &mut Frame<'_>,
    replica: ReplicaNo,
    hints: impl IntoIterator<Item = (TaskNo, Index)>,
    seats: &mut [Seat],
) {
    for seat in seats.iter_mut().filter(|seat| seat.free > 0) {
        let open = rows
            .session(seat.session)
            .is_some_and(|row| row.state == SessionState::Open && row.replica == replica);
        if !open {
            seat.free = 0;
            rows.push(Effect::SeatGone { session: seat.session });
        }
    }
    let mut line: Vec<Queued> = std::mem::take(&mut rows.fresh)
        .into_iter()
        .chain(hints)
        .filter_map(|(task, index)| queued(rows, task, index))
        .collect();
    line.sort_unstable();
    line.dedup();
    for place in line {
        match seat_for(seats, place) {
            Some(at) if frame.mints_left() > 0 => lease(rows, frame, place, &mut seats[at]),
            Some(_) | None => rows.push(Effect::Queued(place)),
        }
    }
}

fn queued(rows: &Rows, task: TaskNo, index: Index) -> Option<Queued> {
    let sub = rows.subtask(task, index)?;
    let queued = sub.queued?;
    Some(Queued { route: sub.route, priority: sub.priority, queued, task, index })
}

/// The seat with the most free slots among those that can do it.
fn seat_for(seats: &[Seat], place: Queued) -> Option<usize> {
    (0..seats.len())
        .filter(|&i| seats[i].free > 0 && seats[i].skills.contains_key(&place.route))
        .max_by_key(|&i| (seats[i].free, std::cmp::Reverse(i)))
}

fn lease(rows: &mut Rows, frame: &mut Frame<'_>, place: Queued, seat: &mut Seat) {
    let Queued { task, index, route, .. } = place;
    let Some(lease) = frame.mint_lease() else { return };
    let skill = seat.skills.get(&route).expect("the seat was chosen for the route").clone();
    shift(rows, frame, task, index, Happening::Lease);
    let sub = rows.subtask_mut(task, index);
    assert!(sub.lease < Some(lease), "lease ids only grow: {:?} then {lease}", sub.lease);
    sub.lease = Some(lease);
    sub.session = Some(seat.session);
    sub.outcome = None;
    sub.attempts += 1;
    let attempt = sub.attempts;
    seat.free -= 1;
    let sla_ms = rows
        .plan(task)
        .and_then(|plan| plan.node(index).and_then(|node| node.sla_seconds))
        .map(|seconds| u64::from(seconds) * 1_000)
        .or(skill.sla_ms.map(u64::from));
    let sla_end = sla_ms.map(|ms| frame.now.plus_ms(ms));
    if let Some(at) = sla_end {
        wake_subtask(rows, task, index, at);
    }
    let task_end = rows.task(task).and_then(|head| head.wake_at);
    let deadline = [sla_end, task_end].into_iter().flatten().min();
    let at = LeaseAt { task, index, lease };
    rows.record(frame, task, What::Leased { index, attempt, lease, worker: seat.worker.to_string() });
    rows.push(Effect::Assign(Assignment {
        session: seat.session,
        at,
        agent: skill.agent,
        attempt,
        deadline,
    }));
}
