//! The closed set of reads, on a small pool of connections that never hold a lock.

use bytes::Bytes;
use deadpool_postgres::Object;
use downbeat_core::{
    effect::{Queued, Wake},
    event::Event,
    id::{Index, ReplicaNo, RouteNo, ScheduleNo, SessionNo, TaskNo, TenantNo},
    note::NoteKey,
    rows::{AgentSeen, Output},
    session::Session,
    subtask::SubtaskState,
    task::{Priority, TaskStatus},
    time::Time,
};
use tokio_postgres::types::{ToSql, Type};

use super::{
    PostgresStore,
    link::answer,
    rows::{all, int, one},
};
use crate::{
    Due, Leased, ListTasks, Places, PlanRecord, Result, Route, StoreError, TaskPage, TaskRecord, Tick,
    query::SCHEDULES_AHEAD_MS,
    rows::{self, Cells},
};

const SNAPSHOT: &str = "begin isolation level repeatable read read only";

impl PostgresStore {
    /// One statement on a connection of the pool, decoded.
    pub(super) async fn query<T>(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
        decode: impl FnMut(&mut dyn Cells) -> Result<T>,
    ) -> Result<Vec<T>> {
        let client = self.pool.get().await?;
        let found = answer(async {
            let statement = client.prepare_cached(sql).await?;
            all(&client.query(&statement, params).await?, decode)
        });
        self.settle(found.await, client)
    }

    /// What a connection of the pool has answered. One that did not may never do so again (a link forgets its
    /// connections, and nobody is told), and neither may those that wait beside it: none of them is used again.
    pub(super) fn settle<T>(&self, answered: Result<T>, client: Object) -> Result<T> {
        if matches!(answered, Err(StoreError::Unavailable { .. })) {
            drop(Object::take(client));
            self.pool.retain(|_, _| false);
        }
        answered
    }

    pub(super) async fn read_routes_after(&self, after: RouteNo) -> Result<Vec<Route>> {
        self.query(include_str!("sql/routes_after.sql"), &[&after.0], |cells| rows::route(cells)).await
    }

    pub(super) async fn read_find_task(&self, tenant: TenantNo, id: &str) -> Result<Option<TaskNo>> {
        let number = |cells: &mut dyn Cells| cells.long().map(TaskNo);
        let found = self.query(include_str!("sql/find_task.sql"), &[&tenant.0, &id], number).await?;
        Ok(found.into_iter().next())
    }

    pub(super) async fn read_plans(&self, tasks: &[TaskNo]) -> Result<Vec<PlanRecord>> {
        let tasks: Vec<i64> = tasks.iter().map(|task| task.0).collect();
        let mut found = Vec::with_capacity(tasks.len());
        let part = |cells: &mut dyn Cells| rows::plan_part(cells, &mut found);
        self.query(include_str!("sql/plans.sql"), &[&tasks], part).await?;
        Ok(rows::plans(found))
    }

    /// Both statements and the snapshot around them are sent at once: one round trip, and a caller that goes
    /// away leaves no transaction behind.
    pub(super) async fn read_task(&self, task: TaskNo) -> Result<Option<TaskRecord>> {
        let client = self.pool.get().await?;
        let found = answer(async {
            let head = client.prepare_cached(include_str!("sql/task.sql")).await?;
            let whole = client.prepare_cached(include_str!("sql/load_whole.sql")).await?;
            let tasks = vec![task.0];
            let (one_task, its_subtasks): ([&(dyn ToSql + Sync); 1], [&(dyn ToSql + Sync); 1]) =
                ([&task.0], [&tasks]);
            let (begun, head, whole, ended) = futures::join!(
                client.batch_execute(SNAPSHOT),
                client.query(&head, &one_task),
                client.query(&whole, &its_subtasks),
                client.batch_execute("commit"),
            );
            begun?;
            let (head, whole) = (head?, whole?);
            ended?;
            let Some(row) = head.first() else { return Ok(None) };
            let task = one(row, |cells| rows::task(cells))?;
            let subtasks = all(&whole, |cells| rows::subtask(cells).map(|(_, _, row)| row))?;
            Ok(Some(TaskRecord { task, subtasks }))
        });
        self.settle(found.await, client)
    }

    pub(super) async fn read_list_tasks(&self, list: &ListTasks) -> Result<TaskPage> {
        let ListTasks { tenant, statuses, id_prefix, before, limit } = list;
        let wanted = if statuses.is_empty() { &TaskStatus::ALL[..] } else { statuses };
        let statuses: Vec<i16> = TaskStatus::ALL
            .iter()
            .filter(|status| wanted.contains(status))
            .map(|status| *status as i16)
            .collect();
        let before = before.map_or(i64::MAX, |no| no.0);
        let rows_max = i64::from(*limit) + 1;
        let params: [(&(dyn ToSql + Sync), Type); 5] = [
            (&tenant.0, Type::INT4),
            (&statuses, Type::INT2_ARRAY),
            (&before, Type::INT8),
            (id_prefix, Type::TEXT),
            (&rows_max, Type::INT8),
        ];
        let client = self.pool.get().await?;
        let found = answer(async {
            let found = client.query_typed(include_str!("sql/list_tasks.sql"), &params).await?;
            Ok(TaskPage::cut(all(&found, |cells| rows::summary(cells))?, *limit))
        });
        self.settle(found.await, client)
    }

    pub(super) async fn read_outputs(&self, of: &[(TaskNo, Index)]) -> Result<Vec<Output>> {
        let tasks: Vec<i64> = of.iter().map(|(task, _)| task.0).collect();
        let indexes: Vec<i32> = of.iter().map(|(_, index)| int(*index)).collect::<Result<_>>()?;
        self.query(include_str!("sql/outputs.sql"), &[&tasks, &indexes], |cells| rows::output(cells)).await
    }

    pub(super) async fn read_outputs_of(&self, task: TaskNo) -> Result<Vec<Output>> {
        self.query(include_str!("sql/outputs_of.sql"), &[&task.0], |cells| rows::output(cells)).await
    }

    pub(super) async fn read_notes(&self, task: TaskNo) -> Result<Vec<(NoteKey, Bytes)>> {
        let before = i16::from(NoteKey::UNLISTED);
        self.query(include_str!("sql/notes.sql"), &[&task.0, &before], |cells| {
            rows::note(cells).map(|(_, key, body)| (key, body))
        })
        .await
    }

    pub(super) async fn read_notes_at(
        &self,
        task: TaskNo,
        keys: &[NoteKey],
    ) -> Result<Vec<(NoteKey, Bytes)>> {
        let tasks = vec![task.0; keys.len()];
        let kinds: Vec<i16> = keys.iter().map(|key| i16::from(key.numbers().0)).collect();
        let places: Vec<i32> = keys.iter().map(|key| int(key.numbers().1)).collect::<Result<_>>()?;
        self.query(include_str!("sql/load_notes.sql"), &[&tasks, &kinds, &places], |cells| {
            rows::note(cells).map(|(_, key, body)| (key, body))
        })
        .await
    }

    pub(super) async fn read_events(&self, task: TaskNo, after: u64, limit: u32) -> Result<Vec<Event>> {
        let mut found = Vec::new();
        // Room for the sum with the limit.
        let Ok(from) = i64::try_from(after).map(|after| after.min(i64::MAX / 2)) else { return Ok(found) };
        let params: [&(dyn ToSql + Sync); 3] = [&task.0, &from, &i64::from(limit)];
        self.query(include_str!("sql/events.sql"), &params, |cells| rows::events(cells, after, &mut found))
            .await?;
        Ok(found)
    }

    pub(super) async fn read_ready(&self, route: RouteNo, from: Places, limit: u32) -> Result<Vec<Queued>> {
        let params: [&(dyn ToSql + Sync); 3] = [&route.0, &from.as_slice(), &i64::from(limit)];
        self.query(include_str!("sql/ready.sql"), &params, |cells| {
            let (priority, queued) = (cells.state(Priority::from_number)?, cells.long()?);
            let (task, index) = rows::place(cells)?;
            Ok(Queued { route, priority, queued, task, index })
        })
        .await
    }

    pub(super) async fn read_stuck(
        &self,
        route: RouteNo,
        blocked: bool,
        before: Time,
        limit: u32,
    ) -> Result<Vec<(TaskNo, Index)>> {
        let state = SubtaskState::Blocked as i16;
        let params: [&(dyn ToSql + Sync); 5] = [&route.0, &state, &blocked, &before.0, &i64::from(limit)];
        self.query(include_str!("sql/stuck.sql"), &params, |cells| rows::place(cells)).await
    }

    pub(super) async fn read_sessions(&self) -> Result<Vec<Session>> {
        self.query(include_str!("sql/sessions.sql"), &[], |cells| rows::session(cells)).await
    }

    pub(super) async fn read_leases(&self, of: &[SessionNo]) -> Result<Vec<Leased>> {
        let sessions: Vec<i64> = of.iter().map(|session| session.0).collect();
        self.query(include_str!("sql/leases.sql"), &[&sessions], |cells| rows::leased(cells)).await
    }

    pub(super) async fn read_lease_counts(&self, tenant: TenantNo) -> Result<Vec<(SessionNo, u32)>> {
        self.query(include_str!("sql/lease_counts.sql"), &[&tenant.0], |cells| {
            Ok((SessionNo(cells.long()?), cells.number()?))
        })
        .await
    }

    pub(super) async fn read_agents(&self, tenant: TenantNo) -> Result<Vec<AgentSeen>> {
        self.query(include_str!("sql/agents.sql"), &[&tenant.0], |cells| rows::agent(cells)).await
    }

    pub(super) async fn look_around(
        &self,
        replica: ReplicaNo,
        dead_after_ms: u64,
        limit: u32,
        lines: bool,
    ) -> Result<Tick> {
        let dead_after = i64::try_from(dead_after_ms).unwrap_or(i64::MAX);
        let params: [&(dyn ToSql + Sync); 5] =
            [&replica.0, &dead_after, &i64::from(limit), &lines, &SCHEDULES_AHEAD_MS];
        let mut tick = Tick { replicas: vec![replica], in_line: lines.then(Vec::new), ..Tick::default() };
        self.query(include_str!("sql/tick.sql"), &params, |cells| sighting(cells, &mut tick)).await?;
        tick.replicas.sort_unstable();
        tick.replicas.dedup();
        tick.in_line.iter_mut().for_each(|routes| routes.sort_unstable());
        tick.due.sort_unstable_by_key(|due| (due.at, due.wake));
        tick.schedules.sort_unstable();
        Ok(tick)
    }
}

/// One row of `tick.sql`: `kind, no, idx, at`.
fn sighting(cells: &mut dyn Cells, into: &mut Tick) -> Result<()> {
    let (kind, no, index, at) = (cells.long()?, cells.long()?, cells.number::<u32>()?, Time(cells.long()?));
    match kind {
        0 => into.now = Time(no),
        1 => into.sessions_mark = (no, i64::from(index)),
        2 => into.replicas.push(ReplicaNo(no)),
        3 => into.in_line.get_or_insert_default().push(RouteNo(no)),
        4 => into.due.push(Due { at, wake: Wake::Task(TaskNo(no)) }),
        5 => into.due.push(Due { at, wake: Wake::Subtask(TaskNo(no), index) }),
        6 => into.due.push(Due { at, wake: Wake::Session(SessionNo(no)) }),
        7 => into.next_due = Some(at),
        8 => into.schedules.push((at, ScheduleNo(no))),
        _ => return Err(StoreError::Corrupt(format!("a tick gives no rows of kind {kind}"))),
    }
    Ok(())
}
