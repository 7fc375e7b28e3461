//! The task: its row, its statuses, and the one place where a status follows from the counters.

use serde::{Deserialize, Serialize};

use crate::{
    id::{TaskId, TaskNo, TenantNo},
    time::Time,
};

/// Who goes first. Numbers are stored; higher goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Priority {
    Low = 0,
    #[default]
    Normal = 1,
    High = 2,
    Critical = 3,
}

impl Priority {
    pub const ALL: [Priority; 4] = [Priority::Low, Priority::Normal, Priority::High, Priority::Critical];

    /// The priority of a stored number.
    pub fn from_number(n: u8) -> Option<Priority> {
        Priority::ALL.get(usize::from(n)).copied()
    }
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum TaskStatus {
    Planning = 0,
    Planned = 1,
    Running = 2,
    Paused = 3,
    NeedsReview = 4,
    Completed = 5,
    Failed = 6,
    Cancelled = 7,
}

impl TaskStatus {
    pub const ALL: [TaskStatus; 8] = [
        TaskStatus::Planning,
        TaskStatus::Planned,
        TaskStatus::Running,
        TaskStatus::Paused,
        TaskStatus::NeedsReview,
        TaskStatus::Completed,
        TaskStatus::Failed,
        TaskStatus::Cancelled,
    ];

    pub fn from_number(n: u8) -> Option<TaskStatus> {
        TaskStatus::ALL.get(usize::from(n)).copied()
    }

    /// The word in REST, SQL comments, logs and the CLI.
    pub fn word(self) -> &'static str {
        match self {
            TaskStatus::Planning => "planning",
            TaskStatus::Planned => "planned",
            TaskStatus::Running => "running",
            TaskStatus::Paused => "paused",
            TaskStatus::NeedsReview => "needs_review",
            TaskStatus::Completed => "completed",
            TaskStatus::Failed => "failed",
            TaskStatus::Cancelled => "cancelled",
        }
    }

    /// Final: nothing about the task changes any more, unless somebody has something of it run again.
    pub fn is_terminal(self) -> bool {
        matches!(self, TaskStatus::Completed | TaskStatus::Failed | TaskStatus::Cancelled)
    }

    /// Whether nothing goes on, or not all of it, until a person has decided.
    pub fn waits_for_person(self) -> bool {
        matches!(self, TaskStatus::NeedsReview | TaskStatus::Paused)
    }

    /// Whether its ready subtasks stand in the queue.
    pub fn is_dispatching(self) -> bool {
        matches!(self, TaskStatus::Running | TaskStatus::NeedsReview)
    }

    /// The table of what may follow what.
    pub fn may_become(self, next: TaskStatus) -> bool {
        use TaskStatus::{Cancelled, Completed, Failed, NeedsReview, Paused, Planned, Planning, Running};
        match self {
            Planning => matches!(next, Planned | Failed | Cancelled),
            Planned => matches!(next, Running | Failed | Cancelled | Completed),
            Running => matches!(next, Paused | NeedsReview | Completed | Failed | Cancelled),
            Paused => matches!(next, Running | NeedsReview | Completed | Failed | Cancelled),
            NeedsReview => matches!(next, Running | Paused | Completed | Failed | Cancelled),
            // Something of it runs again.
            Completed | Failed | Cancelled => matches!(next, Running),
        }
    }
}

/// Whether subtasks start by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Mode {
    #[default]
    Auto = 0,
    /// Each subtask waits to be released.
    Manual = 1,
}

/// How a task goes on. Numbers are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Course {
    #[default]
    Auto = 0,
    /// Each subtask waits to be released.
    Manual = 1,
    /// It was cancelled. What was done is being undone; then it is.
    Cancelling = 2,
    /// Its deadline has passed. What was done is being undone; then it has failed.
    Failing = 3,
}

impl Course {
    pub const ALL: [Course; 4] = [Course::Auto, Course::Manual, Course::Cancelling, Course::Failing];

    pub fn from_number(n: u8) -> Option<Course> {
        Course::ALL.get(usize::from(n)).copied()
    }

    /// The end that was decided from outside, and comes once all that was done is undone.
    pub fn end(self) -> Option<TaskStatus> {
        match self {
            Course::Auto | Course::Manual => None,
            Course::Cancelling => Some(TaskStatus::Cancelled),
            Course::Failing => Some(TaskStatus::Failed),
        }
    }

    /// Whether subtasks start by themselves.
    pub fn mode(self) -> Mode {
        match self {
            Course::Auto | Course::Cancelling | Course::Failing => Mode::Auto,
            Course::Manual => Mode::Manual,
        }
    }
}

impl From<Mode> for Course {
    fn from(mode: Mode) -> Course {
        match mode {
            Mode::Auto => Course::Auto,
            Mode::Manual => Course::Manual,
        }
    }
}

/// A task's row. Locking it locks everything that belongs to the task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub no: TaskNo,
    pub tenant: TenantNo,
    pub id: TaskId,
    /// Digest of the request, to tell a repeat from a conflict.
    pub digest: [u8; 32],
    pub status: TaskStatus,
    pub course: Course,
    pub priority: Priority,
    /// Subtasks in all, not yet final, failed for good so that the task has, in review.
    pub total: u32,
    pub unfinished: u32,
    pub failed: u32,
    pub in_review: u32,
    /// Open approvals.
    pub asking: u32,
    /// Number of the newest event.
    pub events: u64,
    pub created_at: Time,
    pub started_at: Option<Time>,
    pub ended_at: Option<Time>,
    /// Its end, if it is still unfinished by then. Moves on by the time that people take.
    pub deadline: Option<Time>,
    /// Since when a person is waited for, while the deadline moves on.
    pub stopped_at: Option<Time>,
    /// What `on_time` is judged by.
    pub due_at: Option<Time>,
    /// The deadline, while it draws nearer; soon, where it has ended and the task that it is a subtask of has to hear.
    pub wake_at: Option<Time>,
    /// Why it failed or was cancelled, or is about to be; empty otherwise.
    pub reason: String,
}

impl Task {
    /// Stops the deadline while a person is waited for, and lets it go on after; gives it when it goes on.
    pub(crate) fn run_clock(&mut self, now: Time) -> Option<Time> {
        let deadline = self.deadline.filter(|_| !self.status.is_terminal())?;
        // Its end is decided, whatever the time is.
        if self.course.end().is_some() {
            self.wake_at = None;
            return None;
        }
        if self.waits_for_person() {
            self.wake_at = None;
            self.stopped_at.get_or_insert(now);
            return None;
        }
        let stopped = self.stopped_at.take()?;
        self.deadline = Some(deadline.plus_ms(now.since_ms(stopped)));
        self.wake_at = self.deadline;
        self.deadline
    }

    /// Whether its deadline stands still: until people have decided.
    pub fn waits_for_person(&self) -> bool {
        self.status.waits_for_person() || self.asking > 0
    }

    /// The status that the counters ask for. Ends that were decided from outside (cancelled, deadline) are
    /// set where they are decided, or wait until all is undone.
    pub fn due_status(&self) -> TaskStatus {
        match self.status {
            status if status.is_terminal() => status,
            TaskStatus::Planning | TaskStatus::Planned if self.unfinished > 0 => self.status,
            _ if self.unfinished == 0 => self.course.end().unwrap_or(match self.failed {
                0 => TaskStatus::Completed,
                _ => TaskStatus::Failed,
            }),
            TaskStatus::Paused => TaskStatus::Paused,
            _ if self.in_review > 0 => TaskStatus::NeedsReview,
            _ => TaskStatus::Running,
        }
    }
}
