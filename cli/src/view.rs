//! The graph for people: a head line, and a line for each subtask.

use downbeat_sdk::proto::{Event, SubtaskState, TaskStatus};

use crate::{
    board::{Board, Row},
    table::{self, Cell, cell},
    term::{Paint, Term, printable},
    words::{Word, clock, is_over, span, state_paint, status_paint},
};

/// A board in at most so many lines.
pub(crate) fn lines(term: &Term, board: &Board, now_ms: i64, lines_max: usize) -> Vec<String> {
    let mut lines = vec![head(term, board, now_ms)];
    if !board.reason.is_empty() {
        lines.push(format!("  {}", term.paint(Paint::Yellow, &printable(&board.reason))));
    }
    let room = lines_max.saturating_sub(lines.len()).max(1);
    let (shown, hidden) = choose(&board.rows, room);
    let cells: Vec<Vec<Cell>> = shown.iter().map(|row| cells(term, row, now_ms)).collect();
    lines.extend(table::rows(term, 2, &cells));
    if !hidden.is_empty() {
        let count = |state: SubtaskState| hidden.iter().filter(|row| row.state == state).count();
        let counts: Vec<String> = STATES
            .iter()
            .map(|&state| (state, count(state)))
            .filter(|(_, count)| *count > 0)
            .map(|(state, count)| format!("{count} {}", state.word()))
            .collect();
        lines.push(term.paint(Paint::Dim, &format!("  {} and {}", term.dots(), counts.join(", "))));
    }
    lines
}

const STATES: [SubtaskState; 12] = [
    SubtaskState::Running,
    SubtaskState::Leased,
    SubtaskState::NeedsReview,
    SubtaskState::Blocked,
    SubtaskState::Waiting,
    SubtaskState::Backoff,
    SubtaskState::Failed,
    SubtaskState::Ready,
    SubtaskState::Pending,
    SubtaskState::Completed,
    SubtaskState::Skipped,
    SubtaskState::Cancelled,
];

/// Where all rows do not fit: those that say most, in the order of the board.
fn choose(rows: &[Row], room: usize) -> (Vec<&Row>, Vec<&Row>) {
    if rows.len() <= room {
        return (rows.iter().collect(), Vec::new());
    }
    let rank = |row: &Row| STATES.iter().position(|state| *state == row.state).unwrap_or(STATES.len());
    let mut ranked: Vec<(usize, usize)> = rows.iter().enumerate().map(|(at, row)| (rank(row), at)).collect();
    ranked.sort_unstable();
    let mut shown: Vec<usize> = ranked.iter().take(room.saturating_sub(1)).map(|(_, at)| *at).collect();
    shown.sort_unstable();
    let is_shown = |at: usize| shown.binary_search(&at).is_ok();
    let hidden = rows.iter().enumerate().filter(|(at, _)| !is_shown(*at)).map(|(_, row)| row).collect();
    (shown.iter().map(|&at| &rows[at]).collect(), hidden)
}

fn head(term: &Term, board: &Board, now_ms: i64) -> String {
    let end = if board.ended_at_ms > 0 { board.ended_at_ms } else { now_ms };
    let elapsed = if board.started_at_ms > 0 {
        format!(" · {}", span(end - board.started_at_ms))
    } else {
        String::new()
    };
    let status = board.status.word();
    let figures = format!(" · {} of {} subtasks{elapsed}", board.finished(), board.rows.len());
    let (columns, _) = term.size();
    let fixed = board.task_id.chars().count() + status.len() + figures.chars().count() + 4;
    let title = if board.title == board.task_id { String::new() } else { printable(&board.title) };
    let title = if term.tty { term.clip(&title, columns.saturating_sub(fixed)) } else { title };
    let gap = if title.is_empty() { "" } else { "  " };
    format!(
        "{}{gap}{title}  {}{}",
        term.paint(Paint::Bold, &printable(&board.task_id)),
        term.paint(status_paint(board.status), &status),
        term.paint(Paint::Dim, &figures),
    )
}

fn cells(term: &Term, row: &Row, now_ms: i64) -> Vec<Cell> {
    let paint = state_paint(row.state);
    let who = if row.attempt > 1 { format!("{} #{}", row.worker, row.attempt) } else { row.worker.clone() };
    let time = row.attempt_ms(now_ms).map(span).unwrap_or_default();
    let started = row.attempt > 0;
    vec![
        (paint, format!("{} {}", term.glyph(row.state), row.key)),
        (paint, row.state.word()),
        (Paint::Dim, if started { who } else { needs(row) }),
        (Paint::Dim, time),
        cell(note(term, row)),
    ]
}

/// What a worker must be to do it.
fn needs(row: &Row) -> String {
    let tags = row.capabilities.join(" ");
    if row.agent.is_empty() { format!("any with {tags}") } else { row.agent.clone() }
}

fn note(term: &Term, row: &Row) -> String {
    match row.state {
        SubtaskState::Pending if row.depends_on.is_empty() => String::new(),
        SubtaskState::Pending => format!("{} {}", term.after(), row.depends_on.join(", ")),
        SubtaskState::Completed => String::new(),
        SubtaskState::Blocked if row.note.is_empty() => format!("no live worker for {}", needs(row)),
        SubtaskState::Waiting if row.note.is_empty() => "held: release it".to_owned(),
        _ => row.note.clone(),
    }
}

/// One event as a line.
pub(crate) fn event_line(term: &Term, event: &Event) -> String {
    let name = event.kind.split_once('.').map_or(event.kind.as_str(), |(_, name)| name);
    let (subject, paint) = if event.key.is_empty() {
        ("task".to_owned(), status_paint(event.task_status()))
    } else {
        (event.key.clone(), state_paint(event.subtask_state()))
    };
    let mut said = Vec::new();
    if event.kind == "subtask.leased" {
        said.push(format!("attempt {} by {} under lease {}", event.attempt, event.worker, event.lease_id));
    }
    let outcome = event.outcome().word();
    if outcome != "unspecified" && outcome != name {
        said.push(format!("attempt {} {outcome}", event.attempt));
    }
    said.extend((!event.message.is_empty()).then(|| event.message.clone()));
    said.extend(event.error.as_ref().map(|error| format!("{}: {}", error.code, error.message)));
    let line = format!(
        "{}  {} {} {}",
        term.paint(Paint::Dim, &format!("{} {:>4}", clock(event.at_ms), event.number)),
        printable(&subject),
        term.paint(paint, name),
        printable(&said.join("; "))
    );
    line.trim_end().to_owned()
}

/// What to do when a task waits for a person.
pub(crate) fn advice(board: &Board) -> Vec<String> {
    let id = &board.task_id;
    let mut advice = Vec::new();
    for row in board.rows.iter().filter(|row| !is_over(row.state)) {
        match row.state {
            SubtaskState::NeedsReview => advice.push(format!(
                "{} needs review: `downbeat retry {id} {}`, or skip, fail, complete",
                row.key, row.key
            )),
            SubtaskState::Waiting => {
                advice.push(format!("{} is held: `downbeat release {id} {}`", row.key, row.key));
            }
            _ => {}
        }
    }
    if board.status == TaskStatus::Paused {
        advice.push(format!("the task is paused: `downbeat execute {id}`"));
    }
    advice
}

#[cfg(test)]
mod tests {
    use downbeat_sdk::proto::{Attempt, Subtask, SubtaskState, Task, TaskStatus};

    use super::lines;
    use crate::{board::Board, term::Term};

    fn subtask(key: &str, state: SubtaskState) -> Subtask {
        Subtask { key: key.into(), agent: "coder".into(), state: state.into(), ..Subtask::default() }
    }

    fn task(subtasks: Vec<Subtask>) -> Task {
        let status = TaskStatus::Running.into();
        Task {
            task_id: "t-1".into(),
            title: "Title".into(),
            status,
            started_at_ms: 1_000,
            subtasks,
            ..Task::default()
        }
    }

    #[test]
    fn a_board_is_shown_in_lines() {
        let attempt =
            Attempt { attempt: 2, worker: "ada".into(), started_at_ms: 1_500, ..Attempt::default() };
        let mut pending = subtask("review", SubtaskState::Pending);
        pending.depends_on = vec!["build".into()];
        let mut running = subtask("build", SubtaskState::Running);
        running.attempts = vec![attempt];
        let board = Board::new(&task(vec![pending, running]));
        assert_eq!(
            lines(&Term::plain(), &board, 3_500, 40),
            [
                "t-1  Title  running · 0 of 2 subtasks · 2.5 s",
                "  > build   running  ada #2  2.0 s",
                "  . review  pending  coder          <- build",
            ]
        );
    }

    #[test]
    fn a_large_board_shows_what_moves() {
        let mut subtasks: Vec<Subtask> =
            (0..100).map(|i| subtask(&format!("s{i}"), SubtaskState::Completed)).collect();
        subtasks.push(subtask("last", SubtaskState::Running));
        let shown = lines(&Term::plain(), &Board::new(&task(subtasks)), 3_500, 5);
        assert_eq!(shown.len(), 5);
        assert!(shown[3].contains("last"), "{shown:?}");
        assert_eq!(shown[4], "  ... and 98 completed");
    }
}
