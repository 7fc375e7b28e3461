//! What is known of one task while it is followed: a snapshot, and the events after it folded in. The same
//! fold as the control plane's own, for people to look at. What events do not tell (what was added, how an approval
//! stands) makes a board outdated: a new snapshot is due.

mod tree;

use std::collections::{HashMap, HashSet};

use downbeat_sdk::proto::{Event, Gate, Outcome, Subtask, SubtaskKind, SubtaskState, Task, TaskStatus};

use crate::words::is_over;

/// A task as it is shown.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    pub(crate) task_id: String,
    pub(crate) title: String,
    /// What it was started from, as in `release@3`; may be empty.
    pub(crate) workflow: String,
    pub(crate) status: TaskStatus,
    pub(crate) started_at_ms: i64,
    pub(crate) ended_at_ms: i64,
    pub(crate) reason: String,
    pub(crate) last_event: u64,
    /// What belongs to others stands below them, and so does what depends on others.
    pub(crate) rows: Vec<Row>,
    /// The task has more to it than the rows show.
    pub(crate) outdated: bool,
    /// By id, and by key.
    places: HashMap<String, usize>,
}

/// What belongs to a row directly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Below {
    pub(crate) all: usize,
    pub(crate) over: usize,
    pub(crate) failed: usize,
    /// The highest number of an element or a round.
    pub(crate) newest: u32,
}

/// A subtask as it is shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) key: String,
    /// The id of what it belongs to; may be empty.
    pub(crate) parent: String,
    /// How many of the key's first bytes name what it belongs to.
    prefix: usize,
    /// How many stand above it that it belongs to.
    pub(crate) level: usize,
    pub(crate) kind: SubtaskKind,
    pub(crate) nth: Option<u32>,
    pub(crate) gate: Option<Gate>,
    /// Until when it waits; 0: nobody knows.
    pub(crate) wake_at_ms: i64,
    /// Who decided its state; may be empty.
    pub(crate) by: String,
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
        let keys: HashMap<&str, &str> =
            task.subtasks.iter().map(|sub| (sub.subtask_id.as_str(), sub.key.as_str())).collect();
        let mut rows: Vec<Row> = task.subtasks.iter().map(Row::new).collect();
        for row in &mut rows {
            let parent = keys.get(row.parent.as_str()).copied().unwrap_or_default();
            let below = row.key.strip_prefix(parent).is_some_and(|rest| rest.starts_with('.'));
            row.prefix = if below { parent.len() + 1 } else { 0 };
        }
        let rows = tree::sort(rows);
        let mut places: HashMap<String, usize> = HashMap::new();
        for (at, row) in rows.iter().enumerate() {
            places.insert(row.key.clone(), at);
            if !row.id.is_empty() {
                places.insert(row.id.clone(), at);
            }
        }
        Board {
            task_id: task.task_id.clone(),
            title: task.title.clone(),
            workflow: task
                .workflow
                .as_ref()
                .map(|at| format!("{}@{}", at.name, at.version))
                .unwrap_or_default(),
            status: task.status(),
            started_at_ms: task.started_at_ms,
            ended_at_ms: task.ended_at_ms,
            reason: task.reason.clone(),
            last_event: task.last_event,
            rows,
            outdated: false,
            places,
        }
    }

    /// Folds one event in; those known already change nothing.
    pub(crate) fn apply(&mut self, event: &Event) {
        if event.number <= self.last_event {
            return;
        }
        self.last_event = event.number;
        self.outdated |= matches!(event.kind.as_str(), "task.grown" | "subtask.voted")
            || matches!(event.code.as_str(), "APPROVAL_ASKED" | "ESCALATED");
        if event.kind == "task.grown" {
            return;
        }
        // What ran again has the key of what it did before.
        let name = if event.subtask_id.is_empty() { &event.key } else { &event.subtask_id };
        match self.places.get(name).and_then(|at| self.rows.get_mut(*at)) {
            Some(row) => row.apply(event),
            None if !name.is_empty() => self.outdated = true,
            None if event.task_status() != TaskStatus::Unspecified => self.enter(event),
            None => {}
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
        } else {
            self.ended_at_ms = 0;
        }
    }

    /// What belongs to each row, in their order.
    pub(crate) fn below(&self) -> Vec<Below> {
        let mut below = vec![Below::default(); self.rows.len()];
        let mut above: Vec<usize> = Vec::new();
        for (at, row) in self.rows.iter().enumerate() {
            above.truncate(row.level);
            if let Some(&parent) = above.last() {
                let below = &mut below[parent];
                below.all += 1;
                below.over += usize::from(is_over(row.state));
                below.failed += usize::from(row.state == SubtaskState::Failed);
                below.newest = below.newest.max(row.nth.unwrap_or(0));
            }
            above.push(at);
        }
        below
    }

    pub(crate) fn finished(&self) -> usize {
        self.rows.iter().filter(|row| is_over(row.state)).count()
    }

    /// Whether nothing can go on before a person does something: an approval, a review, a release, a resume.
    /// Work that only lacks a worker does not need one, nor does what waits for a signal or a time.
    pub(crate) fn needs_person(&self) -> bool {
        let paused = self.status == TaskStatus::Paused;
        let below = self.below();
        let moving = |(at, row): (usize, &Row)| match row.state {
            SubtaskState::Leased | SubtaskState::Running => true,
            SubtaskState::Ready | SubtaskState::Blocked | SubtaskState::Backoff => !paused,
            SubtaskState::Waiting if row.is_held() => false,
            SubtaskState::Waiting => match row.kind {
                SubtaskKind::Approval => false,
                SubtaskKind::Signal | SubtaskKind::Timer | SubtaskKind::Workflow => !paused,
                // As what belongs to it; when that has ended, the control plane is about to go on.
                SubtaskKind::Unspecified
                | SubtaskKind::Work
                | SubtaskKind::Group
                | SubtaskKind::Map
                | SubtaskKind::Loop
                | SubtaskKind::Round => !paused && below[at].over == below[at].all,
            },
            SubtaskState::Unspecified
            | SubtaskState::Pending
            | SubtaskState::NeedsReview
            | SubtaskState::Completed
            | SubtaskState::Failed
            | SubtaskState::Skipped
            | SubtaskState::Cancelled => false,
        };
        matches!(self.status, TaskStatus::Running | TaskStatus::Paused | TaskStatus::NeedsReview)
            && !self.outdated
            && !self.rows.iter().enumerate().any(moving)
    }

    /// Rows by their places, with all that they belong to.
    pub(crate) fn with_above(&self, at: usize) -> HashSet<usize> {
        let mut found = HashSet::from([at]);
        let mut level = self.rows[at].level;
        for above in (0..at).rev() {
            if level == 0 {
                break;
            }
            if self.rows[above].level < level {
                level = self.rows[above].level;
                found.insert(above);
            }
        }
        found
    }
}

impl Row {
    fn new(subtask: &Subtask) -> Row {
        let newest = subtask.attempts.last().cloned().unwrap_or_default();
        let error = newest.error.as_ref().map(|error| error.message.clone()).unwrap_or_default();
        let completed = subtask.state() == SubtaskState::Completed;
        Row {
            id: subtask.subtask_id.clone(),
            key: subtask.key.clone(),
            parent: subtask.parent.clone(),
            prefix: 0,
            level: 0,
            kind: subtask.kind(),
            nth: subtask.nth,
            gate: subtask.gate.clone(),
            wake_at_ms: subtask.wake_at_ms,
            by: subtask.by.clone(),
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
            "subtask.voted" => {}
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
                self.by.clone_from(&event.by);
                self.wake_at_ms = 0;
                let error = event.error.as_ref().map(|error| error.message.as_str()).unwrap_or_default();
                if state != SubtaskState::Running {
                    self.note = join(&event.message, error);
                }
            }
        }
    }

    /// The key among those beside it.
    pub(crate) fn label(&self) -> &str {
        self.key.get(self.prefix..).unwrap_or(&self.key)
    }

    /// A key as it is called here: without what both belong to.
    pub(crate) fn beside<'k>(&self, key: &'k str) -> &'k str {
        let around = self.key.get(..self.prefix).unwrap_or_default();
        key.strip_prefix(around).unwrap_or(key)
    }

    /// Whether it waits to be released: work that waits and has never begun.
    pub(crate) fn is_held(&self) -> bool {
        let work = matches!(self.kind, SubtaskKind::Work | SubtaskKind::Unspecified);
        self.state == SubtaskState::Waiting && work && self.attempt == 0
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

#[cfg(test)]
mod tests {
    use downbeat_sdk::proto::{
        AttemptError, Event, Outcome, Subtask, SubtaskKind, SubtaskState, Task, TaskStatus,
    };

    use super::{Below, Board};

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

    /// One of a kind that belongs to another.
    fn part(id: &str, parent: &str, kind: SubtaskKind, state: SubtaskState) -> Subtask {
        Subtask {
            subtask_id: id.into(),
            key: id.into(),
            parent: parent.into(),
            kind: kind.into(),
            state: state.into(),
            ..Subtask::default()
        }
    }

    fn running(subtasks: Vec<Subtask>) -> Board {
        Board::new(&Task { status: TaskStatus::Running.into(), last_event: 1, subtasks, ..Task::default() })
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
    fn what_belongs_to_others_stands_below_them() {
        let numbered = |id: &str, nth| Subtask {
            nth: Some(nth),
            ..part(id, "each", SubtaskKind::Work, SubtaskState::Completed)
        };
        let mut tell = part("tell", "", SubtaskKind::Work, SubtaskState::Pending);
        tell.depends_on = vec!["each".into()];
        let mut review = part("each.0.review", "each.0", SubtaskKind::Work, SubtaskState::Failed);
        review.depends_on = vec!["draft".into()];
        let board = running(vec![
            tell,
            review,
            part("each.0.draft", "each.0", SubtaskKind::Work, SubtaskState::Completed),
            part("each", "", SubtaskKind::Map, SubtaskState::Waiting),
            numbered("each.10", 10),
            numbered("each.2", 2),
            part("each.0", "each", SubtaskKind::Round, SubtaskState::Waiting),
        ]);
        let rows: Vec<(usize, &str)> = board.rows.iter().map(|row| (row.level, row.label())).collect();
        assert_eq!(
            rows,
            [(0, "each"), (1, "0"), (2, "draft"), (2, "review"), (1, "2"), (1, "10"), (0, "tell")]
        );
        let below = board.below();
        assert_eq!(below[0], Below { all: 3, over: 2, failed: 0, newest: 10 });
        assert_eq!(below[1], Below { all: 2, over: 2, failed: 1, newest: 0 });
        assert_eq!(board.with_above(3), [0, 1, 3].into());
    }

    #[test]
    fn what_events_do_not_tell_makes_it_outdated() {
        let grown = Event { kind: "task.grown".into(), added: 3, ..event(2, "a", SubtaskState::Unspecified) };
        let asked = Event { code: "APPROVAL_ASKED".into(), ..event(2, "a", SubtaskState::Waiting) };
        let unknown = event(2, "new", SubtaskState::Ready);
        for told in [grown, asked, unknown] {
            let mut board = board(&[("a", &[])]);
            board.apply(&told);
            assert!(board.outdated && !board.needs_person(), "{told:?}");
        }
        let mut board = board(&[("a", &[])]);
        let kind = "task.signalled".to_owned();
        board.apply(&Event { number: 2, kind, signal: "paid".into(), ..Event::default() });
        assert_eq!((board.outdated, board.status), (false, TaskStatus::Running));
    }

    #[test]
    fn what_waits_may_need_a_person() {
        use SubtaskKind::{Approval, Group, Loop, Map, Signal, Timer, Work};
        use SubtaskState::{Completed, Leased, Waiting};
        let table = [
            (vec![part("a", "", Approval, Waiting)], true),
            (vec![part("a", "", Signal, Waiting)], false),
            (vec![part("a", "", Timer, Waiting)], false),
            (vec![part("a", "", Approval, Waiting), part("b", "", Timer, Waiting)], false),
            (vec![part("a", "", Group, Waiting), part("a.b", "a", Approval, Waiting)], true),
            (vec![part("a", "", Map, Waiting), part("a.0", "a", Work, Leased)], false),
            (vec![part("a", "", Loop, Waiting), part("a.1", "a", Work, Completed)], false),
            (vec![part("a", "", Work, Waiting)], true),
        ];
        for (subtasks, expected) in table {
            assert_eq!(running(subtasks.clone()).needs_person(), expected, "{subtasks:?}");
        }
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
