//! Following one task: a live view on a terminal, a line per event elsewhere, JSON lines for programs.

use std::{io::Write, time::Duration};

use downbeat_sdk::{Client, proto::Event, proto::TaskStatus};
use futures::StreamExt;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    board::Board,
    failure::{Exit, Failure, Result},
    json,
    out::Out,
    term::Term,
    view,
    words::{Word, now_ms},
};

/// The clock in the live view moves so often.
const REDRAW: Duration = Duration::from_millis(200);
/// A task that stands still so long is looked at: perhaps it waits for a person.
const QUIET: Duration = Duration::from_secs(1);

/// A new snapshot of the task is taken no more often than this, and not before its last one is so many times as old as
/// it took: a large task costs the control plane more than looking at it is worth.
const RENEWAL: Duration = Duration::from_millis(500);
const RENEWAL_RESTS: u32 = 10;

/// How to follow.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct How {
    /// Show events numbered above this; `None`: from now on (the live view always shows the whole task).
    pub(crate) after: Option<u64>,
    /// Go on waiting where a person is needed.
    pub(crate) wait: bool,
}

/// Follows a task to its end and tells how it ended.
///
/// # Errors
/// With exit code 1 when the task failed or was cancelled, 5 when it waits for a person.
pub(crate) async fn follow(client: &Client, out: &mut Out, task_id: &str, how: How) -> Result {
    let board = watch(client, out, task_id, how, &mut |_| {}).await?;
    if out.json {
        let task = client.get(task_id).await?;
        out.json(&json!({"task": json::task(&task)}))?;
    }
    end(&board)
}

/// The end of a followed task as a result.
pub(crate) fn end(board: &Board) -> Result {
    match board.status {
        TaskStatus::Completed => Ok(()),
        TaskStatus::Failed | TaskStatus::Cancelled => {
            let reason = if board.reason.is_empty() { String::new() } else { format!(": {}", board.reason) };
            let message = format!("task {} {}{reason}", board.task_id, board.status.word());
            Err(Failure::new(Exit::Failed, message))
        }
        _ => Err(Failure::new(Exit::NeedsPerson, format!("task {} waits for a person", board.task_id))
            .details(view::advice(board))),
    }
}

/// Shows a task until it has ended or needs a person. `seen` gets every event.
pub(crate) async fn watch(
    client: &Client,
    out: &mut Out,
    task_id: &str,
    how: How,
    seen: &mut (dyn FnMut(&Event) + Send),
) -> Result<Board> {
    let task = client.get_without_outputs(task_id).await?;
    let mut board = Board::new(&task);
    let mut screen = Screen::new(out);
    let mut events = client.watch(task_id, how.after.unwrap_or(board.last_event));
    let mut ticks = interval(REDRAW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut still_since = Instant::now();
    let mut renewal = Renewal { due: Instant::now() };
    // Without `after` a finished task has no further event: the stream ends at once.
    loop {
        tokio::select! {
            event = events.next() => {
                let Some(event) = event.transpose()? else { break };
                board.apply(&event);
                screen.event(out, &event)?;
                seen(&event);
                still_since = Instant::now();
            }
            _ = ticks.tick() => {
                renewal.renew(client, &mut board).await?;
                screen.draw(out, &board)?;
                if !how.wait && board.needs_person() && still_since.elapsed() >= QUIET {
                    // What the events seem to say is asked for once more, from the rows.
                    board = Board::new(&client.get_without_outputs(task_id).await?);
                    still_since = Instant::now();
                    if board.needs_person() {
                        break;
                    }
                }
            }
        }
    }
    if board.outdated {
        board = Board::new(&client.get_without_outputs(task_id).await?);
    }
    screen.finish(out, &board)?;
    Ok(board)
}

/// When an outdated board may be renewed.
struct Renewal {
    due: Instant,
}

impl Renewal {
    async fn renew(&mut self, client: &Client, board: &mut Board) -> Result {
        let began = Instant::now();
        if !board.outdated || began < self.due {
            return Ok(());
        }
        *board = Board::new(&client.get_without_outputs(&board.task_id).await?);
        let took = began.elapsed();
        self.due = Instant::now() + RENEWAL.max(took * RENEWAL_RESTS);
        Ok(())
    }
}

/// Where the live view stands on the terminal.
enum Screen {
    Lines,
    Json,
    Live {
        term: Term,
        /// Lines drawn last.
        drawn: usize,
    },
}

impl Screen {
    fn new(out: &Out) -> Screen {
        match (out.json, out.term.tty) {
            (true, _) => Screen::Json,
            (false, true) => Screen::Live { term: out.term, drawn: 0 },
            (false, false) => Screen::Lines,
        }
    }

    fn event(&self, out: &mut Out, event: &Event) -> Result {
        match self {
            Screen::Json => out.json(&json!({"event": json::event(event)})),
            Screen::Lines => out.line(view::event_line(&out.term, event)),
            Screen::Live { .. } => Ok(()),
        }
    }

    fn draw(&mut self, out: &mut Out, board: &Board) -> Result {
        let Screen::Live { term, drawn } = self else { return Ok(()) };
        let (_, height) = term.size();
        let lines = view::lines(term, board, now_ms(), height.saturating_sub(2));
        let mut text = Vec::new();
        if *drawn > 0 {
            write!(text, "\x1b[{drawn}A")?;
        }
        // Line by line, so that what stays the same does not flicker.
        for line in &lines {
            writeln!(text, "\r{line}\x1b[K")?;
        }
        write!(text, "\x1b[J")?;
        *drawn = lines.len();
        out.text(&String::from_utf8_lossy(&text))
    }

    /// The last view stays.
    fn finish(mut self, out: &mut Out, board: &Board) -> Result {
        self.draw(out, board)?;
        if let Screen::Lines = self {
            for line in view::lines(&out.term, board, now_ms(), view::LINES_MAX) {
                out.line(line)?;
            }
        }
        Ok(())
    }
}
