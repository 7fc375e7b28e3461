//! The contract's words for people and documents: enums as lower-case words, times, durations.

use std::time::{Duration, SystemTime};

use downbeat_sdk::proto::{
    AgentHealth, ExecutionMode, FiringCause, FiringOutcome, OptionOutcome, Outcome, OverlapPolicy, Priority,
    RunIf, SubtaskKind, SubtaskState, TaskStatus, WorkerState,
};

use crate::term::Paint;

/// A value of the contract that has a word, the same as in REST, SQL and logs.
pub(crate) trait Word: Copy {
    fn word(self) -> String;
}

macro_rules! words {
    ($($name:ident $prefix:literal)*) => {
        $(impl Word for $name {
            fn word(self) -> String {
                let name = self.as_str_name();
                name.strip_prefix($prefix).unwrap_or(name).to_lowercase()
            }
        })*
    };
}

words! {
    TaskStatus "TASK_STATUS_"
    SubtaskState "SUBTASK_STATE_"
    Outcome "OUTCOME_"
    Priority "PRIORITY_"
    AgentHealth "AGENT_HEALTH_"
    WorkerState "WORKER_STATE_"
    ExecutionMode "EXECUTION_MODE_"
    SubtaskKind "SUBTASK_KIND_"
    RunIf "RUN_IF_"
    OptionOutcome "OPTION_OUTCOME_"
    OverlapPolicy "OVERLAP_POLICY_"
    FiringOutcome "FIRING_OUTCOME_"
    FiringCause "FIRING_CAUSE_"
}

/// The value that a word names, or all words there are.
pub(crate) fn parse<T: Word>(word: &str, all: &[T]) -> Result<T, String> {
    let found = all.iter().find(|value| value.word() == word.to_lowercase());
    found.copied().ok_or_else(|| {
        let known: Vec<String> = all.iter().map(|value| value.word()).collect();
        format!("expected one of {}, got {word:?}", known.join(", "))
    })
}

pub(crate) const STATUSES: [TaskStatus; 8] = [
    TaskStatus::Planning,
    TaskStatus::Planned,
    TaskStatus::Running,
    TaskStatus::Paused,
    TaskStatus::NeedsReview,
    TaskStatus::Completed,
    TaskStatus::Failed,
    TaskStatus::Cancelled,
];
pub(crate) const HEALTHS: [AgentHealth; 3] =
    [AgentHealth::Healthy, AgentHealth::Degraded, AgentHealth::Offline];
const PRIORITIES: [Priority; 4] = [Priority::Low, Priority::Normal, Priority::High, Priority::Critical];

/// For `value_parser` of clap.
pub(crate) fn status(word: &str) -> Result<TaskStatus, String> {
    parse(word, &STATUSES)
}

/// For `value_parser` of clap.
pub(crate) fn priority(word: &str) -> Result<Priority, String> {
    parse(word, &PRIORITIES)
}

/// For `value_parser` of clap.
pub(crate) fn health(word: &str) -> Result<AgentHealth, String> {
    parse(word, &HEALTHS)
}

/// How a subtask's state is set off.
pub(crate) fn state_paint(state: SubtaskState) -> Paint {
    match state {
        SubtaskState::Completed => Paint::Green,
        SubtaskState::Failed | SubtaskState::NeedsReview => Paint::Red,
        SubtaskState::Blocked | SubtaskState::Backoff | SubtaskState::Waiting => Paint::Yellow,
        SubtaskState::Leased | SubtaskState::Running => Paint::Cyan,
        SubtaskState::Pending | SubtaskState::Skipped | SubtaskState::Cancelled => Paint::Dim,
        SubtaskState::Ready | SubtaskState::Unspecified => Paint::Plain,
    }
}

/// How a task's status is set off.
pub(crate) fn status_paint(status: TaskStatus) -> Paint {
    match status {
        TaskStatus::Completed => Paint::Green,
        TaskStatus::Failed | TaskStatus::NeedsReview => Paint::Red,
        TaskStatus::Paused => Paint::Yellow,
        TaskStatus::Running => Paint::Cyan,
        TaskStatus::Cancelled => Paint::Dim,
        TaskStatus::Planning | TaskStatus::Planned | TaskStatus::Unspecified => Paint::Plain,
    }
}

/// Whether a subtask can never change again.
pub(crate) fn is_over(state: SubtaskState) -> bool {
    matches!(
        state,
        SubtaskState::Completed | SubtaskState::Failed | SubtaskState::Skipped | SubtaskState::Cancelled
    )
}

/// Milliseconds since the epoch, now, by this machine's clock.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC, to the millisecond; `None` for 0.
pub(crate) fn time(at_ms: i64) -> Option<String> {
    if at_ms == 0 {
        return None;
    }
    jiff::Timestamp::from_millisecond(at_ms).ok().map(|at| format!("{at:.3}"))
}

/// The time of day in UTC.
pub(crate) fn clock(at_ms: i64) -> String {
    let full = time(at_ms).unwrap_or_default();
    full.get(11..23).unwrap_or_default().to_owned()
}

/// `340 ms`, `1.2 s`, `3 min 05 s`, `2 h 10 min`.
pub(crate) fn span(ms: i64) -> String {
    let ms = u64::try_from(ms).unwrap_or(0);
    let seconds = Duration::from_millis(ms).as_secs();
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{}.{} s", seconds, ms % 1000 / 100),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `12 bytes`, `3.4 kB`, `5.6 MB`.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use downbeat_sdk::proto::{SubtaskState, TaskStatus};

    use super::{STATUSES, Word, clock, parse, span, time};

    #[test]
    fn words_are_those_of_the_contract() {
        assert_eq!(SubtaskState::NeedsReview.word(), "needs_review");
        assert_eq!(parse("needs_review", &STATUSES), Ok(TaskStatus::NeedsReview));
        let issue = parse("done", &STATUSES).unwrap_err();
        assert!(issue.contains("completed") && issue.contains("\"done\""), "{issue}");
    }

    #[test]
    fn times_are_told_in_utc() {
        assert_eq!(time(1_700_000_000_123).as_deref(), Some("2023-11-14T22:13:20.123Z"));
        assert_eq!(time(0), None);
        assert_eq!(clock(1_700_000_000_000), "22:13:20.000");
    }

    #[test]
    fn spans_are_told_roughly() {
        let table = [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_250, "1.2 s"),
            (185_000, "3 min 05 s"),
            (7_800_000, "2 h 10 min"),
        ];
        for (ms, expected) in table {
            assert_eq!(span(ms), expected);
        }
    }
}
