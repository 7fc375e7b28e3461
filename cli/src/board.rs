//! What is known of one task while it is followed: a snapshot, and the events after it folded in. The same
//! fold as the control plane's own, for people to look at.

use std::collections::HashMap;

use downbeat_sdk::proto::{Event, Outcome, Subtask, SubtaskState, Task, TaskStatus};

use crate::words::is_over;

/// A task as it is shown.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    pub(crate) task_id: String,
    pub(crate) title: String,
    pub(crate) status: TaskStatus,
    pub(crate) started_at_ms: i64,
    pub(crate) ended_at_ms: i64,
    pub(crate) reason: String,
    pub(crate) last_event: u64,
    /// What depends on others stands below them.
    pub(crate) rows: Vec<Row>,
    places: HashMap<String, usize>,
}

/// A subtask as it is shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    pub(crate) key: String,
    pub(crate) agent: String,
    pub(crate) capabilities: Vec<String>,
    pub(crate) depends_on: Vec<String>,
    pub(crate) state: SubtaskState,
    /// Of the newest attempt.
    pub(crate) attempt: u32,
    pub(crate) worker: String,
    pub(crate) started_at_ms: i64,
    pub(crate) ended_at_ms: i64,
    /// The newest progress, or why it is where it is.
    pub(crate) note: String,
}

impl Board {
    pub(crate) fn new(task: &Task) -> Board {
        let mut rows: Vec<Row> = task.subtasks.iter().map(Row::new).collect();
        sort_by_depth(&mut rows);
        let places = rows.iter().enumerate().map(|(at, row)| (row.key.clone(), at)).collect();
        Board {
            task_id: task.task_id.clone(),
            title: task.title.clone(),
            status: task.status(),
            started_at_ms: task.started_at_ms,
            ended_at_ms: task.ended_at_ms,
            reason: task.reason.clone(),
            last_event: task.last_event,
            rows,
            places,
        }
    }

    /// Folds one event in; those known already change nothing.
    pub(crate) fn apply(&mut self, event: &Event) {
        if event.number <= self.last_event {
            return;
        }
        self.last_event = event.number;
        if event.key.is_empty() {
            self.enter(event);
        } else if let Some(row) = self.places.get(&event.key).and_then(|at| self.rows.get_mut(*at)) {
            row.apply(event);
        }
    }

    fn enter(&mut self, event: &Event) {
        self.status = event.task_status();
        self.reason.clone_from(&event.message);
        if self.status == TaskStatus::Running && self.started_at_ms == 0 {
            self.started_at_ms = event.at_ms;
        }
        if downbeat_sdk::is_final(self.status) {
            self.ended_at_ms = event.at_ms;
        }
    }

    pub(crate) fn finished(&self) -> usize {
        self.rows.iter().filter(|row| is_over(row.state)).count()
    }

    /// Whether nothing can go on before a person does something: a review, a release, a resume.
    /// Work that only lacks a worker does not need one.
    pub(crate) fn needs_person(&self) -> bool {
        let moving = |row: &Row| match row.state {
            SubtaskState::Leased | SubtaskState::Running => true,
            SubtaskState::Ready | SubtaskState::Blocked | SubtaskState::Backoff => {
                self.status != TaskStatus::Paused
            }
            SubtaskState::Unspecified
            | SubtaskState::Pending
            | SubtaskState::Waiting
            | SubtaskState::NeedsReview
            | SubtaskState::Completed
            | SubtaskState::Failed
            | SubtaskState::Skipped
            | SubtaskState::Cancelled => false,
        };
        matches!(self.status, TaskStatus::Running | TaskStatus::Paused | TaskStatus::NeedsReview)
            && !self.rows.iter().any(moving)
    }
}

impl Row {
    fn new(subtask: &Subtask) -> Row {
        let newest = subtask.attempts.last().cloned().unwrap_or_default();
        let error = newest.error.as_ref().map(|error| error.message.clone()).unwrap_or_default();
        let completed = subtask.state() == SubtaskState::Completed;
        Row {
            key: subtask.key.clone(),
            agent: subtask.agent.clone(),
            capabilities: subtask.capabilities.clone(),
            depends_on: subtask.depends_on.clone(),
            state: subtask.state(),
            attempt: newest.attempt,
            worker: newest.worker.clone(),
            started_at_ms: newest.started_at_ms,
            ended_at_ms: newest.ended_at_ms,
            note: if completed || error.is_empty() {
                subtask.reason.clone()
            } else {
                join(&subtask.reason, &error)
            },
        }
    }

    fn apply(&mut self, event: &Event) {
        match event.kind.as_str() {
            "subtask.leased" => {
                self.state = SubtaskState::Leased;
                self.attempt = event.attempt;
                self.worker.clone_from(&event.worker);
                self.started_at_ms = event.at_ms;
                self.ended_at_ms = 0;
                self.note.clear();
            }
            "subtask.returned" => {
                self.attempt = self.attempt.saturating_sub(1);
                self.started_at_ms = 0;
            }
            "subtask.progress" => self.note.clone_from(&event.message),
            _ => {
                if event.outcome() != Outcome::Unspecified {
                    self.ended_at_ms = event.at_ms;
                }
                let state = event.subtask_state();
                if state == SubtaskState::Unspecified {
                    return;
                }
                self.state = state;
                let error = event.error.as_ref().map(|error| error.message.as_str()).unwrap_or_default();
                if state != SubtaskState::Running {
                    self.note = join(&event.message, error);
                }
            }
        }
    }

    /// How long the newest attempt took, or takes; `None` when there was none.
    pub(crate) fn attempt_ms(&self, now_ms: i64) -> Option<i64> {
        let running = matches!(self.state, SubtaskState::Leased | SubtaskState::Running);
        let end = if running { now_ms } else { self.ended_at_ms };
        (self.started_at_ms > 0 && end > 0).then(|| (end - self.started_at_ms).max(0))
    }
}

fn join(reason: &str, error: &str) -> String {
    match (reason.is_empty(), error.is_empty()) {
        (true, _) => error.to_owned(),
        (false, true) => reason.to_owned(),
        (false, false) if reason.contains(error) => reason.to_owned(),
        (false, false) => format!("{reason}: {error}"),
    }
}

/// Stable, so that rows of one depth stay as the plan has them.
fn sort_by_depth(rows: &mut [Row]) {
    let places: HashMap<&str, usize> =
        rows.iter().enumerate().map(|(at, row)| (row.key.as_str(), at)).collect();
    let depends_on: Vec<Vec<usize>> = rows
        .iter()
        .map(|row| row.depends_on.iter().filter_map(|key| places.get(key.as_str()).copied()).collect())
        .collect();
    let mut dependents = vec![Vec::new(); rows.len()];
    let mut pending: Vec<usize> = depends_on.iter().map(Vec::len).collect();
    for (at, dependencies) in depends_on.iter().enumerate() {
        dependencies.iter().for_each(|&dependency| dependents[dependency].push(at));
    }
    let mut depths: HashMap<String, usize> = HashMap::new();
    let mut level: Vec<usize> = (0..rows.len()).filter(|&at| pending[at] == 0).collect();
    let mut depth = 0;
    while !level.is_empty() {
        let mut next = Vec::new();
        for at in level {
            depths.insert(rows[at].key.clone(), depth);
            for &dependent in &dependents[at] {
                pending[dependent] -= 1;
                if pending[dependent] == 0 {
                    next.push(dependent);
                }
            }
        }
        level = next;
        depth += 1;
    }
    rows.sort_by_key(|row| depths.get(&row.key).copied().unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use downbeat_sdk::proto::{AttemptError, Event, Outcome, Subtask, SubtaskState, Task, TaskStatus};

    use super::Board;

    fn board(subtasks: &[(&str, &[&str])]) -> Board {
        let subtasks = subtasks.iter().map(|(key, depends_on)| Subtask {
            key: (*key).to_owned(),
            depends_on: depends_on.iter().map(|key| (*key).to_owned()).collect(),
            state: SubtaskState::Pending.into(),
            ..Subtask::default()
        });
        let status = TaskStatus::Running.into();
        Board::new(&Task { status, last_event: 1, subtasks: subtasks.collect(), ..Task::default() })
    }

    fn event(number: u64, key: &str, state: SubtaskState) -> Event {
        let kind = if state == SubtaskState::Leased { "subtask.leased" } else { "subtask.other" };
        let subtask_state = state.into();
        Event { number, key: key.into(), kind: kind.into(), subtask_state, at_ms: 1_000, ..Event::default() }
    }

    #[test]
    fn dependencies_stand_above() {
        let board = board(&[("c", &["b"]), ("b", &["a"]), ("a", &[]), ("z", &[])]);
        assert_eq!(board.rows.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["a", "z", "b", "c"]);
    }

    #[test]
    fn events_are_folded_in_once() {
        let mut board = board(&[("a", &[])]);
        board.apply(&Event { attempt: 1, worker: "w".into(), ..event(2, "a", SubtaskState::Leased) });
        assert_eq!((board.rows[0].state, board.rows[0].worker.as_str()), (SubtaskState::Leased, "w"));
        let failed = Event {
            outcome: Outcome::Failed.into(),
            error: Some(AttemptError { code: "X".into(), message: "broken".into() }),
            ..event(3, "a", SubtaskState::Backoff)
        };
        board.apply(&failed);
        assert_eq!((board.rows[0].state, board.rows[0].note.as_str()), (SubtaskState::Backoff, "broken"));
        board.apply(&event(2, "a", SubtaskState::Leased));
        assert_eq!(board.rows[0].state, SubtaskState::Backoff);
    }

    #[test]
    fn a_person_is_needed_when_nothing_can_move() {
        let table = [
            (TaskStatus::Running, SubtaskState::Running, false),
            (TaskStatus::Running, SubtaskState::Blocked, false),
            (TaskStatus::Running, SubtaskState::Waiting, true),
            (TaskStatus::NeedsReview, SubtaskState::NeedsReview, true),
            (TaskStatus::NeedsReview, SubtaskState::Backoff, false),
            (TaskStatus::Paused, SubtaskState::Ready, true),
            (TaskStatus::Paused, SubtaskState::Running, false),
            (TaskStatus::Planned, SubtaskState::Pending, false),
            (TaskStatus::Completed, SubtaskState::Completed, false),
        ];
        for (status, state, expected) in table {
            let mut board = board(&[("a", &[]), ("b", &["a"])]);
            board.status = status;
            board.apply(&event(2, "a", state));
            assert_eq!(board.needs_person(), expected, "{status:?} {state:?}");
        }
    }
}
