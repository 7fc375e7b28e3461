//! The words and numbers of the contract for the core's closed sets: what REST says, what proto says.

mod schedule;

use downbeat_core::{
    draft::{OnFailure, OnLimit, OnTimeout, RunIf, Then},
    session::SessionState,
    subtask::{Outcome, SubtaskState},
    task::{Mode, Priority, TaskStatus},
};
use downbeat_proto::v1 as pb;

use crate::view::Health;

/// A closed set on the wire: each value's word and proto number.
pub(crate) trait Word: Copy + PartialEq + 'static {
    /// The set's name in schemas.
    const NAME: &'static str;
    const ALL: &'static [Self];

    fn word(self) -> &'static str;

    /// As in the proto enum; 0 is the unspecified one and never a value.
    fn proto(self) -> i32;

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.word() == word)
    }

    fn from_proto(number: i32) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.proto() == number)
    }

    /// "`a`, `b` or `c`".
    fn choice() -> String {
        let words: Vec<String> = Self::ALL.iter().map(|value| format!("`{}`", value.word())).collect();
        match words.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        }
    }
}

impl Word for Priority {
    const NAME: &'static str = "Priority";
    const ALL: &'static [Priority] = &Priority::ALL;

    fn word(self) -> &'static str {
        match self {
            Priority::Low => "low",
            Priority::Normal => "normal",
            Priority::High => "high",
            Priority::Critical => "critical",
        }
    }

    fn proto(self) -> i32 {
        priority(self).into()
    }
}

impl Word for Mode {
    const NAME: &'static str = "ExecutionMode";
    const ALL: &'static [Mode] = &[Mode::Auto, Mode::Manual];

    fn word(self) -> &'static str {
        match self {
            Mode::Auto => "auto",
            Mode::Manual => "manual",
        }
    }

    fn proto(self) -> i32 {
        let number = match self {
            Mode::Auto => pb::ExecutionMode::Auto,
            Mode::Manual => pb::ExecutionMode::Manual,
        };
        number.into()
    }
}

impl Word for TaskStatus {
    const NAME: &'static str = "TaskStatus";
    const ALL: &'static [TaskStatus] = &TaskStatus::ALL;

    fn word(self) -> &'static str {
        TaskStatus::word(self)
    }

    fn proto(self) -> i32 {
        let number = match self {
            TaskStatus::Planning => pb::TaskStatus::Planning,
            TaskStatus::Planned => pb::TaskStatus::Planned,
            TaskStatus::Running => pb::TaskStatus::Running,
            TaskStatus::Paused => pb::TaskStatus::Paused,
            TaskStatus::NeedsReview => pb::TaskStatus::NeedsReview,
            TaskStatus::Completed => pb::TaskStatus::Completed,
            TaskStatus::Failed => pb::TaskStatus::Failed,
            TaskStatus::Cancelled => pb::TaskStatus::Cancelled,
        };
        number.into()
    }
}

impl Word for SubtaskState {
    const NAME: &'static str = "SubtaskState";
    const ALL: &'static [SubtaskState] = &SubtaskState::ALL;

    fn word(self) -> &'static str {
        SubtaskState::word(self)
    }

    fn proto(self) -> i32 {
        subtask_state(self).into()
    }
}

impl Word for RunIf {
    const NAME: &'static str = "RunIf";
    const ALL: &'static [RunIf] = &RunIf::ALL;

    fn word(self) -> &'static str {
        RunIf::word(self)
    }

    fn proto(self) -> i32 {
        let number = match self {
            RunIf::AllSucceeded => pb::RunIf::AllSucceeded,
            RunIf::AllDone => pb::RunIf::AllDone,
            RunIf::AnySucceeded => pb::RunIf::AnySucceeded,
            RunIf::AnyFailed => pb::RunIf::AnyFailed,
        };
        number.into()
    }
}

impl Word for OnFailure {
    const NAME: &'static str = "OnFailure";
    const ALL: &'static [OnFailure] = &OnFailure::ALL;

    fn word(self) -> &'static str {
        OnFailure::word(self)
    }

    fn proto(self) -> i32 {
        let number = match self {
            OnFailure::Review => pb::OnFailure::Review,
            OnFailure::Fail => pb::OnFailure::Fail,
        };
        number.into()
    }
}

impl Word for Then {
    const NAME: &'static str = "OptionOutcome";
    const ALL: &'static [Then] = &Then::ALL;

    fn word(self) -> &'static str {
        Then::word(self)
    }

    fn proto(self) -> i32 {
        let number = match self {
            Then::Complete => pb::OptionOutcome::Complete,
            Then::Fail => pb::OptionOutcome::Fail,
            Then::Skip => pb::OptionOutcome::Skip,
        };
        number.into()
    }
}

impl Word for OnTimeout {
    const NAME: &'static str = "OnTimeout";
    const ALL: &'static [OnTimeout] = &OnTimeout::ALL;

    fn word(self) -> &'static str {
        OnTimeout::word(self)
    }

    fn proto(self) -> i32 {
        let number = match self {
            OnTimeout::Fail => pb::OnTimeout::Fail,
            OnTimeout::Approve => pb::OnTimeout::Approve,
            OnTimeout::Reject => pb::OnTimeout::Reject,
        };
        number.into()
    }
}

impl Word for OnLimit {
    const NAME: &'static str = "OnLimit";
    const ALL: &'static [OnLimit] = &OnLimit::ALL;

    fn word(self) -> &'static str {
        OnLimit::word(self)
    }

    fn proto(self) -> i32 {
        let number = match self {
            OnLimit::Fail => pb::OnLimit::Fail,
            OnLimit::Complete => pb::OnLimit::Complete,
        };
        number.into()
    }
}

impl Word for Outcome {
    const NAME: &'static str = "Outcome";
    const ALL: &'static [Outcome] = &[
        Outcome::Completed,
        Outcome::Failed,
        Outcome::TimedOut,
        Outcome::Lost,
        Outcome::Cancelled,
        Outcome::Suspended,
    ];

    fn word(self) -> &'static str {
        Outcome::word(self)
    }

    fn proto(self) -> i32 {
        let number = match self {
            Outcome::Completed => pb::Outcome::Completed,
            Outcome::Failed => pb::Outcome::Failed,
            Outcome::TimedOut => pb::Outcome::TimedOut,
            Outcome::Lost => pb::Outcome::Lost,
            Outcome::Cancelled => pb::Outcome::Cancelled,
            Outcome::Suspended => pb::Outcome::Suspended,
        };
        number.into()
    }
}

impl Word for Health {
    const NAME: &'static str = "AgentHealth";
    const ALL: &'static [Health] = &[Health::Healthy, Health::Degraded, Health::Offline];

    fn word(self) -> &'static str {
        Health::word(self)
    }

    fn proto(self) -> i32 {
        let number = match self {
            Health::Healthy => pb::AgentHealth::Healthy,
            Health::Degraded => pb::AgentHealth::Degraded,
            Health::Offline => pb::AgentHealth::Offline,
        };
        number.into()
    }
}

impl Word for SessionState {
    const NAME: &'static str = "WorkerState";
    const ALL: &'static [SessionState] = &SessionState::ALL;

    /// An open session is a connected worker to those who look from outside.
    fn word(self) -> &'static str {
        match self {
            SessionState::Open => "connected",
            SessionState::Detached => "detached",
            SessionState::Draining => "draining",
            SessionState::Expired => "expired",
        }
    }

    fn proto(self) -> i32 {
        let number = match self {
            SessionState::Open => pb::WorkerState::Connected,
            SessionState::Detached => pb::WorkerState::Detached,
            SessionState::Draining => pb::WorkerState::Draining,
            SessionState::Expired => pb::WorkerState::Expired,
        };
        number.into()
    }
}

/// A priority as proto names it.
pub(crate) fn priority(priority: Priority) -> pb::Priority {
    match priority {
        Priority::Low => pb::Priority::Low,
        Priority::Normal => pb::Priority::Normal,
        Priority::High => pb::Priority::High,
        Priority::Critical => pb::Priority::Critical,
    }
}

/// A subtask's state as proto names it.
pub(crate) fn subtask_state(state: SubtaskState) -> pb::SubtaskState {
    match state {
        SubtaskState::Pending => pb::SubtaskState::Pending,
        SubtaskState::Ready => pb::SubtaskState::Ready,
        SubtaskState::Blocked => pb::SubtaskState::Blocked,
        SubtaskState::Leased => pb::SubtaskState::Leased,
        SubtaskState::Running => pb::SubtaskState::Running,
        SubtaskState::Backoff => pb::SubtaskState::Backoff,
        SubtaskState::Waiting => pb::SubtaskState::Waiting,
        SubtaskState::NeedsReview => pb::SubtaskState::NeedsReview,
        SubtaskState::Completed => pb::SubtaskState::Completed,
        SubtaskState::Failed => pb::SubtaskState::Failed,
        SubtaskState::Skipped => pb::SubtaskState::Skipped,
        SubtaskState::Cancelled => pb::SubtaskState::Cancelled,
    }
}

#[cfg(test)]
mod tests {
    use downbeat_core::schedule::{Cause, Fired, Overlap};

    use super::*;
    use crate::wire::kind::Kind;

    fn check<T: Word + std::fmt::Debug>(proto_name: impl Fn(i32) -> Option<&'static str>, prefix: &str) {
        for &value in T::ALL {
            assert_eq!(T::from_word(value.word()), Some(value));
            assert_eq!(T::from_proto(value.proto()), Some(value));
            let expected = format!("{prefix}_{}", value.word().to_uppercase());
            assert_eq!(proto_name(value.proto()), Some(expected.as_str()));
        }
        let count = i32::try_from(T::ALL.len()).expect("few");
        assert_eq!(proto_name(count + 1), None, "every proto value of {prefix} has its core value");
        assert_eq!(T::from_proto(0), None);
    }

    #[test]
    fn words_and_proto_names_agree() {
        check::<Priority>(|n| pb::Priority::try_from(n).ok().map(|v| v.as_str_name()), "PRIORITY");
        check::<Mode>(|n| pb::ExecutionMode::try_from(n).ok().map(|v| v.as_str_name()), "EXECUTION_MODE");
        check::<TaskStatus>(|n| pb::TaskStatus::try_from(n).ok().map(|v| v.as_str_name()), "TASK_STATUS");
        check::<SubtaskState>(
            |n| pb::SubtaskState::try_from(n).ok().map(|v| v.as_str_name()),
            "SUBTASK_STATE",
        );
        check::<Outcome>(|n| pb::Outcome::try_from(n).ok().map(|v| v.as_str_name()), "OUTCOME");
        check::<RunIf>(|n| pb::RunIf::try_from(n).ok().map(|v| v.as_str_name()), "RUN_IF");
        check::<OnFailure>(|n| pb::OnFailure::try_from(n).ok().map(|v| v.as_str_name()), "ON_FAILURE");
        check::<Then>(|n| pb::OptionOutcome::try_from(n).ok().map(|v| v.as_str_name()), "OPTION_OUTCOME");
        check::<OnTimeout>(|n| pb::OnTimeout::try_from(n).ok().map(|v| v.as_str_name()), "ON_TIMEOUT");
        check::<OnLimit>(|n| pb::OnLimit::try_from(n).ok().map(|v| v.as_str_name()), "ON_LIMIT");
        check::<Overlap>(|n| pb::OverlapPolicy::try_from(n).ok().map(|v| v.as_str_name()), "OVERLAP_POLICY");
        check::<Fired>(|n| pb::FiringOutcome::try_from(n).ok().map(|v| v.as_str_name()), "FIRING_OUTCOME");
        check::<Cause>(|n| pb::FiringCause::try_from(n).ok().map(|v| v.as_str_name()), "FIRING_CAUSE");
        check::<Kind>(|n| pb::SubtaskKind::try_from(n).ok().map(|v| v.as_str_name()), "SUBTASK_KIND");
        check::<Health>(|n| pb::AgentHealth::try_from(n).ok().map(|v| v.as_str_name()), "AGENT_HEALTH");
        check::<SessionState>(|n| pb::WorkerState::try_from(n).ok().map(|v| v.as_str_name()), "WORKER_STATE");
    }

    #[test]
    fn choices_read_as_a_sentence() {
        assert_eq!(Mode::choice(), "`auto` or `manual`");
        assert_eq!(Priority::choice(), "`low`, `normal`, `high` or `critical`");
    }
}
