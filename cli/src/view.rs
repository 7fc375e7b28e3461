//! The graph for people: a head line, and a line for each subtask.

use std::collections::BTreeSet;

use downbeat_sdk::proto::{Event, Gate, SubtaskKind, SubtaskState, TaskStatus};

use crate::{
    board::{Below, Board, Row},
    table::{self, Cell, cell},
    term::{Paint, Term, printable},
    words::{Word, clock, is_over, span, state_paint, status_paint, time},
};

/// So many lines tell enough of a task with more subtasks; `downbeat status --all` has the rest.
pub(crate) const LINES_MAX: usize = 60;

/// So many things to do are told; the rest is alike.
const ADVICE_MAX: usize = 20;

/// A board in at most so many lines.
pub(crate) fn lines(term: &Term, board: &Board, now_ms: i64, lines_max: usize) -> Vec<String> {
    let mut lines = vec![head(term, board, now_ms)];
    if !board.reason.is_empty() {
        lines.push(format!("  {}", term.paint(Paint::Yellow, &printable(&board.reason))));
    }
    let room = lines_max.saturating_sub(lines.len()).max(1);
    let shown = choose(board, room);
    let below = board.below();
    let rows = shown.iter().map(|&at| cells(term, board, &board.rows[at], &below[at], now_ms));
    lines.extend(table::rows(term, 2, &rows.collect::<Vec<_>>()));
    if shown.len() < board.rows.len() {
        let mut counts = [0_usize; STATES.len()];
        let mut next = shown.iter().peekable();
        for (at, row) in board.rows.iter().enumerate() {
            if next.next_if(|shown| **shown == at).is_none()
                && let Some(place) = STATES.iter().position(|state| *state == row.state)
            {
                counts[place] += 1;
            }
        }
        let counted = STATES.iter().zip(counts).filter(|(_, count)| *count > 0);
        let counts: Vec<String> = counted.map(|(state, count)| format!("{count} {}", state.word())).collect();
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

/// The places of rows that are shown: all, or where they do not fit, those that say most, with what they belong to.
fn choose(board: &Board, room: usize) -> Vec<usize> {
    let rows = &board.rows;
    if rows.len() <= room {
        return (0..rows.len()).collect();
    }
    // Of what belongs to others, what has ended well is told by the row above it, which counts.
    let says = |row: &Row| row.level == 0 || !is_over(row.state) || row.state == SubtaskState::Failed;
    let rank = |row: &Row| STATES.iter().position(|state| *state == row.state).unwrap_or(STATES.len());
    let mut ranked: Vec<_> =
        rows.iter().enumerate().filter(|(_, row)| says(row)).map(|(at, row)| (rank(row), at)).collect();
    ranked.sort_unstable();
    let room = room.saturating_sub(1);
    let mut shown = BTreeSet::new();
    for (_, at) in ranked {
        if shown.len() >= room {
            break;
        }
        let more: BTreeSet<usize> =
            board.with_above(at).into_iter().filter(|place| !shown.contains(place)).collect();
        if shown.len() + more.len() <= room {
            shown.extend(more);
        }
    }
    shown.into_iter().collect()
}

fn head(term: &Term, board: &Board, now_ms: i64) -> String {
    let end = if board.ended_at_ms > 0 { board.ended_at_ms } else { now_ms };
    let elapsed = if board.started_at_ms > 0 {
        format!(" · {}", span(end - board.started_at_ms))
    } else {
        String::new()
    };
    let status = board.status.word();
    let from = if board.workflow.is_empty() { "" } else { " · " };
    let (finished, all) = (board.finished(), board.rows.len());
    let figures = format!(" · {finished} of {all} subtasks{elapsed}{from}{}", printable(&board.workflow));
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

fn cells(term: &Term, board: &Board, row: &Row, below: &Below, now_ms: i64) -> Vec<Cell> {
    let paint = state_paint(row.state);
    let time = row.attempt_ms(now_ms).map(span).unwrap_or_default();
    vec![
        (paint, format!("{}{} {}", "  ".repeat(row.level), term.glyph(row.state), row.label())),
        (paint, row.state.word()),
        (Paint::Dim, who(row, below)),
        (Paint::Dim, time),
        cell(note(term, board, row, below)),
    ]
}

/// Who does it, or what it is if nobody does.
fn who(row: &Row, below: &Below) -> String {
    match row.kind {
        SubtaskKind::Approval | SubtaskKind::Signal | SubtaskKind::Timer | SubtaskKind::Workflow => {
            row.kind.word()
        }
        SubtaskKind::Loop if below.all > 0 => format!("loop, round {}", below.newest),
        SubtaskKind::Group | SubtaskKind::Map | SubtaskKind::Loop | SubtaskKind::Round => {
            let counts = if below.all > 0 { format!(" {}", progress(below)) } else { String::new() };
            format!("{}{counts}", row.kind.word())
        }
        SubtaskKind::Unspecified | SubtaskKind::Work if row.attempt > 1 => {
            format!("{} #{}", row.worker, row.attempt)
        }
        SubtaskKind::Unspecified | SubtaskKind::Work if row.attempt == 1 => row.worker.clone(),
        SubtaskKind::Unspecified | SubtaskKind::Work => needs(row),
    }
}

/// `12/100`, `12/100, 1 failed`.
fn progress(below: &Below) -> String {
    let Below { all, over, failed, .. } = below;
    if *failed > 0 { format!("{over}/{all}, {failed} failed") } else { format!("{over}/{all}") }
}

/// What a worker must be to do it.
fn needs(row: &Row) -> String {
    let tags = row.capabilities.join(" ");
    if row.agent.is_empty() { format!("any with {tags}") } else { row.agent.clone() }
}

fn note(term: &Term, board: &Board, row: &Row, below: &Below) -> String {
    match row.state {
        SubtaskState::Pending if row.depends_on.is_empty() => String::new(),
        SubtaskState::Pending => {
            let names: Vec<&str> = row.depends_on.iter().map(|key| row.beside(key)).collect();
            format!("{} {}", term.after(), names.join(", "))
        }
        SubtaskState::Completed => match row.kind {
            SubtaskKind::Approval if !row.by.is_empty() => format!("{}, by {}", row.note, row.by),
            SubtaskKind::Approval | SubtaskKind::Loop | SubtaskKind::Workflow => row.note.clone(),
            SubtaskKind::Unspecified
            | SubtaskKind::Work
            | SubtaskKind::Signal
            | SubtaskKind::Timer
            | SubtaskKind::Group
            | SubtaskKind::Map
            | SubtaskKind::Round => String::new(),
        },
        SubtaskState::Blocked if row.note.is_empty() => format!("no live worker for {}", needs(row)),
        SubtaskState::Waiting if row.is_held() && row.note.is_empty() => "held: release it".to_owned(),
        SubtaskState::Waiting => match row.kind {
            SubtaskKind::Approval => asked(board, row),
            SubtaskKind::Timer if row.wake_at_ms > 0 => {
                format!("until {}", time(row.wake_at_ms).unwrap_or_default())
            }
            SubtaskKind::Unspecified | SubtaskKind::Work if below.all > 0 => {
                format!("waits for its children: {}", progress(below))
            }
            SubtaskKind::Unspecified
            | SubtaskKind::Work
            | SubtaskKind::Signal
            | SubtaskKind::Timer
            | SubtaskKind::Group
            | SubtaskKind::Map
            | SubtaskKind::Loop
            | SubtaskKind::Round
            | SubtaskKind::Workflow => row.note.clone(),
        },
        _ => row.note.clone(),
    }
}

/// `waits for approval by ada or a release-manager: downbeat approve TASK KEY`.
fn asked(board: &Board, row: &Row) -> String {
    let gate = row.gate.clone().unwrap_or_default();
    let who = approvers(&gate);
    let votes =
        if gate.quorum > 1 { format!(", {} of {}", agreed(&gate), gate.quorum) } else { String::new() };
    format!("waits for approval by {who}{votes}: downbeat approve {} {}", board.task_id, row.key)
}

/// Who may decide now, for people.
pub(crate) fn approvers(gate: &Gate) -> String {
    let names = gate.approvers.iter().flat_map(|who| who.names.iter().cloned());
    let roles = gate.approvers.iter().flat_map(|who| who.roles.iter().map(|role| format!("role {role}")));
    let who: Vec<String> = names.chain(roles).collect();
    if who.is_empty() { "anybody".to_owned() } else { who.join(", ") }
}

/// How many have chosen the option that most have chosen.
fn agreed(gate: &Gate) -> usize {
    let votes = |option: &str| gate.votes.iter().filter(|vote| vote.option == option).count();
    gate.options.iter().map(|option| votes(&option.name)).max().unwrap_or(0)
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
    said.extend((event.added > 0).then(|| format!("{} added", event.added)));
    said.extend((!event.option.is_empty()).then(|| format!("`{}`", event.option)));
    said.extend((!event.signal.is_empty()).then(|| format!("`{}`", event.signal)));
    said.extend(
        event.context.as_ref().map(|change| format!("context `{}` version {}", change.key, change.version)),
    );
    said.extend((!event.by.is_empty()).then(|| format!("by {}", event.by)));
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
    let advice = |row: &Row| {
        let key = &row.key;
        match row.state {
            SubtaskState::NeedsReview => {
                Some(format!("{key} needs review: `downbeat retry {id} {key}`, or skip, fail, complete"))
            }
            SubtaskState::Waiting if row.kind == SubtaskKind::Approval => {
                let who = approvers(&row.gate.clone().unwrap_or_default());
                Some(format!("{key} waits for approval by {who}: `downbeat approve {id} {key}`, or reject"))
            }
            SubtaskState::Waiting if row.is_held() => {
                Some(format!("{key} is held: `downbeat release {id} {key}`"))
            }
            SubtaskState::Waiting if row.kind == SubtaskKind::Signal => {
                let note = if row.note.is_empty() { "waits for a signal" } else { &row.note };
                Some(format!("{key} {note}: `downbeat signal {id} NAME`"))
            }
            _ => None,
        }
    };
    let mut advice: Vec<String> = board.rows.iter().filter_map(advice).collect();
    let more = advice.len().saturating_sub(ADVICE_MAX);
    advice.truncate(ADVICE_MAX);
    advice.extend((more > 0).then(|| format!("and {more} more: `downbeat status {id} --all`")));
    if board.status == TaskStatus::Paused {
        advice.push(format!("the task is paused: `downbeat execute {id}`"));
    }
    advice
}

#[cfg(test)]
mod tests {
    use downbeat_sdk::proto::{
        Approvers, Attempt, Gate, Subtask, SubtaskKind, SubtaskState, Task, TaskStatus,
    };

    use super::{advice, lines};
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

    fn part(key: &str, parent: &str, kind: SubtaskKind, state: SubtaskState) -> Subtask {
        let parent = parent.to_owned();
        Subtask { subtask_id: key.into(), parent, kind: kind.into(), ..subtask(key, state) }
    }

    #[test]
    fn a_tree_is_shown_as_one() {
        use SubtaskKind::{Approval, Loop, Map, Round, Timer, Work};
        use SubtaskState::{Completed, Failed, Running, Skipped, Waiting};
        let mut go = part("go", "", Approval, Waiting);
        let boss = Approvers { names: vec!["ada".into()], roles: vec!["boss".into()] };
        go.gate = Some(Gate { approvers: vec![boss], quorum: 2, ..Gate::default() });
        let timer = Subtask { wake_at_ms: 1_700_000_000_000, ..part("later", "", Timer, Waiting) };
        let skipped =
            Subtask { reason: "its condition does not hold".into(), ..part("not", "", Work, Skipped) };
        let round = Subtask { nth: Some(2), ..part("refine.2", "refine", Round, Waiting) };
        let board = Board::new(&task(vec![
            part("each", "", Map, Waiting),
            part("each.0", "each", Work, Completed),
            part("each.1", "each", Work, Failed),
            part("each.2", "each", Work, Running),
            part("refine", "", Loop, Waiting),
            round,
            part("refine.2.write", "refine.2", Work, Running),
            go,
            timer,
            skipped,
        ]));
        assert_eq!(
            lines(&Term::plain(), &board, 3_500, 40),
            [
                "t-1  Title  running · 3 of 10 subtasks · 2.5 s",
                "  | each       waiting    map 2/3, 1 failed",
                "    + 0        completed  coder",
                "    x 1        failed     coder",
                "    > 2        running    coder",
                "  | refine     waiting    loop, round 2",
                "    | 2        waiting    round 0/1",
                "      > write  running    coder",
                "  | go         waiting    approval             waits for approval by ada, role boss, 0 of 2: \
                 downbeat approve t-1 go",
                "  | later      waiting    timer                until 2023-11-14T22:13:20.000Z",
                "  - not        skipped    coder                its condition does not hold",
            ]
        );
        assert_eq!(
            advice(&board),
            ["go waits for approval by ada, role boss: `downbeat approve t-1 go`, or reject"]
        );
    }

    #[test]
    fn of_a_large_tree_what_moves_is_shown_with_what_it_belongs_to() {
        let mut subtasks = vec![part("each", "", SubtaskKind::Map, SubtaskState::Waiting)];
        subtasks.extend((0..100).map(|i| {
            let state = if i == 70 { SubtaskState::Running } else { SubtaskState::Completed };
            Subtask { nth: Some(i), ..part(&format!("each.{i}"), "each", SubtaskKind::Work, state) }
        }));
        subtasks.push(part("end", "", SubtaskKind::Work, SubtaskState::Pending));
        let shown = lines(&Term::plain(), &Board::new(&task(subtasks)), 3_500, 5);
        assert_eq!(shown.len(), 5, "{shown:#?}");
        assert!(shown[1].contains("each") && shown[1].contains("map 99/100"), "{shown:#?}");
        assert!(shown[2].contains("70") && shown[3].contains("end"), "{shown:#?}");
        assert_eq!(shown[4], "  ... and 99 completed");
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
