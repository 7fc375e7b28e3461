//! What the server does after the commit. Every effect may be lost: rows are the truth, and whatever an
//! effect would have caused is found again by looking at them.

use std::sync::Arc;

use crate::{
    id::{Index, LeaseAt, RouteNo, SessionNo, TaskNo},
    nested::Nesting,
    subtask::Outcome,
    task::Priority,
    time::Time,
};

/// One thing to do after the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Hand the subtask to the session.
    Assign(Assignment),
    /// Tell the session to stop: the lease was taken from it, and so its attempt ended.
    Revoke { session: SessionNo, at: LeaseAt, outcome: Outcome },
    /// It stands in line and nobody here took it.
    Queued(Queued),
    /// Something waits for this time.
    Wake { at: Time, wake: Wake },
    /// A subtask is to be decided about, by a command of its own: see [`Next`].
    Next(Next),
    /// Something is to be done for a task within a task.
    Nest(Nesting),
    /// A seat's session is not open on this replica any more.
    SeatGone { session: SessionNo },
}

/// What a subtask needs next, which takes rows that the batch at hand had not loaded. Of one subtask, the newest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    pub task: TaskNo,
    pub index: Index,
    /// Children to let begin, by their places among them; `None`: it is to be decided as a whole.
    pub begin: Option<(u32, u32)>,
}

/// A lease, to be sent to its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub session: SessionNo,
    pub at: LeaseAt,
    pub agent: Arc<str>,
    pub attempt: u16,
    /// End of the SLA or of the task, whichever comes first.
    pub deadline: Option<Time>,
}

/// A place in the ready queue. Ordered as dispatch takes them: priority first, then who came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    pub route: RouteNo,
    pub priority: Priority,
    pub queued: i64,
    pub task: TaskNo,
    pub index: Index,
}

impl Queued {
    fn rank(&self) -> (std::cmp::Reverse<Priority>, i64, TaskNo, Index) {
        (std::cmp::Reverse(self.priority), self.queued, self.task, self.index)
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Queued) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank()).then(self.route.cmp(&other.route))
    }
}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Queued) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wake {
    Task(TaskNo),
    Subtask(TaskNo, Index),
    Session(SessionNo),
}
