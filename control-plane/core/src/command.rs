//! Everything that can be asked of the core. The wire parses requests into these; timers and sessions are
//! callers like any other.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    context::Keys,
    event::{Artifact, AttemptError},
    id::{Index, LeaseAt, ReplicaNo, RouteNo, SessionNo, TaskId, TaskNo, TenantNo},
    nested::Inside,
    plan::{Node, Plan},
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
        /// What was done and says how is undone before.
        compensate: bool,
    },
    Review {
        task: TaskNo,
        index: Index,
        action: Action,
        /// Who says so; may be empty.
        by: String,
    },
    /// What somebody chose at an approval.
    Decide {
        task: TaskNo,
        index: Index,
        decision: Arc<Decision>,
    },
    /// Something happened outside that a subtask may wait for.
    Signal {
        task: TaskNo,
        signal: Arc<Sent>,
    },
    /// Marks the present state of the task, to come back to it.
    Snapshot {
        task: TaskNo,
        name: String,
        by: String,
    },
    /// Sets or deletes a key of the task's shared context.
    WriteContext {
        task: TaskNo,
        write: Arc<WriteContext>,
    },
    /// What the shared context holds, for the worker that has the lease; `None`: all keys.
    ReadContext {
        at: LeaseAt,
        session: SessionNo,
        key: Option<String>,
    },
    /// Runs these again, and all that depends on them. What they did before stays in the history.
    Rerun {
        task: TaskNo,
        rerun: Arc<Rerun>,
    },
    /// A worker adds children to the subtask that it has.
    Spawn {
        at: LeaseAt,
        session: SessionNo,
        /// A body: they depend on each other by their place in this list.
        children: Arc<Vec<Node>>,
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
    /// A subtask is to be seen to: some children of a group may begin, or (`None`) it is to be decided as a whole.
    Attend {
        task: TaskNo,
        index: Index,
        begin: Option<(u32, u32)>,
    },
    /// The task that a subtask would be cannot be begun.
    Refuse {
        task: TaskNo,
        index: Index,
        attempt: u16,
        /// UPPER_SNAKE_CASE.
        code: String,
        reason: String,
    },
    /// The task that a subtask is follows it: is cancelled or paused, or goes on.
    Pass {
        task: TaskNo,
        index: Index,
        inner: TaskNo,
        /// Routes of the inner task that a live worker serves.
        served: BTreeSet<RouteNo>,
    },
    /// The task that a subtask is may have ended.
    Join {
        task: TaskNo,
        index: Index,
        inner: TaskNo,
        /// What it delivered, if it completed: JSON text.
        result: Bytes,
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
    /// What need not be done, as another task has done it.
    pub done: BTreeMap<Index, Done>,
    /// What its shared context holds other than the request gave: JSON texts by key; `None`: not that key.
    pub context: BTreeMap<String, Option<Bytes>>,
}

/// What another task delivered, taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// JSON text; empty: null.
    pub output: Bytes,
    pub artifacts: Vec<Artifact>,
    /// Which task.
    pub from: TaskId,
}

/// What a client said about a task in words; never decides anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub title: String,
    pub description: String,
    /// A JSON object.
    pub metadata: Bytes,
    /// What it was started from.
    pub workflow: Option<WorkflowAt>,
    /// The subtask of another task that this task is.
    pub inside: Option<Arc<Inside>>,
}

/// A version of a stored workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowAt {
    pub name: String,
    pub version: u32,
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

/// A decision as it came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Who decides, as the caller says.
    pub by: String,
    pub roles: Vec<String>,
    /// The name of one of the options.
    pub option: String,
    /// Of what was shown, in hexadecimal.
    pub digest: String,
    pub comment: String,
}

/// A signal as it came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub name: String,
    /// JSON text; empty: null.
    pub payload: Bytes,
    pub by: String,
    /// The sender's own; the same one again changes nothing. Empty: none.
    pub id: String,
}

/// A write to the shared context as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteContext {
    pub key: String,
    /// JSON text; `None`: the key is deleted.
    pub value: Option<Bytes>,
    /// Only where the key has this version; 0: only where there is none.
    pub expected_version: Option<u64>,
    pub writer: Writer,
}

/// Who writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writer {
    /// As the caller says; may be empty.
    Person { by: String },
    /// Who has the lease. `request` is the worker's own number, higher with each further write of a lease: the same one
    /// again changes nothing.
    Worker { at: LeaseAt, session: SessionNo, request: u64 },
}

/// What is to run again.
#[derive(Clone, Debug, Default)]
pub struct Rerun {
    pub from: BTreeSet<Index>,
    /// Other inputs, by place.
    pub inputs: BTreeMap<Index, Box<RawValue>>,
    /// The inputs of nodes whose place they are in, by place.
    pub inputs_of: BTreeMap<Index, Index>,
    /// Of those that run again: which need not, but take over what a node whose place they are in delivered.
    pub restored: BTreeMap<Index, Index>,
    /// What the shared context becomes; `None`: it stays as it is.
    pub context: Option<Keys>,
    pub by: String,
    pub reason: String,
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
    /// Goes on, on whatever worker, once the children it added have ended.
    Suspended,
}

/// The answer to a command that was not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Submitted {
        task: TaskNo,
        status: TaskStatus,
        existed: bool,
    },
    Executed {
        status: TaskStatus,
        blocked: Vec<Index>,
    },
    Status(TaskStatus),
    State(SubtaskState),
    Verdict(Verdict),
    /// A signal: whether something waited for it.
    Signalled {
        taken: bool,
    },
    /// A snapshot was taken after this event.
    Snapshot {
        event: u64,
    },
    /// The first of what runs again.
    Rerun {
        status: TaskStatus,
        subtasks: Vec<Index>,
    },
    /// The children, in the order they were given; none where the verdict is not `Accepted`.
    Spawned {
        verdict: Verdict,
        children: Vec<Index>,
    },
    /// A write to the shared context, and the version that the key has by it. Of a repeat that is not the newest the
    /// version is not known: 0.
    ContextWritten {
        verdict: Verdict,
        version: u64,
    },
    /// Keys of the shared context, those that were deleted too; none where the verdict is not `Accepted`.
    Context {
        verdict: Verdict,
        keys: Keys,
    },
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
