//! What stands in databases and on wires: numbers, words, ids, the JSON of events. Changing one is a
//! migration.

use downbeat_core::{
    effect::Queued,
    event::{Artifact, AttemptError, Event, What},
    id::{LeaseId, RouteNo, TaskNo, TenantNo},
    policy::Policy,
    session::SessionState,
    subtask::{Outcome, SubtaskState},
    task::{Priority, TaskStatus},
    time::{Frame, MINTS_MAX, Time},
};

#[test]
fn numbers_and_words_of_states() {
    let tasks =
        ["planning", "planned", "running", "paused", "needs_review", "completed", "failed", "cancelled"];
    let subtasks = [
        "pending",
        "ready",
        "blocked",
        "leased",
        "running",
        "backoff",
        "waiting",
        "needs_review",
        "completed",
        "failed",
        "skipped",
        "cancelled",
    ];
    let sessions = ["open", "detached", "expired", "draining"];
    for (n, word) in (0..).zip(tasks) {
        let status = TaskStatus::from_number(n).expect("a stored status");
        assert_eq!((status as u8, status.word()), (n, word));
        assert_eq!(serde_json::to_value(status).ok(), Some(word.into()));
        assert_eq!(status.is_terminal(), ["completed", "failed", "cancelled"].contains(&word));
        assert_eq!(status.is_dispatching(), ["running", "needs_review"].contains(&word));
    }
    for (n, word) in (0..).zip(subtasks) {
        let state = SubtaskState::from_number(n).expect("a stored state");
        assert_eq!((state as u8, state.word()), (n, word));
        assert_eq!(serde_json::to_value(state).ok(), Some(word.into()));
        assert_eq!(state.is_terminal(), ["completed", "failed", "skipped", "cancelled"].contains(&word));
        assert_eq!(state.is_leased(), ["leased", "running"].contains(&word));
        assert_eq!(state.is_ready(), ["ready", "blocked"].contains(&word));
    }
    for (n, word) in (0..).zip(sessions) {
        let state = SessionState::from_number(n).expect("a stored state");
        assert_eq!((state as u8, state.word()), (n, word));
    }
    assert_eq!((TaskStatus::from_number(8), SubtaskState::from_number(12)), (None, None));
    assert_eq!(SessionState::from_number(4), None);
}

#[test]
fn numbers_and_words_of_outcomes_and_priorities() {
    for (n, word) in (1..).zip(["completed", "failed", "timed_out", "lost", "cancelled", "suspended"]) {
        let outcome = Outcome::from_number(n).expect("a stored outcome");
        assert_eq!((outcome as u8, outcome.word()), (n, word));
    }
    assert_eq!((Outcome::from_number(0), Outcome::from_number(7)), (None, None));
    for (n, word) in (0..).zip(["low", "normal", "high", "critical"]) {
        let priority = Priority::from_number(n).expect("a stored priority");
        assert_eq!(priority as u8, n);
        assert_eq!(serde_json::to_value(priority).ok(), Some(word.into()));
    }
    assert_eq!(Priority::from_number(4), None);
    assert!(Priority::ALL.is_sorted());
}

#[test]
fn events_as_they_are_stored() {
    let error = AttemptError { code: "BROKEN".into(), message: "it broke".into() };
    let rows = [
        (
            What::Task { status: TaskStatus::Running, reason: String::new() },
            "task.running",
            None,
            r#"{"n":7,"t":9,"k":"task","s":"running"}"#,
        ),
        (
            What::Task { status: TaskStatus::Cancelled, reason: "enough".into() },
            "task.cancelled",
            None,
            r#"{"n":7,"t":9,"k":"task","s":"cancelled","m":"enough"}"#,
        ),
        (
            What::Subtask {
                index: 1,
                state: SubtaskState::Blocked,
                reason: "why".into(),
                code: String::new(),
                by: String::new(),
            },
            "subtask.blocked",
            Some(1),
            r#"{"n":7,"t":9,"k":"sub","i":1,"s":"blocked","m":"why"}"#,
        ),
        (
            What::Leased { index: 1, attempt: 2, lease: LeaseId(5), worker: "w1".into() },
            "subtask.leased",
            Some(1),
            r#"{"n":7,"t":9,"k":"lease","i":1,"a":2,"l":5,"w":"w1"}"#,
        ),
        (
            What::Returned { index: 0, lease: LeaseId(5) },
            "subtask.returned",
            Some(0),
            r#"{"n":7,"t":9,"k":"return","i":0,"l":5}"#,
        ),
        (
            What::Ended {
                index: 3,
                state: SubtaskState::Backoff,
                lease: LeaseId(5),
                attempt: 1,
                outcome: Outcome::TimedOut,
                error: Some(error),
                reason: "why".into(),
            },
            "subtask.backoff",
            Some(3),
            r#"{"n":7,"t":9,"k":"end","i":3,"s":"backoff","l":5,"a":1,"o":"timed_out","e":{"code":"BROKEN","message":"it broke"},"m":"why"}"#,
        ),
        (
            What::Progress { index: 3, lease: LeaseId(5), message: "half".into() },
            "subtask.progress",
            Some(3),
            r#"{"n":7,"t":9,"k":"progress","i":3,"l":5,"m":"half"}"#,
        ),
    ];
    for (what, kind, index, json) in rows {
        assert_eq!((what.kind().as_str(), what.index()), (kind, index));
        let event = Event { number: 7, at: Time(9), what };
        assert_eq!(serde_json::to_string(&event).expect("events are JSON"), json);
        assert_eq!(serde_json::from_str::<Event>(json).expect("and back"), event);
    }
    let artifact: Artifact =
        serde_json::from_str(r#"{"name":"log","uri":"s3://x"}"#).expect("the rest is optional");
    assert_eq!((artifact.media_type.as_str(), artifact.size_bytes, artifact.digest.as_str()), ("", 0, ""));
}

#[test]
fn time_saturates() {
    assert_eq!(Time(5).plus_ms(7), Time(12));
    assert_eq!(Time(5).plus_ms(u64::MAX), Time(i64::MAX));
    assert_eq!(Time(i64::MAX).plus_ms(1), Time(i64::MAX));
    assert_eq!((Time(12).since_ms(Time(5)), Time(5).since_ms(Time(12))), (7, 0));
    assert_eq!(Time(i64::MAX).since_ms(Time(-1)), i64::MAX as u64);
}

#[test]
fn a_frame_mints_so_many() {
    let policy = Policy::default();
    let frame = Frame::new(Time(1), 3, &policy);
    assert_eq!((frame.stamp(), frame.mints_left()), (3, MINTS_MAX));
}

#[test]
#[should_panic(expected = "stamps start at 1, got 0")]
fn a_frame_without_a_stamp() {
    Frame::new(Time(1), 0, &Policy::default());
}

#[test]
fn the_order_of_the_line() {
    let place = |priority, queued, task, index| Queued {
        route: RouteNo(9 - task),
        priority,
        queued,
        task: TaskNo(task),
        index,
    };
    let sorted = [
        place(Priority::Critical, 9, 9, 9),
        place(Priority::High, 1, 2, 0),
        place(Priority::Normal, 1, 1, 0),
        place(Priority::Normal, 1, 1, 1),
        place(Priority::Normal, 1, 2, 0),
        place(Priority::Normal, 2, 1, 0),
        place(Priority::Low, 0, 0, 0),
    ];
    let mut line = sorted;
    line.reverse();
    line.sort();
    assert_eq!(line, sorted);
}

#[test]
fn ids_are_shown_as_their_numbers() {
    assert_eq!(TenantNo::DEFAULT.to_string(), "1");
    assert_eq!(LeaseId(4_097).to_string(), "4097");
    assert_eq!(serde_json::to_string(&LeaseId(4_097)).ok().as_deref(), Some("4097"));
}
