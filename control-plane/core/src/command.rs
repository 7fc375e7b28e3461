//! Everything that can be asked of the core. The wire parses requests into these; timers and sessions are
//! callers like any other.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;

use crate::{
    event::{Artifact, AttemptError},
    id::{Index, LeaseAt, ReplicaNo, RouteNo, SessionNo, TaskId, TaskNo, TenantNo},
    plan::Plan,
    session::WorkerDeclaration,
    subtask::SubtaskState,
    task::{Mode, Priority, TaskStatus},
    time::Time,
};

/// One thing to decide. Applied in the order it came.
#[derive(Clone, Debug)]
pub enum Command {
    Submit(Arc<Submit>),
    Execute {
        task: TaskNo,
        mode: Mode,
        /// Subtasks to stop before.
        checkpoints: BTreeSet<Index>,
        /// Routes of this task that a live worker serves; what is ready on others is blocked at once.
        served: BTreeSet<RouteNo>,
    },
    Pause {
        task: TaskNo,
    },
    Cancel {
        task: TaskNo,
        reason: String,
    },
    Review {
        task: TaskNo,
        index: Index,
        action: Action,
    },
    /// Sends a subtask that nobody holds to another route by hand.
    Route {
        task: TaskNo,
        index: Index,
        route: RouteNo,
    },
    /// A result, from the session that says it holds the lease.
    Finish {
        at: LeaseAt,
        session: SessionNo,
        result: WorkResult,
    },
    /// The worker acknowledged the lease, and perhaps said how far it is.
    Report {
        at: LeaseAt,
        session: SessionNo,
        message: Option<String>,
    },
    /// The worker never took the lease up: the next one may have it, and no attempt is spent.
    /// Only who has the session's present stream can say so.
    Return {
        at: LeaseAt,
        session: SessionNo,
        connection: u32,
    },
    /// The lease's session is gone.
    Lose {
        at: LeaseAt,
    },
    /// The agent was silent for longer than it promised.
    Silence {
        at: LeaseAt,
    },
    /// A `wake_at` has passed: the task's (`None`) or a subtask's.
    Wake {
        task: TaskNo,
        index: Option<Index>,
    },
    /// Nobody alive can do it.
    Block {
        task: TaskNo,
        index: Index,
    },
    /// Somebody can do it again.
    Unblock {
        task: TaskNo,
        index: Index,
    },
    OpenSession {
        tenant: TenantNo,
        replica: ReplicaNo,
        token: [u8; 16],
        declaration: Arc<WorkerDeclaration>,
    },
    ResumeSession {
        tenant: TenantNo,
        session: SessionNo,
        replica: ReplicaNo,
        token: [u8; 16],
        connection: u32,
    },
    /// The stream broke; the grace time begins. Ignored unless the session is still this replica's.
    DetachSession {
        session: SessionNo,
        replica: ReplicaNo,
    },
    /// The session ends: said goodbye, silent for too long, or (`overdue`) its grace time may be over.
    ExpireSession {
        session: SessionNo,
        overdue: bool,
    },
    DrainSession {
        session: SessionNo,
    },
    /// An expired session without leases is deleted.
    ForgetSession {
        session: SessionNo,
    },
}

/// A validated request with its plan.
#[derive(Debug)]
pub struct Submit {
    pub tenant: TenantNo,
    pub id: TaskId,
    /// Of the request as the client sent it.
    pub digest: [u8; 32],
    pub priority: Priority,
    pub deadline: Option<Time>,
    pub due_at: Option<Time>,
    pub request: Request,
    pub plan: Arc<Plan>,
    /// Starts it at once, in mode auto; the routes of this plan that a live worker serves.
    pub served: Option<BTreeSet<RouteNo>>,
}

/// What a client said about a task in words; never decides anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub title: String,
    pub description: String,
    /// A JSON object.
    pub metadata: Bytes,
}

/// What a person may do with one subtask.
#[derive(Clone, Debug)]
pub enum Action {
    Retry,
    Skip { reason: String },
    Fail { reason: String },
    Complete { output: Bytes },
    Release,
}

/// What a worker delivers.
#[derive(Clone, Debug)]
pub enum WorkResult {
    Completed {
        /// JSON text; empty: null.
        output: Bytes,
        artifacts: Vec<Artifact>,
    },
    Failed {
        error: AttemptError,
        retryable: bool,
    },
}

/// The answer to a command that was not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Submitted { task: TaskNo, status: TaskStatus, existed: bool },
    Executed { status: TaskStatus, blocked: Vec<Index> },
    Status(TaskStatus),
    State(SubtaskState),
    Verdict(Verdict),
    Session(SessionNo),
    Done,
}

/// What became of a message under a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts, and is durable.
    Accepted,
    /// It counted before.
    Duplicate,
    /// The lease is no longer current; nothing was changed.
    Stale,
}
