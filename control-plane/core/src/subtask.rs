//! The subtask: its row and the table of its transitions.

use serde::{Deserialize, Serialize};

use crate::{
    id::{LeaseId, RouteNo, SessionNo},
    plan::Node,
    task::Priority,
    time::Time,
};

/// Where a subtask stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum SubtaskState {
    /// Waits for dependencies.
    Pending = 0,
    /// Waits for a free worker.
    Ready = 1,
    /// Ready, and no live worker can do it.
    Blocked = 2,
    /// Handed to a worker.
    Leased = 3,
    /// Acknowledged by the worker.
    Running = 4,
    /// Waits for its next attempt.
    Backoff = 5,
    /// Held until a person releases it, or for what it does not do itself: people, a signal, a time, its children, the
    /// task that it is.
    Waiting = 6,
    /// Attempts used up: a person decides.
    NeedsReview = 7,
    Completed = 8,
    Failed = 9,
    Skipped = 10,
    Cancelled = 11,
}

/// What may happen to a subtask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// Its last dependency finished, its backoff ended, or a person wants another round.
    Arrive,
    /// It may not start by itself, or it needs no worker.
    Hold,
    /// Nobody can do it.
    Block,
    /// Somebody can do it again.
    Unblock,
    /// A session got it.
    Lease,
    /// The worker acknowledged it.
    Start,
    /// The worker is gone or never acknowledged: the next one may have it.
    Requeue,
    /// The attempt failed, another one follows.
    BackOff,
    /// The worker gave it back until its children have ended.
    Suspend,
    /// Attempts are used up, or it could not be done for another reason.
    Exhaust,
    /// What it does without a worker is to be begun anew.
    Reopen,
    /// The worker delivered, or a person did.
    Complete,
    /// A person gave it up.
    Fail,
    /// A person goes on without it, or what it depends on failed.
    Skip,
    /// The task ended.
    Cancel,
}

impl SubtaskState {
    pub const ALL: [SubtaskState; 12] = [
        SubtaskState::Pending,
        SubtaskState::Ready,
        SubtaskState::Blocked,
        SubtaskState::Leased,
        SubtaskState::Running,
        SubtaskState::Backoff,
        SubtaskState::Waiting,
        SubtaskState::NeedsReview,
        SubtaskState::Completed,
        SubtaskState::Failed,
        SubtaskState::Skipped,
        SubtaskState::Cancelled,
    ];

    pub fn from_number(n: u8) -> Option<SubtaskState> {
        SubtaskState::ALL.get(usize::from(n)).copied()
    }

    /// The word in REST, logs and the CLI.
    pub fn word(self) -> &'static str {
        match self {
            SubtaskState::Pending => "pending",
            SubtaskState::Ready => "ready",
            SubtaskState::Blocked => "blocked",
            SubtaskState::Leased => "leased",
            SubtaskState::Running => "running",
            SubtaskState::Backoff => "backoff",
            SubtaskState::Waiting => "waiting",
            SubtaskState::NeedsReview => "needs_review",
            SubtaskState::Completed => "completed",
            SubtaskState::Failed => "failed",
            SubtaskState::Skipped => "skipped",
            SubtaskState::Cancelled => "cancelled",
        }
    }

    /// Final: never changes again.
    pub fn is_terminal(self) -> bool {
        use SubtaskState::{Cancelled, Completed, Failed, Skipped};
        matches!(self, Completed | Failed | Skipped | Cancelled)
    }

    /// A worker has it.
    pub fn is_leased(self) -> bool {
        matches!(self, SubtaskState::Leased | SubtaskState::Running)
    }

    /// Startable as soon as a worker is free.
    pub fn is_ready(self) -> bool {
        matches!(self, SubtaskState::Ready | SubtaskState::Blocked)
    }

    /// The table of transitions: the next state, or `None` where the happening has no meaning.
    pub fn next(self, happening: Happening) -> Option<SubtaskState> {
        use Happening as H;
        use SubtaskState as S;
        match (self, happening) {
            (S::Pending | S::Waiting | S::Backoff | S::NeedsReview, H::Arrive) => Some(S::Ready),
            (S::Pending | S::Ready | S::Blocked | S::Backoff, H::Hold) => Some(S::Waiting),
            (S::Leased | S::Running, H::Suspend) => Some(S::Waiting),
            (S::NeedsReview | S::Backoff, H::Reopen) => Some(S::Pending),
            (S::Ready, H::Block) => Some(S::Blocked),
            (S::Blocked, H::Unblock) => Some(S::Ready),
            (S::Ready | S::Blocked, H::Lease) => Some(S::Leased),
            (S::Leased, H::Start) => Some(S::Running),
            (S::Leased | S::Running, H::Requeue) => Some(S::Ready),
            (S::Leased | S::Running | S::Waiting, H::BackOff) => Some(S::Backoff),
            (S::Pending | S::Waiting | S::Leased | S::Running, H::Exhaust) => Some(S::NeedsReview),
            (S::Leased | S::Running, H::Complete) => Some(S::Completed),
            (S::Ready | S::Blocked | S::Backoff | S::Waiting | S::NeedsReview, H::Complete) => {
                Some(S::Completed)
            }
            (
                S::Pending
                | S::Ready
                | S::Blocked
                | S::Leased
                | S::Running
                | S::Backoff
                | S::Waiting
                | S::NeedsReview,
                H::Fail,
            ) => Some(S::Failed),
            (S::Pending | S::Ready | S::Blocked | S::Backoff | S::Waiting | S::NeedsReview, H::Skip) => {
                Some(S::Skipped)
            }
            (
                S::Pending
                | S::Ready
                | S::Blocked
                | S::Leased
                | S::Running
                | S::Backoff
                | S::Waiting
                | S::NeedsReview,
                H::Cancel,
            ) => Some(S::Cancelled),
            (
                S::Pending
                | S::Ready
                | S::Blocked
                | S::Leased
                | S::Running
                | S::Backoff
                | S::Waiting
                | S::NeedsReview
                | S::Completed
                | S::Failed
                | S::Skipped
                | S::Cancelled,
                _,
            ) => None,
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Outcome {
    Completed = 1,
    Failed = 2,
    TimedOut = 3,
    /// The worker went away: uses up no attempt.
    Lost = 4,
    Cancelled = 5,
    /// Given back until its children have ended: uses up no attempt.
    Suspended = 6,
}

impl Outcome {
    pub fn from_number(n: u8) -> Option<Outcome> {
        [
            Outcome::Completed,
            Outcome::Failed,
            Outcome::TimedOut,
            Outcome::Lost,
            Outcome::Cancelled,
            Outcome::Suspended,
        ]
        .into_iter()
        .find(|o| *o as u8 == n)
    }

    pub fn word(self) -> &'static str {
        match self {
            Outcome::Completed => "completed",
            Outcome::Failed => "failed",
            Outcome::TimedOut => "timed_out",
            Outcome::Lost => "lost",
            Outcome::Cancelled => "cancelled",
            Outcome::Suspended => "suspended",
        }
    }
}

/// A subtask's row: only what changes while it runs. What it is stands in the [`Plan`](crate::plan::Plan).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subtask {
    pub state: SubtaskState,
    /// Normally the plan's; another one after routing by hand.
    pub route: RouteNo,
    pub priority: Priority,
    /// Of what it waits for, first its dependencies and then its children, or the task that it is: how many have not
    /// finished, have failed, and were skipped.
    pub pending: u32,
    pub failed: u32,
    pub skipped: u32,
    /// Attempts used up: failures and time-outs since the last retry by hand.
    pub failures: u16,
    /// Attempts begun, without those handed back unacknowledged; of a map, elements begun; of a workflow, tasks.
    pub attempts: u16,
    /// Leases lost with their worker since the last retry by hand.
    pub losses: u16,
    /// It waits to be released once its dependencies are done; of one that has ended before the task that it is, what was
    /// done in that is to be undone.
    pub held: bool,
    /// A person went on without it: to those that depend on it, that is a success.
    pub waived: bool,
    /// Its place in line. Present exactly while it may be leased: ready or blocked, in a dispatching task.
    pub queued: Option<i64>,
    /// The newest lease ever given; a lease is current while `session` is present.
    pub lease: Option<LeaseId>,
    /// Who holds the lease. Present exactly while leased or running.
    pub session: Option<SessionNo>,
    /// How the newest lease ended; `None` while it runs.
    pub outcome: Option<Outcome>,
    /// End of the SLA while leased, of the backoff while backing off, of a gate's time while it waits; at once, where it
    /// has to be decided; soon, where the task that it is has to hear of something, also when it is final itself.
    pub wake_at: Option<Time>,
    /// When the present state began.
    pub since: Time,
}

impl Subtask {
    /// Whether this lease is current, and this session's.
    pub(crate) fn is_held_by(&self, lease: LeaseId, session: SessionNo) -> bool {
        self.lease == Some(lease) && self.session == Some(session)
    }

    /// The row of a node that waits for so many dependencies.
    pub(crate) fn new(node: &Node, pending: u32, held: bool, at: Time) -> Subtask {
        Subtask {
            state: SubtaskState::Pending,
            route: node.route,
            priority: node.priority,
            pending,
            failed: 0,
            skipped: 0,
            failures: 0,
            attempts: 0,
            losses: 0,
            held,
            waived: false,
            queued: None,
            lease: None,
            session: None,
            outcome: None,
            wake_at: None,
            since: at,
        }
    }
}
