//! What reads give back.

use std::sync::Arc;

use downbeat_core::{
    command::Request,
    effect::Wake,
    id::{LeaseAt, RouteNo, ScheduleNo, SessionNo, TaskId, TaskNo, TenantNo},
    plan::{Plan, RouteSpec},
    rows::Rows,
    subtask::Subtask,
    task::{Priority, Task, TaskStatus},
    time::Time,
};

/// A batch's rows, its time and its stamp.
#[derive(Debug)]
pub struct Loaded {
    pub now: Time,
    pub stamp: i64,
    pub rows: Rows,
}

/// How far ahead a look sees schedules, so that they are punctual between two looks: twice as far as these are apart.
pub const SCHEDULES_AHEAD_MS: i64 = 4_000;

/// What a replica sees when it looks around.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    pub now: Time,
    /// Replicas whose beat is fresh, with this one.
    pub replicas: Vec<downbeat_core::id::ReplicaNo>,
    /// What is due, oldest first, at most the limit.
    pub due: Vec<Due>,
    /// When the next one is due that is not yet, whoever waits for it.
    pub next_due: Option<Time>,
    /// Routes that have somebody in line, if it was asked for.
    pub in_line: Option<Vec<RouteNo>>,
    /// Schedules about which something is to be done within [`SCHEDULES_AHEAD_MS`], the first ones, at most the limit.
    pub schedules: Vec<(Time, ScheduleNo)>,
    /// Changes whenever any session is opened, changed or deleted.
    pub sessions_mark: (i64, i64),
}

/// A place in line for each priority, by its number.
pub type Places = [i64; Priority::ALL.len()];

/// A lease, with who holds it and the route by which it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leased {
    pub session: SessionNo,
    pub at: LeaseAt,
    pub route: RouteNo,
}

/// A passed `wake_at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    pub at: Time,
    pub wake: Wake,
}

/// An interned route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub no: RouteNo,
    pub tenant: TenantNo,
    pub spec: RouteSpec,
}

/// What never changes of a task.
#[derive(Clone, Debug)]
pub struct PlanRecord {
    pub task: TaskNo,
    pub tenant: TenantNo,
    pub id: TaskId,
    pub request: Request,
    pub plan: Arc<Plan>,
}

/// A task with its subtasks in the order of the plan.
#[derive(Clone, Debug)]
pub struct TaskRecord {
    pub task: Task,
    pub subtasks: Vec<Subtask>,
}

/// A page of a tenant's tasks, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListTasks {
    pub tenant: TenantNo,
    /// Empty: all.
    pub statuses: Vec<TaskStatus>,
    /// Compared byte by byte; empty: all.
    pub id_prefix: String,
    /// Only tasks with a smaller number; `None`: from the newest.
    pub before: Option<TaskNo>,
    pub limit: u32,
}

/// One page and where the next begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskPage {
    pub tasks: Vec<TaskSummary>,
    /// `ListTasks::before` of the next page; `None`: the end.
    pub next: Option<TaskNo>,
}

impl TaskPage {
    /// A page of at most `limit` of these; there is a next one when there are more.
    pub(crate) fn cut(mut tasks: Vec<TaskSummary>, limit: u32) -> TaskPage {
        let more = tasks.len() > limit as usize;
        tasks.truncate(limit as usize);
        let next = tasks.last().filter(|_| more).map(|task| task.no);
        TaskPage { tasks, next }
    }
}

/// A line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSummary {
    pub no: TaskNo,
    pub id: TaskId,
    pub title: String,
    pub priority: Priority,
    pub status: TaskStatus,
    pub total: u32,
    pub unfinished: u32,
    pub created_at: Time,
    pub started_at: Option<Time>,
    pub ended_at: Option<Time>,
}
