//! The closed set of reads. Plain functions on a connection; which one, and on which thread, is decided in
//! `mod.rs`.

use bytes::Bytes;
use downbeat_core::{
    effect::{Queued, Wake},
    event::Event,
    id::{Index, ReplicaNo, RouteNo, SessionNo, TaskNo, TenantNo},
    note::NoteKey,
    rows::{AgentSeen, Output},
    session::Session,
    subtask::SubtaskState,
    task::{Priority, TaskStatus},
    time::Time,
};
use rusqlite::{Connection, params};

use super::rows::{all, each, one};
use crate::{
    Due, Leased, ListTasks, Places, PlanRecord, Result, Route, StoreError, TaskPage, TaskRecord, TaskSummary,
    rows,
};

pub(super) fn routes_after(conn: &Connection, after: RouteNo) -> Result<Vec<Route>> {
    all(conn, include_str!("sql/routes_after.sql"), [after.0], rows::route)
}

pub(super) fn find_task(conn: &Connection, tenant: TenantNo, id: &str) -> Result<Option<TaskNo>> {
    one(conn, include_str!("sql/find_task.sql"), params![tenant.0, id], |cells| cells.long().map(TaskNo))
}

pub(super) fn plans(conn: &Connection, tasks: &[TaskNo]) -> Result<Vec<PlanRecord>> {
    let mut found = Vec::with_capacity(tasks.len());
    for task in tasks {
        each(conn, include_str!("sql/plans.sql"), [task.0], |cells| rows::plan_part(cells, &mut found))?;
    }
    Ok(rows::plans(found))
}

pub(super) fn task(conn: &Connection, task: TaskNo) -> Result<Option<TaskRecord>> {
    let snapshot = conn.unchecked_transaction()?;
    let head = one(&snapshot, include_str!("sql/lock_tasks.sql"), [task.0], rows::task)?;
    let Some(head) = head else { return Ok(None) };
    let subtasks = all(&snapshot, include_str!("sql/load_whole.sql"), [task.0], |cells| {
        rows::subtask(cells).map(|(_, _, row)| row)
    })?;
    Ok(Some(TaskRecord { task: head, subtasks }))
}

/// One index scan per status, merged: the newest of each are the only ones that can be on the page.
pub(super) fn list_tasks(conn: &Connection, list: &ListTasks) -> Result<TaskPage> {
    let ListTasks { tenant, statuses, id_prefix, before, limit } = list;
    let before = before.map_or(i64::MAX, |no| no.0);
    let statuses = if statuses.is_empty() { &TaskStatus::ALL[..] } else { statuses };
    let snapshot = conn.unchecked_transaction()?;
    let mut tasks: Vec<TaskSummary> = Vec::new();
    for status in TaskStatus::ALL.iter().filter(|status| statuses.contains(status)) {
        let params = params![tenant.0, *status as u8, before, id_prefix, i64::from(*limit) + 1];
        each(&snapshot, include_str!("sql/list_tasks.sql"), params, |cells| {
            tasks.push(rows::summary(cells)?);
            Ok(())
        })?;
    }
    tasks.sort_unstable_by_key(|task| std::cmp::Reverse(task.no));
    Ok(TaskPage::cut(tasks, *limit))
}

pub(super) fn outputs(conn: &Connection, of: &[(TaskNo, Index)]) -> Result<Vec<Output>> {
    let mut found = Vec::with_capacity(of.len());
    for (task, index) in of {
        found.extend(one(conn, include_str!("sql/outputs.sql"), params![task.0, index], rows::output)?);
    }
    Ok(found)
}

pub(super) fn outputs_of(conn: &Connection, task: TaskNo) -> Result<Vec<Output>> {
    all(conn, include_str!("sql/outputs_of.sql"), [task.0], rows::output)
}

pub(super) fn notes(conn: &Connection, task: TaskNo) -> Result<Vec<(NoteKey, Bytes)>> {
    all(conn, include_str!("sql/notes.sql"), params![task.0, NoteKey::UNLISTED], |cells| {
        rows::note(cells).map(|(_, key, body)| (key, body))
    })
}

pub(super) fn notes_at(conn: &Connection, task: TaskNo, keys: &[NoteKey]) -> Result<Vec<(NoteKey, Bytes)>> {
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        let (kind, place) = key.numbers();
        let note = one(conn, include_str!("sql/load_notes.sql"), params![task.0, kind, place], rows::note)?;
        found.extend(note.map(|(_, key, body)| (key, body)));
    }
    Ok(found)
}

pub(super) fn events(conn: &Connection, task: TaskNo, after: u64, limit: u32) -> Result<Vec<Event>> {
    let mut found = Vec::new();
    let Ok(from) = i64::try_from(after) else { return Ok(found) };
    each(conn, include_str!("sql/events.sql"), params![task.0, from, limit], |cells| {
        rows::events(cells, after, &mut found)
    })?;
    Ok(found)
}

pub(super) fn ready(conn: &Connection, route: RouteNo, from: Places, limit: u32) -> Result<Vec<Queued>> {
    let mut left = i64::from(limit);
    let mut found = Vec::new();
    for priority in Priority::ALL.into_iter().rev() {
        let params = (route.0, priority as u8, from[priority as usize], left);
        each(conn, include_str!("sql/ready.sql"), params, |cells| {
            let queued = cells.long()?;
            let (task, index) = rows::place(cells)?;
            left -= 1;
            found.push(Queued { route, priority, queued, task, index });
            Ok(())
        })?;
    }
    Ok(found)
}

pub(super) fn stuck(
    conn: &Connection,
    route: RouteNo,
    blocked: bool,
    before: Time,
    limit: u32,
) -> Result<Vec<(TaskNo, Index)>> {
    let params = params![route.0, SubtaskState::Blocked as u8, blocked, before.0, limit];
    all(conn, include_str!("sql/stuck.sql"), params, rows::place)
}

pub(super) fn sessions(conn: &Connection) -> Result<Vec<Session>> {
    all(conn, include_str!("sql/sessions.sql"), [], rows::session)
}

pub(super) fn leases(conn: &Connection, of: &[SessionNo]) -> Result<Vec<Leased>> {
    let mut found = Vec::new();
    for session in of {
        each(conn, include_str!("sql/leases.sql"), [session.0], |cells| {
            found.push(rows::leased(cells)?);
            Ok(())
        })?;
    }
    Ok(found)
}

pub(super) fn lease_counts(conn: &Connection, tenant: TenantNo) -> Result<Vec<(SessionNo, u32)>> {
    all(conn, include_str!("sql/lease_counts.sql"), [tenant.0], |cells| {
        Ok((SessionNo(cells.long()?), cells.number()?))
    })
}

pub(super) fn agents(conn: &Connection, tenant: TenantNo) -> Result<Vec<AgentSeen>> {
    all(conn, include_str!("sql/agents.sql"), [tenant.0], rows::agent)
}

pub(super) fn replicas(conn: &Connection) -> Result<Vec<ReplicaNo>> {
    all(conn, include_str!("sql/replicas.sql"), [], |cells| cells.long().map(ReplicaNo))
}

pub(super) fn due(conn: &Connection, now: Time, limit: u32) -> Result<Vec<Due>> {
    all(conn, include_str!("sql/due.sql"), params![now.0, limit], |cells| {
        let (at, kind) = (Time(cells.long()?), cells.long()?);
        let (no, index) = (cells.long()?, cells.number()?);
        let wake = match kind {
            0 => Wake::Task(TaskNo(no)),
            1 => Wake::Subtask(TaskNo(no), index),
            2 => Wake::Session(SessionNo(no)),
            _ => return Err(StoreError::Corrupt(format!("{kind} is no kind of timer"))),
        };
        Ok(Due { at, wake })
    })
}

pub(super) fn next_due(conn: &Connection, now: Time) -> Result<Option<Time>> {
    one(conn, include_str!("sql/next_due.sql"), [now.0], |cells| cells.long().map(Time))
}

pub(super) fn routes_in_line(conn: &Connection) -> Result<Vec<RouteNo>> {
    all(conn, include_str!("sql/routes_in_line.sql"), [], |cells| cells.long().map(RouteNo))
}

pub(super) fn sessions_mark(conn: &Connection) -> Result<(i64, i64)> {
    let mark =
        one(conn, include_str!("sql/sessions_mark.sql"), [], |cells| Ok((cells.long()?, cells.long()?)))?;
    Ok(mark.unwrap_or_default())
}
